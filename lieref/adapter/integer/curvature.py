"""How much the loss minds a change of each weight: the Fisher information of a layer as a Kronecker product.

With x_p the numbers that a window reads and g_p the gradient of a sample's loss for what the layer writes there, row o
of the weight's gradient is sum_p g_op x_p. Taking x and g to be independent, and rows to be so [Martens15] [Grosse16],
the Fisher information of row o is

    F_o = G s_o,    G = mean over samples of sum_p x_p x_p^T,    s_o = mean over samples and windows of g_op^2,

and a change d of the row costs d^T F_o d / 2. Classes are drawn from the network's own answers, as the Fisher
information wants them: no label is read. Of anything but classes the loss is taken to be a squared error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lieref._types import Array, FloatArray
from lieref.errors import DomainError
from lieref.model import executor
from lieref.model.graph import Graph, Node
from lieref.model.integer.as_float import as_float
from lieref.model.samples import as_numbers, batches
from lieref.model.scores import logits_name
from lieref.rng import stream

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel

SAMPLES, BATCH = 256, 16
"""So many samples are looked at: G is a mean over thousands of windows of each."""


class Curvature(NamedTuple):
    """Of one layer.

    Attributes
    ----------
    gram : (groups, K, K) float64 array
        G of each group of channels; K numbers are read by a window.
    rows : (out,) float64 array
        s.
    """

    gram: FloatArray
    rows: FloatArray


def curvatures(model: IntegerModel, x: Array, *, classes: bool = True, seed: int = 0) -> dict[str, Curvature]:
    """Return the curvature of each layer, by the weight's name, at the weights that the model has now.

    Parameters
    ----------
    model : IntegerModel
    x : (N, ...) array
        Samples; at most `SAMPLES` of them are taken, evenly spread.
    classes : bool
        Whether the outputs are scores of classes.
    seed : int
        Of what is drawn.
    """
    arranged = model.arranged("curvatures", x)
    if not len(arranged):
        raise DomainError("curvatures: `x` must hold at least one sample; got none")
    some = arranged[:: -(-len(arranged) // SAMPLES)]
    graph = as_float(model.integer).with_initializers(model.adapted_tensors())
    scores, rng = logits_name(graph), stream(seed, "curvature")
    layers = {node.outputs[0]: node for node in graph.nodes if node.name in {one.node for one in model.integer_layers}}
    weights = {layer.node: layer for layer in model.integer_layers}
    grams: dict[str, FloatArray] = {}
    rows: dict[str, FloatArray] = {}
    for part in batches(some, BATCH):
        values = executor.run(graph, as_numbers(part, graph.inputs[0], np.dtype(np.float32)), until=scores)
        seed_bar = {scores: _drawn(values[scores], rng, classes)}
        bars = executor.pull_back(graph, values, seed_bar, layers)
        for out, node in layers.items():
            name = weights[node.name].weight.name
            gram, row = _sums(graph, node, values[node.inputs[0]], bars[out], weights[node.name].out)
            grams[name] = grams.get(name, 0.0) + gram / len(some)
            rows[name] = rows.get(name, 0.0) + row / len(some)
    return {name: Curvature(grams[name], rows[name]) for name in grams}


def _drawn(scores: Array, rng: np.random.Generator, classes: bool) -> Array:
    """Return the gradient of the loss for the scores, its target drawn as the network thinks it is."""
    if not classes or scores.ndim != 2:
        return rng.standard_normal(scores.shape).astype(scores.dtype)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    drawn = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).clip(max=p.shape[1] - 1)
    found: Array = p - np.eye(p.shape[1], dtype=p.dtype)[drawn]
    return found


def _sums(graph: Graph, node: Node, x: Array, bar: Array, out: int) -> tuple[FloatArray, FloatArray]:
    """Return G and s of some samples, summed over these."""
    if node.op == "Conv":
        groups = int(node.attrs["group"])  # type: ignore[arg-type]
        windows = _windows(x, graph.initializers[node.inputs[1]].shape[2:], node.attrs, groups)
        per_row = np.square(bar, dtype=np.float64).mean(axis=(2, 3)).sum(axis=0)
    else:
        windows = x.reshape(1, -1, x.shape[-1])
        per_row = np.square(bar, dtype=np.float64).reshape(len(x), -1, out).mean(axis=1).sum(axis=0)
    return np.matmul(windows.transpose(0, 2, 1), windows).astype(np.float64), per_row


def _windows(x: Array, kernel: tuple[int, ...], attrs: Mapping[str, Any], groups: int) -> Array:
    """Return what the windows read, (groups, windows of all samples, channels of a group by kernel)."""
    top, left, bottom, right = attrs["pads"]
    (down, across), (dy, dx) = attrs["strides"], attrs["dilations"]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = (kernel[0] - 1) * dy + 1, (kernel[1] - 1) * dx + 1
    seen = sliding_window_view(padded, reach, axis=(2, 3))[:, :, ::down, ::across, ::dy, ::dx]
    n, channels, height, width = seen.shape[:4]
    per = channels // groups
    seen = seen.reshape(n, groups, per, height, width, *kernel).transpose(1, 0, 3, 4, 2, 5, 6)
    return np.ascontiguousarray(seen).reshape(groups, n * height * width, per * kernel[0] * kernel[1])
