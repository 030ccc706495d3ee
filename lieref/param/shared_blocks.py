"""One small block that every part of the matrix shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, adjusted_rank, check_weight_shape


@dataclass(frozen=True)
class SharedBlocks(Parameterisation):
    """xi[o, j] = D[o, j mod r], with D zero at the start: MiSS.

    Per conv group, rows O and columns I k_h k_w: the block repeats from column to column, and the layer sees the sums
    of every r-th input. The rank is at most r.

    Factor: ``miss_block`` (O, r), the transpose of PEFT's.

    Parameters
    ----------
    r : int
        Columns of the block, as far as the matrix has so many columns.

    References
    ----------
    [Kang24, equation 6]; the order of the columns as in PEFT.
    """

    name: ClassVar[str] = "shared-blocks"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·r·O"
    lowers_rank: ClassVar[bool] = False

    r: int = 4

    def __post_init__(self) -> None:
        check_int("SharedBlocks", "r", self.r, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2)

    def rank_for(self, shape: Shape) -> int:
        """Return the columns of the block for one conv group of this shape."""
        return min(self.r, math.prod(shape[1:]))

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("shared-blocks", shape)
        return {"miss_block": (shape[0], self.rank_for(shape))}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"miss_block": np.zeros((groups, shape[0], self.rank_for(shape)))}

    # Derivation.  Every number of D stands in each r-th column, so its cotangent is the sum of xi_bar over those.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        block, columns = params["miss_block"], math.prod(shape[1:])
        return block[:, :, np.arange(columns) % block.shape[2]].reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        r, columns = params["miss_block"].shape[2], math.prod(shape[1:])
        rows = xi_bar.reshape(len(xi_bar), shape[0], columns)
        whole = np.pad(rows, ((0, 0), (0, 0), (0, -columns % r)))
        return {"miss_block": whole.reshape(*whole.shape[:2], -1, r).sum(axis=2)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 0
