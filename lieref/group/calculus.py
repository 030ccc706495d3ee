"""How the exponential, its truncations and the Cayley map are computed, once for each kind of group element.

A calculus is the unital algebra the group lives in: numbers entry by entry, square matrices, or translations, whose
product is the sum and where every map is the identity (a translation by t is the matrix [[1, t], [0, 1]]).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lieref._check import check_float
from lieref._record import dataclass
from lieref._types import FloatArray
from lieref.numerics import entrywise, matrix_maps
from lieref.numerics.expm import expm, expm_minus_identity, expm_vjp


class Calculus(Protocol):
    """Maps of algebra elements to group elements with their VJPs; e is the identity of the group."""

    def exp(self, xi: FloatArray) -> FloatArray:
        """Return exp(xi)."""

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi; g is exp(xi)."""

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        """Return exp(xi) - e without cancellation."""

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        """Return e + xi + ... + xi^k / k! with k = `order`."""

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi."""

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        """Return xi + ... + xi^k / k! without cancellation."""

    def cayley(self, xi: FloatArray) -> FloatArray:
        """Return (e - xi/2)^-1 (e + xi/2)."""

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi; g is cayley(xi)."""

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        """Return cayley(xi) - e without cancellation."""


class EntrywiseCalculus:
    """Numbers under multiplication, entry by entry."""

    def exp(self, xi: FloatArray) -> FloatArray:
        return entrywise.exp(xi)

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return entrywise.exp_vjp(xi, g, g_bar)

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        return entrywise.expm1(xi)

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        return entrywise.taylor(xi, order)

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        return entrywise.taylor_vjp(xi, order, g_bar)

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        return entrywise.taylor_minus_one(xi, order)

    def cayley(self, xi: FloatArray) -> FloatArray:
        return entrywise.cayley(xi)

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return entrywise.cayley_vjp(xi, g_bar)

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        return entrywise.cayley_minus_one(xi)


class TranslationCalculus:
    """Translations: e is zero and every map returns xi itself."""

    def exp(self, xi: FloatArray) -> FloatArray:
        return check_float("exp", "xi", xi)

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return g_bar

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        return self.exp(xi)

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        return self.exp(xi)

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        return g_bar

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        return self.exp(xi)

    def cayley(self, xi: FloatArray) -> FloatArray:
        return self.exp(xi)

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return g_bar

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        return self.exp(xi)


class MatrixCalculus:
    """Square matrices under multiplication."""

    def exp(self, xi: FloatArray) -> FloatArray:
        return expm(xi)

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return expm_vjp(xi, g, g_bar)

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        return expm_minus_identity(xi)

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        return matrix_maps.matrix_taylor(xi, order)

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        return matrix_maps.matrix_taylor_vjp(xi, order, g_bar)

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        return matrix_maps.matrix_taylor_minus_identity(xi, order)

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
