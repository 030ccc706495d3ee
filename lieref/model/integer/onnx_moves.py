"""Operators of ONNX that move, choose or repeat numbers: their attributes, and the shapes that they make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lieref.model.integer.graph import Attribute, IntegerTensor
from lieref.model.integer.onnx_operation import Operation, Shape, refused
from lieref.model.integer.onnx_sizes import BATCH
from lieref.model.integer.onnx_source import OnnxNode, OnnxSource, counted, samples_of, whole
from lieref.model.integer.vocabulary import WHOLE


def _pad(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    pads = whole(node.attrs["pads"] if "pads" in node.attrs else source.constant(node.inputs[1], node.name))
    before, after = pads[: len(x)], pads[len(x) :]
    if node.attrs.get("mode", "constant") != "constant" or min(pads) < 0 or before[0] or after[0]:
        raise refused(source, node, "pad images with a constant")
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    if value and value in source.constants and np.asarray(source.constants[value]).any():
        raise refused(source, node, "pad with zero")
    shape = tuple(None if n is None else n + b + a for n, b, a in zip(x, before, after, strict=True))
    return Operation("Pad", {"before": before, "after": after, "value": None}, shape)


def _resize(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    held = [source.constants.get(name) if name else None for name in node.inputs]
    sizes = held[3] if len(held) > 3 else None
    scales = held[2] if len(held) > 2 else None
    if len(x) != 4 or (sizes is None and (scales is None or not scales.size)):
        raise refused(source, node, "resize images to a known size")
    if sizes is not None:
        size = whole(sizes)[2:]
    else:
        size = tuple(math.floor(int(n) * float(f)) for n, f in zip(x[2:], scales[2:], strict=True) if n)  # type: ignore[index]
    before = tuple(int(n or 0) for n in x[2:])
    factors = tuple(float(np.float32(n) / np.float32(m)) for n, m in zip(size, before, strict=True))
    if sizes is None:
        factors = tuple(float(f) for f in np.asarray(scales, np.float32)[2:])
    mode, way = node.attrs.get("mode", "nearest"), node.attrs.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attrs.get("nearest_mode", "round_prefer_floor")
    plain = not any(node.attrs.get(word, 0) for word in ("antialias", "exclude_outside", "axes"))
    stretches = node.attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    if mode not in ("nearest", "linear") or way not in _WAYS or not (plain and stretches) or len(size) != 2:
        raise refused(source, node, f"be nearest or linear, without options; got {mode}, {way}")
    attributes: dict[str, Attribute] = {
        "mode": "nearest" if mode == "nearest" else "bilinear",
        "way": way,
        "factors": factors,
    }
    if mode == "nearest":
        attributes["rounding"] = rounding
    return Operation("Resize", attributes, (*x[:2], *size))


_WAYS = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")


def _slice(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    given = [whole(source.constant(name, node.name)) if name else None for name in node.inputs[1:]]
    begin, end, axes, steps = (*given, None, None)[:4]
    if "starts" in node.attrs:  # before opset 10
        begin, end, axes = (whole(node.attrs[w]) if w in node.attrs else None for w in ("starts", "ends", "axes"))
    if begin is None or end is None:
        raise refused(source, node, "give its ends")
    axes, steps = axes or tuple(range(len(begin))), steps or (1,) * len(begin)
    parts = [(0, WHOLE, 1)] * len(x)
    for given_axis, *part in zip(axes, begin, end, steps, strict=True):
        axis = counted(given_axis, len(x))
        n = x[axis]
        if n is None or part[2] < 1:
            raise refused(source, node, "keep the axis of the samples, and go forward")
        first, last, step = slice(*part).indices(n)
        parts[axis] = (first, max(last, first), step)
    return _sliced(x, parts)


def _split(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x, part = inputs[0].shape, int(node.attrs["part"])  # type: ignore[arg-type]
    axis = counted(int(node.attrs.get("axis", 0)), len(x))  # type: ignore[arg-type]
    n, count = x[axis], int(node.attrs["parts"])  # type: ignore[arg-type]
    if axis == 0 or n is None:
        raise refused(source, node, "keep the axis of the samples")
    sizes = whole(node.attrs["split"]) if "split" in node.attrs else None
    if sizes is None and len(node.inputs) > 1 and node.inputs[1]:
        sizes = whole(source.constant(node.inputs[1], node.name))
    each = -(-n // count)
    sizes = sizes or tuple(min(each, n - each * i) for i in range(count))
    parts = [(0, WHOLE, 1)] * len(x)
    parts[axis] = (sum(sizes[:part]), sum(sizes[: part + 1]), 1)
    return _sliced(x, parts)


def _sliced(x: Shape, parts: Sequence[tuple[int, int, int]]) -> Operation:
    begin, end, steps = (tuple(each) for each in zip(*parts, strict=True))
    shape = tuple(n if n is None else len(range(*slice(*p).indices(n))) for n, p in zip(x, parts, strict=True))
    return Operation("Slice", {"begin": begin, "end": end, "steps": steps}, shape)


def _reshape(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    wanted = list(whole(source.constant(node.inputs[1], node.name)))
    wanted = [0 if n == BATCH and not i else n for i, n in enumerate(wanted)]
    wanted = [(x[i] or -1) if n == 0 and i else n for i, n in enumerate(wanted)]
    size = samples_of(x)
    rest = math.prod(n for n in wanted[1:] if n > 0)
    shape = tuple(size // rest if n == -1 else n for n in wanted[1:])
    if wanted[0] not in (-1, 0, x[0]) or math.prod(shape) != size:
        raise refused(source, node, f"keep the axis of the samples; got {wanted} for {x}")
    return Operation("Reshape", {}, (x[0], *shape))


def _flatten(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    if int(node.attrs.get("axis", 1)) != 1:  # type: ignore[arg-type]
        raise refused(source, node, "keep the axis of the samples")
    return Operation("Reshape", {}, (x[0], samples_of(x)))


def _squeeze(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    given = node.attrs.get("axes")
    if given is None and len(node.inputs) > 1:
        given = source.constant(node.inputs[1], node.name)
    if given is None:
        raise refused(source, node, "name its axes")
    rank = len(x) + (len(whole(given)) if node.op.endswith("Unsqueeze") else 0)
    axes = {counted(axis, rank) for axis in whole(given)}
    if 0 in axes:
        raise refused(source, node, "keep the axis of the samples")
    if not node.op.endswith("Unsqueeze"):
        return Operation("Reshape", {}, tuple(n for axis, n in enumerate(x) if axis not in axes))
    left = iter(x)
    return Operation("Reshape", {}, tuple(1 if axis in axes else next(left) for axis in range(rank)))


def _transpose(source: OnnxSource, node: OnnxNode, inputs: Sequence[IntegerTensor]) -> Operation:
    x = inputs[0].shape
    axes = whole(node.attrs.get("perm", tuple(reversed(range(len(x))))))
    if axes[0] != 0:
        raise refused(source, node, "keep the axis of the samples")
    return Operation("Transpose", {"axes": axes}, tuple(x[axis] for axis in axes))


MOVES: dict[str, Callable[[OnnxSource, OnnxNode, Sequence[IntegerTensor]], Operation]] = {
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _squeeze,
    "Transpose": _transpose,
}
"""What each operator does, by its name in ONNX."""
