"""Abelian groups of tensors: additive, Hadamard and scaling."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.algebra.tensor import TensorAlgebra
from lieref.group.base import Group
from lieref.group.calculus import Calculus, EntrywiseCalculus, TranslationCalculus
from lieref.numerics import entrywise


@dataclass(frozen=True)
class TensorGroup(Group):
    """Abelian group on the arrays of one shape; its algebra is the space of all arrays of that shape."""

    shape: Shape
    is_abelian: ClassVar[bool] = True
    is_open: ClassVar[bool] = True

    def __post_init__(self) -> None:
        TensorAlgebra(self.shape)

    @property
    def algebra(self) -> TensorAlgebra:
        return TensorAlgebra(self.shape)

    def adjoint(self, g: FloatArray, xi: FloatArray) -> FloatArray:
        return xi

    def left_jacobian(self, xi: FloatArray) -> FloatArray:
        n = self.algebra.dimension
        batch = xi.shape[: xi.ndim - len(self.shape)]
        return np.broadcast_to(np.eye(n, dtype=xi.dtype), (*batch, n, n)).copy()

    @property
    def keeps_cayley(self) -> bool:
        return True

    @classmethod
    def for_shape(cls, algebra_shape: Shape) -> Self:
        return cls(algebra_shape)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls((5,)), cls((2, 3))


@dataclass(frozen=True)
class Additive(TensorGroup):
    """(R^shape, +): the group of LoRA and every method that adds to the weight. exp is the identity map."""

    name: ClassVar[str] = "additive"

    @property
    def calculus(self) -> Calculus:
        return TranslationCalculus()

    def identity(self, dtype: Any = np.float64) -> FloatArray:
        return np.zeros(self.shape, dtype)

    def compose(self, g: FloatArray, h: FloatArray) -> FloatArray:
        return g + h

    def inverse(self, g: FloatArray) -> FloatArray:
        return -g

    def log(self, g: FloatArray) -> FloatArray:
        return self.exp(g)

    def contains(self, g: FloatArray, atol: float = 0.0) -> bool:
        return bool(np.isfinite(g).all())

    def keeps_taylor(self, degree: int) -> bool:
        return True


@dataclass(frozen=True)
class Hadamard(TensorGroup):
    """Positive tensors under the entry-wise product: the identity component of the group of LieRA [Si25].

    It acts on all of R^shape, where a zero is a fixed point. The whole group of tensors without a zero has one
    component for each sign pattern; exp reaches this one only, so it never changes a sign.
    """

    name: ClassVar[str] = "hadamard"

    @property
    def calculus(self) -> Calculus:
        return EntrywiseCalculus()

    def identity(self, dtype: Any = np.float64) -> FloatArray:
        return np.ones(self.shape, dtype)

    def compose(self, g: FloatArray, h: FloatArray) -> FloatArray:
        return g * h

    def inverse(self, g: FloatArray) -> FloatArray:
        return 1.0 / g

    def log(self, g: FloatArray) -> FloatArray:
        return entrywise.log(g)

    def contains(self, g: FloatArray, atol: float = 0.0) -> bool:
        return bool(np.isfinite(g).all() and (g > 0).all())

    def keeps_taylor(self, degree: int) -> bool:
        return degree % 2 == 0


@dataclass(frozen=True)
class Scaling(Hadamard):
    """Positive diagonal matrices diag(g) on a mode, stored as the vector g of shape (n,): the group of IA3."""

    name: ClassVar[str] = "scaling"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls((2,)), cls((5,))
