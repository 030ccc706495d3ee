"""Skew matrices from pairs of Householder reflections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, ShapeError
from lieref.param._base import Parameterisation, adjusted_rank, transposed


@dataclass(frozen=True)
class Householder(Parameterisation):
    """xi = sum over pairs of 2 (u w^T - w u^T) / (u . u), an (n, n) skew matrix, with every w zero at the start.

    Two reflections H(u) H(u + w), with H(v) = I - 2 v v^T / (v . v), are a rotation in the plane of u and w; to first
    order in w it is I + xi. HRA multiplies the reflections themselves and starts at u = v; in the coordinates (u, w)
    that start is exactly the identity, and the gradient does not come in two equal halves (derived here).

    Factors: ``u`` and ``w``, both (r/2, n).

    Parameters
    ----------
    r : int
        Number of reflections, even, as far as n vectors have room for it.

    References
    ----------
    [Yuan24].
    """

    name: ClassVar[str] = "householder"
    least_rank: ClassVar[int] = 2
    formula: ClassVar[str] = "G·n·r"

    r: int = 4

    def __post_init__(self) -> None:
        if check_int("Householder", "r", self.r, low=2) % 2:
            raise DomainError(f"Householder: `r` must be even, or the product is no rotation; got {self.r}")

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=2), cls(r=4)

    def rank_for(self, shape: Shape) -> int:
        """Return the number of reflections for a matrix of this shape: r, or the largest even number up to n."""
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
            raise ShapeError(f"householder: `shape` must be that of a square matrix of size 2 or more; got {shape}")
        return min(self.r, shape[0] // 2 * 2)

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        one = self.rank_for(shape) // 2, shape[0]
        return {"u": one, "w": one}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        one = (groups, *self.factor_shapes(shape)["u"])
        return {"u": rng.standard_normal(one) / np.sqrt(shape[0]), "w": np.zeros(one)}

    # Derivation.  For one pair let c = 2 / (u . u), K = xi_bar - xi_bar^T, and <X, Y> = sum(X * Y).
    #   <xi_bar, c (u dw^T - dw u^T)> = -c <K u, dw>,   <xi_bar, c (du w^T - w du^T)> = c <K w, du>,
    #   dc = -c^2 (u . du), and <xi_bar, u w^T - w u^T> = u^T K w.
    # Hence  w_bar = -c K u  and  u_bar = c K w - c^2 (u^T K w) u.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        u, w = params["u"], params["w"]
        half = transposed(_coefficient(u) * u) @ w
        return half - transposed(half)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        u, w = params["u"], params["w"]
        c = _coefficient(u)
        k = xi_bar - transposed(xi_bar)
        kw, ku = w @ transposed(k), u @ transposed(k)
        uk_w = np.sum(u * kw, axis=-1, keepdims=True)
        return {"u": c * kw - c**2 * uk_w * u, "w": -c * ku}

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        u, w = np.abs(params["u"]), np.abs(params["w"])
        half = transposed(_coefficient(u) * u) @ w
        return half + transposed(half)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 2 * shapes["u"][-1]


def _coefficient(u: FloatArray) -> FloatArray:
    """Return 2 / (u . u) for rows u, as a column."""
    square = np.sum(u * u, axis=-1, keepdims=True)
    if not (square > 0).all():
        raise DomainError("householder: `u` must have no zero row; got one")
    return np.asarray(2.0 / square, dtype=u.dtype)
