"""Maps from the algebra into the group: the exponential and what methods put in its place.

`order` is the largest k with map(xi) = exp(xi) + O(xi^(k+1)) for every group; a slope test proves it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int, check_real
from lieref._record import dataclass
from lieref._types import FloatArray
from lieref.errors import UnsupportedError
from lieref.group.base import Group


class Map(ABC):
    """Smooth map r from an algebra to arrays of group elements with r(0) = e and derivative 1 at 0."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def order(self) -> float:
        """Agreement with exp, infinity for exp itself."""

    @abstractmethod
    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        """Return the group element of xi.

        Raises
        ------
        DomainError
            If xi is not finite, outside the domain of the map, or the result is too large for its dtype.
        UnsupportedError
            If the map is not legal for the group.
        """

    @abstractmethod
    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi, projected on the algebra; g is what `retract` returned."""

    @abstractmethod
    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        """Return retract(group, xi) - e without cancellation near zero."""

    @abstractmethod
    def legal_for(self, group: Group) -> bool:
        """Return whether a small enough xi always lands in the group."""

    @abstractmethod
    def stays_in(self, group: Group) -> bool:
        """Return whether every xi in the domain of the map lands in the group, so that `preserves` claims hold."""

    def _prepare(self, group: Group, xi: FloatArray) -> FloatArray:
        if not self.legal_for(group):
            raise UnsupportedError(f"{type(self).__name__}: `group` must contain the map near e; got {group}")
        return group.prepare(xi)

    @property
    @abstractmethod
    def spec(self) -> str:
        """Text from which `make_map` builds this map."""

    @property
    @abstractmethod
    def equation(self) -> str:
        """The group element as text in xi, 1 being e: exp, tanh, + - * /, ^ and products side by side."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Self, ...]:
        """Return members that the contract tests run on."""


@dataclass(frozen=True)
class Exp(Map):
    """The exponential: the definition."""

    name: ClassVar[str] = "exp"

    @property
    def order(self) -> float:
        return math.inf

    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.exp(xi)

    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return group.exp_vjp(xi, g, g_bar)

    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.exp_minus_identity(xi)

    def legal_for(self, group: Group) -> bool:
        return True

    def stays_in(self, group: Group) -> bool:
        return True

    @property
    def spec(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return "exp(xi)"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls(),)


@dataclass(frozen=True)
class Taylor(Map):
    """The Taylor polynomial e + xi + ... + xi^k / k!, with k = `degree` from 1 to 20.

    LieRA as released and HiRA use k = 1 [Si25] [Huang25]. On positive numbers an odd k reaches zero and negative
    values; an even k stays positive.
    """

    degree: int = 1
    name: ClassVar[str] = "taylor"

    def __post_init__(self) -> None:
        check_int("Taylor", "degree", self.degree, low=1, high=20)

    @property
    def order(self) -> float:
        return self.degree

    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.taylor(self._prepare(group, xi), self.degree)

    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return group.algebra.project(group.calculus.taylor_vjp(self._prepare(group, xi), self.degree, g_bar))

    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.taylor_minus_identity(self._prepare(group, xi), self.degree)

    def legal_for(self, group: Group) -> bool:
        return group.is_open

    def stays_in(self, group: Group) -> bool:
        return group.keeps_taylor(self.degree)

    @property
    def spec(self) -> str:
        return f"{self.name}{self.degree}"

    @property
    def equation(self) -> str:
        terms = ["1", "xi", *(f"xi^{k} / {math.factorial(k)}" for k in range(2, self.degree + 1))]
        return " + ".join(terms if self.degree < 5 else [*terms[:3], "...", terms[-1]])

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(1), cls(2), cls(3)


@dataclass(frozen=True)
class Cayley(Map):
    """The Cayley map (e - xi/2)^-1 (e + xi/2), the [1/1] Pade approximant of exp.

    Exact on the quadratic groups SO and Sp; it leaves SL(n) for n >= 3 and is refused there. On positive numbers its
    domain is ]-2, 2[.
    """

    name: ClassVar[str] = "cayley"

    @property
    def order(self) -> float:
        return 2

    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.cayley(self._prepare(group, xi))

    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return group.algebra.project(group.calculus.cayley_vjp(self._prepare(group, xi), g, g_bar))

    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.cayley_minus_identity(self._prepare(group, xi))

    def legal_for(self, group: Group) -> bool:
        return group.has_cayley

    def stays_in(self, group: Group) -> bool:
        return group.keeps_cayley

    @property
    def spec(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return "(1 - xi / 2)^-1 (1 + xi / 2)"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls(),)


@dataclass(frozen=True)
class CayleyNeumann(Map):
    """The Cayley map with the series of its inverse cut off: (e + q) (e + q + ... + q^(k-1)), q = xi / 2, k = `degree`.

    That is cayley(xi) (e - q^k). Of a skew xi it is no rotation, but in GL, at the distance ||q||^k from the rotation
    in the spectral norm: the lengths of vectors are kept to that factor where ||xi|| < 2. Nothing stops there: at
    ||xi|| = 2 it is singular where 4 divides k, and beyond it grows with the last power and lengths with it.

    With k = 4 it is the map of OFT in PEFT, which counts the k + 1 terms of the product; its authors count the k - 1
    powers of q in the series [Qiu25, section 3.3].

    Parameters
    ----------
    degree : int
        k, from 2 to 20.
    """

    degree: int = 4
    name: ClassVar[str] = "neumann"

    def __post_init__(self) -> None:
        check_int("CayleyNeumann", "degree", self.degree, low=2, high=20)

    @property
    def order(self) -> float:
        return min(self.degree - 1, 2)

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Those of xi, xi^2, ...: twice those of the series in q but for the last power, which only one product has."""
        return (*(2.0 ** (1 - j) for j in range(1, self.degree)), 0.5**self.degree)

    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.polynomial(self._prepare(group, xi), self.coefficients)

    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        xi_bar = group.calculus.polynomial_vjp(self._prepare(group, xi), self.coefficients, g_bar)
        return group.algebra.project(xi_bar)

    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.calculus.polynomial_minus_identity(self._prepare(group, xi), self.coefficients)

    def legal_for(self, group: Group) -> bool:
        return group.is_open

    def stays_in(self, group: Group) -> bool:
        return group.keeps_taylor(1)  # both are polynomials with a root, -2 here

    @property
    def spec(self) -> str:
        return f"{self.name}{self.degree}"

    @property
    def equation(self) -> str:
        powers = ["1", "xi / 2", *(f"(xi / 2)^{k}" for k in range(2, self.degree))]
        shown = powers if self.degree < 5 else [*powers[:3], "...", powers[-1]]
        return f"(1 + xi / 2) ({' + '.join(shown)})"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(4), cls(2)


@dataclass(frozen=True)
class Bounded(Map):
    """exp(c tanh(xi / c)) with c = `bound` > 0: each entry of the exponent stays inside ]-c, c[."""

    bound: float = 1.0
    name: ClassVar[str] = "bounded"

    def __post_init__(self) -> None:
        check_real("Bounded", "bound", self.bound, above=0.0)

    @property
    def order(self) -> float:
        return 2

    def retract(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.exp(self._squash(group, xi))

    # z = c tanh(xi/c), dz = dxi / cosh(xi/c)^2: the cotangent of exp at z times this factor.
    def retract_vjp(self, group: Group, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        z = self._squash(group, xi)
        argument = np.minimum(np.abs(group.prepare(xi).astype(np.float64)) / self.bound, 300.0)
        z_bar = group.exp_vjp(z, g, g_bar) / np.cosh(argument) ** 2
        return group.algebra.project(z_bar.astype(xi.dtype, copy=False))

    def retract_minus_identity(self, group: Group, xi: FloatArray) -> FloatArray:
        return group.exp_minus_identity(self._squash(group, xi))

    def legal_for(self, group: Group) -> bool:
        return group.algebra.is_entrywise

    def stays_in(self, group: Group) -> bool:
        return group.algebra.is_entrywise

    @property
    def spec(self) -> str:
        # Every digit, and no "+": it separates the parts of a method's name.
        return f"{self.name}({np.format_float_positional(self.bound, trim='-')})"

    @property
    def equation(self) -> str:
        c = np.format_float_positional(self.bound, trim="-")
        return f"exp({c} tanh(xi / {c}))" if self.bound != 1 else "exp(tanh(xi))"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(1.0), cls(0.987654321), cls(1e7)

    def _squash(self, group: Group, xi: FloatArray) -> FloatArray:
        xi = self._prepare(group, xi)
        return (self.bound * np.tanh(xi.astype(np.float64) / self.bound)).astype(xi.dtype, copy=False)
