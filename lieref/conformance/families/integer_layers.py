"""Cases of quantised layers with weights: convolution, depthwise convolution, dense."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import numpy as np

from lieref._types import Array
from lieref.conformance.data import Draw
from lieref.conformance.exact import mistakes
from lieref.conformance.exact.aim import Way, aimed
from lieref.conformance.exact.arithmetic import fixed_point, ratio
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.exact.output import activation_ends, ends_of, fraction
from lieref.conformance.exact.semantics import groups
from lieref.conformance.families.integer_layer_table import LAYERS, Layer
from lieref.conformance.families.spec import Spec

TYPES: Final = {"i8": "int8", "u8": "uint8", "i16": "int16"}


def _multiplier(draw: Draw, kind: str, wide: bool) -> float:
    """Return r, which is the weight's scale but for a power of two."""
    u = float(draw.uniform((1,))[0])
    if kind == "half":
        return 0.125
    if kind == "few bits":
        return float(2 * int(8 + u * 8) + 1) / 2**8
    if kind == "left":
        return float(np.float32(1.0 + u * 1.5))
    top = {
        "full": -3,
        "small": -7 if wide else -9,
        "tiny": -12,
        "fine": -11 if wide else -22,
        "overflow": -20 if wide else -25,
    }[kind]
    return float(np.float32((1.0 + u) * 2.0**top))


def _scale(draw: Draw, kind: str, wide: bool, x_scale: Any) -> float:
    """Return a weight's scale, half the multiplier; a fine one so that float32 gives another multiplier."""
    while True:
        scale = np.float32(_multiplier(draw, kind, wide) / 2)
        real = np.float64(np.float32(x_scale * scale)) / np.float64(x_scale / 2)
        short = np.float64(np.float32(real))
        if kind != "fine" or (short != 2 * scale and abs(short - real) > real * 2.0**-27):
            return float(scale)


def _weights(draw: Draw, layer: Layer, dtype: str) -> Array:
    """Return weights whose size suits the multiplier of their channel; for uint8 before the zero point."""
    shape = np.moveaxis(np.empty(layer.weight), layer.out_axis, 0).shape
    rows = []
    for channel, kind in enumerate(_kinds(layer)):
        size = {"half": 2, "few bits": 2, "full": 2, "small": 127, "tiny": 127, "fine": 127, "left": 1, "overflow": 90}[
            kind
        ]
        row = draw.integers(shape[1:], -size, size)
        if kind == "small" and (layer.one_scale or layer.op == "integer_depthwise"):
            # Of one sign, so that few products add up to more than 16 bits.
            row = (127 - np.abs(row) // 2) * (-1) ** channel
        if kind == "left":
            row = row * (draw.uniform(shape[1:]) < 0.15)
        rows.append(row)
    return np.asarray(np.moveaxis(np.stack(rows), 0, layer.out_axis)).astype(np.int64)


def _kinds(layer: Layer) -> tuple[str, ...]:
    out = layer.weight[layer.out_axis]
    return tuple(layer.kinds[c % len(layer.kinds)] for c in range(out))


def _drawn(layer: Layer, dtype: str, arithmetic: dict[str, Any], names: list[str], *seed: str | int) -> Spec:
    """Return a case with random integers, and a bias that aims one accumulator of each channel."""
    draw = Draw("integer layer", *seed)
    type_ = TYPES[dtype]
    wide, low_high = dtype == "i16", ends_of(type_)
    x_zero, y_zero = {"i8": (-17, 11), "u8": (113, 140), "i16": (0, 0)}[dtype]
    if layer.activation != "none":
        y_zero = {"i8": -100, "u8": 20, "i16": 0}[dtype]
    low, high = (-2000, 2000) if wide else low_high
    x = draw.integers(layer.x, low, high).astype(type_)
    w_zero = 121 if dtype == "u8" else 0
    weight = (np.clip(_weights(draw, layer, dtype) + w_zero, *((0, 255) if dtype == "u8" else (-127, 127)))).astype(
        "uint8" if dtype == "u8" else "int8"
    )
    if layer.extreme:
        x = np.where(draw.uniform(layer.x) < 0.5, *low_high).astype(type_)
        weight = np.where(weight > 0, 127, -127).astype(weight.dtype)
    kinds = _kinds(layer)
    x_scale = np.float32(0.25 + float(draw.uniform((1,))[0]))
    if layer.one_scale and kinds[0] == "few bits":
        x_scale = np.float32(np.rint(x_scale * 256) / 256)  # its products are exact: halves occur in every arithmetic
    y_scale = np.float32(x_scale * np.float32(0.5))
    chosen = kinds[:1] if layer.one_scale else kinds
    weight_scale = np.array([_scale(draw, kind, wide, x_scale) for kind in chosen], np.float32)
    attrs: dict[str, Any] = {
        "semantics": names,
        **arithmetic,
        **layer.attrs,
        "x_zero_point": x_zero,
        **({"weight_zero_point": w_zero} if dtype == "u8" else {}),
        "y_zero_point": y_zero,
        "y_type": type_,
        "activation": layer.activation,
        "clamp": activation_ends(layer.activation, fraction(y_scale), y_zero, type_),
    }
    inputs: dict[str, Array] = {"x": x, "weight": weight}
    scales = {"x_scale": np.array([x_scale]), "weight_scale": weight_scale, "y_scale": np.array([y_scale])}
    if layer.bias is not None:
        draft = Spec("", layer.op, {**inputs, **scales}, attrs, dtype)
        inputs["bias"] = _bias(draft, layer, arithmetic).astype(layer.bias)
    inputs |= scales
    if arithmetic["rounding"] not in ("float64-away", "float32-even"):
        pairs = [fixed_point(r) for r in _reals(inputs, arithmetic["scale"])]
        inputs["multiplier"] = np.array([q for q, _ in pairs], np.int32)
        inputs["shift"] = np.array([e for _, e in pairs], np.int32)
    return Spec(layer.op, layer.op, inputs, attrs, dtype, layer.comment, layer.flags)


def _reals(inputs: dict[str, Array], scale: str) -> list[Fraction]:
    s_x, s_y = fraction(inputs["x_scale"][0]), fraction(inputs["y_scale"][0])
    return [ratio(s_x, fraction(s_w), s_y, scale) for s_w in inputs["weight_scale"]]


def _ways(layer: Layer, arithmetic: dict[str, Any], dtype: str) -> list[Way]:
    """Return the arithmetic of a case and those of the mistakes that have another."""
    scale, rounding = arithmetic["scale"], arithmetic["rounding"]
    roundings = [
        *mistakes.roundings_of(layer.op, TYPES[dtype], layer.weight[layer.out_axis]),
        "truncated",
        "towards-zero",
    ]
    ways = [Way(scale, rounding), *(Way(scale, name) for name in roundings if name != rounding)]
    return [*ways, *(Way(other, rounding) for other in ("float64", "float32-product", "float32") if other != scale)]


def _bias(draft: Spec, layer: Layer, arithmetic: dict[str, Any]) -> Array:
    """Return the bias that brings the first accumulator of each channel to where arithmetics differ."""
    inputs, attrs, kinds = draft.inputs, draft.attrs, _kinds(layer)
    out = layer.weight[layer.out_axis]
    plain = {
        **attrs,
        "rounding": "single",
        "scale": "float64",
        "y_type": "int64",
        "y_zero_point": 0,
        "accumulator": "64 bits",
    }
    unit = {name: np.ones(1, np.float32) for name in ("x_scale", "weight_scale", "y_scale")}
    plain["clamp"] = [-(1 << 62), 1 << 62]
    sums = EXACT_OPERATIONS[layer.op]({**inputs, **unit}, plain)["y"]
    first = sums.reshape(-1, out)[0]
    s_x, s_y = fraction(inputs["x_scale"][0]), fraction(inputs["y_scale"][0])
    scales = [(s_x, fraction(inputs["weight_scale"][c % len(inputs["weight_scale"])]), s_y) for c in range(out)]
    low, high = attrs["clamp"]
    zero = attrs["y_zero_point"]
    bounds = low - zero + 2, high - zero - 2
    targets = aimed(scales, _ways(layer, arithmetic, draft.dtype), bounds)
    bias: Array = np.array(targets, np.int64) - first
    for channel, kind in enumerate(kinds):
        if kind == "overflow":
            bias[channel] = (1 << 33) + 12345 if layer.bias == "int64" else (1 << 31) - 1 - 1000
    return bias


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for layer, dtypes in LAYERS:
        for dtype in dtypes:
            for names, arithmetic in groups(layer.row):
                yield _drawn(layer, dtype, arithmetic, names, layer.comment, dtype, 0)


def full() -> Iterator[Spec]:
    """Return no further cases."""
    return iter(())
