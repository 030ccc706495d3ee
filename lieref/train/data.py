"""Labelled data: read from an archive, a folder of images or a table, and brought into the model's layout.

Samples keep the element type they have on disk: an image set stays uint8 until a batch of it is made.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._check import check_choice, check_finite, check_real, need
from lieref._types import Array, Shape
from lieref.errors import DomainError, DTypeError, FormatError, ShapeError
from lieref.train.npz import MAX_BYTES, read_npz

LAYOUTS = ("NCHW", "NHWC")
"""Channels first or last; the names are used for any number of spatial axes."""

IMAGE_CHANNELS = (1, 3)
"""Grey and RGB."""

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Dataset:
    """Samples and their targets.

    Attributes
    ----------
    x : (N, ...) array of integers or floats
    y : (N,) integer labels, or (N,) or (N, K) numbers for a regression
    layout : {"NCHW", "NHWC"} or None
        Where it is known from the source.
    class_names : tuple of str or None
        Name of each label, where the source has names.
    """

    x: Array
    y: Array
    layout: str | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_samples("Dataset", self.x)
        if np.shape(self.y)[:1] != (len(self.x),):
            raise ShapeError(f"Dataset: `y` must have one entry for each of {len(self.x)} samples; got {self.y.shape}")

    def __len__(self) -> int:
        return len(self.x)


def check_samples(function: str, x: Any) -> Array:
    """Return samples as an array.

    Raises
    ------
    DTypeError
        If they are not numbers.
    ShapeError
        If there is no axis of samples, or no value in a sample.
    DomainError
        If the set is empty, or a value is NaN or infinite.
    """
    try:
        samples = np.asarray(x)
    except ValueError as error:
        raise ShapeError(f"{function}: `x` must hold samples of one shape; got lists of several lengths") from error
    if samples.dtype.kind not in "iuf":
        raise DTypeError(f"{function}: `x` must be integers or floats; got {samples.dtype}")
    if samples.ndim < 2:
        raise ShapeError(f"{function}: `x` must have shape (N, ...); got {samples.shape}")
    if len(samples) == 0:
        raise DomainError(f"{function}: `x` must hold at least one sample; got shape {samples.shape}")
    if samples.size == 0:
        raise ShapeError(f"{function}: `x` must hold at least one value a sample; got shape {samples.shape}")
    if samples.dtype.kind == "f":
        check_finite(function, "x", samples)
    return samples


def load_data(path: str | Path, *, channels: int = 3, max_bytes: int = MAX_BYTES) -> Dataset:
    """Read labelled data.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` with the arrays ``x`` and ``y``; a folder with one sub-folder of images for each class; or a
        ``.csv`` of numbers whose column ``label`` (the last one where none has that name) holds the targets.
    channels : int
        For a folder of images: 1 reads them as grey, 3 as RGB.
    max_bytes : int
        Cap on the samples' size in memory.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the source is missing, damaged or of an unknown kind.
    DomainError, DTypeError, ShapeError
        If what it holds is empty, not numbers, not finite, or x and y differ in length.
    """
    source = Path(path)
    if source.is_dir():
        return read_image_folder(source, channels=channels, max_bytes=max_bytes)
    if not source.exists():
        raise FormatError(f"load_data: `path` must exist; there is no {path}")
    match source.suffix.lower():
        case ".npz":
            arrays = read_npz(source, ("x", "y"), max_bytes=max_bytes)
            return Dataset(arrays["x"], arrays["y"])
        case ".csv":
            return read_csv(source, max_bytes=max_bytes)
    raise FormatError(f"load_data: `path` must be an .npz, a .csv or a folder of images; got {path}")


def read_csv(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Dataset:
    """Read vectors from a table: one sample a row, one number a cell, the target in column `label` or the last one.

    A first row with a cell that is no number is taken as the header. Targets that are all integers become int64.

    Raises
    ------
    FormatError
        If the file is missing or too large, a row has another length, or a cell is not a number.
    """
    source = Path(path)
    try:
        if source.stat().st_size > max_bytes:
            raise FormatError(f"read_csv: {path} must have at most {max_bytes} bytes; got {source.stat().st_size}")
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = [(line, row) for line, row in enumerate(csv.reader(file), start=1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"read_csv: {path} must be a readable text table; {error}") from error
    header: list[str] = []
    if rows and not all(map(_is_number, rows[0][1])):
        header = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise DomainError(f"read_csv: {path} must hold at least one sample; it holds none")
    width = len(header or rows[0][1])
    table = np.empty((len(rows), width))
    for index, (line, row) in enumerate(rows):
        if len(row) != width:
            raise FormatError(f"read_csv: {path}, line {line} must have {width} cells; got {len(row)}")
        for column, cell in enumerate(row):
            if not _is_number(cell):
                raise FormatError(f"read_csv: {path}, line {line}, column {column + 1} must be a number; got {cell!r}")
            table[index, column] = float(cell)
    if header.count("label") > 1:
        raise FormatError(f"read_csv: {path} must have one column named 'label'; got {header.count('label')}")
    label = header.index("label") if "label" in header else width - 1
    targets = table[:, label]
    check_finite("read_csv", "y", targets)
    is_integer = bool(np.all((targets == np.rint(targets)) & (np.abs(targets) < 2**53)))
    return Dataset(np.delete(table, label, axis=1), targets.astype(np.int64) if is_integer else targets)


def read_image_folder(folder: str | Path, *, channels: int = 3, max_bytes: int = MAX_BYTES) -> Dataset:
    """Read a folder with one sub-folder of images for each class; labels number the sub-folders in sorted order.

    Parameters
    ----------
    folder : str or Path
    channels : {1, 3}
        Grey or RGB; images stored otherwise are converted.
    max_bytes : int
        Cap on the decoded images together.

    Returns
    -------
    Dataset
        x (N, H, W, channels) uint8, layout NHWC; images are never resized.

    Raises
    ------
    FormatError
        If there is no class or an image cannot be read, differs in size from the first, or the cap is exceeded.
    MissingExtraError
        If Pillow is not installed.
    """
    if channels not in IMAGE_CHANNELS:
        raise DomainError(f"read_image_folder: `channels` must be 1 or 3; got {channels}")
    mode = "L" if channels == 1 else "RGB"
    image_module = need("PIL.Image", "app", "reading images")
    root = Path(folder)
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files = [
        (file, label)
        for label, entry in enumerate(classes)
        for file in sorted(entry.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise FormatError(
            f"read_image_folder: {folder} must hold one sub-folder of images for each class; got no image"
        )
    images: list[Array] = []
    size: tuple[int, int] | None = None
    for file, _ in files:
        try:
            with image_module.open(file) as image:
                # The size is in the file's header: it is checked before anything is decoded.
                size = image.size if size is None else size
                if image.size != size:
                    raise FormatError(
                        f"read_image_folder: {file} must be {size} pixels like the first; got {image.size}"
                    )
                if len(files) * size[0] * size[1] * channels > max_bytes:
                    raise FormatError(f"read_image_folder: {folder} must decode to at most {max_bytes} bytes")
                images.append(np.asarray(image.convert(mode), dtype=np.uint8).reshape(size[1], size[0], channels))
        except FormatError:
            raise
        except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
            raise FormatError(f"read_image_folder: {file} must be a readable image; {error}") from error
    labels = np.array([label for _, label in files])
    return Dataset(np.stack(images), labels, "NHWC", tuple(entry.name for entry in classes))


def arrange(x: Array, input_shape: tuple[int | None, ...], layout: str | None = None) -> Array:
    """Return samples in the model's layout, as a view.

    Parameters
    ----------
    x : (N, ...) array
        Shaped as the model's input; with the channels at the other end; or without the axis of a single channel.
    input_shape : tuple of int or None
        The model's; the first axis is the batch, None is a free axis.
    layout : {"NCHW", "NHWC"}, optional
        Where the channels of `x` are. Needed only where both fit.

    Returns
    -------
    (N, ...) array

    Raises
    ------
    ShapeError
        If the samples fit the model in no layout.
    DomainError
        If they fit in both and none is given.
    """
    if layout is not None:
        check_choice("arrange", "layout", layout, LAYOUTS)
    fitting = [view for view in _views(x, input_shape, layout) if _fits(view.shape, input_shape)]
    if not fitting:
        wanted = "(" + ", ".join("N" if axis == 0 else str(d or "any") for axis, d in enumerate(input_shape)) + ")"
        given = "" if layout is None else f" as {layout}"
        raise ShapeError(f"arrange: `x` must fit the model's input {wanted}; got {x.shape}{given}")
    if len(fitting) > 1 and layout is None and x.ndim == len(input_shape):
        raise DomainError(
            f"arrange: `layout` must be given where both fit; {x.shape} fits the model as NCHW and as NHWC"
        )
    return fitting[0]


def has_channels_last(input_shape: tuple[int | None, ...]) -> bool:
    """Return whether a model takes its channels last: only its last axis has a number of channels that images have.

    ONNX puts channels first, but a converted model may begin with a Transpose.
    """
    return len(input_shape) > 2 and input_shape[-1] in IMAGE_CHANNELS and input_shape[1] not in IMAGE_CHANNELS


def _views(x: Array, input_shape: tuple[int | None, ...], layout: str | None) -> list[Array]:
    """Return the ways to read `x` as the model's input, the likelier first."""
    rank = len(input_shape)
    if x.ndim == rank - 1 and rank > 2:
        return [x[:, np.newaxis], x[..., np.newaxis]]
    if x.ndim != rank or rank == 2:
        return [x]
    is_last = has_channels_last(input_shape)
    match layout:
        case "NCHW":
            return [x, np.moveaxis(x, 1, -1)] if is_last else [x]
        case "NHWC":
            return [np.moveaxis(x, -1, 1), x] if is_last else [np.moveaxis(x, -1, 1)]
    # With one spatial axis the two moves are the same.
    return [x, np.moveaxis(x, -1, 1), np.moveaxis(x, 1, -1)] if rank > 3 else [x, np.moveaxis(x, -1, 1)]


def _fits(shape: Shape, input_shape: tuple[int | None, ...]) -> bool:
    """Return whether all axes but the batch agree."""
    if len(shape) != len(input_shape):
        return False
    return all(want is None or have == want for have, want in zip(shape[1:], input_shape[1:], strict=True))


def _is_number(cell: str) -> bool:
    """Return whether a cell parses as a float; NaN and infinity do, and are refused later by name."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
