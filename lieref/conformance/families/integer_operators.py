"""Cases of quantised operators without weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import numpy as np

from lieref._types import Array, Shape
from lieref.conformance.data import Draw
from lieref.conformance.exact.mistakes import EXACT_SUSPECTS, answers
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.exact.output import activation_ends, ends_of, fraction
from lieref.conformance.exact.semantics import groups
from lieref.conformance.families.spec import Spec

TYPES: Final = {"i8": "int8", "u8": "uint8", "i16": "int16"}
ZEROS: Final = {"i8": (-17, 23, 11), "u8": (113, 140, 131), "i16": (0, 0, 0)}
"""Zero points of the first input, the second, and the output."""


def _integers(draw: Draw, shape: Shape, dtype: str) -> Array:
    """Return integers over the whole range of a type."""
    return draw.integers(shape, *ends_of(TYPES[dtype])).astype(TYPES[dtype])


def _one(value: float) -> Array:
    return np.array([value], np.float32)


def _attrs(
    names: list[str], arithmetic: dict[str, Any], y_type: str, y_zero: int, activation: str = "none", scale: float = 1.0
) -> dict[str, Any]:
    clamp = activation_ends(activation, fraction(np.float32(scale)), y_zero, y_type)
    return {
        "semantics": names, **arithmetic, "y_zero_point": y_zero, "y_type": y_type, "activation": activation,
        "clamp": clamp,
    }  # fmt: skip


# --- two inputs ------------------------------------------------------------------------------------------------------

# Scales of a, b and y. With powers of two between a and b, and a few bits between them and y, halves occur.
# Ratios of 24 bits whose last three are 011: what keeps 21 of them is at a half where the sum of all is beside it.
# Small integers times a number of 24 bits: sums lie so close to halves that the first roundings decide.
_CUT: Final = (0xB40003 / 2**27, 0x9E0003 / 2**27, 1 / 8)
_ADD_SCALES: Final = (
    ("halves", 3 / 64, 6 / 64, 1 / 8), ("any scales", 0.0431746, 0.0719163, 0.0907311), ("long ratios", *_CUT),
    ("beside halves", 0.03, 0.09, 0.06),
)  # fmt: skip
_MUL_SCALES: Final = (
    ("halves", 3 / 32, 1 / 8, 1 / 16),
    ("any scales", 0.0713, 0.0577, 0.0311),
    ("large", 0.07, 0.05, 0.9),
)
_KEPT: Final = 30


def pairs(op: str, row: str, dtype: str, scales: tuple[tuple[str, float, float, float], ...]) -> Iterator[Spec]:
    """Return sums or products of numbers at which arithmetics differ, and of any others."""
    z_a, z_b, z_y = ZEROS[dtype]
    for names, arithmetic in groups(row):
        for comment, s_a, s_b, s_y in scales:
            draw = Draw("integer pairs", op, dtype, comment)
            wide = _near_halves(draw, dtype, (s_a, s_b, s_y), (z_a, z_b, z_y))
            if op == "integer_mul" and comment != "large":  # small factors, whose products are near halves often
                size = 300 if dtype == "i16" else 12
                wide = {
                    name: (draw.integers((700,), -size, size) + zero).astype(TYPES[dtype])
                    for name, zero in (("a", z_a), ("b", z_b))
                }
            wide = {name: value[None] for name, value in wide.items()}
            inputs = {"a_scale": _one(s_a), "b_scale": _one(s_b), "y_scale": _one(s_y)}
            attrs = {**_attrs(names, arithmetic, TYPES[dtype], z_y), "a_zero_point": z_a, "b_zero_point": z_b}
            chosen = telling(Spec("", op, {**wide, **inputs}, attrs, dtype), _KEPT)
            few = {name: value[:, chosen] for name, value in wide.items()}
            yield Spec(
                op, op, {**few, **inputs}, attrs, dtype, comment, ("RoundingTie",) if comment == "halves" else ()
            )
        draw = Draw("integer pairs", op, dtype, "relu6")
        rows = {"a": _integers(draw, (3, 1, 5), dtype), "b": _integers(draw, (4, 1), dtype)}
        s_y = 2.0**-9 if dtype == "i16" else 2.0**-4
        inputs = {"a_scale": _one(0.071), "b_scale": _one(0.053), "y_scale": _one(s_y)}
        attrs = _attrs(names, arithmetic, TYPES[dtype], z_y, "relu6", s_y) | {"a_zero_point": z_a, "b_zero_point": z_b}
        yield Spec(op, op, {**rows, **inputs}, attrs, dtype, "relu6, broadcast")


def _near_halves(
    draw: Draw, dtype: str, scales: tuple[float, float, float], zeros: tuple[int, int, int]
) -> dict[str, Array]:
    """Return pairs whose sum lies next to a half, and as many others; exactly where is for the arithmetics to say."""
    a, b = (_integers(draw, (50_000,), dtype) for _ in range(2))
    real = ((a.astype(np.int64) - zeros[0]) * scales[0] + (b.astype(np.int64) - zeros[1]) * scales[1]) / scales[2]
    low, high = ends_of(TYPES[dtype])
    inside = (real + zeros[2] > low + 2) & (real + zeros[2] < high - 2)
    distance = np.where(inside, np.abs(real - np.floor(real) - 0.5), 1.0)
    chosen = np.concatenate([np.argsort(distance, kind="stable")[:250], np.arange(250)])
    return {"a": a[chosen], "b": b[chosen]}


def telling(spec: Spec, count: int) -> Array:
    """Return the places of a long row at which wrong ports differ from the right one and each other, and some more.

    A place is worth the pairs of ports that no place chosen before tells apart.
    """
    results = [EXACT_OPERATIONS[spec.op](spec.inputs, spec.attrs)["y"][0]]
    for mistake in EXACT_SUSPECTS[spec.op].values():
        results += [outputs["y"][0] for _, outputs in answers(spec, mistake)]
    told = np.stack([results[i] != results[j] for i, j in combinations(range(len(results)), 2)])
    chosen: list[int] = []
    while told.any() and len(chosen) < count:
        best = int(told.sum(axis=0).argmax())
        chosen.append(best)
        told = told[~told[:, best]]
    others = [i for i in range(len(results[0])) if i not in chosen]
    return np.array(sorted([*chosen, *others[: count + 10 - len(chosen)]]))


def concats(dtype: str) -> Iterator[Spec]:
    """Return joints of two tensors of different scales."""
    z_a, z_b, z_y = ZEROS[dtype]
    row = "requantize 16" if dtype == "i16" else "requantize 8"
    for names, arithmetic in groups(row):
        for comment, s_a, s_b, s_y, axis in (
            ("last axis", 3 / 32, 0.154, 0.25, 2),
            ("first axis", 5 / 64, 0.3, 0.25, 0),
        ):
            draw = Draw("integer concat", dtype, comment)
            shapes = ((2, 3, 19), (2, 3, 7)) if axis == 2 else ((2, 5, 5), (1, 5, 5))
            inputs = {
                "a": _integers(draw, shapes[0], dtype), "b": _integers(draw, shapes[1], dtype),
                "a_scale": _one(s_a), "b_scale": _one(s_b), "y_scale": _one(s_y),
            }  # fmt: skip
            attrs = {
                **_attrs(names, arithmetic, TYPES[dtype], z_y),
                "axis": axis,
                "a_zero_point": z_a,
                "b_zero_point": z_b,
            }
            yield Spec("integer_concat", "integer_concat", inputs, attrs, dtype, f"two scales, {comment}")


# --- one input -------------------------------------------------------------------------------------------------------


def requantizations(dtype: str) -> Iterator[Spec]:
    """Return changes of scale and type, of every 8-bit number."""
    zero = ZEROS[dtype][0]
    if dtype == "i16":
        rows = (("int16", "requantize 16", 0), ("int8", "requantize 16", 9))
    else:
        other = "uint8" if dtype == "i8" else "int8"
        crossed = "requantize from 8 to another type"
        rows = (
            (TYPES[dtype], "requantize 8", ZEROS[dtype][2]),
            (other, crossed, 119 if other == "uint8" else -7),
            *((("int16", crossed, 0),) if dtype == "i8" else ()),
        )
    for y_type, row, z_y in rows:
        for names, arithmetic in groups(row):
            for comment, ratio in (
                ("halves", 0.375),
                ("any scales", 0.617),
                ("two roundings", 0.0417),
                ("to the left", 1.31),
            ):
                draw = Draw("integer requantize", dtype, y_type, comment)
                x = _integers(draw, (2, 143), dtype)
                if dtype != "i16":
                    every = np.arange(256) + ends_of(TYPES[dtype])[0]
                    x.reshape(-1)[:256] = every[np.argsort(draw.uniform((256,)), kind="stable")]
                s_y = 64 * 0.25 if (dtype, y_type) == ("i16", "int8") else 0.25
                inputs = {"x": x, "x_scale": _one(0.25 * ratio), "y_scale": _one(s_y)}
                attrs = {**_attrs(names, arithmetic, y_type, z_y), "x_zero_point": zero}
                yield Spec("integer_requantize", "integer_requantize", inputs, attrs, dtype, f"to {y_type}, {comment}")


def hard_swishes(dtype: str) -> Iterator[Spec]:
    """Return hard-swish of every 8-bit number, at scales for which the gate is shifted to the left and not."""
    z_x, _, z_y = ZEROS[dtype]
    for names, arithmetic in groups("hard swish"):
        for comment, s_x, s_y in (("gate shifted to the left", 0.0911, 0.0713), ("small inputs", 0.0113, 0.0051)):
            x = (np.arange(256) + ends_of(TYPES[dtype])[0]).astype(TYPES[dtype]).reshape(1, 256)
            inputs = {"x": x, "x_scale": _one(s_x), "y_scale": _one(s_y)}
            attrs = {**_attrs(names, arithmetic, TYPES[dtype], z_y), "x_zero_point": z_x}
            yield Spec("integer_hard_swish", "integer_hard_swish", inputs, attrs, dtype, comment)


def pools(kind: str, dtype: str) -> Iterator[Spec]:
    """Return pools with a border, and one of the whole image with an activation."""
    row = ("average pool" if kind == "average" else "moved") + (
        " 16" if dtype == "i16" else " 8" if kind == "average" else ""
    )
    z_x, _, z_y = ZEROS[dtype]
    for names, arithmetic in groups(row):
        is_float = arithmetic.get("pooling") == "float32-even"
        for comment, kernel, strides, pads, activation in (
            ("border", [2, 3], [2, 1], [1, 0, 0, 2], "none"),
            ("no border", [2, 2], [1, 2], [0, 0, 0, 0], "none"),
            ("activation, whole image", [5, 4], [1, 1], [0, 0, 0, 0], "relu6" if kind == "max" else "relu"),
        ):
            draw = Draw("integer pool", kind, dtype, comment)
            x = _integers(draw, (2, 5, 4, 3), dtype)
            if kind == "max" and any(pads):  # below 0, so that a border of 0 would win; for uint8 nothing is
                x = np.minimum(x, -1 if dtype != "u8" else 255).astype(x.dtype)
            zero = z_y if is_float else z_x
            scales = (0.25, 0.21) if is_float else (0.25, 0.25)
            inputs = {"x": x, "x_scale": _one(scales[0]), "y_scale": _one(scales[1])}
            op = f"integer_{kind}_pool"
            attrs = _attrs(names, arithmetic, TYPES[dtype], zero, activation, scales[1])
            attrs |= {"x_zero_point": z_x, "kernel": kernel, "strides": strides, "pads": pads}
            yield Spec(op, op, inputs, attrs, dtype, comment, ("WindowEdge",) if any(pads) else ())


def means(dtype: str) -> Iterator[Spec]:
    """Return means of images of 4 and of 15 pixels."""
    z_x, _, z_y = ZEROS[dtype]
    for names, arithmetic in groups("mean 16" if dtype == "i16" else "mean of images 8"):
        for comment, size, s_x, s_y in (("halves", (2, 2), 0.375, 0.25), ("any scales", (3, 5), 0.311, 0.0497)):
            draw = Draw("integer mean", dtype, comment)
            inputs = {"x": _integers(draw, (4, *size, 9), dtype), "x_scale": _one(s_x), "y_scale": _one(s_y)}
            attrs = {**_attrs(names, arithmetic, TYPES[dtype], z_y), "x_zero_point": z_x, "axes": [1, 2], "keepdims": 1}
            yield Spec("integer_mean", "integer_mean", inputs, attrs, dtype, f"{size[0]} x {size[1]} pixels, {comment}")


def borders(dtype: str) -> Iterator[Spec]:
    """Return borders of the zero point."""
    zero = ZEROS[dtype][0]
    for names, arithmetic in groups("moved 16" if dtype == "i16" else "moved"):
        draw = Draw("integer pad", dtype)
        x = _integers(draw, (1, 3, 4, 2), dtype)
        inputs = {"x": x, "x_scale": _one(0.25), "y_scale": _one(0.25)}
        attrs = {**_attrs(names, arithmetic, TYPES[dtype], zero), "x_zero_point": zero}
        attrs |= {"before": [0, 1, 0, 0], "after": [0, 0, 2, 1]}
        yield Spec("integer_pad", "integer_pad", inputs, attrs, dtype, "each axis its own", ("ZeroPointBorder",))


def sizes(dtype: str) -> Iterator[Spec]:
    """Return images made larger and smaller, in each way to place pixels."""
    zero = ZEROS[dtype][0]
    for row in ("nearest", *(() if dtype == "u8" else ("bilinear 16" if dtype == "i16" else "bilinear 8",))):
        for names, arithmetic in groups(row):
            for aligned, centres in ((0, 0), (1, 0), (0, 1)):
                draw = Draw("integer resize", dtype, aligned, centres)
                inputs = {"x": _integers(draw, (1, 4, 5, 2), dtype), "x_scale": _one(0.25), "y_scale": _one(0.25)}
                attrs = {**_attrs(names, arithmetic, TYPES[dtype], zero), "x_zero_point": zero, "size": [7, 3]}
                attrs |= {"align_corners": aligned, "half_pixel_centers": centres}
                comment = f"{row.split()[0]}, " + (
                    "corners aligned" if aligned else "half centres" if centres else "edges"
                )
                yield Spec("integer_resize", "integer_resize", inputs, attrs, dtype, comment)


_HALF_OF_TWO: Final = float.fromhex("0x1.9fbf14p-5")
"""A scale at which two classes 7 apart have 150.5 / 256 to seven digits, where fixed point and float32 fall apart:
found by trying the float32 numbers around ln(150.5 / 105.5) / 7. Three neighbours to either side give the same."""


def softmaxes(dtype: str) -> Iterator[Spec]:
    """Return softmax of rows flat and steep, and with int16 results of int8 inputs."""
    rows = [("softmax 16" if dtype == "i16" else "softmax 8", TYPES[dtype])]
    rows += [("softmax 8 to 16", "int16")] if dtype == "i8" else []
    for row, y_type in rows:
        for names, arithmetic in groups(row):
            for comment, s_x, beta in (("flat", 0.011, 1.0), ("steep", 0.093, 1.0), ("beta", 0.037, 1.5)):
                draw = Draw("integer softmax", dtype, comment)
                x = _integers(draw, (5, 9), dtype)
                two = arithmetic["softmax"] == "two tables"
                y_zero = 0 if two else ends_of(y_type)[0]
                s_y = 2.0**-15 if two else 2.0**-16 if y_type == "int16" else 2.0**-8
                scale = s_x / 256 if dtype == "i16" else s_x
                inputs = {"x": x, "x_scale": _one(scale), "y_scale": _one(s_y)}
                attrs = {**_attrs(names, arithmetic, y_type, y_zero), "x_zero_point": ZEROS[dtype][0], "beta": beta}
                yield Spec("integer_softmax", "integer_softmax", inputs, attrs, dtype, f"{comment}, to {y_type}")
            if dtype != "i16":
                x = (np.array([[0, -7], [-3, -10], [20, 13]]) + ZEROS[dtype][0]).astype(TYPES[dtype])
                inputs = {
                    "x": x,
                    "x_scale": _one(_HALF_OF_TWO),
                    "y_scale": _one(2.0**-16 if y_type == "int16" else 2.0**-8),
                }
                attrs = {
                    **_attrs(names, arithmetic, y_type, ends_of(y_type)[0]),
                    "x_zero_point": ZEROS[dtype][0],
                    "beta": 1.0,
                }
                comment = f"two classes next to a half, to {y_type}"
                yield Spec("integer_softmax", "integer_softmax", inputs, attrs, dtype, comment, ("RoundingTie",))


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in TYPES:
        bits = "16" if dtype == "i16" else "8"
        yield from pairs("integer_add", "add 16" if dtype == "i16" else f"add {dtype}", dtype, _ADD_SCALES)
        yield from pairs("integer_mul", f"mul {bits}", dtype, _MUL_SCALES)
        yield from concats(dtype)
        yield from requantizations(dtype)
        yield from () if dtype == "i16" else hard_swishes(dtype)
        for kind in ("average", "max"):
            yield from pools(kind, dtype)
        yield from means(dtype)
        yield from borders(dtype)
        yield from sizes(dtype)
        yield from softmaxes(dtype)


def full() -> Iterator[Spec]:
    """Return no further cases."""
    return iter(())
