"""Mistakes of ports of quantised operators: each a definition with one thing changed, so that its result is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.exact.deviation import Asked, Changed, Mistake, deviates, forgets, misreads
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.exact.output import ends_of


def _clamp_forgotten(case: Asked) -> Iterator[Changed]:
    whole = list(ends_of(case.attrs["y_type"]))
    if list(case.attrs["clamp"]) != whole:
        yield "", dict(case.inputs), {**case.attrs, "clamp": whole}


def _pads_swapped(case: Asked) -> Iterator[Changed]:
    top, left, bottom, right = case.attrs["pads"]
    for form, pads in (("ends", [bottom, right, top, left]), ("axes", [left, top, right, bottom])):
        if pads != case.attrs["pads"]:
            yield form, dict(case.inputs), {**case.attrs, "pads": pads}


def _bias_in_another_scale(case: Asked) -> Iterator[Changed]:
    if "bias" in case.inputs:
        forms = ["output", "output's scale", *(["first channel"] if len(case.inputs["weight_scale"]) > 1 else [])]
        yield from deviates("bias_unit", *forms)(case)


def _scale_in_another_precision(case: Asked) -> Iterator[Changed]:
    # What is rounded to float32 at the end is the same after a quotient in float64.
    is_float = case.attrs["rounding"] == "float32-even"
    yield from deviates("scale", "float64", "float32", *([] if is_float else ["float32-product"]))(case)


def _is_padded(case: Asked) -> bool:
    return any(case.attrs["pads"]) and case.attrs["x_zero_point"] != 0


# --- names -----------------------------------------------------------------------------------------------------------

ROUNDING: Final = {
    "double": "double rounding of a fixed-point multiplier (the second with halves away from zero)",
    "half-up": "half up: both roundings of a fixed-point multiplier with halves upwards",
    "half-up-8": "half up in whole blocks of 8 channels, double rounding in the others",
    "single": "single rounding of a fixed-point multiplier",
    "sixteen": "a multiplier of 16 bits",
    "float64-away": "a float64 multiplication, halves away from zero",
    "float32-even": "a float32 multiplication, halves to even",
}
"""Rounding -> what a port is called that has it where another is due."""

TRUNCATED: Final = "a truncating shift: no rounding"
SCALE: Final = "the multiplier from scales multiplied or divided in another precision"
BIAS_SCALE: Final = "a bias in the wrong scale"
NO_BIAS: Final = "a bias that is zero or forgotten"
X_ZERO: Final = "the input's zero point forgotten"
W_ZERO: Final = "the weight's zero point forgotten"
Y_ZERO: Final = "the output's zero point forgotten"
PADDING: Final = "padding with 0 instead of the zero point"
SIGN: Final = "uint8 for int8, or int8 for uint8"
SATURATING: Final = "an accumulator that saturates"
SHORT: Final = "an accumulator of 16 bits"
WRAPPING: Final = "an accumulator of 32 bits where 64 are due"
PER_TENSOR: Final = "one scale for all channels where each has its own"
CLAMP: Final = "the activation's clamp forgotten"
WRAPPED: Final = "outputs that wrap round instead of being clamped"
FLIPPED: Final = "a flipped kernel (a true convolution, not a correlation)"
PADS: Final = "pads in another order"


def roundings_of(op: str, y_type: str, channels: int) -> list[str]:
    """Return the roundings that a layer with so many output channels could be mistaken to have."""
    names = list(ROUNDING)
    if y_type != "int16":
        names.remove("sixteen")
    if op != "integer_depthwise" or y_type != "int8" or channels < 8 or channels % 8 == 0:
        names.remove("half-up-8")
    return names


def _rounding(name: str) -> Mistake:
    def ask(case: Asked) -> Iterator[Changed]:
        channels = case.inputs["weight"].shape[3 if case.op == "integer_depthwise" else 0]
        if name in roundings_of(case.op, case.attrs["y_type"], channels):
            yield from deviates("rounding", name)(case)

    return ask


def _other_accumulators(case: Asked) -> Iterator[Changed]:
    forms = ("32 bits, saturating", "32 bits, saturating at the end")
    yield from deviates("accumulator", *forms)(case)


_ENDS: Final[dict[str, Mistake]] = {
    Y_ZERO: forgets("y_zero_point"),
    CLAMP: _clamp_forgotten,
    WRAPPED: deviates("overflow", "wraps"),
}
_LAYER: Final[dict[str, Mistake]] = {
    **{description: _rounding(name) for name, description in ROUNDING.items()},
    TRUNCATED: deviates("rounding", "truncated", "towards-zero"),
    SCALE: _scale_in_another_precision,
    BIAS_SCALE: _bias_in_another_scale,
    NO_BIAS: misreads("bias", np.zeros_like),
    X_ZERO: forgets("x_zero_point"),
    W_ZERO: forgets("weight_zero_point"),
    **_ENDS,
    SIGN: deviates("signedness", "x", "weight", "x weight"),
    SATURATING: _other_accumulators,
    SHORT: deviates("accumulator", "16 bits", "16 bits, saturating"),
    WRAPPING: deviates("accumulator", "32 bits", needs=lambda case: case.attrs.get("accumulator") == "64 bits"),
    PER_TENSOR: misreads("weight_scale", lambda s: np.full_like(s, s[0]), lambda s: np.full_like(s, s.max())),
}
_WINDOW: Final[dict[str, Mistake]] = {
    PADDING: deviates("padding", 0, needs=_is_padded),
    FLIPPED: misreads("weight", lambda w: w[:, ::-1, ::-1]),
    PADS: _pads_swapped,
}

_ADDITIONS: Final = {
    "three multiplications by fixed-point multipliers, double rounding": ({"addition": "fixed", "rounding": "double"},),
    "halves upwards (single rounding, or half up) in the three multiplications": (
        {"addition": "fixed", "rounding": "half-up"},
        {"addition": "fixed", "rounding": "single"},
    ),
    "the first two multiplications in another order, in whole blocks of numbers": (
        {"addition": "blocks of 16"},
        {"addition": "blocks of 8"},
    ),
    "both ratios on one power of two, rounded once": ({"addition": "single"},),
    "a sum in float32": ({"addition": "float32"},),
    TRUNCATED: ({"addition": "fixed", "rounding": "truncated"}, {"addition": "fixed", "rounding": "towards-zero"}),
}


def _becomes(*forms: Mapping[str, Any], **defaults: Any) -> Mistake:
    """Return the mistake of computing with other attributes; `defaults` are for those that a case does not have."""

    def ask(case: Asked) -> Iterator[Changed]:
        for form in forms:
            attrs = {**defaults, **case.attrs, **form}
            if {**defaults, **case.attrs} != attrs:
                yield str(form), dict(case.inputs), attrs

    return ask


def _addition(forms: tuple[dict[str, str], ...]) -> Mistake:
    def ask(case: Asked) -> Iterator[Changed]:
        usual = {"left_shift": 15 if case.attrs["y_type"] == "int16" else 20, "rounding": "double"}
        for changed in _becomes(*forms, **usual)(case):
            same = changed[2]["addition"] == case.attrs["addition"] != "fixed"
            if not same:
                yield changed

    return ask


def _forget(*names: str) -> Mistake:
    def ask(case: Asked) -> Iterator[Changed]:
        for name in names:
            yield from forgets(name)(case)

    return ask


def _border(case: Asked) -> bool:
    return any(case.attrs["pads"])


def _is_signed(case: Asked) -> bool:
    return bool(case.attrs["y_type"] != "uint8")


def _is_narrow(case: Asked) -> bool:
    # Of one scale, a float32 holds what 16 bits can mean: only 8 bits are told from the mean of the integers.
    return bool(case.attrs["y_type"] != "int16")


def _border_counted(case: Asked) -> Iterator[Changed]:
    if _border(case):
        for form, value in (("0", 0), ("zero point", case.attrs["x_zero_point"])):
            if form == "0" or value != 0:
                yield form, dict(case.inputs), {**case.attrs, "counted": True, "padding": value}


def _can_be_half_up(case: Asked) -> bool:
    # Sums of stored uint8 are never negative, and halves of positive numbers are the same.
    kind = case.attrs["mean"]
    return not (kind == "float32-even" or (kind == "image" and not _is_signed(case)))


def _is_fixed_to_8(case: Asked) -> bool:
    return bool(case.attrs["softmax"] == "fixed" and case.attrs["y_type"] != "int16")


def _parts_swapped(case: Asked) -> Iterator[Changed]:
    yield "", dict(case.inputs), {**case.attrs, "before": case.attrs["after"], "after": case.attrs["before"]}


def _other_axes(case: Asked) -> Iterator[Changed]:
    inputs = {**case.inputs, "x": np.ascontiguousarray(case.inputs["x"][..., ::-1])}
    yield "", inputs, dict(case.attrs)


def _multiplier_rounding(*names: str) -> dict[str, Mistake]:
    return {ROUNDING[name]: deviates("rounding", name) for name in names}


_PAIR: Final[dict[str, Mistake]] = {
    X_ZERO: _forget("a_zero_point", "b_zero_point"),
    "the scales of the two inputs exchanged": deviates("swapped", True),
    SIGN: deviates("signedness", "a", "b", "a b"),
}
_FIVE: Final = ("double", "half-up", "single", "float64-away", "float32-even")
_REQUANTIZED: Final[dict[str, Mistake]] = {
    **_multiplier_rounding("double", "half-up", "single", "float32-even"),
    "half up in whole blocks of 16 numbers, double rounding in the others": deviates("rounding", "blocks"),
    "a multiplier of 1/256, rounded once": deviates("rounding", "eight"),
    TRUNCATED: deviates("rounding", "truncated", "towards-zero"),
}

EXACT_SUSPECTS: Final[dict[str, Mapping[str, Mistake]]] = {
    "integer_conv": _LAYER | _WINDOW,
    "integer_depthwise": _LAYER | _WINDOW,
    "integer_dense": _LAYER,
    "integer_add": {
        **{description: _addition(forms) for description, forms in _ADDITIONS.items()},
        **_PAIR,
        "no shift to the left before the sum": deviates("left_shift", 0, needs=lambda c: "left_shift" in c.attrs),
        **_ENDS,
    },
    "integer_mul": {
        **_multiplier_rounding(*_FIVE),
        TRUNCATED: deviates("rounding", "truncated", "towards-zero"),
        X_ZERO: _forget("a_zero_point", "b_zero_point"),
        SIGN: deviates("signedness", "a", "b", "a b"),
        **_ENDS,
    },
    "integer_requantize": {
        **_REQUANTIZED,
        X_ZERO: forgets("x_zero_point"),
        Y_ZERO: forgets("y_zero_point"),
        WRAPPED: deviates("overflow", "wraps"),
        SIGN: deviates("signedness", "x"),
    },
    "integer_hard_swish": {
        "a gate that wraps round where it saturates": deviates("gate", "wraps"),
        "a product rounded where it is truncated": deviates("product", "rounded"),
        TRUNCATED: deviates("product", "shifted"),
        "a hard-swish in real numbers, rounded at the end": deviates("product", "float"),
        X_ZERO: forgets("x_zero_point"),
        Y_ZERO: forgets("y_zero_point"),
        SIGN: deviates("signedness", "x"),
        WRAPPED: deviates("overflow", "wraps"),
    },
    "integer_average_pool": {
        "a mean of the integers, halves away from zero": deviates("pooling", "away"),
        "a mean of the integers, halves upwards": deviates("pooling", "up", needs=_is_signed),
        "a mean of the integers, halves to even": deviates("pooling", "even"),
        "a mean in float32 of both scales, halves to even": deviates("pooling", "float32-even", needs=_is_narrow),
        TRUNCATED: deviates("pooling", "truncated", "floor"),
        "the border counted in a mean": _border_counted,
        SIGN: deviates("signedness", "x"),
        CLAMP: _clamp_forgotten,
    },
    "integer_max_pool": {
        "a border of 0 taken for a maximum": deviates("padding", 0, needs=lambda c: _border(c) and _is_signed(c)),
        SIGN: deviates("signedness", "x"),
        CLAMP: _clamp_forgotten,
    },
    "integer_mean": {
        "the number of entries folded into the multiplier": deviates("mean", "folded"),
        "a multiplier of the whole mean on the stored integers": deviates("mean", "image"),
        "a mean in float32, halves to even": deviates("mean", "float32-even"),
        "the sum rescaled, then divided": deviates("mean", "two steps"),
        ROUNDING["half-up"]: deviates("rounding", "half-up", needs=_can_be_half_up),
        TRUNCATED: deviates("rounding", "truncated", "towards-zero", needs=lambda c: c.attrs["mean"] != "float32-even"),
        X_ZERO: forgets("x_zero_point"),
        Y_ZERO: forgets("y_zero_point"),
        SIGN: deviates("signedness", "x"),
        WRAPPED: deviates("overflow", "wraps"),
    },
    "integer_pad": {
        PADDING: deviates("padding", 0, needs=lambda c: c.attrs["y_zero_point"] != 0),
        "the entries before and after exchanged": _parts_swapped,
    },
    "integer_concat": {
        **_REQUANTIZED,
        "parts joined without a change of scale": deviates("requantised", False),
        X_ZERO: _forget("a_zero_point", "b_zero_point"),
        Y_ZERO: forgets("y_zero_point"),
        SIGN: deviates("signedness", "a", "b", "a b"),
        WRAPPED: deviates("overflow", "wraps"),
    },
    "integer_resize": {
        "corners aligned, or not": lambda c: deviates("align_corners", not c.attrs["align_corners"])(c),
        "pixel centres at halves, or not": lambda c: deviates("half_pixel_centers", not c.attrs["half_pixel_centers"])(
            c
        ),
        "weights of 10 bits, halves away from zero": deviates("resizing", "ten"),
        "weights of 11 bits, halves upwards": deviates("resizing", "eleven"),
        "the nearest pixel": deviates("resizing", "nearest"),
        TRUNCATED: deviates("rounds", "floor", needs=lambda c: c.attrs["resizing"] != "nearest"),
        SIGN: deviates("signedness", "x", needs=lambda c: c.attrs["resizing"] != "nearest"),
    },
    "integer_softmax": {
        "softmax in fixed point": deviates("softmax", "fixed", needs=lambda c: c.attrs["softmax"] == "table"),
        "a table of exponentials in float32": deviates("softmax", "table", needs=_is_fixed_to_8),
        TRUNCATED: deviates("last", "truncated", needs=lambda c: c.attrs["softmax"] != "table"),
        "a table without interpolation": deviates(
            "last", "not interpolated", needs=lambda c: c.attrs["softmax"] == "two tables"
        ),
        "beta forgotten": deviates("beta", 1.0),
        Y_ZERO: forgets("y_zero_point"),
        SIGN: deviates("signedness", "x"),
        "classes in the reverse order": _other_axes,
    },
}
"""Operation -> description -> mistake."""


def answers(case: Asked, mistake: Mistake) -> Iterator[tuple[str, dict[str, Array]]]:
    """Return what ports with this mistake give, by the names of its forms."""
    for form, inputs, attrs in mistake(case):
        yield form, EXACT_OPERATIONS[case.op](inputs, attrs)


Form: TypeAlias = tuple[str, str]
"""Description of a mistake, and its form; two empty strings for the right port."""


def results(case: Asked) -> dict[Form, tuple[tuple[str, bytes], ...]]:
    """Return what the right port gives, and what each form of each mistake does."""
    found = {("", ""): _bytes(EXACT_OPERATIONS[case.op](case.inputs, case.attrs))}
    for name, mistake in EXACT_SUSPECTS[case.op].items():
        found |= {(name, form): _bytes(outputs) for form, outputs in answers(case, mistake)}
    return found


def _bytes(outputs: Mapping[str, Array]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.tobytes()) for name, value in outputs.items())
