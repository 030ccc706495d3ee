"""Groups of square matrices."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, FloatArray, Shape
from lieref.algebra import matrix as algebras
from lieref.algebra.base import check_tail
from lieref.algebra.matrix import MatrixAlgebra, symplectic_form, transpose
from lieref.errors import NotInGroupError, ShapeError
from lieref.group.base import Group
from lieref.group.calculus import Calculus
from lieref.group.matrix_calculus import MatrixCalculus, RotationCalculus
from lieref.numerics.expm import check_square
from lieref.numerics.matrix_maps import logm
from lieref.numerics.phi import matrix_phi


@dataclass(frozen=True)
class MatrixGroup(Group):
    """Group of matrices (size, size); leading axes are a batch."""

    size: int
    is_open: ClassVar[bool] = False
    algebra_class: ClassVar[type[MatrixAlgebra]]

    def __post_init__(self) -> None:
        self.algebra_class(self.size)

    @property
    def is_abelian(self) -> bool:
        return False

    @property
    def algebra(self) -> MatrixAlgebra:
        return self.algebra_class(self.size)

    @property
    def calculus(self) -> Calculus:
        return MatrixCalculus()

    def identity(self, dtype: Any = np.float64) -> FloatArray:
        return np.eye(self.size, dtype=dtype)

    def compose(self, g: FloatArray, h: FloatArray) -> FloatArray:
        return g @ h

    def inverse(self, g: FloatArray) -> FloatArray:
        try:
            return np.linalg.inv(g)
        except np.linalg.LinAlgError as error:
            raise NotInGroupError(f"{type(self).__name__}: `g` must be invertible; got a singular matrix") from error

    def log(self, g: FloatArray) -> FloatArray:
        g = check_square(type(self).__name__, "g", g)
        check_tail(type(self).__name__, "g", g, self.element_shape)
        tolerance = float(np.finfo(g.dtype).eps) ** 0.5 * max(1.0, float(np.abs(g).max(initial=0.0)) ** 2)
        if not self.contains(g, tolerance):
            raise NotInGroupError(f"{type(self).__name__}: `g` must be in the group to {tolerance:.2g}; got {g!r}")
        return self.algebra.project(logm(g))

    def adjoint(self, g: FloatArray, xi: FloatArray) -> FloatArray:
        return self.algebra.project(g @ xi @ self.inverse(g))

    # exp(xi + eta) exp(-xi) = I + phi_1(ad_xi) eta + O(eta^2). [Higham08]
    def left_jacobian(self, xi: FloatArray) -> FloatArray:
        basis = self.algebra.hat(np.eye(self.algebra.dimension, dtype=xi.dtype))
        columns = self.algebra.vee(self.algebra.bracket(self.prepare(xi)[..., None, :, :], basis))
        return matrix_phi(transpose(columns), 1)

    def contains(self, g: FloatArray, atol: float = 0.0) -> bool:
        g = np.asarray(g)
        if g.ndim < 2 or g.shape[-2:] != self.element_shape or not np.isfinite(g).all():
            return False
        return bool(np.all(np.abs(self.defect(g)) <= atol)) and bool(np.all(np.linalg.det(g) > 0))

    @abstractmethod
    def defect(self, g: FloatArray) -> Array:
        """Return the residual of the equations of the group, zero on the group; an open group has none."""

    @property
    def keeps_cayley(self) -> bool:
        return False

    def keeps_taylor(self, degree: int) -> bool:
        return False

    @classmethod
    def for_shape(cls, algebra_shape: Shape) -> Self:
        if len(algebra_shape) < 2 or algebra_shape[-1] != algebra_shape[-2]:
            raise ShapeError(f"{cls.__name__}: the action must move a mode by matrices; got xi of {algebra_shape}")
        return cls(algebra_shape[-1])

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return tuple(cls(algebra.size) for algebra in cls.algebra_class.examples())


@dataclass(frozen=True)
class GLPlus(MatrixGroup):
    """GL+(n): matrices with a positive determinant. exp does not reach all of it."""

    name: ClassVar[str] = "gl"
    is_open: ClassVar[bool] = True
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.GeneralLinear

    def defect(self, g: FloatArray) -> Array:
        return np.zeros(1)


@dataclass(frozen=True)
class SL(MatrixGroup):
    """SL(n): determinant 1. The Cayley map leaves it for n >= 3."""

    name: ClassVar[str] = "sl"
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.SpecialLinear

    def defect(self, g: FloatArray) -> Array:
        return np.asarray(np.linalg.det(g.astype(np.float64)) - 1.0)

    @property
    def keeps_cayley(self) -> bool:
        return self.size == 2


@dataclass(frozen=True)
class SO(MatrixGroup):
    """SO(n): g^T g = I and determinant 1. exp reaches all of it; reflections are never reached."""

    name: ClassVar[str] = "so"
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.SpecialOrthogonal

    @property
    def is_abelian(self) -> bool:
        return self.size == 2

    @property
    def calculus(self) -> Calculus:
        return RotationCalculus(self.size)

    def inverse(self, g: FloatArray) -> FloatArray:
        return transpose(g)

    def defect(self, g: FloatArray) -> Array:
        return transpose(g) @ g - np.eye(self.size, dtype=g.dtype)

    @property
    def keeps_cayley(self) -> bool:
        return True


@dataclass(frozen=True)
class Sp(MatrixGroup):
    """Sp(n, R) of even size n: g^T J g = J with J = [[0, I], [-I, 0]]; its determinant is 1."""

    name: ClassVar[str] = "sp"
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.Symplectic

    def inverse(self, g: FloatArray) -> FloatArray:
        form = symplectic_form(self.size, g.dtype)
        return -form @ transpose(g) @ form

    def defect(self, g: FloatArray) -> Array:
        form = symplectic_form(self.size, g.dtype)
        return transpose(g) @ form @ g - form

    @property
    def keeps_cayley(self) -> bool:
        return True


@dataclass(frozen=True)
class AffineGroup(MatrixGroup):
    """Affine maps x -> A x + t of R^(n-1) with det A > 0, as homogeneous matrices [[A, t], [0, 1]] of size n."""

    name: ClassVar[str] = "affine"
    is_open: ClassVar[bool] = True
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.Affine

    def keeps_taylor(self, degree: int) -> bool:
        return self.size == 2 and degree % 2 == 0  # A is one number, and an even truncation of exp is positive

    def defect(self, g: FloatArray) -> Array:
        last_row: Array = g[..., -1, :] - np.eye(self.size, dtype=g.dtype)[-1]
        return last_row


@dataclass(frozen=True)
class SE(MatrixGroup):
    """Rigid motions x -> A x + t of R^(n-1) with A in SO(n - 1), as homogeneous matrices of size n."""

    name: ClassVar[str] = "se"
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.SpecialEuclidean

    @property
    def calculus(self) -> Calculus:
        return RotationCalculus(self.size - 1)

    def inverse(self, g: FloatArray) -> FloatArray:
        turn = transpose(g[..., :-1, :-1])
        result = g.copy()
        result[..., :-1, :-1] = turn
        result[..., :-1, -1:] = -turn @ g[..., :-1, -1:]
        return result

    def defect(self, g: FloatArray) -> Array:
        turn, last = g[..., :-1, :-1], np.eye(self.size, dtype=g.dtype)[-1]
        residual = g - g
        residual[..., :-1, :-1] = transpose(turn) @ turn - np.eye(self.size - 1, dtype=g.dtype)
        residual[..., -1, :] = g[..., -1, :] - last
        return residual

    @property
    def keeps_cayley(self) -> bool:
        return True


@dataclass(frozen=True)
class Unipotent(MatrixGroup):
    """Unit upper triangular matrices; exp is a polynomial, one to one and onto."""

    name: ClassVar[str] = "unipotent"
    is_open: ClassVar[bool] = True
    algebra_class: ClassVar[type[MatrixAlgebra]] = algebras.StrictlyUpper

    @property
    def is_abelian(self) -> bool:
        return self.size == 2

    def defect(self, g: FloatArray) -> Array:
        return np.tril(g) - np.eye(self.size, dtype=g.dtype)

    @property
    def keeps_cayley(self) -> bool:
        return True

    def keeps_taylor(self, degree: int) -> bool:
        return True
