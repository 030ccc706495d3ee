"""Lie algebras of square matrices with the commutator as bracket."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._types import Array, FloatArray, Shape
from lieref.algebra.base import Algebra
from lieref.errors import ShapeError


@dataclass(frozen=True)
class MatrixAlgebra(Algebra):
    """Subalgebra of the matrices (size, size), given by an orthogonal basis; the bracket is xi eta - eta xi."""

    size: int
    smallest: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_int(type(self).__name__, "size", self.size)
        if self.size < self.smallest:
            raise ShapeError(f"{type(self).__name__}: `size` must be at least {self.smallest}; got {self.size}")

    @property
    def shape(self) -> Shape:
        return self.size, self.size

    @property
    def dimension(self) -> int:
        return len(self._basis())

    def hat(self, coordinates: FloatArray) -> FloatArray:
        xi: FloatArray = np.tensordot(coordinates, self._basis().astype(coordinates.dtype), axes=1)
        return xi

    def vee(self, xi: FloatArray) -> FloatArray:
        basis = self._basis()
        dual = basis / np.sum(basis**2, axis=(1, 2), keepdims=True)
        coordinates: FloatArray = np.einsum("...ij,kij->...k", xi, dual.astype(xi.dtype))
        return coordinates

    def bracket(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        return xi @ eta - eta @ xi

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(2), cls(4)

    @abstractmethod
    def basis(self) -> Array:
        """Return the basis, (dimension, size, size) float64, orthogonal in the Frobenius product."""

    def _basis(self) -> Array:
        return _cached_basis(self)


@lru_cache(maxsize=64)
def _cached_basis(algebra: MatrixAlgebra) -> Array:
    basis = algebra.basis()
    basis.setflags(write=False)
    return basis


def unit(n: int, i: int, j: int) -> Array:
    """Return the (n, n) matrix whose only entry is a 1 at (i, j)."""
    e = np.zeros((n, n))
    e[i, j] = 1.0
    return e


def symplectic_form(n: int, dtype: type | np.dtype[np.floating] = np.float64) -> FloatArray:
    """Return J = [[0, I], [-I, 0]] of even size n."""
    half = n // 2
    return np.block([[np.zeros((half, half)), np.eye(half)], [-np.eye(half), np.zeros((half, half))]]).astype(dtype)


def transpose(a: FloatArray) -> FloatArray:
    """Return the transpose of each matrix."""
    return a.swapaxes(-1, -2)


@dataclass(frozen=True)
class GeneralLinear(MatrixAlgebra):
    """gl(n): all matrices; coordinates are the entries by rows."""

    name: ClassVar[str] = "gl"

    def basis(self) -> Array:
        n = self.size
        return np.eye(n * n).reshape(n * n, n, n)

    def project(self, a: FloatArray) -> FloatArray:
        return a


@dataclass(frozen=True)
class SpecialLinear(MatrixAlgebra):
    """sl(n): trace zero; coordinates are the entries off the diagonal by rows, then n - 1 on the diagonal."""

    name: ClassVar[str] = "sl"
    is_entrywise: ClassVar[bool] = False

    def basis(self) -> Array:
        n = self.size
        off = [unit(n, i, j) for i in range(n) for j in range(n) if i != j]
        diagonal = [np.diag([1.0] * k + [-float(k)] + [0.0] * (n - 1 - k)) for k in range(1, n)]
        return np.stack(off + diagonal)

    def project(self, a: FloatArray) -> FloatArray:
        mean = np.trace(a, axis1=-2, axis2=-1)[..., None, None] / a.dtype.type(self.size)
        xi: FloatArray = a - mean * np.eye(self.size, dtype=a.dtype)
        return xi


@dataclass(frozen=True)
class SpecialOrthogonal(MatrixAlgebra):
    """so(n): skew matrices; coordinates are the entries above the diagonal by rows."""

    name: ClassVar[str] = "so"

    def basis(self) -> Array:
        n = self.size
        return np.stack([unit(n, i, j) - unit(n, j, i) for i in range(n) for j in range(i + 1, n)])

    def project(self, a: FloatArray) -> FloatArray:
        return (a - transpose(a)) / 2


@dataclass(frozen=True)
class Symplectic(MatrixAlgebra):
    """sp(n) of even size n: matrices with J xi symmetric; coordinates are those of -J S for symmetric S by rows."""

    name: ClassVar[str] = "sp"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2:
            raise ShapeError(f"Symplectic: `size` must be even; got {self.size}")

    def basis(self) -> Array:
        n, form = self.size, symplectic_form(self.size)
        pairs = [(i, j) for i in range(n) for j in range(i, n)]
        return np.stack([-form @ (unit(n, i, j) + (unit(n, j, i) if i != j else 0)) for i, j in pairs])

    # J xi symmetric: the nearest is -J times the symmetric part of J a, that is (a + J a^T J) / 2.
    def project(self, a: FloatArray) -> FloatArray:
        form = symplectic_form(self.size, a.dtype)
        return (a + form @ transpose(a) @ form) / 2


@dataclass(frozen=True)
class Affine(MatrixAlgebra):
    """aff(n - 1) in homogeneous matrices [[X, t], [0, 0]]; coordinates are the entries of [X, t] by rows."""

    name: ClassVar[str] = "affine"

    def basis(self) -> Array:
        n = self.size
        return np.stack([unit(n, i, j) for i in range(n - 1) for j in range(n)])

    def project(self, a: FloatArray) -> FloatArray:
        xi = a.copy()
        xi[..., -1, :] = 0
        return xi


@dataclass(frozen=True)
class SpecialEuclidean(MatrixAlgebra):
    """se(n - 1) in homogeneous matrices [[X, t], [0, 0]] with a skew X; coordinates are those of X, then t."""

    name: ClassVar[str] = "se"
    smallest: ClassVar[int] = 3

    def basis(self) -> Array:
        n = self.size
        turns = [unit(n, i, j) - unit(n, j, i) for i in range(n - 1) for j in range(i + 1, n - 1)]
        return np.stack(turns + [unit(n, i, n - 1) for i in range(n - 1)])

    def project(self, a: FloatArray) -> FloatArray:
        xi = a.copy()
        block = a[..., :-1, :-1]
        xi[..., :-1, :-1] = (block - transpose(block)) / 2
        xi[..., -1, :] = 0
        return xi

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(3), cls(4)


@dataclass(frozen=True)
class StrictlyUpper(MatrixAlgebra):
    """Strictly upper triangular matrices; coordinates are the entries above the diagonal by rows."""

    name: ClassVar[str] = "strictly-upper"

    def basis(self) -> Array:
        n = self.size
        return np.stack([unit(n, i, j) for i in range(n) for j in range(i + 1, n)])

    def project(self, a: FloatArray) -> FloatArray:
        return np.triu(a, 1)
