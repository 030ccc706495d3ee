"""Lie algebras of square matrices with the commutator as bracket."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import Array, FloatArray, Shape
from lieref.algebra.base import Algebra
from lieref.errors import ShapeError

Entries: TypeAlias = list[tuple[int, int, float]]
"""(row, column, value) of the nonzero entries of a matrix."""


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
        return len(_tables(self).norms)

    def hat(self, coordinates: FloatArray) -> FloatArray:
        tables = _tables(self)
        flat = np.zeros((*coordinates.shape[:-1], self.size * self.size), coordinates.dtype)
        np.add.at(flat, _last(tables.places), coordinates[..., tables.members] * tables.values.astype(flat.dtype))
        return flat.reshape(*coordinates.shape[:-1], *self.shape)

    def vee(self, xi: FloatArray) -> FloatArray:
        tables = _tables(self)
        flat = xi.reshape(*xi.shape[:-2], self.size * self.size)
        coordinates = np.zeros((*xi.shape[:-2], len(tables.norms)), xi.dtype)
        np.add.at(coordinates, _last(tables.members), flat[..., tables.places] * tables.values.astype(xi.dtype))
        return coordinates / tables.norms.astype(xi.dtype)

    def bracket(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        return xi @ eta - eta @ xi

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(2), cls(4)

    @abstractmethod
    def basis(self) -> list[Entries]:
        """Return the entries of each basis matrix; the matrices are orthogonal in the Frobenius product."""


class _Tables(NamedTuple):
    """The entries of all basis matrices: member k has values at flat places; norms are squared Frobenius norms."""

    members: Array
    places: Array
    values: Array
    norms: Array


@lru_cache(maxsize=64)
def _tables(algebra: MatrixAlgebra) -> _Tables:
    rows = [(k, i * algebra.size + j, v) for k, entries in enumerate(algebra.basis()) for i, j, v in entries]
    members, places, values = (np.array(column) for column in zip(*rows, strict=True))
    return _Tables(members, places, values.astype(np.float64), np.bincount(members, values**2))


def _last(index: Array) -> Any:
    """Return an index of the last axis, for any leading axes."""
    return ..., index


def symplectic_form(n: int, dtype: type | np.dtype[np.floating] = np.float64) -> FloatArray:
    """Return J = [[0, I], [-I, 0]] of even size n."""
    half = n // 2
    return np.block([[np.zeros((half, half)), np.eye(half)], [-np.eye(half), np.zeros((half, half))]]).astype(dtype)


def _turns(n: int) -> list[Entries]:
    """Return the basis E_ij - E_ji, i < j, of the skew matrices."""
    return [[(i, j, 1.0), (j, i, -1.0)] for i in range(n) for j in range(i + 1, n)]


def transpose(a: FloatArray) -> FloatArray:
    """Return the transpose of each matrix."""
    return a.swapaxes(-1, -2)


@dataclass(frozen=True)
class GeneralLinear(MatrixAlgebra):
    """gl(n): all matrices; coordinates are the entries by rows."""

    name: ClassVar[str] = "gl"

    def basis(self) -> list[Entries]:
        return [[(i, j, 1.0)] for i in range(self.size) for j in range(self.size)]

    def project(self, a: FloatArray) -> FloatArray:
        return a


@dataclass(frozen=True)
class SpecialLinear(MatrixAlgebra):
    """sl(n): trace zero; coordinates are the entries off the diagonal by rows, then n - 1 on the diagonal."""

    name: ClassVar[str] = "sl"

    @property
    def is_entrywise(self) -> bool:
        return self.size == 2  # the diagonal is (a, -a)

    def basis(self) -> list[Entries]:
        n = self.size
        off: list[Entries] = [[(i, j, 1.0)] for i in range(n) for j in range(n) if i != j]
        diagonal: list[Entries] = [[*((i, i, 1.0) for i in range(k)), (k, k, -float(k))] for k in range(1, n)]
        return off + diagonal

    def project(self, a: FloatArray) -> FloatArray:
        mean = np.trace(a, axis1=-2, axis2=-1)[..., None, None] / a.dtype.type(self.size)
        xi: FloatArray = a - mean * np.eye(self.size, dtype=a.dtype)
        return xi


@dataclass(frozen=True)
class SpecialOrthogonal(MatrixAlgebra):
    """so(n): skew matrices; coordinates are the entries above the diagonal by rows."""

    name: ClassVar[str] = "so"

    def basis(self) -> list[Entries]:
        return _turns(self.size)

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

    def basis(self) -> list[Entries]:
        n, half = self.size, self.size // 2

        def place(i: int, j: int) -> tuple[int, int, float]:  # -J moves row i of S to row i + n/2, or back with a sign
            return (i + half, j, 1.0) if i < half else (i - half, j, -1.0)

        return [[place(i, j), place(j, i)] if i < j else [place(i, i)] for i in range(n) for j in range(i, n)]

    def project(self, a: FloatArray) -> FloatArray:
        form = symplectic_form(self.size, a.dtype)
        return (a + form @ transpose(a) @ form) / 2


@dataclass(frozen=True)
class Affine(MatrixAlgebra):
    """aff(n - 1) in homogeneous matrices [[X, t], [0, 0]]; coordinates are the entries of [X, t] by rows."""

    name: ClassVar[str] = "affine"

    def basis(self) -> list[Entries]:
        return [[(i, j, 1.0)] for i in range(self.size - 1) for j in range(self.size)]

    def project(self, a: FloatArray) -> FloatArray:
        xi = a.copy()
        xi[..., -1, :] = 0
        return xi


@dataclass(frozen=True)
class SpecialEuclidean(MatrixAlgebra):
    """se(n - 1) in homogeneous matrices [[X, t], [0, 0]] with a skew X; coordinates are those of X, then t."""

    name: ClassVar[str] = "se"
    smallest: ClassVar[int] = 3

    def basis(self) -> list[Entries]:
        return _turns(self.size - 1) + [[(i, self.size - 1, 1.0)] for i in range(self.size - 1)]

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

    def basis(self) -> list[Entries]:
        return [[(i, j, 1.0)] for i in range(self.size) for j in range(i + 1, self.size)]

    def project(self, a: FloatArray) -> FloatArray:
        return np.triu(a, 1)
