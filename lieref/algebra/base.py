"""What every Lie algebra of lieref offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.errors import ShapeError


def check_tail(function: str, name: str, array: FloatArray, shape: Shape) -> None:
    """Raise `ShapeError` unless the last axes of the array are `shape`."""
    if array.ndim < len(shape) or array.shape[array.ndim - len(shape) :] != shape:
        raise ShapeError(f"{function}: `{name}` must have the last axes {shape}; got shape {array.shape}")


class Algebra(ABC):
    """Finite-dimensional real Lie algebra whose elements are arrays of one shape.

    Every method takes leading batch axes: an element is (..., *shape), its coordinates are (..., dimension).

    Attributes
    ----------
    name : str
        Key in `ALGEBRAS`.
    """

    name: ClassVar[str]

    @property
    def is_entrywise(self) -> bool:
        """Whether an odd function applied to each entry stays in the algebra."""
        return True

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Shape of one element."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of coordinates."""

    @abstractmethod
    def hat(self, coordinates: FloatArray) -> FloatArray:
        """Return the element (..., *shape) with the coordinates (..., dimension)."""

    @abstractmethod
    def vee(self, xi: FloatArray) -> FloatArray:
        """Return the coordinates of an element: vee(hat(c)) = c."""

    @abstractmethod
    def bracket(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        """Return [xi, eta]: bilinear, antisymmetric, with the Jacobi identity."""

    @abstractmethod
    def project(self, a: FloatArray) -> FloatArray:
        """Return the nearest element of the algebra to an array of its shape; idempotent and its own adjoint."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Self, ...]:
        """Return small members that the contract tests run on."""

    def contains(self, a: FloatArray, atol: float = 0.0) -> bool:
        """Return whether every entry is within `atol` of the algebra."""
        a = np.asarray(a)
        tail = a.shape[a.ndim - len(self.shape) :]
        return tail == self.shape and bool(np.all(np.abs(a - self.project(a)) <= atol))

    def random(self, rng: np.random.Generator, scale: float = 1.0, dtype: Any = np.float64) -> FloatArray:
        """Return an element with independent normal coordinates of standard deviation `scale`."""
        return self.hat(scale * rng.standard_normal(self.dimension)).astype(dtype)
