"""Cases of the multiplicative update: exp, its Delta form, the first-order map, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec

SHAPE = (4, 3, 3, 2)
_SIZES = {
    "tiny": (1e-6, ("DeltaForm", "ScaleTiny")),
    "small": (0.01, ("DeltaForm",)),
    "moderate": (1.0, ("FirstOrder",)),
    "large": (12.0, ("FirstOrder", "WideRange")),
}


def _update(draw: Draw, size: float, shape: Shape) -> FloatArray:
    return size * draw.signed(shape)


def _specs(name: str, base: FloatArray, delta: FloatArray, flags: tuple[str, ...], dtype: str) -> Iterator[Spec]:
    draw = Draw("hadamard", name, "cotangent")
    weight_bar = draw.normal(base.shape)
    both = {"base_weight": base, "delta": delta}
    with_bar = {**both, "weight_bar": weight_bar}
    for op, inputs in (("hadamard", both), ("hadamard_delta", both), ("hadamard_vjp", with_bar)):
        yield Spec(op, op, inputs, {}, dtype, name, flags)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in ("f32", "f64"):
        for name, (size, flags) in _SIZES.items():
            draw = Draw("hadamard", name)
            base, delta = draw.normal(SHAPE), _update(draw, size, SHAPE)
            yield from _specs(name, base, delta, flags, dtype)
            if name in ("small", "moderate"):
                inputs = {"base_weight": base, "delta": delta}
                yield Spec("taylor1", "taylor1", inputs, {}, dtype, name, flags)
                inputs = {**inputs, "weight_bar": draw.normal(SHAPE)}
                yield Spec("taylor1", "taylor1_vjp", inputs, {}, dtype, name, flags)
        draw = Draw("hadamard", "special")
        base = draw.normal(SHAPE)
        yield from _specs("no update", base, np.zeros(SHAPE), ("IdentityInit",), dtype)
        pruned = np.where(draw.uniform(SHAPE) < 0.4, 0.0, base)
        yield from _specs("pruned weights", pruned, _update(draw, 1.0, SHAPE), ("StructuralZero",), dtype)
        # Next to the points where implementations of exp and expm1 change their reduction: odd multiples of log(2)/2.
        near = np.rint(draw.integers(SHAPE, -9, 8)) + 0.5
        branch = near * 0.6931471805599453 * (1.0 + 2.0**-20 * draw.signed(SHAPE))
        yield from _specs("branch points", base, branch, ("ThetaBranch",), dtype)
        small = base * (2.0**-120 if dtype == "f32" else 2.0**-1015)
        yield from _specs("subnormal results", small, -9.0 - draw.uniform(SHAPE), ("SubnormalOut",), dtype)


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: larger tensors of every size of update."""
    for rank, shape in enumerate(((32, 24, 3, 3), (48, 40), (8, 6, 3, 4, 5), (16, 9, 7))):
        for name, (size, flags) in _SIZES.items():
            draw = Draw("hadamard", name, "full", rank)
            base, delta = draw.normal(shape), _update(draw, size, shape)
            yield from _specs(f"{name}, shape {shape}", base, delta, flags, "f32")
