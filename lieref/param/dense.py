"""One trainable number for each entry of the algebra element, or for each entry of a diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import ShapeError
from lieref.param._base import Parameterisation


@dataclass(frozen=True)
class Dense(Parameterisation):
    """xi itself, started at zero.

    Factors: ``xi``, of the shape of one group. On a weight this is full fine-tuning in the coordinates of the group;
    on a vector it is one number a channel.
    """

    name: ClassVar[str] = "dense"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·O·I·k"

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"xi": shape}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"xi": np.zeros((groups, *shape))}

    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return params["xi"].copy()

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        return {"xi": xi_bar.copy()}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 0


@dataclass(frozen=True)
class Diagonal(Parameterisation):
    """xi = diag(d) for a square matrix, started at zero.

    Factors: ``diagonal`` (n,) for xi (n, n).
    """

    name: ClassVar[str] = "diagonal"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·n"

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ShapeError(f"diagonal: `shape` must be that of a square matrix; got {shape}")
        return {"diagonal": shape[:1]}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"diagonal": np.zeros((groups, shape[0]))}

    # d(xi)_ii = d(d_i) and every other entry is constant, so the cotangent is the diagonal of xi_bar.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        diagonal = params["diagonal"]
        return diagonal[:, :, None] * np.eye(shape[0], dtype=diagonal.dtype)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        return {"diagonal": np.diagonal(xi_bar, axis1=-2, axis2=-1).copy()}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 0
