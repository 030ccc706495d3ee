"""From ONNX nodes to layers: LSTM, GRU and RNN, whose outputs are views of one layer's.

A layer holds the states of all steps: a pixel each, the directions side by side as channels. Y is these numbers in its
own order, and Y_h those of the step that each direction ends with, wherever ONNX has the axis of the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.cell import CELLS
from lieref.model.engine.layer import FusedLayer, Recurrence, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.lower_views import rows_of, view_of
from lieref.model.engine.lowered import TRIED, LoweredGraph, View, unsupported
from lieref.model.graph import Node

REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Of each direction, whether it begins at the end."""

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""The activations that have a compiled form."""


def recurrent(net: LoweredGraph, node: Node) -> None:
    """LSTM, GRU and RNN from a state of zeros, all samples of one length; of an LSTM not the last c."""
    attrs: dict[str, Any] = node.attrs
    seen = view_of(net, node)
    reverse = REVERSE[str(attrs.get("direction", "forward"))]
    batch = 0 if attrs.get("layout", 0) else 1
    if any(node.inputs[4:]):
        raise unsupported(node, "lengths of sequences, first states and peepholes must be absent")
    usual = DEFAULTS[node.op] * len(reverse)
    if tuple(attrs.get("activations") or usual) != usual:
        raise unsupported(node, f"the activations must be {', '.join(DEFAULTS[node.op])}")
    output = int(attrs.get("output", 0))
    if output == 2:
        raise unsupported(node, "the last c must be unused")
    if net.flat or not _samples_on(seen, batch):
        raise unsupported(node, f"the samples must be axis {batch} of its input")
    w, r, bias = (net.constant(node, position) for position in (1, 2, 3))
    if w is None or r is None or 0 in (*seen.shape, *w.shape, *r.shape):
        raise unsupported(node, "both weights must be constants with numbers in them, and so must the input be")
    times, hidden, directions = seen.size // seen.shape[-1], r.shape[2], len(reverse)
    cell = "gru_linear" if node.op == "GRU" and attrs.get("linear_before_reset", 0) else node.op.lower()
    of_input, of_state = (_axes(weight.shape, CELLS[cell].gates) for weight in (w, r))
    x, _ = rows_of(net, node, seen, (1, times))
    recurrence = Recurrence(cell, hidden, reverse, node.inputs[2], node.inputs[3] if bias is not None else "", of_state)
    layer = FusedLayer(
        "recurrent", x, net.free(f"{node.outputs[0]}.states"), Window(), directions * hidden, node.inputs[1],
        axes=of_input, recurrence=recurrence,
    )  # fmt: skip
    like = [each for each in net.layers if (each.x, each.weight, each.recurrence) == (x, layer.weight, recurrence)]
    if like:
        layer = like[0]
    else:
        net.append(layer, ())
        net.shapes.pop(layer.out)
    places = np.arange(directions * hidden * times).reshape(directions, hidden, times).transpose(2, 0, 1)
    if output:
        ends = [0 if back else times - 1 for back in reverse]
        places = places[ends, np.arange(directions)]
    step = directions * hidden * times
    full = places[..., None, :] + step * np.arange(TRIED)[:, None]  # samples before the last axis
    _hold(net, node.outputs[0], View.of(layer.out, full if batch else np.moveaxis(full, -2, 0), step))


def _hold(net: LoweredGraph, out: str, seen: View | None) -> None:
    """Note that the output of a node is a view."""
    assert seen is not None  # its samples stand in one way
    net.views[out] = seen
    if seen.full is None:
        net.shapes[out] = seen.places.shape


def _samples_on(seen: View, axis: int) -> bool:
    """Return whether a tensor of three axes has the samples on this one."""
    if len(seen.shape) != 3 or seen.shape[axis] != TRIED:
        return False
    samples: Array = seen.all_places // seen.step
    numbers = np.arange(TRIED).reshape([-1 if i == axis else 1 for i in range(3)])
    return bool((samples == numbers).all())


def _axes(shape: tuple[int, ...], gates: int) -> WeightAxes:
    """Return the axes of a weight (directions, gates hidden, columns)."""
    directions, rows, columns = shape
    size = (directions * rows, columns, 1, 1)
    return WeightAxes(size, (columns, 1, 1, 1), directions * rows * columns, parts=directions * gates)


ROWS: dict[str, Callable[[LoweredGraph, Node], None]] = dict.fromkeys(DEFAULTS, recurrent)
"""Operators with a compiled form."""
