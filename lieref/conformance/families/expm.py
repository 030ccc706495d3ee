"""Cases of the matrix exponential, its Delta form, its derivative and its adjoint, and exponentials of low rank."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec
from lieref.numerics.certified_exp import norm1

# Norms where known implementations change their degree: Taylor in torch, Pade in SciPy and JAX.
THETAS = {
    "f32": (1.192092800768788e-7, 5.978858893805233e-4, 5.116619363445086e-2, 0.5800524627688768, 1.461661507209034,
            3.010066362817634, 0.425873, 1.8801526, 3.925725),
    "f64": (2.220446049250313e-16, 2.58095680279512e-8, 3.397168839976962e-4, 4.991228871115323e-2, 0.2996158913811580,
            1.090863719290036, 1.495585217958292e-2, 0.2539398330063230, 0.9504178996162932, 2.097847961257068, 4.25,
            4.74, 5.371920351148152),
}  # fmt: skip


def scaled(a: FloatArray, norm: float) -> FloatArray:
    """Return a matrix scaled to a 1-norm."""
    return a * (norm / norm1(a))


def _specs(name: str, a: FloatArray, flags: tuple[str, ...], dtype: str, amplify: float = 1.0) -> Iterator[Spec]:
    """Return the four cases of one matrix."""
    draw = Draw("expm", name, "direction")
    direction = draw.normal(a.shape) * amplify
    result = "acceptable" if "IllConditioned" in flags else "valid"
    yield Spec("expm", "expm", {"a": a}, {}, dtype, name, flags, result)
    yield Spec("expm_delta", "expm_delta", {"a": a}, {}, dtype, name, flags, result)
    yield Spec("expm_frechet", "expm_frechet", {"a": a, "a_dot": direction}, {}, dtype, name, flags, result)
    yield Spec("expm_vjp", "expm_vjp", {"a": a, "g_bar": direction}, {}, dtype, name, flags, result)


def _named(dtype: str) -> Iterator[tuple[str, FloatArray, tuple[str, ...], float]]:
    """Return (name, matrix, flags, size of the direction)."""
    draw = Draw("expm")
    a3, a5, a8 = (draw.normal((n, n)) for n in (3, 5, 8))
    yield "1x1", draw.normal((1, 1)), (), 1.0
    yield "zero", np.zeros((3, 3)), ("IdentityInit",), 1.0
    yield "tiny", scaled(a3, 1e-6), ("DeltaForm", "ScaleTiny"), 1.0
    yield "size of an adapter", scaled(a8, 1e-3), ("DeltaForm", "Noncommuting"), 1.0
    yield "norm 0.04", scaled(a3, 0.04), ("Noncommuting",), 1.0
    yield "norm 0.5", scaled(a5, 0.5), ("Noncommuting", "FirstOrder"), 1.0
    yield "norm 1, gradient times 2**16", scaled(a3, 1.0), ("AmpScale", "Noncommuting"), 2.0**16
    yield "norm 3", scaled(a8, 3.0), ("Noncommuting", "FirstOrder"), 1.0
    yield "rotation by 2.8", scaled(a5 - a5.T, 2.8), ("FirstOrder",), 1.0
    yield "rotation past a branch", scaled(a3 - a3.T, 7.8 if dtype == "f32" else 10.7), ("PadeGap",), 1.0
    yield "norm 50", scaled(a3, 50.0), ("Overscaling",), 1.0
    yield "nilpotent", np.triu(np.rint(4.0 * a5), 1) / 4.0, ("Nilpotent", "TriangularSupport"), 1.0
    yield "triangular", np.triu(scaled(a5, 2.0)), ("TriangularSupport",), 1.0
    skewed = np.array([[0.5, 30.0, 0.0], [0.0, -0.5, 30.0], [0.0, 0.0, 0.25]])
    yield "large off-diagonal entries", skewed, ("Overscaling", "TriangularSupport"), 1.0
    extreme = np.array([[0.5, 2000.0, 0.0], [0.0, -0.5, 2000.0], [0.0, 0.0, 0.25]])
    if dtype == "f64":
        # In float32 no method has a digit right, and a case would prove nothing.
        yield "extreme off-diagonal entries", extreme, ("IllConditioned", "Overscaling"), 1.0
    cycle = np.zeros((6, 6))
    cycle[[0, 1, 2, 3, 4], [1, 0, 3, 4, 2]] = scaled(a5, 1.0)[0]
    yield "reducible", cycle, ("StructuralZero",), 1.0
    yield "batch of one, norm 0.04", scaled(a3, 0.04)[None], ("BatchOne",), 1.0
    yield "batch of one, norm 0.3", scaled(a3.T, 0.3)[None], ("BatchOne",), 1.0
    mixed = np.stack([scaled(a3, norm) for norm in (1e-3, 12.0, 0.5, 3.0)])
    yield "batch of mixed norms", mixed, ("BatchMix",), 1.0


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in ("f32", "f64"):
        for name, a, flags, amplify in _named(dtype):
            yield from _specs(name, a, flags, dtype, amplify)
        draw = Draw("expm", "theta")
        for theta in THETAS[dtype]:
            a = draw.normal((3, 3))
            for side, factor in (("below", 1.0 - 2.0**-12), ("above", 1.0 + 2.0**-12)):
                name = f"{side} {theta:.4g}"
                yield Spec("expm", "expm", {"a": scaled(a, theta * factor)}, {}, dtype, name, ("ThetaBranch",))
    yield from low_rank()


def low_rank() -> Iterator[Spec]:
    """Return exponentials of products of thin matrices, and their gradients."""
    for dtype in ("f32", "f64"):
        for n, r, size in ((6, 2, 1.0), (12, 3, 0.05), (9, 1, 0.5)):
            draw = Draw("low rank expm", n)
            lora_b, lora_a = draw.normal((n, r)), draw.normal((r, n))
            factors = {"lora_b": lora_b * (size / norm1(lora_b @ lora_a)), "lora_a": lora_a}
            name, flags = f"{n} by {n} of rank {r}", ("Noncommuting",)
            yield Spec("low_rank_expm", "low_rank_expm", factors, {}, dtype, name, flags)
            inputs = {**factors, "g_bar": draw.normal((n, n))}
            yield Spec("low_rank_expm", "low_rank_expm_vjp", inputs, {}, dtype, name, flags)


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: larger matrices, more norms, every structure."""
    for n in (2, 4, 7, 12, 16):
        draw = Draw("expm", "full", n)
        a = draw.normal((n, n))
        for structure, matrix in (("random", a), ("skew", a - a.T), ("symmetric", a + a.T), ("positive", np.abs(a))):
            for norm in (1e-4, 0.03, 0.4, 1.0, 3.4):
                for dtype in ("f32", "f64"):
                    yield from _specs(f"{structure} {n} by {n}, norm {norm}", scaled(matrix, norm), (), dtype)
    for norm in (8.0, 20.0, 100.0):
        for dtype in ("f32", "f64"):
            a = scaled(Draw("expm", "large").normal((4, 4)), norm)
            yield from _specs(f"4 by 4, norm {norm}", a if norm < 80 else a - a.T, ("Overscaling",), dtype)
