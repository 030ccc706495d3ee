"""The shape that every operation of a quantised network makes, and that it is the one its output has.

A network that passes runs without an error of shapes, whatever file it came from. Free axes (None) agree with anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lieref.errors import FormatError
from lieref.model.integer.extent import check_extent
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor
from lieref.model.integer.vocabulary import WHOLE

Sizes = tuple[int | None, ...]


class _MismatchError(Exception):
    """Inputs or attributes that do not fit together; the text says which."""


def check_shapes(graph: IntegerGraph) -> None:
    """Check all nodes of a network.

    Raises
    ------
    FormatError
        If inputs, attributes and output of a node do not fit together, or it computes too much: see `extent`.
    """
    for node in graph.nodes:
        inputs = [graph.tensors[name] if name else None for name in node.inputs]
        shape = graph.tensors[node.outputs[0]].shape
        sizes = [n for sizes in (shape, *(tensor.shape for tensor in inputs if tensor is not None)) for n in sizes]
        if any(n is not None and n < 1 for n in sizes):
            raise FormatError(
                f"shapes: every size must be 1 or more; got an empty tensor at {node.op}, {node.outputs[0]}"
            )
        try:
            made = _RULES[node.op](node, inputs, shape)
        except (_MismatchError, KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            shapes = ", ".join(str(tensor.shape) if tensor else "none" for tensor in inputs)
            said = str(error) if isinstance(error, _MismatchError) else "they do not fit"
            raise FormatError(
                f"shapes: inputs of {node.op} for {node.outputs[0]} must fit its attributes; got {shapes}; {said}"
            ) from error
        if not _agree(made, shape):
            got = f"{shape}, where {made} follows from its inputs"
            raise FormatError(f"shapes: the output of {node.op}, {node.outputs[0]}, must have its shape; got {got}")
        check_extent(graph, node)


def _agree(made: Sizes, shape: Sizes) -> bool:
    return len(made) == len(shape) and all(a is None or b is None or a == b for a, b in zip(made, shape, strict=True))


def _need(holds: bool, said: str) -> None:
    if not holds:
        raise _MismatchError(said)


def _shape(tensor: IntegerTensor | None, axes: int | None = None) -> Sizes:
    _need(tensor is not None, "an input is left out")
    shape = tensor.shape  # type: ignore[union-attr]
    _need(axes is None or len(shape) == axes, f"{axes} axes are needed")
    return shape


def _bias(inputs: list[IntegerTensor | None], out: int | None) -> None:
    if len(inputs) > 2 and inputs[2] is not None:
        _need(_agree(inputs[2].shape, (out,)), "the bias has another length")


def _slide(size: int | None, kernel: int, node: IntegerNode, axis: int) -> int | None:
    """Return how many windows fit on axis 0 (height) or 1 (width)."""
    pads: Any = node.attributes.get("pads", (0, 0, 0, 0))
    strides: Any = node.attributes.get("strides", (1, 1))
    dilations: Any = node.attributes.get("dilations", (1, 1))
    _need(min(strides[axis], dilations[axis], kernel) >= 1 and min(pads) >= 0, "windows must have sizes of 1 or more")
    if size is None:
        return None
    room = size + pads[axis] + pads[axis + 2] - (kernel - 1) * dilations[axis] - 1
    _need(room >= 0, "the window is larger than the image")
    return int(room // strides[axis] + 1)


def _image(shape: Sizes, node: IntegerNode) -> Sizes:
    return shape if node.layout == "NHWC" else (shape[0], shape[2], shape[3], shape[1])


def _in_layout(shape: Sizes, node: IntegerNode) -> Sizes:
    return shape if node.layout == "NHWC" else (shape[0], shape[3], shape[1], shape[2])


def _conv(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    n, h, w, c = _image(_shape(inputs[0], 4), node)
    weight = _shape(inputs[1], 4)
    out, kh, kw, depth = weight if node.layout == "NHWC" else (weight[0], weight[2], weight[3], weight[1])
    groups: Any = node.attributes.get("groups", 1)
    assert out is not None
    assert kh is not None
    assert kw is not None
    assert depth is not None
    _need(groups >= 1 and out % groups == 0 and c == depth * groups, "channels and groups disagree")
    _bias(inputs, out)
    return _in_layout((n, _slide(h, kh, node, 0), _slide(w, kw, node, 1), out), node)


def _depthwise(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    n, h, w, c = _image(_shape(inputs[0], 4), node)
    weight = _shape(inputs[1], 4)
    one, kh, kw, out = weight if node.layout == "NHWC" else (weight[1], weight[2], weight[3], weight[0])
    assert out is not None
    assert kh is not None
    assert kw is not None
    assert c is not None
    _need(one == 1 and c >= 1 and out % c == 0 and out >= c, "channels disagree")
    _bias(inputs, out)
    return _in_layout((n, _slide(h, kh, node, 0), _slide(w, kw, node, 1), out), node)


def _dense(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    weight = _shape(inputs[1], 2)
    out, depth = weight[::-1] if node.attributes.get("transposed", 0) else weight
    _bias(inputs, out)
    assert depth is not None
    _need(depth >= 1 and len(x) >= 1, "a dense layer needs inputs")
    if node.attributes.get("keep_axes", 0):
        _need(x[-1] == depth, "the last axis disagrees")
        return (*x[:-1], out)
    if None in x:
        _need(math.prod(n for n in x if n is not None) % depth == 0, "the inputs disagree")
        return (None, out)
    _need(math.prod(n for n in x if n is not None) % depth == 0, "the inputs disagree")
    return (math.prod(n for n in x if n is not None) // depth, out)


def _broadcast(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    a, b = _shape(inputs[0]), _shape(inputs[1])
    axes = max(len(a), len(b))
    a, b = (1,) * (axes - len(a)) + a, (1,) * (axes - len(b)) + b
    _need(all(m == n or 1 in (m, n) or None in (m, n) for m, n in zip(a, b, strict=True)), "they do not broadcast")
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


def _pool(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    n, h, w, c = _image(_shape(inputs[0], 4), node)
    kernel: Any = node.attributes["kernel"]
    pads: Any = node.attributes.get("pads", (0, 0, 0, 0))
    _need(max(pads[0], pads[2]) < kernel[0] and max(pads[1], pads[3]) < kernel[1], "a window lies outside the image")
    return _in_layout((n, _slide(h, kernel[0], node, 0), _slide(w, kernel[1], node, 1), c), node)


def _concat(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    shapes = [_shape(tensor) for tensor in inputs]
    axis: Any = node.attributes["axis"]
    _need(0 <= axis < len(shapes[0]), "the axis does not exist")
    others = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    _need(len(others) == 1, "the other axes differ")
    sizes = [shape[axis] for shape in shapes]
    total = None if None in sizes else sum(n for n in sizes if n is not None)
    return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _pad(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    before: Any = node.attributes["before"]
    after: Any = node.attributes["after"]
    _need(len(before) == len(after) == len(x) and min(*before, *after, 0) >= 0, "borders must be 0 or more")
    return tuple(None if n is None else n + b + a for n, b, a in zip(x, before, after, strict=True))


def _resize(node: IntegerNode, inputs: list[IntegerTensor | None], out: Sizes) -> Sizes:
    n, h, w, c = _image(_shape(inputs[0], 4), node)
    _, rows, cols, _ = _image(out, node)
    _need(None not in (h, w, rows, cols) and 0 not in (h, w, rows, cols), "sizes must be known and 1 or more")
    corners, centers = (node.attributes.get(word, 0) for word in ("align_corners", "half_pixel_centers"))
    _need(not (corners and centers), "corners and half-pixel centres exclude each other")
    return _in_layout((n, rows, cols, c), node)


def _mean(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    axes: Any = node.attributes["axes"]
    _need(all(0 <= axis < len(x) for axis in axes) and len(set(axes)) == len(axes), "axes must exist, each once")
    _need(all(x[axis] != 0 for axis in axes), "a mean of nothing")
    if node.attributes.get("keepdims", 0):
        return tuple(1 if i in axes else n for i, n in enumerate(x))
    return tuple(n for i, n in enumerate(x) if i not in axes)


def _last_axis(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    _need(node.attributes.get("axis", len(x) - 1) == len(x) - 1 and len(x) > 0 and x[-1] != 0, "the last axis is meant")
    return x


def _same(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    return _shape(inputs[0])


def _reshape(node: IntegerNode, inputs: list[IntegerTensor | None], out: Sizes) -> Sizes:
    x = _shape(inputs[0])
    if None not in x and None not in out:
        _need(math.prod(n or 0 for n in x) == math.prod(n or 0 for n in out), "the number of values differs")
    return out


def _transpose(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    axes: Any = node.attributes["axes"]
    _need(sorted(axes) == list(range(len(x))), "every axis must be named once")
    return tuple(x[axis] for axis in axes)


def _slice(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    x = _shape(inputs[0])
    begin: Any = node.attributes["begin"]
    end: Any = node.attributes["end"]
    steps: Any = node.attributes["steps"]
    _need(len(begin) == len(end) == len(steps) == len(x) and min(steps) >= 1, "one of each for every axis is needed")
    parts = list(zip(x, begin, end, steps, strict=True))
    _need(all(n is not None or (b, e, s) == (0, WHOLE, 1) for n, b, e, s in parts), "free axes stay whole")
    return tuple(n if n is None else len(range(*slice(b, e, s).indices(n))) for n, b, e, s in parts)


def _product(node: IntegerNode, inputs: list[IntegerTensor | None], _: Sizes) -> Sizes:
    a, b = _shape(inputs[0]), _shape(inputs[1])
    _need(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2] and a[-1] is not None, "the inner sizes differ")
    longer = max(len(a), len(b)) - 2
    front = [(1,) * (longer + 2 - len(each)) + each[:-2] for each in (a, b)]
    _need(all(m == n or 1 in (m, n) for m, n in zip(*front, strict=True)), "they do not broadcast")
    return (*(n if m == 1 else m for m, n in zip(*front, strict=True)), a[-2], b[-1])


_RULES: dict[str, Callable[[IntegerNode, list[IntegerTensor | None], Sizes], Sizes]] = {
    "Conv": _conv,
    "DepthwiseConv": _depthwise,
    "FullyConnected": _dense,
    "MatMul": _product,
    "Add": _broadcast,
    "Sub": _broadcast,
    "Mul": _broadcast,
    "Maximum": _broadcast,
    "Minimum": _broadcast,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Softmax": _last_axis,
    "Mean": _mean,
    "HardSwish": _same,
    "Relu": _same,
    "Clip": _same,
    "Sigmoid": _same,
    "LeakyRelu": _same,
    "Tanh": _same,
    "Elu": _same,
    "HardSigmoid": _same,
    "Quantize": _same,
    "Dequantize": _same,
    "Requantize": _same,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
}
