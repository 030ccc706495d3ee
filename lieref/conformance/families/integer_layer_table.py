"""Quantised layers with weights of which there are cases: shapes, places, and how the multipliers of channels lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lieref._types import Shape

# How a channel's multiplier r lies: 1/8, at which halves occur; 5 bits, at which they occur and the first of two
# roundings is not exact; 24 bits; 24 bits and small, so that accumulators exceed 16 bits; so small that accumulators
# exceed 24 bits and the last bit of the multiplier counts; above 1, a shift to the left.
KINDS: Final = ("half", "few bits", "full", "small", "tiny", "fine", "left", "overflow")


@dataclass(frozen=True)
class Layer:
    """Shapes and attributes of a layer, and what its channels are for.

    Parameters
    ----------
    op, row : str
        Operation, and row of `lieref.conformance.exact.semantics.ROWS`.
    x, weight : shapes
    kinds : tuple of str
        `KINDS` by channel, or one for all that share a scale.
    attrs : dict
    """

    op: str
    row: str
    x: Shape
    weight: Shape
    kinds: tuple[str, ...]
    attrs: dict[str, Any]
    comment: str
    one_scale: bool = False
    activation: str = "none"
    bias: str | None = "int32"
    extreme: bool = False
    flags: tuple[str, ...] = ()

    @property
    def out_axis(self) -> int:
        """Axis of the weight that outputs are counted on."""
        return 3 if self.op == "integer_depthwise" else 0


_PLAIN: Final[dict[str, Any]] = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "groups": 1}
_CONV: Final = {**_PLAIN, "strides": [2, 1], "pads": [1, 0, 0, 2]}
_DILATED: Final = {**_PLAIN, "strides": [1, 2], "pads": [2, 1, 0, 0], "dilations": [2, 1]}
_ALL: Final = ("half", "few bits", "full", "small", "fine", "left", "few bits", "small")
_POSITIVE: Final = ("half", "few bits", "full", "small")
_OVERFLOW: Final = ("overflow", "half", "few bits", "full", "small", "overflow", "fine")
_BIG: Final = ("AccumulatorOverflow",)
_TIES: Final = ("RoundingTie",)

_conv: Final = partial(Layer, "integer_conv")
_deep: Final = partial(Layer, "integer_depthwise")
_dense: Final = partial(Layer, "integer_dense")
_ROUNDINGS: Final = "accumulators at which roundings differ"
_BEYOND: Final = "accumulators beyond their register"

LAYERS: Final[tuple[tuple[Layer, tuple[str, ...]], ...]] = (
    (_conv("conv 8", (1, 5, 4, 2), (8, 2, 3, 2), _ALL, _CONV, _ROUNDINGS, flags=_TIES), ("i8",)),
    (_conv("conv 8", (1, 5, 4, 2), (7, 2, 3, 2), _OVERFLOW, _CONV, _BEYOND, flags=_BIG), ("i8",)),
    (_conv("conv 8", (2, 5, 4, 3), (4, 3, 2, 3), _POSITIVE, _DILATED, "relu6, dilated", activation="relu6"), ("i8",)),
    (_conv("conv 8", (1, 3, 4, 5), (6, 1, 1, 5), ("few bits",), _PLAIN, "one scale, no padding", True), ("i8",)),
    (
        _conv("conv 8", (1, 4, 3, 2), (3, 3, 3, 2), ("tiny",), _CONV, "extremes, no bias", bias=None, extreme=True),
        ("i8",),
    ),
    (
        _conv("grouped conv 8", (1, 4, 3, 4), (8, 2, 2, 2), _ALL, {**_CONV, "groups": 2}, "two groups", flags=_TIES),
        ("i8",),
    ),
    (_conv("conv 8", (1, 5, 4, 2), (8, 2, 3, 2), ("few bits",), _CONV, f"{_ROUNDINGS}, one scale", True), ("u8",)),
    (_conv("conv 8", (1, 5, 4, 2), (6, 2, 3, 2), ("fine",), _CONV, "large accumulators, one scale", True), ("u8",)),
    (
        _conv("conv 8", (1, 4, 3, 2), (5, 2, 3, 2), ("small",), _CONV, "relu, one scale", True, activation="relu"),
        ("u8",),
    ),
    (
        _conv("conv 8", (1, 5, 4, 2), (6, 2, 3, 2), ("overflow",), _CONV, f"{_BEYOND}, one scale", True, flags=_BIG),
        ("u8",),
    ),
    (_conv("conv 16", (1, 5, 4, 2), (8, 2, 3, 2), _ALL, _CONV, _ROUNDINGS, flags=_TIES), ("i16",)),
    (_conv("conv 16", (1, 5, 4, 2), (7, 2, 3, 2), _OVERFLOW, _CONV, _BEYOND, flags=_BIG), ("i16",)),
    (
        _conv(
            "conv 16",
            (1, 4, 3, 2),
            (4, 2, 2, 2),
            _POSITIVE,
            _CONV,
            "relu, extremes, no bias",
            activation="relu",
            bias=None,
            extreme=True,
        ),
        ("i16",),
    ),
    (
        _conv("conv 16, wide bias", (1, 5, 4, 2), (8, 2, 3, 2), _ALL, _CONV, f"{_ROUNDINGS}, int64 bias", bias="int64"),
        ("i16",),
    ),
    (
        _conv(
            "conv 16, wide bias",
            (1, 5, 4, 2),
            (7, 2, 3, 2),
            _OVERFLOW,
            _CONV,
            f"{_BEYOND}, int64 bias",
            bias="int64",
            flags=_BIG,
        ),
        ("i16",),
    ),
    (
        _deep("depthwise i8", (1, 5, 4, 11), (1, 2, 3, 11), (*_ALL, "half", "few bits", "full"), _CONV, _ROUNDINGS),
        ("i8",),
    ),
    (
        _deep(
            "depthwise i8",
            (1, 4, 5, 11),
            (1, 3, 2, 11),
            (*_OVERFLOW, "half", "half", "half", "full"),
            _CONV,
            _BEYOND,
            flags=_BIG,
        ),
        ("i8",),
    ),
    (
        _deep(
            "depthwise i8",
            (2, 4, 3, 3),
            (1, 2, 2, 6),
            _POSITIVE,
            _DILATED,
            "relu6, two outputs an input",
            activation="relu6",
        ),
        ("i8",),
    ),
    (
        _deep("depthwise u8", (1, 5, 4, 5), (1, 2, 3, 5), ("few bits",), _CONV, f"{_ROUNDINGS}, one scale", True),
        ("u8",),
    ),
    (
        _deep("depthwise u8", (1, 5, 4, 5), (1, 2, 3, 5), ("fine",), _CONV, "large accumulators, one scale", True),
        ("u8",),
    ),
    (
        _deep(
            "depthwise u8", (1, 5, 4, 5), (1, 2, 3, 5), ("overflow",), _CONV, f"{_BEYOND}, one scale", True, flags=_BIG
        ),
        ("u8",),
    ),
    (_deep("depthwise u8", (1, 5, 4, 5), (1, 3, 4, 5), ("small",), _CONV, "relu, one scale", True, "relu"), ("u8",)),
    (_deep("depthwise 16", (1, 5, 4, 8), (1, 2, 3, 8), _ALL, _CONV, _ROUNDINGS, flags=_TIES), ("i16",)),
    (
        _deep(
            "depthwise 16",
            (1, 5, 4, 4),
            (1, 2, 3, 4),
            _POSITIVE,
            _CONV,
            "relu, extremes",
            activation="relu",
            extreme=True,
        ),
        ("i16",),
    ),
    (
        _deep(
            "depthwise 16, wide bias",
            (1, 5, 4, 7),
            (1, 2, 3, 7),
            _OVERFLOW,
            _CONV,
            f"{_BEYOND}, int64 bias",
            bias="int64",
            flags=_BIG,
        ),
        ("i16",),
    ),
    (_dense("dense 8, one scale", (3, 9), (11, 9), ("few bits",), {}, _ROUNDINGS, True, flags=_TIES), ("i8", "u8")),
    (_dense("dense 8, one scale", (3, 9), (7, 9), ("fine",), {}, "large accumulators", True), ("i8", "u8")),
    (_dense("dense 8, one scale", (3, 9), (7, 9), ("overflow",), {}, _BEYOND, True, flags=_BIG), ("i8", "u8")),
    (_dense("dense 8, one scale", (4, 10), (7, 10), ("small",), {}, "relu", True, "relu"), ("i8", "u8")),
    (_dense("dense 8, a scale a row", (3, 9), (8, 9), _ALL, {}, f"{_ROUNDINGS}, a scale a row", flags=_TIES), ("i8",)),
    (_dense("dense 8, a scale a row", (3, 9), (7, 9), _OVERFLOW, {}, f"{_BEYOND}, a scale a row", flags=_BIG), ("i8",)),
    (_dense("dense 16", (3, 9), (11, 9), ("few bits",), {}, _ROUNDINGS, True, flags=_TIES), ("i16",)),
    (_dense("dense 16", (3, 9), (7, 9), ("fine",), {}, "large accumulators", True), ("i16",)),
    (_dense("dense 16", (3, 9), (5, 9), ("small",), {}, "relu, extremes", True, "relu", extreme=True), ("i16",)),
    (
        _dense(
            "dense 16, wide bias", (3, 9), (11, 9), ("few bits",), {}, f"{_ROUNDINGS}, int64 bias", True, bias="int64"
        ),
        ("i16",),
    ),
    (
        _dense(
            "dense 16, wide bias", (3, 9), (7, 9), ("fine",), {}, "large accumulators, int64 bias", True, bias="int64"
        ),
        ("i16",),
    ),
    (
        _dense(
            "dense 16, wide bias",
            (3, 9),
            (7, 9),
            ("overflow",),
            {},
            f"{_BEYOND}, int64 bias",
            True,
            bias="int64",
            flags=_BIG,
        ),
        ("i16",),
    ),
    (
        _dense("dense 16, a scale a row", (3, 9), (8, 9), _ALL, {}, f"{_ROUNDINGS}, a scale a row", flags=_TIES),
        ("i16",),
    ),
)
