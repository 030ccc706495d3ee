"""Cases of layers beside the convolution: folded BatchNormalization, Gemm, pooling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np

from lieref._types import Array, Shape
from lieref.conformance.data import Draw
from lieref.conformance.definitions.evaluate import evaluate
from lieref.conformance.families.spec import Spec
from lieref.numerics.certified_array import certify


def folds(dtype: str) -> Iterator[Spec]:
    """Return BatchNormalizations behind a linear layer and convolutions, also of channels that never vary."""
    family = "fold_batch_normalization"
    for shape in ((4, 3), (4, 3, 2), (3, 2, 4, 1)):
        for regime in ("generic", "tiny variance", "zero variance", "zero scale"):
            if regime != "generic" and len(shape) != 3:
                continue
            draw = Draw("fold", regime, len(shape))
            channels = shape[:1]
            inputs: dict[str, Array] = {
                "weight": draw.short(shape, dtype),
                "bias": draw.short(channels, dtype),
                "scale": draw.short(channels, dtype) * (regime != "zero scale"),
                "shift": draw.short(channels, dtype),
                "mean": draw.short(channels, dtype),
                "var": (0.25 + draw.uniform(channels))
                * {"tiny variance": 2.0**-20, "zero variance": 0.0}.get(regime, 1),
            }
            attrs = {"epsilon": 2.0**-10}
            comment = f"{regime}, {len(shape)} axes"
            yield Spec(family, family, inputs, attrs, dtype, comment)
            bars = {"weight_bar": draw.short(shape, dtype), "bias_bar": draw.short(channels, dtype)}
            yield Spec(family, f"{family}_vjp", {**inputs, **bars}, attrs, dtype, comment)


def gemms(dtype: str) -> Iterator[Spec]:
    """Return every combination of transposes, with each way C can be broadcast."""
    m, k, n = 3, 5, 4
    third: tuple[Shape | None, ...] = (None, (n,), (m, 1), (m, n))
    for (trans_a, trans_b), c in zip(product((0, 1), repeat=2), third, strict=True):
        draw = Draw("gemm", trans_a, trans_b)
        inputs = {
            "a": draw.short((k, m) if trans_a else (m, k), dtype),
            "b": draw.short((n, k) if trans_b else (k, n), dtype),
            **({"c": draw.short(c, dtype)} if c else {}),
        }
        attrs: dict[str, Any] = {"alpha": 0.75, "beta": 1.5, "transA": trans_a, "transB": trans_b}
        if c is None:
            attrs |= {"alpha": 1.0, "beta": 1.0}
        comment = f"transA {trans_a}, transB {trans_b}, C {c}"
        yield Spec("gemm", "gemm", inputs, attrs, dtype, comment, ("Noncommuting",))
        inputs = {**inputs, "y_bar": draw.short((m, n), dtype)}
        yield Spec("gemm", "gemm_vjp", inputs, attrs, dtype, comment, ("Noncommuting",))


# Shape of x, kernel, strides, pads, dilations, ceil mode: one to three axes, global, asymmetric, a last window cut off.
POOLS: Final = (
    ("1-D", (2, 3, 7), [3], [2], [1, 0], [1], False),
    ("2-D", (1, 2, 5, 6), [2, 3], [2, 1], [1, 0, 0, 2], [1, 2], False),
    ("ceil mode", (1, 2, 6, 5), [3, 2], [2, 2], [0, 1, 1, 0], [1, 1], True),
    ("global", (2, 3, 4, 5), [4, 5], [1, 1], [0, 0, 0, 0], [1, 1], False),
    ("3-D", (1, 2, 3, 4, 5), [2, 1, 3], [1, 2, 2], [0, 0, 1, 1, 0, 1], [1, 1, 1], False),
)


def pools(kind: str, dtype: str) -> Iterator[Spec]:
    """Return the cases of one kind of pooling; for the mean also with the padding counted."""
    for name, x_shape, kernel, strides, pads, dilations, ceil_mode in POOLS:
        for counted in (False, True) if kind == "average" and any(pads) else (False,):
            draw = Draw("pool", name)
            x = draw.short(x_shape, dtype)
            if kind == "max":
                # Ties, below zero so that a padded zero would win: the first of equal maxima counts.
                x = -np.rint(np.abs(2.0 * x)) - 1.0
            attrs = {
                "kind": kind, "kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations,
                "ceil_mode": ceil_mode, "count_include_pad": counted,
            }  # fmt: skip
            comment = name + (", padding counted" if counted else "")
            yield Spec(f"{kind}_pool", "pool", {"x": x}, attrs, dtype, comment, ("WindowEdge",))
            y_shape = evaluate("pool", {"x": certify(x)}, attrs)["y"].shape
            inputs = {"x": x, "y_bar": draw.short(y_shape, dtype)}
            yield Spec(f"{kind}_pool", "pool_vjp", inputs, attrs, dtype, comment, ("WindowEdge",))


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in ("f32", "f64"):
        yield from folds(dtype)
        yield from gemms(dtype)
        for kind in ("max", "average"):
            yield from pools(kind, dtype)


def full() -> Iterator[Spec]:
    """Return no further cases."""
    return iter(())
