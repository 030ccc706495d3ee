"""How each operation of a quantised network runs: from the tensors and attributes of a node to an operator's call.

Operators take images (N, H, W, C) and weights (out, h, w, in); a node in layout NCHW is turned round before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation
from lieref.op.integer import add as adding
from lieref.op.integer import mean as means
from lieref.op.integer import quantize as quantizing
from lieref.op.integer.average_pool import average_pool, average_pool_float
from lieref.op.integer.concat import concat
from lieref.op.integer.convolution import convolution
from lieref.op.integer.depthwise import depthwise
from lieref.op.integer.extreme import maximum, minimum
from lieref.op.integer.fully_connected import fully_connected
from lieref.op.integer.hard_swish import hard_swish
from lieref.op.integer.max_pool import max_pool
from lieref.op.integer.mul import mul
from lieref.op.integer.multiplier import rescale, wrap
from lieref.op.integer.output import finish, limits
from lieref.op.integer.pad import pad
from lieref.op.integer.resize import (
    resize_bilinear,
    resize_bilinear_eleven,
    resize_bilinear_float,
    resize_nearest,
)
from lieref.op.integer.semantics import Rule, Semantics
from lieref.op.integer.softmax import softmax, softmax_multiplier
from lieref.op.integer.softmax16 import softmax16
from lieref.op.integer.softmax_table import softmax_table


@dataclass(frozen=True)
class Step:
    """A node at work: its graph, its semantics, and the values of its inputs."""

    graph: IntegerGraph
    node: IntegerNode
    semantics: Semantics
    values: tuple[Array | None, ...]

    def tensor(self, place: int) -> IntegerTensor:
        """Return the description of an input."""
        return self.graph.tensors[self.node.inputs[place]]

    def value(self, place: int) -> Array:
        """Return the value of an input that is always there."""
        value = self.values[place]
        assert value is not None
        return value

    def optional(self, place: int) -> Array | None:
        """Return the value of an input, or None where it is left out."""
        return self.values[place] if place < len(self.values) else None

    @property
    def output(self) -> IntegerTensor:
        """The description of the output."""
        return self.graph.tensors[self.node.outputs[0]]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def images(self, place: int = 0) -> Array:
        """Return an input as (N, H, W, C)."""
        x = self.value(place)
        return x if self.node.layout == "NHWC" or x.ndim != 4 else x.transpose(0, 2, 3, 1)

    def back(self, y: Array) -> Array:
        """Return images (N, H, W, C) in the node's layout."""
        return y if self.node.layout == "NHWC" or y.ndim != 4 else y.transpose(0, 3, 1, 2)

    def end(self, y: Array, *, with_zero_point: bool = True) -> Array:
        """Return y with zero point, clamp and type of the output."""
        scale, zero_point = one(self.output)
        left_to_others = self.output.dtype == "int16" or (
            self.output.dtype == "uint8" and self.node.op == "DepthwiseConv"
        )
        clamp = "away" if left_to_others else self.semantics.clamp
        ends = limits(self.output.dtype, self.attribute("activation", "none"), scale, zero_point, clamp)
        return finish(y, zero_point if with_zero_point else 0, ends, self.output.dtype)


def of(tensor: IntegerTensor) -> Quantisation:
    """Return the quantisation of a tensor that must have one."""
    if tensor.quantisation is None:
        raise FormatError(f"run: tensor {tensor.name} must be quantised; got none for {tensor.dtype}")
    return tensor.quantisation


def one(tensor: IntegerTensor) -> tuple[float, int]:
    """Return scale and zero point of a tensor with one scale."""
    q = of(tensor)
    if q.channels != 1 or q.zero_point.size != 1:
        raise FormatError(f"run: tensor {tensor.name} must have one scale; got {q.channels}")
    return float(q.scale[0]), int(q.zero_point[0])


def _ends(step: Step, *places: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the scales of inputs and output, and their zero points."""
    both = [one(step.tensor(place)) for place in places] + [one(step.output)]
    return tuple(scale for scale, _ in both), tuple(zero for _, zero in both)


def _layer(step: Step, acc: Array, rule: Rule, rule_16: Rule) -> Array:
    """Return an accumulator rescaled and ended."""
    x, weight = step.tensor(0), step.tensor(1)
    bias = step.optional(2)
    rule = rule if x.dtype in ("int8", "uint8") else rule_16
    rounding = rule.rounding
    if x.dtype == "int16" and bias is not None and bias.dtype == np.int64:
        rounding = "sixteen" if rounding in ("double", "half-up") else rounding
    else:
        acc = wrap(acc)
    real = rule.real(one(x)[0], of(weight).scale, one(step.output)[0])
    return step.end(rescale(acc, real, rounding))


def _weight_zero(step: Step) -> Any:
    zero_point = of(step.tensor(1)).zero_point
    return int(zero_point[0]) if zero_point.size == 1 else zero_point


def _window(step: Step) -> dict[str, Any]:
    return {
        "strides": step.attribute("strides", (1, 1)),
        "pads": step.attribute("pads", (0, 0, 0, 0)),
    }


def _conv(step: Step) -> Array:
    weight = step.value(1)
    acc = convolution(
        step.images(),
        weight if step.node.layout == "NHWC" else weight.transpose(0, 2, 3, 1),
        step.optional(2),
        zero_point=one(step.tensor(0))[1],
        weight_zero_point=_weight_zero(step),
        dilations=step.attribute("dilations", (1, 1)),
        groups=step.attribute("groups", 1),
        **_window(step),
    )
    s = step.semantics
    rules = (s.convolution, s.convolution_16) if step.attribute("groups", 1) == 1 else (s.grouped, s.grouped_16)
    return step.back(_layer(step, acc, *rules))


def _depthwise(step: Step) -> Array:
    weight = step.value(1)
    acc = depthwise(
        step.images(),
        weight if step.node.layout == "NHWC" else weight.transpose(1, 2, 3, 0),
        step.optional(2),
        zero_point=one(step.tensor(0))[1],
        weight_zero_point=_weight_zero(step),
        dilations=step.attribute("dilations", (1, 1)),
        **_window(step),
    )
    s = step.semantics
    rule = s.depthwise_uint8 if step.tensor(0).dtype == "uint8" else s.depthwise
    return step.back(_layer(step, acc, rule, s.grouped_16))


def _dense(step: Step) -> Array:
    x, weight = step.value(0), step.value(1)
    weight = weight.T if step.attribute("transposed", 0) else weight
    acc = fully_connected(
        x.reshape(-1, weight.shape[1]),
        weight,
        step.optional(2),
        zero_point=one(step.tensor(0))[1],
        weight_zero_point=_weight_zero(step),
    )
    s = step.semantics
    y = _layer(step, acc, s.dense if of(step.tensor(1)).channels == 1 else s.dense_per_channel, s.dense_16)
    return y.reshape(*x.shape[:-1], -1) if step.attribute("keep_axes", 0) else y


def _add(step: Step) -> Array:
    scales, zeros = _ends(step, 0, 1)
    a, b = step.value(0), step.value(1)
    sign = -1 if step.node.op == "Sub" else 1
    kind = step.semantics.add if a.dtype.itemsize == 1 else "double"
    of_three, of_two = (scales[0], scales[1], scales[2]), (zeros[0], zeros[1])
    if kind == "single":
        return step.end(adding.add_single(a, b, of_three, of_two, sign))
    if kind == "float32":
        return step.end(adding.add_float(a, b, of_three, (zeros[0], zeros[1], zeros[2]), sign), with_zero_point=False)
    return step.end(adding.add(a, b, of_three, of_two, kind, sign))


def _mul(step: Step) -> Array:
    scales, zeros = _ends(step, 0, 1)
    rule = step.semantics.mul
    if step.value(0).dtype.itemsize > 1 and rule.rounding == "float32-even":
        rule = Rule("float32", "double")
    real = rule.real(scales[0], np.array([scales[1]], np.float32), scales[2])
    return step.end(mul(step.value(0), step.value(1), real, (zeros[0], zeros[1]), rule.rounding))


def _average_pool(step: Step) -> Array:
    window = (step.attribute("kernel"), step.attribute("strides", (1, 1)), step.attribute("pads", (0, 0, 0, 0)))
    if step.semantics.average_pool == "float32-even":
        scales, zeros = _ends(step, 0)
        counted = bool(step.attribute("count_include_pad", 0))
        y = average_pool_float(step.images(), *window, (scales[0], scales[1]), zeros[0], counted)
        return step.back(step.end(y))
    return step.back(step.end(average_pool(step.images(), *window), with_zero_point=False))


def _max_pool(step: Step) -> Array:
    window = (step.attribute("kernel"), step.attribute("strides", (1, 1)), step.attribute("pads", (0, 0, 0, 0)))
    return step.back(step.end(max_pool(step.images(), *window), with_zero_point=False))


def _extreme(step: Step) -> Array:
    return (maximum if step.node.op == "Maximum" else minimum)(step.value(0), step.value(1))


def _concat(step: Step) -> Array:
    parts = [value for value in step.values if value is not None]
    return step.end(concat(parts, step.attribute("axis")), with_zero_point=False)


def _pad(step: Step) -> Array:
    value = step.attribute("value")
    value = one(step.tensor(0))[1] if value is None else value
    return pad(step.value(0), step.attribute("before"), step.attribute("after"), value)


def _resize(step: Step) -> Array:
    x = step.images()
    shape = step.output.shape
    rows, cols = (shape[1], shape[2]) if step.node.layout == "NHWC" else (shape[2], shape[3])
    assert rows is not None
    assert cols is not None
    args = ((rows, cols), bool(step.attribute("align_corners", 0)), bool(step.attribute("half_pixel_centers", 0)))
    if step.attribute("mode") == "nearest":
        return step.back(resize_nearest(x, *args))
    kind = step.semantics.resize if x.dtype.itemsize == 1 else "ten"
    if kind == "eleven":
        y = resize_bilinear_eleven(x, *args)
    elif x.dtype == np.uint8:
        y = resize_bilinear_float(x, *args, weights_first=kind == "ten, weights first")
    else:
        y = resize_bilinear(x, *args)
    return step.back(step.end(y, with_zero_point=False))


def _softmax(step: Step) -> Array:
    x, beta = step.value(0), float(step.attribute("beta", 1.0))
    scale, out_scale, out_zero = one(step.tensor(0))[0], *one(step.output)
    if x.dtype == np.int16:
        return softmax16(x, scale, beta)
    if step.semantics.softmax == "table" and step.output.dtype == step.tensor(0).dtype:
        return softmax_table(x, scale, beta, out_scale, out_zero)
    return softmax(x, *softmax_multiplier(scale, beta), step.output.dtype)


def _mean(step: Step) -> Array:
    x, (scales, zeros) = step.value(0), _ends(step, 0)
    axes, keep = tuple(step.attribute("axes")), bool(step.attribute("keepdims", 0))
    kind = step.semantics.mean if x.dtype.itemsize == 1 else "folded"
    pair = (scales[0], scales[1])
    if kind == "image" and x.ndim == 4 and sorted(axes) == [1, 2] and keep:
        return step.end(means.mean_of_images(x, pair, (zeros[0], zeros[1])), with_zero_point=False)
    if kind == "float32-even":
        return step.end(means.mean_float(x, axes, pair, (zeros[0], zeros[1]), keep), with_zero_point=False)
    return step.end(means.mean(x, axes, pair, zeros[0], keep))


def _hard_swish(step: Step) -> Array:
    scales, zeros = _ends(step, 0)
    y = hard_swish(step.value(0), (scales[0], scales[1]), (zeros[0], zeros[1]))
    return step.end(y, with_zero_point=False)


def _shaped(q: Quantisation, values: Array, axes: int) -> Array:
    shape = [1] * axes
    if q.axis is not None and values.size > 1:
        shape[q.axis] = -1
    return values.reshape(shape if values.size > 1 else [1] * axes)


def _quantize(step: Step) -> Array:
    x, q = step.value(0), of(step.output)
    y = quantizing.quantize(x, _shaped(q, q.scale, x.ndim), step.semantics.quantize)
    y = y + _shaped(q, q.zero_point, x.ndim)
    low, high = step.output.limits
    return np.clip(y, low, high).astype(step.output.dtype)


def _dequantize(step: Step) -> Array:
    x, q = step.value(0), of(step.tensor(0))
    if step.semantics.dequantize == "blocks" and q.channels == 1 and x.dtype.itemsize == 1:
        return quantizing.dequantize_blocks(x, *one(step.tensor(0)))
    return quantizing.dequantize(x, _shaped(q, q.scale, x.ndim), _shaped(q, q.zero_point, x.ndim))


def _requantize(step: Step) -> Array:
    scales, zeros = _ends(step, 0)
    x, pair, kind = step.value(0), (scales[0], scales[1]), step.semantics.requantize
    if kind == "eight":
        same = x.dtype.itemsize == 1 and step.output.dtype == step.tensor(0).dtype
        if same and 2.0**-8 <= np.float32(pair[0]) / np.float32(pair[1]) <= 2.0**7:
            return step.end(quantizing.requantize_eight(x, pair, zeros[0]))
        kind = "blocks"
    if kind == "blocks":
        if x.dtype.itemsize == 1:
            return step.end(quantizing.requantize_blocks(x, pair, zeros[0]))
        kind = "double"
    return step.end(quantizing.requantize(x, pair, zeros[0], kind))


def _reshape(step: Step) -> Array:
    x, shape = step.value(0), tuple(-1 if n is None else n for n in step.output.shape)
    if shape and step.tensor(0).shape[:1] == step.output.shape[:1]:
        return x.reshape(len(x), *shape[1:])
    return x.reshape(shape)


def _transpose(step: Step) -> Array:
    return step.value(0).transpose(step.attribute("axes"))


STEPS: dict[str, Callable[[Step], Array]] = {
    "Conv": _conv,
    "DepthwiseConv": _depthwise,
    "FullyConnected": _dense,
    "Add": _add,
    "Sub": _add,
    "Mul": _mul,
    "Maximum": _extreme,
    "Minimum": _extreme,
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Softmax": _softmax,
    "Mean": _mean,
    "HardSwish": _hard_swish,
    "Quantize": _quantize,
    "Dequantize": _dequantize,
    "Requantize": _requantize,
    "Reshape": _reshape,
    "Transpose": _transpose,
}
"""The function of each operation that runs."""
