"""Direct products of groups, for instance one matrix on the out mode and one on the in mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.algebra.product import ProductAlgebra
from lieref.errors import UnsupportedError
from lieref.group.base import Group
from lieref.group.calculus import Calculus
from lieref.group.matrix import SO, GLPlus
from lieref.group.tensor import Hadamard


@dataclass(frozen=True)
class Product(Group):
    """copies[i] copies of parts[i]; an element is the vector of all their entries, part after part."""

    parts: tuple[Group, ...]
    copies: tuple[int, ...]
    name: ClassVar[str] = "product"

    def __post_init__(self) -> None:
        ProductAlgebra(tuple(part.algebra for part in self.parts), self.copies)

    @property
    def algebra(self) -> ProductAlgebra:
        return ProductAlgebra(tuple(part.algebra for part in self.parts), self.copies)

    @property
    def calculus(self) -> Calculus:
        return ProductCalculus(self)

    @property
    def is_abelian(self) -> bool:
        return all(part.is_abelian for part in self.parts)

    @property
    def is_open(self) -> bool:
        return all(part.is_open for part in self.parts)

    @property
    def keeps_cayley(self) -> bool:
        return all(part.keeps_cayley for part in self.parts)

    @property
    def has_cayley(self) -> bool:
        return all(part.has_cayley for part in self.parts)

    def keeps_taylor(self, degree: int) -> bool:
        return all(part.keeps_taylor(degree) for part in self.parts)

    def each(self, function: Callable[..., FloatArray], *elements: FloatArray) -> FloatArray:
        """Return the element made of function(part, piece, piece, ...) for the pieces of each part."""
        algebra = self.algebra
        pieces = zip(self.parts, *(algebra.split(element) for element in np.broadcast_arrays(*elements)), strict=True)
        return algebra.join([function(*part_and_pieces) for part_and_pieces in pieces])

    def identity(self, dtype: Any = np.float64) -> FloatArray:
        return self.each(
            lambda part, piece: np.broadcast_to(part.identity(dtype), piece.shape), np.zeros(self.element_shape, dtype)
        )

    def compose(self, g: FloatArray, h: FloatArray) -> FloatArray:
        return self.each(lambda part, x, y: part.compose(x, y), g, h)

    def inverse(self, g: FloatArray) -> FloatArray:
        return self.each(lambda part, x: part.inverse(x), g)

    def log(self, g: FloatArray) -> FloatArray:
        return self.each(lambda part, x: part.log(x), g)

    def contains(self, g: FloatArray, atol: float = 0.0) -> bool:
        pieces = zip(self.parts, self.algebra.split(g), strict=True)
        return all(part.contains(piece, atol) for part, piece in pieces)

    def adjoint(self, g: FloatArray, xi: FloatArray) -> FloatArray:
        return self.each(lambda part, x, y: part.adjoint(x, y), g, xi)

    def left_jacobian(self, xi: FloatArray) -> FloatArray:
        batch, n = xi.shape[:-1], self.algebra.dimension
        jacobian = np.zeros((*batch, n, n), xi.dtype)
        start = 0
        for part, piece in zip(self.parts, self.algebra.split(self.prepare(xi)), strict=True):
            blocks = part.left_jacobian(piece)
            for copy in range(blocks.shape[len(batch)]):
                stop = start + part.algebra.dimension
                jacobian[..., start:stop, start:stop] = blocks[..., copy, :, :]
                start = stop
        return jacobian

    @classmethod
    def for_shape(cls, algebra_shape: Shape) -> Self:
        raise UnsupportedError("Product: the parts must be given; a product action builds one from their names")

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls((SO(3), Hadamard((2,))), (2, 1)), cls((GLPlus(2), GLPlus(3)), (1, 1))


@dataclass(frozen=True)
class ProductCalculus:
    """Every map, part by part."""

    product: Product

    def exp(self, xi: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.exp(x), xi)

    def exp_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return self.product.each(lambda part, *pieces: part.calculus.exp_vjp(*pieces), xi, g, g_bar)

    def exp_minus_identity(self, xi: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.exp_minus_identity(x), xi)

    def taylor(self, xi: FloatArray, order: int) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.taylor(x, order), xi)

    def taylor_vjp(self, xi: FloatArray, order: int, g_bar: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x, x_bar: part.calculus.taylor_vjp(x, order, x_bar), xi, g_bar)

    def taylor_minus_identity(self, xi: FloatArray, order: int) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.taylor_minus_identity(x, order), xi)

    def polynomial(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.polynomial(x, coefficients), xi)

    def polynomial_vjp(self, xi: FloatArray, coefficients: Sequence[float], g_bar: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x, x_bar: part.calculus.polynomial_vjp(x, coefficients, x_bar), xi, g_bar)

    def polynomial_minus_identity(self, xi: FloatArray, coefficients: Sequence[float]) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.polynomial_minus_identity(x, coefficients), xi)

    def cayley(self, xi: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.cayley(x), xi)

    def cayley_vjp(self, xi: FloatArray, g: FloatArray, g_bar: FloatArray) -> FloatArray:
        return self.product.each(lambda part, *pieces: part.calculus.cayley_vjp(*pieces), xi, g, g_bar)

    def cayley_minus_identity(self, xi: FloatArray) -> FloatArray:
        return self.product.each(lambda part, x: part.calculus.cayley_minus_identity(x), xi)
