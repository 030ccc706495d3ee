"""A trained change of weights put on the grid of a quantised file: the scales take what they can, integers what pays.

What the low-rank factors have learnt is real numbers. The scale of each row is set to what brings its integers nearest,
which takes the part of the change that the scaling group has; of the rest, integers move one step at a time as long as
each lowers the loss by enough (`lieref.adapter.integer.choosing`). Then the scales may be trained once more, beside the
integers as they have become. Biases keep their real numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lieref._check import check_choice, check_int
from lieref._types import Array
from lieref.adapter.integer.choosing import Moves, Rows, best_scales, find_moves, moved
from lieref.adapter.integer.codes import encode
from lieref.adapter.integer.curvature import curvatures
from lieref.adapter.integer.folder import BIN_NAME, encode_update
from lieref.adapter.integer.form import ENCODINGS
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.update import Codes, IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.as_float import layer_weight, stored_weight
from lieref.model.integer.layers import IntegerLayer, integer_layers

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel
    from lieref.model.integer.graph import IntegerGraph, IntegerNode

SHARE = 0.95
"""Of what all moves together would gain. On 8,000 images of the JPEG job those are 2,700 integers, where 26,000 move if
all are rounded, and the accuracy on the other images is the same; 0.8 loses 1.5 points of it."""
TRIES = 12
"""Halvings in the search for the moves that fit into so many bytes."""


class _Layer(NamedTuple):
    layer: IntegerLayer
    node: IntegerNode
    rows: Rows
    moves: Moves


def settled(
    model: IntegerModel, x: Array, *, encoding: str = "finished", most_bytes: int | None = None, classes: bool = True,
    seed: int = 0, train: Callable[[IntegerModel], object] | None = None,
) -> IntegerUpdate:  # fmt: skip
    """Return what a model has learnt as an update of its file in which integers may move.

    Parameters
    ----------
    model : IntegerModel
        With a method attached that moves weights.
    x : (N, ...) array
        Samples, to see what a change of each weight does to the loss: those it was trained on will do.
    encoding : {"finished", "codes"}
        Of the scales, as of `IntegerModel.update`.
    most_bytes : int, optional
        Of the payload. By default the moves with the largest gains are taken that make up `SHARE` of it.
    classes : bool
        Whether the outputs are scores of classes.
    seed : int
    train : callable, optional
        Trains what it is given, the network with the integers that have moved, one factor for each scale attached; what
        comes of the factors is in the update.

    Raises
    ------
    DomainError
        If the scales alone take more bytes, or a result is out of the range of the file's numbers.
    """
    check_choice("settled", "encoding", encoding, ENCODINGS)
    check_budget(model, encoding, most_bytes)
    layers = _layers(model, x, classes, seed)
    threshold = _threshold(model, layers, encoding, most_bytes)
    found = _chosen(model, layers, threshold)
    if train is not None:
        found = _trained(model, found, train, seed)
    return _written(found, model.integer, encoding).sealed(model.integer)


def epochs_again(epochs: int) -> int:
    """Return for how many epochs scales are trained once more beside the integers that have moved: half as many."""
    return max(1, epochs // 2)


def learnt(model: IntegerModel, x: Array, *, encoding: str = "finished", **options: Any) -> IntegerUpdate:
    """Return what a model has learnt as an update: by `settled` where its method moves integers, which takes `options`.

    Raises
    ------
    DomainError
        As `settled` and `IntegerModel.update` do.
    """
    if model.integer_method is not None and INTEGER_METHODS[model.integer_method].moves:
        return settled(model, x, encoding=encoding, **options)
    return model.update(encoding)


def check_budget(model: IntegerModel, encoding: str, most_bytes: int | None) -> None:
    """Raise `DomainError` where the scales alone take more bytes."""
    if most_bytes is not None:
        scales = sum(layer.factors for layer in model.integer_layers)
        least = 4 * scales if encoding == "finished" else 4 + scales
        check_int("settled", "most_bytes", most_bytes, low=1)
        if most_bytes < least:
            codes = f" ({4 + scales} as codes of one byte)" if encoding == "finished" else ""
            raise DomainError(f"settled: `most_bytes` must hold the scales, {least} bytes{codes}; got {most_bytes}")


def _threshold(model: IntegerModel, layers: list[_Layer], encoding: str, most_bytes: int | None) -> float:
    """Return the least gain of a move that is made."""
    gains = np.sort(np.concatenate([one.moves.gain for one in layers]))[::-1] if layers else np.zeros(0)
    if most_bytes is None:
        count = int(np.searchsorted(np.cumsum(gains), SHARE * gains.sum())) + 1
        return float(gains[min(count, len(gains)) - 1]) if len(gains) else np.inf

    def size(threshold: float) -> int:
        found = _written(_chosen(model, layers, threshold), model.integer, encoding)
        return len(encode_update(found, model.integer)[BIN_NAME])

    count, beyond = 0, len(gains) + 1
    for _ in range(TRIES):
        middle = (count + beyond) // 2
        if middle == count:
            break
        count, beyond = (middle, beyond) if size(float(gains[middle - 1])) <= most_bytes else (count, middle)
    return float(gains[count - 1]) if count else np.inf


def _layers(model: IntegerModel, x: Array, classes: bool, seed: int) -> list[_Layer]:
    """Return the layers that have been trained, with the moves that pay."""
    trained = model.adapted_tensors()
    curved = curvatures(model, x, classes=classes, seed=seed)
    nodes, found = {node.name: node for node in model.integer.nodes}, []
    for layer in model.integer_layers:
        name, node = layer.weight.name, nodes[layer.node]
        if name not in trained:
            continue
        real = layer_weight(model.integer, layer, node)
        scales = layer.scales.astype(np.float64)
        target = trained[name].astype(np.float64)
        if target.shape != real.shape:  # a product whose matrix stands the other way round
            target = target.T
        q = np.rint(real.reshape(len(real), -1) / scales.reshape(-1, 1)).astype(np.int64)
        rows = Rows(q, target.reshape(q.shape), scales, curved[name], *_ends(layer))
        found.append(_Layer(layer, node, rows, find_moves(rows)))
    return found


def _ends(layer: IntegerLayer) -> tuple[Array, Array]:
    """Return the least and the largest whole number from zero that an integer of each row can be, (out or 1, 1)."""
    assert layer.weight.quantisation is not None
    zero_point = layer.weight.quantisation.zero_point.astype(np.int64).reshape(-1, 1)
    if layer.weight.dtype not in ("int8", "uint8"):
        return np.zeros_like(zero_point), np.zeros_like(zero_point)
    low, high = layer.weight.limits
    narrow = low < 0 and layer.weight.data is not None and int(layer.weight.data.min(initial=0)) > low
    return (-high if narrow else low) - zero_point, high - zero_point  # kernels expect what is symmetric to stay so


def _chosen(model: IntegerModel, layers: list[_Layer], threshold: float) -> IntegerUpdate:
    """Return the update with the moves whose gain reaches a threshold, its scales finished."""
    integers: dict[str, Array] = {}
    scales: dict[str, Array] = {}
    for layer, node, rows, moves in layers:
        q = moved(rows, moves, threshold)
        scales[layer.weight.name] = best_scales(rows, q).astype(np.float32)
        if (q != rows.q).any():
            integers[layer.weight.name] = _stored(layer, node, q)
    graph = model.integer
    return IntegerUpdate(model.method_name, graph.digest, len(graph.content), "follow", scales, integers=integers)


def _trained(
    model: IntegerModel, update: IntegerUpdate, train: Callable[[IntegerModel], object], seed: int
) -> IntegerUpdate:
    """Return the update with its scales trained beside its integers."""
    network = model.patched(update)
    network.threads = model.threads
    network.attach("scale", seed=seed)
    train(network)
    factors = {name: np.exp(xi) for name, xi in network.logarithms().items()}
    held = {layer.weight.name: layer.scales for layer in network.integer_layers}
    scales = {name: (held[name] * factor).astype(np.float32) for name, factor in factors.items()}
    return replace(update, scales=scales)


def _written(update: IntegerUpdate, graph: IntegerGraph, encoding: str) -> IntegerUpdate:
    """Return an update of finished scales in an encoding."""
    if encoding == "finished":
        return update
    old = {layer.weight.name: layer.scales.astype(np.float64) for layer in integer_layers(graph)}
    logarithms = {name: np.log(new / old[name]) for name, new in update.scales.items()}
    return replace(update, scales={}, codes=Codes(*encode(logarithms)))


def _stored(layer: IntegerLayer, node: IntegerNode, q: Array) -> Array:
    """Return whole numbers from zero, row by row, as the integers of the file."""
    data, said = layer.weight.data, layer.weight.quantisation
    assert data is not None
    assert said is not None
    four = data.ndim == 4 and node.layout == "NHWC"
    shape = data.shape if not four else _out_first(layer, node, data.shape)
    whole = stored_weight(layer, node, q.reshape(shape if layer.axis != 1 or data.ndim != 2 else data.shape[::-1]))
    axes = [1] * data.ndim
    axes[layer.axis] = -1
    return np.ascontiguousarray(whole + said.zero_point.astype(np.int64).reshape(axes)).astype(data.dtype)


def _out_first(layer: IntegerLayer, node: IntegerNode, shape: tuple[int, ...]) -> tuple[int, ...]:
    if node.op == "DepthwiseConv":
        return shape[3], shape[0], shape[1], shape[2]
    return shape[0], shape[3], shape[1], shape[2]
