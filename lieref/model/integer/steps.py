"""How each operation of a quantised network runs: from the tensors and attributes of a node to an operator's call.

Operators take images (N, H, W, C) and weights (out, h, w, in); a node in layout NCHW is turned round before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.model.integer.graph import Quantisation
from lieref.model.integer.step import Step, ends, of, one
from lieref.op.integer import add as adding
from lieref.op.integer import mean as means
from lieref.op.integer import quantize as quantizing
from lieref.op.integer import sigmoid
from lieref.op.integer.average_pool import average_pool, average_pool_float, average_pool_real
from lieref.op.integer.concat import concat, concat_real
from lieref.op.integer.convolution import convolution
from lieref.op.integer.depthwise import depthwise
from lieref.op.integer.extreme import maximum, minimum
from lieref.op.integer.fully_connected import fully_connected
from lieref.op.integer.hard_swish import hard_swish
from lieref.op.integer.matmul import matmul
from lieref.op.integer.max_pool import max_pool
from lieref.op.integer.mul import mul, mul_float, mul_real
from lieref.op.integer.multiplier import rescale, wrap
from lieref.op.integer.number_by_number import FUNCTIONS, number_by_number
from lieref.op.integer.output import clamped
from lieref.op.integer.pad import pad
from lieref.op.integer.resize import (
    onnx_places,
    resize_bilinear,
    resize_bilinear_at,
    resize_bilinear_eleven,
    resize_bilinear_float,
    resize_nearest,
    resize_nearest_at,
)
from lieref.op.integer.semantics import Rule
from lieref.op.integer.softmax import softmax, softmax_multiplier
from lieref.op.integer.softmax16 import softmax16
from lieref.op.integer.softmax_floor import softmax_floor, softmax_real
from lieref.op.integer.softmax_table import softmax_table


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
    bias = step.optional(2)
    one_scale = of(step.tensor(1)).channels == 1
    rule, rule_16 = (s.dense, s.dense_16) if one_scale else (s.dense_per_channel, s.dense_16_per_channel)
    y = _layer(step, acc, rule, s.dense_16_wide if bias is not None and bias.dtype == np.int64 else rule_16)
    return y.reshape(*x.shape[:-1], -1) if step.attribute("keep_axes", 0) else y


def _matmul(step: Step) -> Array:
    scales, zeros = ends(step, 0, 1)
    acc = wrap(matmul(step.value(0), step.value(1), (zeros[0], zeros[1])))
    rule = step.semantics.dense if step.value(0).dtype.itemsize == 1 else step.semantics.dense_16
    return step.end(rescale(acc, rule.real(scales[0], np.array([scales[1]], np.float32), scales[2]), rule.rounding))


def _add(step: Step) -> Array:
    scales, zeros = ends(step, 0, 1)
    a, b = step.value(0), step.value(1)
    sign = -1 if step.node.op == "Sub" else 1
    kind = step.semantics.add if a.dtype.itemsize == 1 else step.semantics.add_16
    of_three, of_two = (scales[0], scales[1], scales[2]), (zeros[0], zeros[1])
    if kind == "real":
        y = adding.add_real(a, b, (one(step.tensor(0)), one(step.tensor(1)), one(step.output)), sign)
        return step.end(y, with_zero_point=False)
    if kind == "single":
        return step.end(adding.add_single(a, b, of_three, of_two, sign))
    if kind == "float32":
        return step.end(adding.add_float(a, b, of_three, (zeros[0], zeros[1], zeros[2]), sign), with_zero_point=False)
    if kind == "blocks" and sign == 1 and a.ndim == b.ndim and a.shape[1:] == b.shape[1:]:
        y = adding.add_blocks(step.flat(a), step.flat(b), of_three, of_two)
        return step.end(y.reshape(-1, *a.shape[1:]))
    return step.end(adding.add(a, b, of_three, of_two, sign=sign))


def _mul(step: Step) -> Array:
    scales, zeros = ends(step, 0, 1)
    rule = step.semantics.mul
    if step.value(0).dtype.itemsize > 1 and rule.rounding == "float32-even":
        rule = Rule("float32", "double")
    real = rule.real(scales[0], np.array([scales[1]], np.float32), scales[2])
    if step.semantics.mul_of == "real" and step.value(0).dtype.itemsize == 1:
        y = mul_float(step.value(0), step.value(1), (one(step.tensor(0)), one(step.tensor(1)), one(step.output)))
        return step.end(y, with_zero_point=False)
    if step.semantics.mul_of == "integers, zero point first":
        product = mul_real(step.value(0), step.value(1), real, (zeros[0], zeros[1], zeros[2]))
        return step.end(product, with_zero_point=False)
    return step.end(mul(step.value(0), step.value(1), real, (zeros[0], zeros[1]), rule.rounding))


def _average_pool(step: Step) -> Array:
    window = (step.attribute("kernel"), step.attribute("strides", (1, 1)), step.attribute("pads", (0, 0, 0, 0)))
    counted = bool(step.attribute("count_include_pad", 0))
    kind = step.semantics.whole_pool if step.attribute("whole", 0) else step.semantics.average_pool
    scales, zeros = ends(step, 0)
    pair = (scales[0], scales[1])
    if kind == "float32-even":
        return step.back(step.end(average_pool_float(step.images(), *window, pair, zeros[0], counted)))
    if kind.startswith("real"):
        y = average_pool_real(step.images(), *window, pair, (zeros[0], zeros[1]), counted, kind != "real")
        return step.back(clamped(y, 0, step.output.dtype))
    return step.back(step.end(average_pool(step.images(), *window), with_zero_point=False))


def _max_pool(step: Step) -> Array:
    window = (step.attribute("kernel"), step.attribute("strides", (1, 1)), step.attribute("pads", (0, 0, 0, 0)))
    return step.back(step.end(max_pool(step.images(), *window), with_zero_point=False))


def _extreme(step: Step) -> Array:
    return (maximum if step.node.op == "Maximum" else minimum)(step.value(0), step.value(1))


def _concat(step: Step) -> Array:
    parts = [value for value in step.values if value is not None]
    said, out = [one(step.tensor(place)) for place in range(len(parts))], one(step.output)
    if any(each != out for each in said):
        return concat_real(parts, step.attribute("axis"), said, out, step.output.dtype)
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
    if step.attribute("way") is not None:
        return step.back(_resize_at(step, x, (rows, cols)))
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


def _resize_at(step: Step, x: Array, size: tuple[int, int]) -> Array:
    """Return images resized in one of ONNX's ways."""
    factors = step.attribute("factors")
    rows, cols = (onnx_places(x.shape[i + 1], size[i], factors[i], step.attribute("way")) for i in (0, 1))
    if step.attribute("mode") == "nearest":
        return resize_nearest_at(x, (rows, cols), step.attribute("rounding"))
    if step.attribute("cut", 0):
        y = np.trunc(resize_bilinear_at(x.astype(np.float32), (rows, cols)))  # integers as numbers: the type cuts
        return clamped(y, 0, step.output.dtype)
    (scale, zero), (out_scale, out_zero) = one(step.tensor(0)), one(step.output)
    real = resize_bilinear_at(quantizing.dequantize(x, np.array(scale, np.float32), np.array(zero)), (rows, cols))
    return clamped(np.rint(real / np.float32(out_scale)), out_zero, step.output.dtype)


def _softmax(step: Step) -> Array:
    x, beta = step.value(0), float(step.attribute("beta", 1.0))
    scale, out_scale, out_zero = one(step.tensor(0))[0], *one(step.output)
    if x.dtype == np.int16:
        return softmax16(x, scale, beta)
    if step.semantics.softmax == "real":
        return softmax_real(x, one(step.tensor(0)), one(step.output), step.output.dtype)
    if step.semantics.softmax == "floor" and step.output.dtype == step.tensor(0).dtype:
        return softmax_floor(x, scale, out_scale, out_zero)
    if step.semantics.softmax == "table" and step.output.dtype == step.tensor(0).dtype:
        return softmax_table(x, scale, beta, out_scale, out_zero)
    return softmax(x, *softmax_multiplier(scale, beta), step.output.dtype)


def _mean(step: Step) -> Array:
    x, (scales, zeros) = step.value(0), ends(step, 0)
    axes, keep = tuple(step.attribute("axes")), bool(step.attribute("keepdims", 0))
    kind = step.semantics.mean if x.dtype.itemsize == 1 else "folded"
    pair = (scales[0], scales[1])
    if kind == "real":
        y = means.mean_real(x, axes, one(step.tensor(0)), one(step.output), keep)
        return clamped(y, 0, step.output.dtype)
    if kind == "image" and x.ndim == 4 and sorted(axes) == [1, 2] and keep:
        return step.end(means.mean_of_images(x, pair, (zeros[0], zeros[1])), with_zero_point=False)
    if kind == "float32-even":
        return step.end(means.mean_float(x, axes, pair, (zeros[0], zeros[1]), keep), with_zero_point=False)
    return step.end(means.mean(x, axes, pair, zeros[0], keep))


def _number_by_number(step: Step) -> Array:
    scales, zeros = ends(step, 0)
    options = {name: float(value) for name, value in step.node.attributes.items() if isinstance(value, int | float)}
    pair, both = (scales[0], scales[1]), (zeros[0], zeros[1])
    return number_by_number(step.value(0), step.node.op, options, pair, both, step.output.dtype)


def _hard_swish(step: Step) -> Array:
    if step.semantics.hard_swish == "real":
        return _number_by_number(step)
    scales, zeros = ends(step, 0)
    y = hard_swish(step.value(0), (scales[0], scales[1]), (zeros[0], zeros[1]))
    return step.end(y, with_zero_point=False)


def _sigmoid(step: Step) -> Array:
    """Return a sigmoid or a tanh; one whose output has another scale than TFLite's is computed by real numbers."""
    x, name, s = step.value(0), step.node.op, step.semantics
    scale, zero_point = one(step.tensor(0))
    fits = step.output.dtype == x.dtype and one(step.output) == sigmoid.OUTPUTS[name][x.dtype.name]
    if s.sigmoid == "real" or not fits:
        return _number_by_number(step)
    if x.dtype == np.int16:
        fixed = s.sigmoid_16 != "table" and sigmoid.takes_fixed_point_16(name, scale)
        return (sigmoid.by_fixed_point_16 if fixed else sigmoid.by_table_16)(x, name, scale)
    if s.sigmoid == "fixed":
        return sigmoid.by_fixed_point(x, name, scale, zero_point)
    return sigmoid.by_table(x, name, scale, zero_point, s.sigmoid)


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
        return quantizing.dequantize_blocks(step.flat(x), *one(step.tensor(0))).reshape(x.shape)
    return quantizing.dequantize(x, _shaped(q, q.scale, x.ndim), _shaped(q, q.zero_point, x.ndim))


def _requantize(step: Step) -> Array:
    scales, zeros = ends(step, 0)
    x, pair, kind = step.value(0), (scales[0], scales[1]), step.semantics.requantize
    if kind == "real":
        return quantizing.requantize_real(x, one(step.tensor(0)), one(step.output), step.output.dtype)
    if kind == "eight":
        same = x.dtype.itemsize == 1 and step.output.dtype == step.tensor(0).dtype
        if same and 2.0**-8 <= np.float32(pair[0]) / np.float32(pair[1]) <= 2.0**7:
            return step.end(quantizing.requantize_eight(x, pair, zeros[0]))
        kind = "blocks"
    if kind == "blocks":
        if x.dtype.itemsize == 1:
            return step.end(quantizing.requantize_blocks(step.flat(x), pair, zeros[0]).reshape(x.shape))
        kind = "double"
    return step.end(quantizing.requantize(x, pair, zeros[0], kind))


def _reshape(step: Step) -> Array:
    x, shape = step.value(0), tuple(-1 if n is None else n for n in step.output.shape)
    if shape and step.tensor(0).shape[:1] == step.output.shape[:1]:
        return x.reshape(len(x), *shape[1:])
    return x.reshape(shape)


def _slice(step: Step) -> Array:
    axes = [step.attribute(name) for name in ("begin", "end", "steps")]
    return step.value(0)[tuple(slice(*part) for part in zip(*axes, strict=True))]


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
    "Quantize": _quantize,
    "Dequantize": _dequantize,
    "Requantize": _requantize,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "MatMul": _matmul,
    **dict.fromkeys(FUNCTIONS, _number_by_number),
    "HardSwish": _hard_swish,
    **dict.fromkeys(("Sigmoid", "Tanh"), _sigmoid),
}
"""The function of each operation that runs."""
