"""Table of the algebras: the contract tests run over it."""

from __future__ import annotations

from lieref.algebra.base import Algebra
from lieref.algebra.matrix import (
    Affine,
    GeneralLinear,
    SpecialEuclidean,
    SpecialLinear,
    SpecialOrthogonal,
    StrictlyUpper,
    Symplectic,
)
from lieref.algebra.product import ProductAlgebra
from lieref.algebra.tensor import TensorAlgebra

ALGEBRAS: dict[str, type[Algebra]] = {
    cls.name: cls
    for cls in (
        TensorAlgebra,
        GeneralLinear,
        SpecialLinear,
        SpecialOrthogonal,
        Symplectic,
        Affine,
        SpecialEuclidean,
        StrictlyUpper,
        ProductAlgebra,
    )
}
