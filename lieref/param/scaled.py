"""What parameterisations share that have a rank and the scale alpha / r, or the room of one matrix for a rank."""

from __future__ import annotations

import math
from typing import ClassVar

from lieref._check import check_int
from lieref._types import Shape
from lieref.param._base import adjusted_rank, check_scale


class AlphaOverRank:
    """The fields `r` and `lora_alpha` checked, and s = alpha / r.

    Attributes
    ----------
    alpha_over_rank : float
        alpha / r where no alpha is given.
    """

    alpha_over_rank: ClassVar[float] = 1.0

    r: int
    lora_alpha: float | None

    def check_rank_and_alpha(self) -> None:
        """Raise an error unless r is at least 1 and alpha, where there is one, in range."""
        check_int(type(self).__name__, "r", self.r, low=1)
        if self.lora_alpha is not None:
            check_scale(type(self).__name__, "lora_alpha", self.lora_alpha)

    @property
    def alpha(self) -> float:
        """The number alpha in s."""
        return self.alpha_over_rank * self.r if self.lora_alpha is None else float(self.lora_alpha)

    @property
    def scaling(self) -> float:
        """The factor s."""
        return self.alpha / self.r


class RankOfMatrix:
    """The rank of a matrix with O rows and I k_h k_w columns, no larger than it has room for."""

    r: int

    def rank_for(self, shape: Shape) -> int:
        """Return the rank for one conv group of this shape: r, or the largest it has room for."""
        return min(self.r, shape[0], math.prod(shape[1:]))

    def group_adjusted(self, shape: Shape) -> str:
        """Return what `Parameterisation.adjusted` says of one conv group."""
        return adjusted_rank(self.r, self.rank_for(shape))
