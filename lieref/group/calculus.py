"""How the exponential, its truncations and the Cayley map are computed, once for each kind of group element.

A calculus is the unital algebra the group lives in: numbers entry by entry, square matrices (`matrix_calculus`), or
translations, whose product is the sum and where every map is the identity (a translation by t is the matrix
[[1, t], [0, 1]]).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lieref._check import check_float
from lieref._types import FloatArray
from lieref.numerics import entrywise


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

    def polynomial(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        """Return e + c_1 xi + c_2 xi^2 + ..."""

    def polynomial_vjp(self, xi: FloatArray, coefficients: Sequence[float], g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi."""

    def polynomial_minus_identity(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        """Return c_1 xi + c_2 xi^2 + ... without cancellation."""

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

    def polynomial(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return entrywise.polynomial(xi, coefficients)

    def polynomial_vjp(self, xi: FloatArray, coefficients: Sequence[float], g_bar: FloatArray) -> FloatArray:
        return entrywise.polynomial_vjp(xi, coefficients, g_bar)

    def polynomial_minus_identity(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return entrywise.polynomial_minus_one(xi, coefficients)

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

    def polynomial(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return self.exp(xi)

    def polynomial_vjp(self, xi: FloatArray, coefficients: Sequence[float], g_bar: FloatArray) -> FloatArray:
        return g_bar

    def polynomial_minus_identity(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return self.exp(xi)

    def cayley(self, xi: FloatArray) -> FloatArray:
        return self.exp(xi)

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return g_bar

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        return self.exp(xi)
