"""How much a node of a quantised network may compute: a damaged file can ask for more than any memory holds."""

from __future__ import annotations

import math
from typing import Any

from lieref.errors import FormatError
from lieref.model.integer.graph import IntegerGraph, IntegerNode

MOST_ELEMENTS = 1 << 27
"""Numbers of a sample in a tensor, or in an image with its border. Networks for devices have some hundred thousand."""
MOST_PRODUCTS = 1 << 36
"""Multiply-adds of a layer for a sample, about a minute on one core. VGG-16 has 2^34 in all its layers."""

Sizes = tuple[int | None, ...]


def check_extent(graph: IntegerGraph, node: IntegerNode) -> None:
    """Check one node whose shapes fit; free axes count as 1.

    Raises
    ------
    FormatError
        If it makes more numbers, or by more products, than the limits above.
    """
    size = max(_count(graph.tensors[node.outputs[0]].shape), _bordered(graph, node))
    products = _products(graph, node)
    if size > MOST_ELEMENTS or products > MOST_PRODUCTS:
        raise FormatError(
            f"extent: {node.op} for {node.outputs[0]} must make at most {MOST_ELEMENTS} numbers for a sample, its "
            f"border counted, by at most {MOST_PRODUCTS} products; got {size} and {products}: the file is damaged, or "
            "for another kind of machine"
        )


def _count(shape: Sizes) -> int:
    return math.prod(1 if n is None else n for n in shape)


def _bordered(graph: IntegerGraph, node: IntegerNode) -> int:
    """Return how many numbers the input of a window has with its border."""
    pads: Any = node.attributes.get("pads")
    shape = graph.tensors[node.inputs[0]].shape
    if pads is None or len(shape) != 4:
        return 0
    rows_at, cols_at = (1, 2) if node.layout == "NHWC" else (2, 3)
    rows, cols = (1 if shape[at] is None else int(shape[at] or 1) for at in (rows_at, cols_at))
    return _count(shape) // (rows * cols) * int((rows + pads[0] + pads[2]) * (cols + pads[1] + pads[3]))


def _products(graph: IntegerGraph, node: IntegerNode) -> int:
    out = graph.tensors[node.outputs[0]].shape
    kernel: Any = node.attributes.get("kernel")
    if kernel is not None:
        return _count(out) * int(math.prod(kernel))
    if node.op not in ("Conv", "DepthwiseConv", "FullyConnected", "MatMul"):
        return 0
    weight = graph.tensors[node.inputs[1]].shape
    channels = out[1] if node.layout == "NCHW" and len(out) == 4 and node.op != "MatMul" else out[-1]
    # Each entry of the weight is used once for each place of the output.
    return _count(out) // int(channels or 1) * (_count(weight) if node.op != "MatMul" else _count(weight[-2:]))
