"""Blocks that are circulant: a convolution along the channels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import Array, FloatArray, Params, Shape
from lieref.errors import ShapeError
from lieref.param._base import Parameterisation, check_weight_shape


@dataclass(frozen=True)
class Circulant(Parameterisation):
    """xi[p b + i, q b + j, ...] = w[p, q, ..., (j - i) mod b] / I, with w zero at the start: C3A.

    At every kernel position the matrix of O rows and I columns is made of circulant blocks (b, b), each given by its
    first row; its rank is up to the size of the matrix. The publication is for linear layers; a matrix for each kernel
    position is derived here.

    Factor: ``kernel`` (O/b, I/b, *kernel, b).

    Parameters
    ----------
    block_size : int
        b, which must divide O and I.

    References
    ----------
    [Chen25C, section 3.2]; the order of the rows and the share 1 / I as in PEFT.
    """

    name: ClassVar[str] = "circulant"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·O·I·k/b"

    block_size: int = 2

    def __post_init__(self) -> None:
        check_int("Circulant", "block_size", self.block_size, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(block_size=1), cls(block_size=3)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("circulant", shape)
        b = self.block_size
        if shape[0] % b or shape[1] % b:
            raise ShapeError(f"circulant: `block_size` must divide {shape[0]} outputs and {shape[1]} inputs; got {b}")
        return {"kernel": (shape[0] // b, shape[1] // b, *shape[2:], b)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"kernel": np.zeros((groups, *self.factor_shapes(shape)["kernel"]))}

    # Derivation.  Entry s of w stands at (i, (i + s) mod b) for every i, so its cotangent is the sum of xi_bar there.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        w = self._flat(params["kernel"])
        blocks = w[..., (self._steps().T - self._steps()) % self.block_size]  # (G, O/b, I/b, k, i, j)
        return (blocks.transpose(0, 1, 4, 2, 5, 3) * (1.0 / shape[1])).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        b, i = self.block_size, self._steps()
        apart = xi_bar.reshape(len(xi_bar), shape[0] // b, b, shape[1] // b, b, -1)
        blocks = apart.transpose(0, 1, 3, 5, 2, 4)
        w_bar = blocks[..., i, (i + i.T) % b].sum(axis=-2) * (1.0 / shape[1])
        return {"kernel": w_bar.reshape(params["kernel"].shape)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 1

    def _steps(self) -> Array:
        """Return 0, 1, ... b - 1 as a column."""
        return np.arange(self.block_size)[:, None]

    @staticmethod
    def _flat(kernel: FloatArray) -> FloatArray:
        """Return the kernel as (groups, O/b, I/b, kernel positions, b)."""
        return kernel.reshape(*kernel.shape[:3], math.prod(kernel.shape[3:-1]), kernel.shape[-1])
