"""What every Lie group of lieref offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from lieref._check import check_float
from lieref._types import FloatArray, Shape
from lieref.algebra.base import Algebra, check_tail
from lieref.group.calculus import Calculus


class Group(ABC):
    """Lie group whose elements are arrays of one shape; stateless, compared by value.

    Every method takes leading batch axes on elements (..., *element_shape) and on algebra elements of the same shape,
    float32 or float64, and returns the dtype it was given. e is the identity.

    Attributes
    ----------
    name : str
        Key in `GROUPS`.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def is_abelian(self) -> bool:
        """Whether compose(g, h) = compose(h, g); then adapters add in the algebra."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether a truncated exponential of every small enough algebra element is in the group."""

    @property
    @abstractmethod
    def calculus(self) -> Calculus:
        """What exp and its substitutes mean for these arrays."""

    @property
    @abstractmethod
    def algebra(self) -> Algebra:
        """Lie algebra, whose elements have `element_shape`."""

    @property
    def element_shape(self) -> Shape:
        """Shape of one element."""
        return self.algebra.shape

    @abstractmethod
    def identity(self, dtype: Any = np.float64) -> FloatArray:
        """Return e."""

    @abstractmethod
    def compose(self, g: FloatArray, h: FloatArray) -> FloatArray:
        """Return g h: first h acts, then g."""

    @abstractmethod
    def inverse(self, g: FloatArray) -> FloatArray:
        """Return the element whose product with g is e."""

    @abstractmethod
    def log(self, g: FloatArray) -> FloatArray:
        """Return the principal xi with exp(xi) = g.

        Raises
        ------
        NotInGroupError
            If g is not in the group.
        DomainError
            If g has no principal logarithm.
        """

    @abstractmethod
    def contains(self, g: FloatArray, atol: float = 0.0) -> bool:
        """Return whether g is in the group, equations within `atol` for each entry."""

    @abstractmethod
    def adjoint(self, g: FloatArray, xi: FloatArray) -> FloatArray:
        """Return Ad_g xi, with compose(g, exp(xi)) = compose(exp(Ad_g xi), g)."""

    @abstractmethod
    def left_jacobian(self, xi: FloatArray) -> FloatArray:
        """Return J, (..., dimension, dimension), with exp(xi + eta) = exp(hat(J vee(eta))) exp(xi) + O(eta^2)."""

    @property
    @abstractmethod
    def keeps_cayley(self) -> bool:
        """Whether the Cayley map of every algebra element in its domain is in the group."""

    @property
    def has_cayley(self) -> bool:
        """Whether the Cayley map of every small enough algebra element is in the group."""
        return self.is_open or self.keeps_cayley

    @abstractmethod
    def keeps_taylor(self, degree: int) -> bool:
        """Return whether the Taylor polynomial of this degree of every algebra element is in the group."""

    @classmethod
    @abstractmethod
    def for_shape(cls, algebra_shape: Shape) -> Self:
        """Return the member that fits an action's `algebra_shape` (leading batch axes are dropped).

        Raises
        ------
        ShapeError
            If there is none: an odd dimension for Sp, a matrix group on a mode of size 1.
        """

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Self, ...]:
        """Return small members that the contract tests run on."""

    def prepare(self, xi: FloatArray) -> FloatArray:
        """Return the projection of xi on the algebra: what every map does first, so that any array of the shape serves.

        Raises
        ------
        ShapeError
            If the last axes of xi are not `element_shape`.
        DomainError
            If an entry is not finite.
        """
        xi = check_float(type(self).__name__, "xi", xi)
        check_tail(type(self).__name__, "xi", xi, self.element_shape)
        return self.algebra.project(xi)

    def exp(self, xi: FloatArray) -> FloatArray:
        """Return the exponential of xi.

        Raises
        ------
        ShapeError
            If the last axes of xi are not `element_shape`.
        DomainError
            If xi is not finite or the result is too large for its dtype.
        """
        return self.calculus.exp(self.prepare(xi))

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        """Return the cotangent of xi, projected on the algebra; g is exp(xi)."""
        return self.algebra.project(self.calculus.exp_vjp(self.prepare(xi), g, g_bar))

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        """Return exp(xi) - e without cancellation near zero."""
        return self.calculus.exp_minus_identity(self.prepare(xi))

    def small_adjoint(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        """Return ad_xi eta = [xi, eta], the derivative of Ad at e; Ad_exp(xi) = exp(ad_xi)."""
        return self.algebra.bracket(xi, eta)

    def right_jacobian(self, xi: FloatArray) -> FloatArray:
        """Return J, (..., dimension, dimension), with exp(xi + eta) = exp(xi) exp(hat(J vee(eta))) + O(eta^2)."""
        return self.left_jacobian(-xi)

    def random(self, rng: np.random.Generator, scale: float = 1.0, dtype: Any = np.float64) -> FloatArray:
        """Return exp of a random algebra element with coordinates of standard deviation `scale`."""
        return self.exp(self.algebra.random(rng, scale)).astype(dtype)
