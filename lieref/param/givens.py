"""Blocks of two in a tree: Givens rotations of pairs of entries, and matrices (2, 2) in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, Shape
from lieref.param.blocks import Blocks


@dataclass(frozen=True)
class GivensTree(Blocks):
    """xi = a sum of stages, the block of stage r = 1, 2, ... at 2^r k and 2^r k + 2^(r-1), started at zero.

    The pairs of a stage are disjoint, and each leaves the first of its two to the next stage: n - 1 pairs in log2(n)
    stages, rounded up. A butterfly of blocks of two has the same stages with n/2 pairs each, these among them. This is
    the tree of GOFT in the algebra; GOFT itself multiplies the rotations of the stages.

    Factors: ``blocks`` (n - 1, 2, 2), or with `skew` the angles (n - 1, 1) in radians: the entry of xi above the
    diagonal, so that exp of it is the Givens rotation by minus the angle.

    Parameters
    ----------
    skew : bool
        Whether the blocks are skew: one number each.

    References
    ----------
    [Ma24, equation 3], there for n a power of two.
    """

    name: ClassVar[str] = "givens"
    formula: ClassVar[str] = "4·G·(n - 1) or G·(n - 1)"

    skew: bool = False

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(), cls(skew=True)

    def size_for(self, n: int) -> int:
        self.check_size(n)
        return 2

    def stages_for(self, n: int) -> list[Array]:
        self.check_size(n)
        steps = [2**r for r in range((n - 1).bit_length())]
        firsts = [np.arange(0, n - step, 2 * step) for step in steps]
        return [np.stack([first, first + step], axis=1) for first, step in zip(firsts, steps, strict=True)]

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 32  # no size has more stages
