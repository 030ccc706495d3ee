"""The exponential, its truncations and the Cayley map of square matrices: see `lieref.group.calculus`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray
from lieref.numerics import matrix_maps
from lieref.numerics.expm import expm, expm_minus_identity, expm_vjp


class MatrixCalculus:
    """Square matrices under multiplication."""

    def exp(self, xi: FloatArray) -> FloatArray:
        return expm(xi)

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return expm_vjp(xi, g_bar)

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        return expm_minus_identity(xi)

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        return matrix_maps.matrix_taylor(xi, order)

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        return matrix_maps.matrix_taylor_vjp(xi, order, g_bar)

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        return matrix_maps.matrix_taylor_minus_identity(xi, order)

    def polynomial(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return matrix_maps.matrix_polynomial(xi, coefficients)

    def polynomial_vjp(self, xi: FloatArray, coefficients: Sequence[float], g_bar: FloatArray) -> FloatArray:
        return matrix_maps.matrix_polynomial_vjp(xi, coefficients, g_bar)

    def polynomial_minus_identity(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return matrix_maps.matrix_polynomial_minus_identity(xi, coefficients)

    def cayley(self, xi: FloatArray) -> FloatArray:
        return matrix_maps.cayley(xi)

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return matrix_maps.cayley_vjp(xi, g, g_bar)

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        return matrix_maps.cayley_minus_identity(xi)


@dataclass(frozen=True)
class RotationCalculus(MatrixCalculus):
    """Square matrices of which the first `size` rows and columns are a rotation.

    exp(xi) misses orthogonality by about ||xi|| u; one Newton step of the polar factor, g (3 I - g^T g) / 2, squares
    the miss. On the group the step and its derivative along the group are the identity, so the VJP of exp stands.
    """

    size: int

    def exp(self, xi: FloatArray) -> FloatArray:
        g = expm(xi)
        r = g[..., : self.size, : self.size]
        r -= r @ (r.swapaxes(-1, -2) @ r - np.eye(self.size, dtype=g.dtype)) / 2
        return g

    # With D = g - I: g^T g - I = D + D^T + D^T D, and the step takes (D + I) (g^T g - I) / 2 from D.
    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        delta = expm_minus_identity(xi)
        d = delta[..., : self.size, : self.size]
        miss = d + d.swapaxes(-1, -2) + d.swapaxes(-1, -2) @ d
        d -= (d @ miss + miss) / 2
        return delta
