"""Direct products of algebras."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.algebra.base import Algebra
from lieref.algebra.matrix import SpecialOrthogonal
from lieref.algebra.tensor import TensorAlgebra
from lieref.errors import DomainError


@dataclass(frozen=True)
class ProductAlgebra(Algebra):
    """Direct sum of copies[i] copies of parts[i]; an element is the vector of all their entries, part after part."""

    parts: tuple[Algebra, ...]
    copies: tuple[int, ...]
    name: ClassVar[str] = "product"

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.copies) or min(self.copies) < 1:
            raise DomainError(f"ProductAlgebra: `copies` must hold a count for each part; got {self.copies}")

    @property
    def is_entrywise(self) -> bool:
        """Whether an odd function applied to each entry stays in every part."""
        return all(part.is_entrywise for part in self.parts)

    @property
    def shape(self) -> Shape:
        pairs = zip(self.parts, self.copies, strict=True)
        return (sum(copies * math.prod(part.shape) for part, copies in pairs),)

    @property
    def dimension(self) -> int:
        return sum(copies * part.dimension for part, copies in zip(self.parts, self.copies, strict=True))

    def split(self, xi: FloatArray) -> list[FloatArray]:
        """Return the elements of each part, (..., copies, *part shape)."""
        sizes = [copies * math.prod(part.shape) for part, copies in zip(self.parts, self.copies, strict=True)]
        pieces = np.split(xi, np.cumsum(sizes)[:-1], axis=-1)
        return [
            piece.reshape(*xi.shape[:-1], copies, *part.shape)
            for piece, part, copies in zip(pieces, self.parts, self.copies, strict=True)
        ]

    def join(self, pieces: list[FloatArray]) -> FloatArray:
        """Return the element whose `split` is `pieces`."""
        flat = []
        for piece, part in zip(pieces, self.parts, strict=True):
            batch = piece.shape[: piece.ndim - len(part.shape) - 1]
            flat.append(piece.reshape(*batch, -1))
        return np.concatenate(flat, axis=-1)

    def hat(self, coordinates: FloatArray) -> FloatArray:
        sizes = [copies * part.dimension for part, copies in zip(self.parts, self.copies, strict=True)]
        pieces = np.split(coordinates, np.cumsum(sizes)[:-1], axis=-1)
        batch = coordinates.shape[:-1]
        return self.join(
            [
                part.hat(piece.reshape(*batch, copies, part.dimension))
                for piece, part, copies in zip(pieces, self.parts, self.copies, strict=True)
            ]
        )

    def vee(self, xi: FloatArray) -> FloatArray:
        batch = xi.shape[:-1]
        pieces = zip(self.parts, self.split(xi), strict=True)
        return np.concatenate([part.vee(piece).reshape(*batch, -1) for part, piece in pieces], axis=-1)

    def bracket(self, xi: FloatArray, eta: FloatArray) -> FloatArray:
        xi, eta = np.broadcast_arrays(xi, eta)
        pieces = zip(self.parts, self.split(xi), self.split(eta), strict=True)
        return self.join([part.bracket(x, y) for part, x, y in pieces])

    def project(self, a: FloatArray) -> FloatArray:
        return self.join([part.project(piece) for part, piece in zip(self.parts, self.split(a), strict=True)])

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls((SpecialOrthogonal(3), TensorAlgebra((2,))), (2, 1)),)
