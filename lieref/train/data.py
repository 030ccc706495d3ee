"""Labelled data: read from an archive, a folder of images or a table.

Samples keep the element type they have on disk: an image set stays uint8 until a batch of it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._check import check_choice, check_real
from lieref._text import near_path
from lieref._types import Array
from lieref.errors import DomainError, FormatError, ShapeError
from lieref.model.samples import Samples, check_samples
from lieref.train.classes import check_classes, warn_missing
from lieref.train.image_array import ImageArray, array_of_pixels
from lieref.train.images import list_image_folder, read_image_folder
from lieref.train.loss import as_targets
from lieref.train.masks import IMAGES, MASKS, read_mask_folder
from lieref.train.npz import npz_names, read_npz
from lieref.train.preprocess import Preprocess
from lieref.train.table import read_csv, read_targets
from lieref.train.task_registry import TASKS
from lieref.train.text_file import LABEL_FIELD, SUFFIXES, TEXT_FIELD, read_texts
from lieref.train.tokenizer import Encoded, TextEncoder


@dataclass(frozen=True)
class Dataset:
    """Samples and their targets: what `load_data` returns. Its length is the number of samples.

    Raises `ShapeError` where x and y differ in length, and `DTypeError` where x holds no numbers.

    Attributes
    ----------
    x : (N, ...) array of integers, booleans or floats, or dict of them
        By the name of the input where the model has several.
    y : (N, ...) array, dict of such arrays, or None
        Labels or numbers; by output where there are several; None where the targets of a task are in the samples.
    layout : {"NCHW", "NHWC"} or None
        Where it is known from the source.
    class_names : tuple of str or None
        Name of each label, where the source has names; as many as the model has outputs where they were given.
    text : Encoded or None
        How sentences became `x`, where the source holds sentences.
    """

    x: Samples
    y: Any
    layout: str | None = None
    class_names: tuple[str, ...] | None = None
    text: Encoded | None = None

    def __post_init__(self) -> None:
        for name, x in self.x.items() if isinstance(self.x, Mapping) else [("x", self.x)]:
            check_samples("Dataset", x[:, np.newaxis] if np.ndim(x) == 1 and name != "x" else x, name)
        for y in self.y.values() if isinstance(self.y, dict) else () if self.y is None else (self.y,):
            shape = as_targets("Dataset", y).shape
            if shape[:1] != (len(self),):
                raise ShapeError(f"Dataset: `y` must have one entry for each of {len(self)} samples; got {shape}")

    def __repr__(self) -> str:
        """Return how many samples of which shape, and how many there are of each class."""
        arrays = self.x.items() if isinstance(self.x, Mapping) else [("x", self.x)]
        parts = [f"{name} {'x'.join(map(str, np.shape(x)[1:])) or 'number'} {x.dtype}" for name, x in arrays]
        y = self.y if isinstance(self.y, np.ndarray) else None
        if y is not None and y.ndim == 1 and y.dtype.kind in "iu" and len(y):
            found, counts = np.unique(y, return_counts=True)
            each = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
            parts.append(f"{len(found)} classes of {each} samples")
        elif self.y is not None:
            parts.append("targets " + ("by output" if y is None else "x".join(map(str, y.shape[1:])) or str(y.dtype)))
        return f"Dataset({len(self):,} samples: {', '.join(parts)})"

    def __len__(self) -> int:
        return len(next(iter(self.x.values())) if isinstance(self.x, Mapping) else self.x)


def load_data(
    path: str | Path,
    *,
    task: str = "classes",
    outputs: Sequence[str] | None = None,
    input_name: str | Sequence[str] | None = None,
    channels: int = 3,
    size: tuple[int | None, int | None] | None = None,
    classes: Sequence[str] | None = None,
    max_bytes: int | None = None,
    tokenizer: str | Path | TextEncoder | None = None,
    max_length: int | None = None,
    text_field: str = TEXT_FIELD,
    label_field: str = LABEL_FIELD,
    preprocess: Preprocess | None = None,
) -> Dataset:
    """Read labelled samples from an ``.npz``, a ``.csv``, a folder of images, or sentences, by the kind of the source.

    Samples keep the element type that they have there: images are uint8 (N, H, W, C).

    Parameters
    ----------
    path : str or Path
        An ``.npz`` with the arrays ``x`` and ``y``; a folder with one sub-folder of images for each class; or a
        ``.csv`` of numbers whose column ``label`` (the last one where none has that name) holds the targets. For the
        task ``"dense"`` a folder has the sub-folders ``images`` and ``masks``; for ``"tokens"`` no ``y`` is needed.
        With a tokenizer also sentences: see `read_texts`.
    task : str
        Name of the task.
    outputs : sequence of str, optional
        Outputs that have targets of their own, in the arrays ``y_<output>`` of an ``.npz``.
    input_name : str or sequence of str, optional
        Name of the model's input: an ``.npz`` may hold the samples under it instead of ``x``. Of several inputs it
        holds an array for each under its name, or under ``x_<input>``, which one with the name of targets needs.
    channels : int
        For a folder of images: 1 reads them as grey, 3 as RGB.
    size : (int or None, int or None), optional
        For a folder of images: height and width that the model takes; others are refused before they are decoded.
    classes : sequence of str, optional
        Names of the model's outputs, in their order, as ``model.classes`` has them: folders and words are matched with
        them, and what has no sample is said in a warning. Without it names are numbered in sorted order. Targets that
        are numbers are the numbers of outputs whatever `classes` says.
    max_bytes : int, optional
        Cap on the samples' size in memory; None takes that of `lieref.train.cap.memory_cap`.
    tokenizer : str, Path or TextEncoder, optional
        A ``tokenizer.json``, or one made for a network: then a ``.tsv``, ``.csv`` or ``.jsonl`` holds sentences.
    max_length : int, optional
        Tokens behind which a sentence is cut; with the path of a tokenizer it must be given.
    text_field, label_field : str
        Column or key of the sentences, and of the targets, which the task ``"tokens"`` does not ask for.
    preprocess : Preprocess, optional
        How the images of a folder, of any sizes, become numbers, fitted to a network: `x` is then an `ImageArray`,
        which reads them when it is indexed, in place of `channels` and `size`. Images of the task ``"dense"`` and bytes
        in an ``.npz``, (N, H, W, C) or (N, C, H, W), must have the size of the network.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the source is missing, damaged, of an unknown kind or too large.
    DomainError, DTypeError, ShapeError
        If what it holds is empty, not numbers, not finite, a class is unknown, or x and y differ in length.
    UnsupportedError
        If an image cannot be read without a guess; see `read_image_folder`.
    MissingExtraError
        If sentences are to be read and tokenizers is not installed.
    """
    check_choice("load_data", "task", task, tuple(TASKS))
    source = Path(path)
    names = None if classes is None else check_classes("load_data", classes)
    found: tuple[str, ...] | None = None
    layout, text = None, None
    x: Any
    y: Any
    if preprocess is not None and not (source.is_dir() or source.suffix.lower() == ".npz"):
        raise FormatError(f"load_data: `preprocess` must be for images in a folder or an .npz; got {path}")
    several = input_name is not None and not isinstance(input_name, str)
    if several and source.exists() and not (source.suffix.lower() == ".npz" and source.is_file()):
        raise FormatError(
            f"load_data: the samples of {', '.join(input_name or ())} must be in an .npz, an array for each; got {path}"
        )
    if outputs is not None and not (source.suffix.lower() == ".npz" and source.is_file()):
        raise FormatError(f"load_data: the targets of {len(outputs)} outputs must be in an .npz; got {path}")
    if source.is_dir() and task == "dense":
        x, y = read_mask_folder(source, channels=channels, size=size, max_bytes=max_bytes, preprocess=preprocess)
        layout = None if preprocess else "NHWC"
    elif source.is_dir() and {each.name for each in source.iterdir() if each.is_dir()} == {IMAGES, MASKS}:
        raise DomainError(
            f"load_data: {path} holds {IMAGES} and {MASKS}, which are for the task 'dense' (--task dense); got {task!r}"
        )
    elif source.is_dir() and preprocess is not None:
        files, y, found = list_image_folder(source, names)
        x = ImageArray(files, preprocess, source=str(path), max_bytes=max_bytes)
    elif source.is_dir():
        x, y, found = read_image_folder(source, channels=channels, size=size, classes=names, max_bytes=max_bytes)
        layout = "NHWC"
    elif not source.exists():
        raise FormatError(f"load_data: `path` must exist; there is no {path}{near_path(Path(path))}")
    elif source.suffix.lower() == ".npz":
        held = npz_names(source)
        names_of = {name: f"y_{name}" for name in outputs or ()}
        wanted = tuple(names_of.values()) or (("y",) if not TASKS[task].from_input or "y" in held else ())
        x_names = _names_in(held, input_name, ("y", *wanted))
        arrays = read_npz(source, (*x_names.values(), *wanted), max_bytes=max_bytes)
        x = {name: arrays[key] for name, key in x_names.items()}
        if not several:
            (x,) = x.values()
            x = x if preprocess is None else array_of_pixels("load_data", x, preprocess, str(path))
        y = {name: arrays[key] for name, key in names_of.items()} if outputs else arrays.get("y")
    elif source.suffix.lower() in SUFFIXES and tokenizer is not None:
        encoder = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer, max_length=max_length)
        label = None if TASKS[task].from_input else label_field
        read = read_texts(source, text=text_field, label=label, max_bytes=max_bytes)
        y = None
        if read.cells is not None:
            y, found = read_targets("load_data", read.cells, read.lines, source, names)
        text = encoder.encode(read.texts, read.lines, str(path), max_bytes)
        x = text.ids
    elif source.suffix.lower() in (".tsv", ".jsonl"):
        raise FormatError(f"load_data: sentences must have a tokenizer.json (--tokenizer); got {path} alone")
    elif source.suffix.lower() == ".csv":
        x, y, found = read_csv(source, classes=names, max_bytes=max_bytes)
    else:
        raise FormatError(f"load_data: `path` must be an .npz, a .csv or a folder of images, or sentences in a "
                          f".tsv, .csv or .jsonl; got {path}")  # fmt: skip
    data = Dataset(x, y, layout, found, text)
    if found is not None and y is not None:
        warn_missing("load_data", y, found, str(path))
    return data


def _names_in(held: Sequence[str], inputs: str | Sequence[str] | None, targets: Sequence[str]) -> dict[str, str]:
    """Return the names of the arrays of samples in an ``.npz``, by input."""
    if inputs is None or isinstance(inputs, str):
        return {"x": inputs if inputs is not None and inputs in held and "x" not in held else "x"}
    return {name: f"x_{name}" if f"x_{name}" in held or name in targets else name for name in inputs}


def split(y: Array, fraction: float, seed: int, *purpose: str, stratified: bool) -> tuple[NDArray[np.int64], ...]:
    """Return the sorted indices of two parts, the second holding about `fraction` of the samples.

    Parameters
    ----------
    y : (N, ...) array
        With `stratified`, (N,) labels: each class is cut in the same proportion.
    fraction : float
        Between 0 and 1.
    seed : int
    *purpose : str
        Path of the random stream.
    stratified : bool

    Returns
    -------
    kept, held : (M,) and (N - M,) int64

    Raises
    ------
    DomainError
        If a part would be empty.
    """
    check_real("split", "fraction", fraction, above=0.0, high=1.0)
    stream = rng.stream(seed, *purpose)
    groups = [np.flatnonzero(y == label) for label in np.unique(y)] if stratified else [np.arange(len(y))]
    held = np.sort(np.concatenate([stream.permutation(group)[: round(fraction * len(group))] for group in groups]))
    kept = np.setdiff1d(np.arange(len(y)), held)
    if len(held) == 0 or len(kept) == 0:
        part = " ".join(purpose) or "held-out"
        raise DomainError(
            f"split: the {part} part must leave samples on both sides; got {fraction} of {len(y)} samples"
        )
    return kept, held
