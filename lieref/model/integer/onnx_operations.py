"""Operators of ONNX as operations on integer tensors: attributes, and the shape of what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lieref.errors import FormatError, ShapeError, UnsupportedError
from lieref.model.integer.graph import Attribute, IntegerTensor
from lieref.model.integer.onnx_moves import MOVES
from lieref.model.integer.onnx_operation import Operation, Shape, refused
from lieref.model.integer.onnx_source import OnnxNode, OnnxSource, counted, whole

KEEPS_NUMBERS = frozenset({"MaxPool", "Reshape", "Transpose", "Pad", "Slice"})
"""Operations that only move or choose numbers: they go on in the scale that they have."""


def operation(source: OnnxSource, node: OnnxNode, op: str, inputs: Sequence[IntegerTensor]) -> Operation:
    """Return what a node does.

    Parameters
    ----------
    source : OnnxSource
    node : OnnxNode
        With its constants that are no integer tensors (shapes, bounds) still among its inputs.
    op : str
        ONNX's name of it on real numbers: ``Conv`` for a QLinearConv.
    inputs : sequence of IntegerTensor
        Those it computes with, weight and bias included.

    Raises
    ------
    UnsupportedError
        If it is not one that lieref has for integers, or is used in another way.
    FormatError
        If shapes contradict one another.
    """
    if op not in _RULES:
        raise UnsupportedError(
            f"load: node {node.name} of {source.path} must be an operator that lieref has for integers; got {node.op}"
        )
    try:
        return _RULES[op](source, node, inputs)
    except (ArithmeticError, LookupError, ShapeError, TypeError, ValueError) as error:
        shapes = [tensor.shape for tensor in inputs]
        raise FormatError(
            f"load: node {node.name} ({node.op}) of {source.path} must fit its inputs; got shapes {shapes} ({error})"
        ) from error


def _window(
    source: OnnxSource, node: OnnxNode, x: Shape, kernel: tuple[int, ...]
) -> tuple[dict[str, Attribute], Shape]:
    """Return strides, dilations and pads of a window, and the height and width it makes of an image."""
    if len(x) != 4 or len(kernel) != 2:
        raise refused(source, node, f"work on images (N, C, H, W); got shape {x} and a window {kernel}")
    if None in x[1:]:
        raise refused(source, node, f"have an image of a known size; got shape {x}")
    if node.attrs.get("ceil_mode", 0):
        raise refused(source, node, "round its size down; got ceil_mode=1")
    strides = whole(node.attrs.get("strides", (1, 1)))
    dilations = whole(node.attrs.get("dilations", (1, 1)))
    begin_end = whole(node.attrs.get("pads", (0, 0, 0, 0)))
    size = [int(n) for n in x[2:] if n is not None]
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, strides, reach, strict=True)]
        less = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        begin_end = (*less, *(t - one for t, one in zip(total, less, strict=True)))
    elif auto == "VALID":
        begin_end = (0, 0, 0, 0)
    top, left, bottom, right = begin_end
    padded = (size[0] + top + bottom, size[1] + left + right)
    out = tuple((n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True))
    if min(out) < 1:
        raise ShapeError(f"a window of {reach} does not fit into {padded}")
    return {"strides": strides, "dilations": dilations, "pads": (top, left, bottom, right)}, out


def _conv(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x, weight = inputs[0].shape, _constant_shape(source, node, inputs[1])
    attributes, out = _window(source, node, x, weight[2:])
    groups = int(node.attrs.get("group", 1))  # type: ignore[arg-type]
    if x[1] != weight[1] * groups or weight[0] % groups:
        raise ShapeError(f"{groups} groups")
    return Operation("Conv", {**attributes, "groups": groups}, (x[0], weight[0], *out))


def _gemm(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    for name, value in plain.items():
        if node.attrs.get(name, value) != value:
            raise refused(source, node, f"have {name} {value}; got {node.attrs[name]}")
    return _product(source, node, inputs, transposed=not node.attrs.get("transB", 0))


def _matmul(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    if not inputs[1].is_constant:
        if inputs[0].is_constant:
            raise refused(source, node, "have its weight on the right")
        a, b = inputs[0].shape, inputs[1].shape
        front = _together(a[:-2], b[:-2])
        if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
            raise ShapeError("rows and columns differ")
        return Operation("MatMul", {}, (*front, a[-2], b[-1]))
    return _product(source, node, inputs, transposed=True)


def _product(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor], *, transposed: bool) -> Operation:
    """Return a product of rows with a weight (out, in), or transposed (in, out)."""
    x, weight = inputs[0].shape, _constant_shape(source, node, inputs[1])
    if len(weight) != 2 or x[-1] != weight[0 if transposed else 1]:
        raise ShapeError("rows and weight differ")
    q = inputs[1].quantisation
    if q is not None and q.channels > 1 and q.axis != (1 if transposed else 0):
        raise refused(source, node, f"have one weight scale for each output; they go along axis {q.axis}")
    attributes: dict[str, Attribute] = {"transposed": int(transposed), "keep_axes": int(len(x) > 2)}
    return Operation("FullyConnected", attributes, (*x[:-1], weight[1 if transposed else 0]))


def _constant_shape(source: OnnxSource, node: OnnxNode, tensor: IntegerTensor) -> tuple[int, ...]:
    if not tensor.is_constant:
        raise refused(source, node, f"have a constant weight; {tensor.name} is computed")
    return tuple(int(n) for n in tensor.shape if n is not None)


def _element_wise(op: str) -> Callable[[OnnxSource, OnnxNode, Sequence[IntegerTensor]], Operation]:
    def rule(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
        a, b = (tensor.shape for tensor in inputs)
        return Operation(op, {}, _together(a, b))

    return rule


def _together(a: Shape, b: Shape) -> Shape:
    """Return the shape that two make by broadcasting."""
    longer = max(len(a), len(b))
    pairs = zip((1,) * (longer - len(a)) + a, (1,) * (longer - len(b)) + b, strict=True)
    return tuple(n if m == 1 or m == n else m if n == 1 else _differ(n, m) for n, m in pairs)


def _differ(n: int | None, m: int | None) -> int | None:
    raise ShapeError(f"axes of {n} and {m}")


def _average(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x, kernel = inputs[0].shape, whole(node.attrs.get("kernel_shape", ()))
    attributes, out = _window(source, node, x, kernel)
    if attributes.pop("dilations") != (1, 1):
        raise refused(source, node, "have no dilations")
    counted = int(node.attrs.get("count_include_pad", 0))  # type: ignore[arg-type]
    return Operation("AveragePool", {**attributes, "kernel": kernel, "count_include_pad": counted}, (*x[:2], *out))


def _global_average(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    if node.attrs.get("channels_last", 0) or len(x) != 4:
        raise refused(source, node, f"work on images (N, C, H, W); got shape {x}")
    return Operation("AveragePool", {"kernel": whole(x[2:]), "whole": 1}, (*x[:2], 1, 1))


def _max(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x, kernel = inputs[0].shape, whole(node.attrs.get("kernel_shape", ()))
    attributes, out = _window(source, node, x, kernel)
    if attributes.pop("dilations") != (1, 1) or len([name for name in node.outputs if name]) > 1:
        raise refused(source, node, "have no dilations and one output")
    return Operation("MaxPool", {**attributes, "kernel": kernel}, (*x[:2], *out))


def _global_max(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    return Operation("MaxPool", {"kernel": whole(x[2:])}, (*x[:2], 1, 1))


def _mean(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    given = node.attrs.get("axes")
    if given is None and node.op == "ReduceMean" and len(node.inputs) > 1 and node.inputs[1]:
        given = source.constant(node.inputs[1], node.name)
    axes = tuple(sorted(counted(axis, len(x)) for axis in whole(given if given is not None else range(1, len(x)))))
    kept = int(node.attrs.get("keepdims", 1))  # type: ignore[arg-type]
    if 0 in axes:
        raise refused(source, node, "keep the axis of the samples")
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x) if kept or axis not in axes)
    return Operation("Mean", {"axes": axes, "keepdims": kept}, shape)


def _concat(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    first = inputs[0].shape
    axis = counted(int(node.attrs["axis"]), len(first))  # type: ignore[arg-type]
    total = sum(int(n) for n in (tensor.shape[axis] for tensor in inputs) if n is not None)
    if axis == 0:
        raise refused(source, node, "keep the axis of the samples")
    return Operation("Concat", {"axis": axis}, (*first[:axis], total, *first[axis + 1 :]))


def _softmax(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    axis = counted(int(node.attrs.get("axis", -1)), len(x))  # type: ignore[arg-type]
    if axis != len(x) - 1:
        raise refused(source, node, f"go along the last axis; got {axis} of {len(x)}")
    return Operation("Softmax", {"beta": 1.0, "axis": axis}, x)


def _one_by_one(op: str, **defaults: float) -> Callable[[OnnxSource, OnnxNode, Sequence[IntegerTensor]], Operation]:
    def rule(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
        found: dict[str, Attribute] = {name: float(node.attrs.get(name, value)) for name, value in defaults.items()}  # type: ignore[arg-type]
        return Operation(op, found, inputs[0].shape)

    return rule


def _clip(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    low, high = clip_bounds(source, node)
    return Operation("Clip", {"low": low, "high": high}, inputs[0].shape)


def clip_bounds(source: OnnxSource, node: OnnxNode) -> tuple[float, float]:
    """Return the bounds of a Clip, infinite where there is none."""
    found = [float(node.attrs.get("min", -math.inf)), float(node.attrs.get("max", math.inf))]  # type: ignore[arg-type]
    for i, name in enumerate(node.inputs[1:3]):
        if name:
            value = source.constant(name, node.name)
            if value.size != 1:
                raise refused(source, node, f"have single numbers as bounds; got shape {value.shape}")
            found[i] = float(value.ravel()[0])
    if not found[0] <= found[1]:
        raise refused(source, node, f"have bounds in order; got {found[0]} and {found[1]}")
    return found[0], found[1]


_RULES: dict[str, Callable[[OnnxSource, OnnxNode, Sequence[IntegerTensor]], Operation]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _element_wise("Add"),
    "Sub": _element_wise("Sub"),
    "Mul": _element_wise("Mul"),
    "Max": _element_wise("Maximum"),
    "Min": _element_wise("Minimum"),
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "MaxPool": _max,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _mean,
    "Concat": _concat,
    "Softmax": _softmax,
    "Relu": _one_by_one("Relu"),
    "Sigmoid": _one_by_one("Sigmoid"),
    "HardSwish": _one_by_one("HardSwish"),
    "LeakyRelu": _one_by_one("LeakyRelu", alpha=0.01),
    "Tanh": _one_by_one("Tanh"),
    "Elu": _one_by_one("Elu", alpha=1.0),
    "HardSigmoid": _one_by_one("HardSigmoid", alpha=0.2, beta=0.5),
    "Clip": _clip,
    **MOVES,
}
