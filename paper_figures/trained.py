"""Short trainings of ResNet-8 on JPEG images, for the figures that show what trained adapters do."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lieref
from lieref.errors import LierefWarning
from lieref.train.learning_rate import default_learning_rate
from paper_figures.drawn import Settings
from paper_figures.results import data_file
from validation.resnet8_jpeg import balanced

BATCH = 128
FULL, QUICK = (500, 20, 2000), (128, 6, 200)
"""Images, epochs, test images."""

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training left behind.

    Attributes
    ----------
    before, after : dict of str to array
        Weights of the layers by tensor, as in ONNX: (out, in, rows, columns) or (in, out).
    element : dict of str to array
        xi of each of them, empty where the method has none.
    trainable, rate
        How many numbers were trained, and at which learning rate.
    accuracy : float or None
        Share of right answers on the test images, where it was asked for.
    """

    before: Weights
    after: Weights
    element: Weights
    trainable: int
    rate: float
    accuracy: float | None


def sources(settings: Settings, *, test: bool = False) -> tuple[Path, ...]:
    """Return the files that a training reads."""
    names = [("mlperf_tiny", "resnet8.onnx"), ("cifar10", "jpeg75_train.npz")]
    return tuple(data_file(settings, *one) for one in [*names, *([("cifar10", "jpeg75_test.npz")] if test else [])])


def sizes(settings: Settings) -> tuple[int, int, int]:
    """Return images, epochs and test images."""
    return QUICK if settings.quick else FULL


def train(
    settings: Settings, method: str, *, r: int | None = None, factor: float = 1.0, pruned: float = 0.0,
    test: bool = False,
) -> Trained:  # fmt: skip
    """Return a trained adapter; the same call returns the same one.

    Parameters
    ----------
    settings : Settings
    method : str
        Of `lieref.get_method`; "base" trains nothing.
    r : int, optional
    factor : float
        On the method's default learning rate.
    pruned : float
        Share of each layer's weights, the smallest, that are made zero before.
    test : bool
        Whether the test images are read, to report on.
    """
    sources(settings, test=test)
    return _train(settings, method, r, factor, pruned, test)


@cache
def _train(settings: Settings, method: str, r: int | None, factor: float, pruned: float, test: bool) -> Trained:
    images, epochs, tested = sizes(settings)
    model = _network(settings, pruned)
    if method == "base":
        return Trained({}, {}, {}, 0, 0.0, _accuracy(settings, model, tested) if test else None)
    x, y = _images(settings, "jpeg75_train.npz", images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        model.attach(method, seed=settings.seed, **({} if r is None else {"r": r}))
        steps = epochs * -(-images // BATCH)
        rate = factor * default_learning_rate(model.default_learning_rate, steps, batch_size=BATCH)
        lieref.fit(model, x, y, epochs=epochs, batch_size=BATCH, learning_rate=rate, seed=settings.seed, threads=1)
    before, after, element = {}, {}, {}
    for name, site in model.sites.items():
        if site.layer is None:
            continue
        stored = site.canonical(model.graph.initializers[name])
        before[name] = stored.astype(np.float64)
        after[name] = site.method.adapted_weight(site.params, stored, site.groups).astype(np.float64)
        if r is not None:
            element[name] = site.method.delta(site.params, stored.shape, site.groups).astype(np.float64)
    accuracy = _accuracy(settings, model, tested) if test else None
    return Trained(before, after, element, model.num_trainable(), rate, accuracy)


def prune(weight: NDArray[Any], share: float) -> NDArray[Any]:
    """Return a copy whose smallest entries, this share of them, are zero."""
    kept = weight.copy()
    count = round(share * weight.size)
    if count:
        kept.reshape(-1)[np.argsort(np.abs(weight).reshape(-1), kind="stable")[:count]] = 0
    return kept


def _network(settings: Settings, pruned: float) -> Any:
    path = data_file(settings, "mlperf_tiny", "resnet8.onnx")
    if not pruned:
        return lieref.load(path)
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if len(tensor.dims) >= 2:
            weight = prune(numpy_helper.to_array(tensor), pruned)
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(proto, Path(folder) / "pruned.onnx")
        return lieref.load(Path(folder) / "pruned.onnx")


def _images(settings: Settings, name: str, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    with np.load(data_file(settings, "cifar10", name)) as file:
        x, y = balanced(file["x"], file["y"], count, settings.seed)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y.astype(np.int64)


def _accuracy(settings: Settings, model: Any, count: int) -> float:
    x, y = _images(settings, "jpeg75_test.npz", count)
    return float((model.logits(x).argmax(axis=1) == y).mean())
