"""A low rank of its own for every block of the matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import ShapeError
from lieref.param._base import (
    Parameterisation,
    check_weight_shape,
    kaiming_uniform,
    transposed,
)
from lieref.param.scaled import AlphaOverRank


@dataclass(frozen=True)
class BlockLowRank(AlphaOverRank, Parameterisation):
    """xi in parts x parts blocks, block (j, n) = s B[j, n] A[n, j] of rank r / parts, B zero at the start: GraLoRA.

    Per conv group, rows O and columns I k_h k_w, both cut into `parts` runs. As many numbers as LoRA of rank r, of a
    rank up to r parts; with one part it is LoRA.

    Factors: ``gralora_a`` (parts, parts, rank of a block, I k_h k_w / parts), with LoRA's spread for a row of that
    length, by columns and then by rows, and ``gralora_b`` (parts, parts, O/parts, rank of a block), by rows and then by
    columns.

    Parameters
    ----------
    r : int
        Every block has the rank r / parts rounded down, at least 1.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.
    parts : int
        Must divide O and I k_h k_w.

    References
    ----------
    [Jung25, equation 6].
    """

    name: ClassVar[str] = "block-low-rank"
    formula: ClassVar[str] = "G·r·(O + I·k)"
    least_rank: ClassVar[int] = 2
    lowers_rank: ClassVar[bool] = False

    r: int = 4
    lora_alpha: float | None = None
    parts: int = 2

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()
        check_int("BlockLowRank", "parts", self.parts, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=2), cls(r=1, parts=1), cls(r=6, parts=3, lora_alpha=2.5)

    @property
    def block_rank(self) -> int:
        """The rank of a block."""
        return max(1, self.r // self.parts)

    def group_adjusted(self, shape: Shape) -> str:
        used = self.block_rank * self.parts
        return f"rank {used}" if used != self.r else ""

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("block-low-rank", shape)
        k, rows, columns = self.parts, shape[0], math.prod(shape[1:])
        if rows % k or columns % k:
            raise ShapeError(f"block-low-rank: `parts` must divide {rows} rows and {columns} columns; got {k}")
        return {"gralora_a": (k, k, self.block_rank, columns // k), "gralora_b": (k, k, rows // k, self.block_rank)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = self.factor_shapes(shape)
        return {
            "gralora_a": kaiming_uniform(rng, (groups, *shapes["gralora_a"])),
            "gralora_b": np.zeros((groups, *shapes["gralora_b"])),
        }

    # Derivation.  Each block as in LoRA: B_bar = s M A^T and A_bar = s B^T M for the block M of xi_bar.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        blocks = params["gralora_b"] @ params["gralora_a"].swapaxes(1, 2)  # (G, j, n, O/parts, columns/parts)
        return (self.scaling * blocks.swapaxes(2, 3)).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        a, b, k = params["gralora_a"].swapaxes(1, 2), params["gralora_b"], self.parts
        blocks = self.scaling * xi_bar.reshape(len(xi_bar), k, shape[0] // k, k, -1).swapaxes(2, 3)
        return {"gralora_a": (transposed(b) @ blocks).swapaxes(1, 2), "gralora_b": blocks @ transposed(a)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["gralora_b"][-1]
