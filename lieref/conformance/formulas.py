"""Mistakes in formulas: series that end early, other maps, digits that cancel; values computed from the formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.case import Case, Expected
from lieref.conformance.truth import truth

Values: TypeAlias = dict[str, list[Expected]]

_DEGREES: Final = range(1, 13)
_CLOSE: Final = {"f32": 2.0**-50, "f64": 2.0**-60}
"""Relative error of the values computed here: float64 for float32 cases, extended precision for float64."""


def _wide(case: Case, name: str) -> Array:
    return case.inputs[name].astype(np.float64 if case.dtype == "f32" else np.longdouble)


def _other_value(case: Case, name: str, value: Array, size: Array | None = None) -> dict[str, list[Expected]]:
    """Return another value of an output, with the bounds of the right one, or those of a sum of terms of a size."""
    e = case.expected[name]
    hi = np.asarray(value, dtype=np.float64)
    lo = np.asarray(value - hi, dtype=np.float64)
    largest = np.maximum(np.abs(hi), np.abs(e.hi))
    bound = e.bound
    if size is not None:
        largest = np.asarray(np.maximum(largest, size), dtype=np.float64)
        bound = np.maximum(bound, 2.0 * len(_DEGREES) * largest)
    return {name: [replace(e, hi=hi, lo=lo, radius=_CLOSE[case.dtype] * largest, bound=bound)]}


def short_exp(case: Case) -> Iterator[Values]:
    """Return elementwise updates with a series of exp that ends early."""
    name = next(iter(case.expected))
    delta, factor = _wide(case, "delta"), _wide(case, "base_weight")
    if "weight_bar" in case.inputs:
        factor = factor * _wide(case, "weight_bar")
    term, total, size = np.ones_like(delta), np.ones_like(delta), np.ones_like(delta)
    if case.op == "hadamard_delta":
        total, size = total * 0, size * 0
    for k in _DEGREES:
        term = term * delta / k
        total, size = total + term, size + np.abs(term)
        yield _other_value(case, name, factor * total, np.abs(factor) * size)


def matrix_series(case: Case) -> Iterator[Values]:
    """Return the exponential of each matrix, or its derivative, from a series that ends early."""
    name = next(iter(case.expected))
    a = _wide(case, "a")
    if case.op == "expm_vjp":
        a = np.swapaxes(a, -1, -2)
    direction = next((_wide(case, other) for other in ("a_dot", "g_bar") if other in case.inputs), None)
    n = a.shape[-1]
    if direction is not None:
        zero = np.zeros_like(a)
        a = np.concatenate([np.concatenate([a, direction], -1), np.concatenate([zero, a], -1)], -2)
    norm = float(np.abs(case.inputs["a"].astype(np.float64)).sum(axis=-2).max(initial=0.0))
    least = max(0, int(np.ceil(np.log2(norm)))) if norm > 0 else 0
    for squarings in sorted({0, least, least + 1}):
        b = np.ldexp(a, -squarings)
        eye = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
        term, total = eye, eye * 0
        for k in _DEGREES:
            term = term @ b / k
            total = total + term
            e = total
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(squarings):
                    e = 2 * e + e @ e
            value = e[..., :n, n:] if direction is not None else e if case.op == "expm_delta" else e + eye
            if np.isfinite(value).all():
                yield _other_value(case, name, value)


def cayley(case: Case) -> Iterator[Values]:
    """Return the Cayley map of each matrix instead of its exponential."""
    a = _wide(case, "a").astype(np.float64)
    eye = np.eye(a.shape[-1])
    try:
        value = np.linalg.solve(eye - a / 2, eye + a / 2)
    except np.linalg.LinAlgError:
        return
    yield _other_value(case, next(iter(case.expected)), value if case.op == "expm" else value - eye)


def commuting(case: Case) -> Iterator[Values]:
    """Return the derivative of exp as if the matrix commuted with the direction: exp(A) E or E exp(A)."""
    name, direction = next(iter(case.expected)), "a_dot" if "a_dot" in case.inputs else "g_bar"
    a = case.inputs["a"]
    g = truth("expm", {"a": np.ascontiguousarray(np.swapaxes(a, -1, -2)) if direction == "g_bar" else a}, {})["g"].hi
    e = _wide(case, direction).astype(np.float64)
    for value in (g @ e, e @ g, (g @ e + e @ g) / 2):
        yield _other_value(case, name, value)


def difference(case: Case) -> Iterator[Values]:
    """Return what is right to the roundings of exp and of the subtraction of one, rather than of the result."""
    ((name, e),) = case.expected.items()
    if case.op == "expm_delta":
        whole = truth("expm", case.inputs, {})["g"]
        yield {name: [replace(e, bound=np.maximum(e.bound, whole.bound), count=max(e.count, whole.count))]}
        return
    base, delta = np.abs(_wide(case, "base_weight")), _wide(case, "delta")
    yield {name: [replace(e, bound=np.asarray(e.bound + 8.0 * base * (np.exp(delta) + 1.0), dtype=np.float64))]}
