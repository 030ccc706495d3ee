"""A network and the samples that it is asked about: float or quantised, of files of every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref._text import near_path
from lieref.cli.console import say

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.cli.preprocess_option import TakesImages

AT_ONCE = 64
"""Samples of a prediction: of 224 x 224 pixels they take 39 MB."""

Sample = tuple[str, int | None]
"""File, and the number of the sample in it, None of an image."""


@dataclass(frozen=True)
class Source:
    """Samples in the network's layout, each with its file."""

    samples: list[Sample]
    x: Any


@dataclass(frozen=True)
class Predictor:
    """A network, and what it is asked about.

    Attributes
    ----------
    predict : callable
        Returns the network's output for some samples.
    sources : list of Source
    classes : tuple of str or None
    task : str
    method : str
    preprocessing, semantics : str or None
    """

    predict: Callable[[Array], Array]
    sources: list[Source]
    classes: tuple[str, ...] | None
    task: str
    method: str
    preprocessing: str | None
    semantics: str | None = None


def predictor(
    path: Path,
    files: Sequence[Path],
    adapter: Path | None,
    output: str | None,
    preprocess: str | None,
    layout: str | None,
    max_bytes: int | None,
) -> Predictor:
    """Return a network, float or quantised, and its samples; raises as those who read them do."""
    from lieref.model.integer.detect import is_integer_file

    if is_integer_file(path):
        return _integer_predictor(path, files, adapter, output, preprocess, layout, max_bytes)
    from lieref.adapter.folder import read_adapter
    from lieref.cli.loading import load_for
    from lieref.cli.preprocess_option import recorded_text
    from lieref.cli.task_options import chosen_task
    from lieref.cli.text_options import TextOptions, with_padding_of
    from lieref.model.samples import arranged, own_layout

    known: dict[str, Any] = {} if adapter is None else read_adapter(adapter)[1]["lieref"]
    text = with_padding_of(TextOptions(), known)
    model = load_for(path, files[0], text, known.get("output") if output is None else {output: 1.0}, known)
    if adapter is not None:
        model.load_adapter(adapter)
    names = [info.name for info in model.inputs]
    sources = []
    for samples, x, given in _sources(model, names, files, preprocess, max_bytes):
        sources.append(Source(samples, arranged("predict", model, x, given or layout)))
    own = own_layout(model.input_shape)
    return Predictor(
        lambda x: model.predict(x, layout=own), sources, model.classes, chosen_task(model, (None, {})).name,
        model.method_name, recorded_text(model),
    )  # fmt: skip


def _integer_predictor(
    path: Path,
    files: Sequence[Path],
    adapter: Path | None,
    output: str | None,
    preprocess: str | None,
    layout: str | None,
    max_bytes: int | None,
) -> Predictor:
    """Return a quantised network, in the integers of its usual runtime."""
    import numpy as np

    from lieref.cli.integer import Taken, refuse_options, with_update
    from lieref.cli.preprocess_option import recorded_text
    from lieref.evaluate.integer import USUAL
    from lieref.model.integer.executor import run
    from lieref.model.integer.reader import read_integer
    from lieref.model.integer.samples import integer_samples

    refuse_options("predict", {"--output": output})
    graph, update = with_update("predict", read_integer(path), path, adapter)
    taken, semantics = Taken(graph, str(path), update), USUAL[graph.format]
    method = "base" if update is None else update.method
    last = graph.tensors[graph.outputs[0]]

    def predict(x: Array) -> Array:
        found = run(graph, x, semantics)
        return found if last.quantisation is None else last.quantisation.real(found).astype(np.float32)

    sources = []
    for samples, x, given in _sources(taken, [graph.inputs[0]], files, preprocess, max_bytes):
        whole = np.asarray(x)
        sources.append(Source(samples, integer_samples(graph, whole, given or layout).x))
    return Predictor(predict, sources, None, "classes", method, recorded_text(taken), semantics)


def _sources(
    model: TakesImages, inputs: list[str], files: Sequence[Path], preprocess: str | None, max_bytes: int | None
) -> list[tuple[list[Sample], Any, str | None]]:
    """Return the samples of each source with their files, and their layout where it is known: that of the network."""
    from lieref.adapter.strict_json import path_text
    from lieref.cli.preprocess_option import chosen_preprocess, holds_images, rows_as_samples
    from lieref.errors import FormatError
    from lieref.model.samples import own_layout
    from lieref.train.image_array import ImageArray
    from lieref.train.images import IMAGE_SUFFIXES
    from lieref.train.preprocess import Preprocess
    from lieref.train.table import read_features
    from lieref.train.unlabelled_data import images_below, load_unlabelled

    found: list[tuple[list[Sample], Any, str | None]] = []
    images: list[Path] = []
    said = False

    def add_images() -> None:
        nonlocal said
        if not images:
            return
        source = images[0] if len(images) == 1 else images[0].parent
        chosen = chosen_preprocess(model, source, preprocess, list(images), told=said)
        said = said or chosen is not None
        if chosen is None:  # bytes of the network's size, which the model says now, or none that it takes
            recorded = model.preprocessing
            chosen = (Preprocess() if recorded is None else Preprocess.from_dict(recorded)).fitted(model.input_shape)
        x = ImageArray(images, chosen, source=str(source), max_bytes=max_bytes, keeps=False)
        found.append(([(path_text(file), None) for file in images], x, own_layout(model.input_shape)))
        images.clear()

    for path in files:
        suffix = path.suffix.lower()
        if not path.exists():
            raise FormatError(f"predict: FILES must exist; there is no {path}{near_path(path)}")
        if path.is_dir():
            images += images_below(path)
            continue
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
            continue
        add_images()
        layout = None
        if suffix == ".npz":
            chosen = chosen_preprocess(model, path, preprocess, None, arrays=holds_images(path, inputs), told=said)
            said = said or chosen is not None
            names = inputs[0] if len(inputs) == 1 else inputs
            x, _ = load_unlabelled(path, input_name=names, max_bytes=max_bytes, preprocess=chosen)
            layout = None if chosen is None else own_layout(model.input_shape)
        elif suffix == ".csv":
            width = _width(model.input_shape)
            x, left = read_features(path, width, max_bytes=max_bytes)
            if left is not None:
                say(f"the column {left!r} of {path} is the label, and left out")
            x = rows_as_samples(model, x, path)
        else:
            raise FormatError(f"predict: FILES must be images, folders of them, .npz or .csv; got {path}")
        count = len(next(iter(x.values())) if isinstance(x, dict) else x)
        found.append(([(path_text(path), number) for number in range(count)], x, layout))
    add_images()
    return found


def _width(shape: tuple[int | None, ...]) -> int | None:
    """Return how many numbers a sample has, None where that is free."""
    import math

    sizes = [size for size in shape[1:] if size is not None]
    return math.prod(sizes) if len(sizes) == len(shape) - 1 else None
