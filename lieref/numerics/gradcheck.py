"""Checks of hand-derived gradients: inner products, directional differences, the adjoint identity, the Taylor slope.

A `Tree` is an array, or a dict of arrays as `Params`; a direction has the keys and shapes of its point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError

Tree: TypeAlias = FloatArray | Mapping[str, FloatArray]


def inner(a: Tree, b: Tree) -> float:
    """Return the sum of the products of matching entries, in float64.

    Keys that only `a` has are skipped when both are dicts: a frozen factor has no cotangent.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return sum(inner(a[key], b[key]) for key in sorted(a.keys() & b.keys()))
    return float(np.vdot(_float64(a), _float64(b)))


def random_like(rng: np.random.Generator, x: Tree) -> Tree:
    """Return a standard normal float64 direction of the shape of `x`."""
    if isinstance(x, Mapping):
        return {key: rng.standard_normal(np.shape(value)) for key, value in x.items()}
    return rng.standard_normal(np.shape(x))


def step_along(x: Tree, t: float, x_dot: Tree) -> Tree:
    """Return x + t x_dot in float64; entries of `x` without a direction stay where they are."""
    if isinstance(x, Mapping):
        if not isinstance(x_dot, Mapping):
            raise DomainError("step_along: `x_dot` must be a dict as `x` is; got an array")
        return {key: _float64(value) + t * _float64(x_dot[key]) if key in x_dot else value for key, value in x.items()}
    return _float64(x) + t * _float64(x_dot)


def central_difference(f: Callable[[Tree], FloatArray], x: Tree, x_dot: Tree, step: float = 1e-3) -> FloatArray:
    """Return the derivative of `f` at `x` along `x_dot` by the five-point formula.

    f'(0) = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h) + O(h^4): about 1e-12 for a smooth `f` of order one.
    """

    def at(t: float) -> FloatArray:
        return _float64(f(step_along(x, t, x_dot)))

    return (8.0 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12.0 * step)


def adjoint_gap(
    f: Callable[[Tree], FloatArray],
    f_vjp: Callable[[Tree, FloatArray], Tree],
    x: Tree,
    rng: np.random.Generator,
    step: float = 1e-3,
) -> float:
    """Return how far `f_vjp(x, y_bar)` is from the adjoint of the derivative of `f` at `x`, relative.

    The identity is ``inner(y_dot, y_bar) == inner(x_dot, x_bar)`` for every direction; `y_dot` comes from
    `central_difference`. One random direction and one random cotangent are drawn.
    """
    y_bar = rng.standard_normal(np.shape(f(x)))
    x_bar = f_vjp(x, y_bar)
    if isinstance(x, Mapping) and isinstance(x_bar, Mapping):
        x_dot = random_like(rng, {key: x[key] for key in sorted(x_bar)})
    else:
        x_dot = random_like(rng, x)
    y_dot = central_difference(f, x, x_dot, step)
    left, right = inner(y_dot, y_bar), inner(x_dot, x_bar)
    scale = float(np.linalg.norm(y_dot) * np.linalg.norm(y_bar))
    return abs(left - right) / max(scale, abs(right), np.finfo(np.float64).tiny)


def taylor_slope(
    f: Callable[[Tree], float], x: Tree, x_bar: Tree, x_dot: Tree, steps: tuple[float, ...] = (1e-1, 1e-2)
) -> float:
    """Return the order at which |f(x + h x_dot) - f(x) - h inner(x_bar, x_dot)| falls with h: 2 for a right gradient.

    Returns infinity where the remainder vanishes (an affine `f`), 1 or less for a wrong gradient.

    Raises
    ------
    DomainError
        If the two steps are not positive and falling.
    """
    if len(steps) != 2 or not steps[0] > steps[1] > 0:
        raise DomainError(f"taylor_slope: `steps` must be two positive falling numbers; got {steps}")
    at_x, slope = f(x), inner(x_bar, x_dot)
    large, small = (abs(f(step_along(x, h, x_dot)) - at_x - h * slope) for h in steps)
    floor = 64 * np.finfo(np.float64).eps * max(abs(at_x), abs(slope), np.finfo(np.float64).tiny)
    if small <= floor and large <= floor * 1e3:
        return float("inf")
    return float(np.log(large / max(small, floor)) / np.log(steps[0] / steps[1]))


def _float64(a: object) -> Array:
    return np.asarray(a, dtype=np.float64)
