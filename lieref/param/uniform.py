"""One trainable number for a whole algebra element: what a tensor with one scale for all its channels can carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation


@dataclass(frozen=True)
class Uniform(Parameterisation):
    """xi = c 1, started at zero.

    Factors: ``xi`` (1,). Under the scaling group every channel of a weight is multiplied by the same factor.
    """

    name: ClassVar[str] = "uniform"
    formula: ClassVar[str] = "G"

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"xi": (1,)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"xi": np.zeros((groups, 1))}

    # d(xi)_i = dc for every i, so that c_bar is the sum of the cotangents.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        c = params["xi"]
        return np.broadcast_to(c.reshape(-1, *(1,) * len(shape)), (len(c), *shape)).copy()

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        return {"xi": xi_bar.reshape(len(xi_bar), -1).sum(axis=1, keepdims=True)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 0
