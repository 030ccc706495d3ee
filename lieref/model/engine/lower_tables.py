"""From ONNX nodes to layers: rows of a constant table by the numbers of the network's input, as embeddings are."""

from __future__ import annotations

import numpy as np

from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.lower_views import give_rows, rows_of, view_of
from lieref.model.engine.lowered import LoweredGraph, View, unsupported
from lieref.model.graph import Node


def part(net: LoweredGraph, node: Node) -> bool:
    """Take the Cast of one of several inputs as a view; return whether it is one.

    They stand side by side as floats: what is made integers, or truth values, of them is checked to be that already.
    """
    mine = node.op == "Cast" and node.outputs[0] in {info.name for info in net.graph.parts}
    seen = net.view(node.inputs[0]) if mine else None
    if seen is None:
        return False
    net.name(node.outputs[0], seen)
    return True


def gather(net: LoweredGraph, node: Node) -> None:
    """Gather of rows of a constant table, by numbers that the samples are made of: they are checked at the border."""
    table = net.graph.initializers.get(node.inputs[0])
    if (
        table is None
        or table.ndim != 2
        or table.dtype.kind != "f"
        or node.attrs.get("axis", 0) not in (0, -2)
        or 0 in table.shape
    ):
        raise unsupported(node, "it must take rows of a constant matrix")
    seen = view_of(net, node, 1)
    if seen.base != net.input or net.is_float(node.inputs[1]):
        raise unsupported(node, "the rows must be numbered by the samples themselves")
    full = None if seen.full is None else seen.full[..., None]
    numbers = View(seen.base, seen.places[..., None], seen.step, full)
    x, _ = rows_of(net, node, numbers)
    depth, channels = table.shape
    net.looked_up.append((np.unique(seen.places), depth))
    axes = WeightAxes.matrix(channels, (depth, 1, 1), transposed=False)
    layer = FusedLayer("embedding", x, node.outputs[0], Window(), channels, node.inputs[0], axes=axes)
    give_rows(net, layer, node, numbers)
