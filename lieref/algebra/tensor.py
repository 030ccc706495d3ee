"""The Abelian algebra of all arrays of one shape."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.algebra.base import Algebra


@dataclass(frozen=True)
class TensorAlgebra(Algebra):
    """R^shape with the zero bracket: the algebra of the additive, the Hadamard and the scaling group."""

    tensor_shape: Shape
    name: ClassVar[str] = "tensor"

    def __post_init__(self) -> None:
        for size in self.tensor_shape:
            check_int("TensorAlgebra", "tensor_shape", size, low=1)

    @property
    def shape(self) -> Shape:
        return self.tensor_shape

    @property
    def dimension(self) -> int:
        return math.prod(self.tensor_shape)

    def hat(self, coordinates: FloatArray) -> FloatArray:
        return coordinates.reshape(*coordinates.shape[:-1], *self.shape)

    def vee(self, xi: FloatArray) -> FloatArray:
        return xi.reshape(*xi.shape[: xi.ndim - len(self.shape)], self.dimension)

    def bracket(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        return np.zeros_like(xi * eta)

    def project(self, a: FloatArray) -> FloatArray:
        return a

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls((5,)), cls((2, 3))
