"""Square matrices made of small blocks: block-diagonal, and a butterfly of block-diagonal stages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import Array, FloatArray, Params, Shape
from lieref.errors import ShapeError
from lieref.param._base import Parameterisation, nearest_divisor


class Blocks(Parameterisation):
    """xi = a sum of stages, each of which has blocks (b, b) at rows and columns of its own, started at zero.

    Factors: ``blocks`` (blocks, b, b), or where `skew` the (blocks, b(b-1)/2) entries above the diagonals of skew
    blocks, row by row; the stages one after the other.
    """

    skew: bool

    @abstractmethod
    def size_for(self, n: int) -> int:
        """Return the block size b used for an (n, n) matrix.

        Raises
        ------
        ShapeError
            If n is 1.
        """

    @abstractmethod
    def stages_for(self, n: int) -> list[Array]:
        """Return, for each stage, (blocks, b): the rows and columns of the (n, n) matrix where each block sits."""

    def positions(self, n: int) -> Array:
        """Return (blocks, b): where each block of each stage sits, the stages one after the other."""
        return np.concatenate(self.stages_for(n))

    def check_size(self, n: int) -> None:
        """Raise a `ShapeError` where a matrix has no room for a block."""
        if n < 2:
            raise ShapeError(f"{self.name}: `shape` must be that of a square matrix of size 2 or more; got {n}")

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ShapeError(f"{self.name}: `shape` must be that of a square matrix; got {shape}")
        count, b = self.positions(shape[0]).shape
        return {"blocks": (count, b * (b - 1) // 2) if self.skew else (count, b, b)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"blocks": np.zeros((groups, *self.factor_shapes(shape)["blocks"]))}

    # Derivation.  Every number of a block is added to one entry of xi (and, when skew, subtracted from the mirrored
    # one), so its cotangent is read from there: X_bar = xi_bar at the block, s_bar_ij = X_bar_ij - X_bar_ji.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        blocks = self.full_blocks(params["blocks"], shape[0])
        at = self.positions(shape[0])
        xi = np.zeros((len(blocks), *shape), blocks.dtype)
        for j in range(at.shape[0]):
            xi[:, at[j][:, None], at[j]] += blocks[:, j]
        return xi

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        at = self.positions(shape[0])
        return {"blocks": self.full_blocks_vjp(xi_bar[:, at[:, :, None], at[:, None, :]])}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 1

    def full_blocks(self, factor: FloatArray, n: int) -> FloatArray:
        """Return the blocks (..., blocks, b, b) of the trained factor (..., blocks, numbers of a block)."""
        if not self.skew:
            return factor
        b = self.size_for(n)
        rows, columns = np.triu_indices(b, 1)
        blocks = np.zeros((*factor.shape[:-1], b, b), factor.dtype)
        blocks[..., rows, columns] = factor
        blocks[..., columns, rows] = -factor
        return blocks

    def full_blocks_vjp(self, blocks_bar: FloatArray) -> FloatArray:
        """Return the cotangent of the trained factor."""
        if not self.skew:
            return blocks_bar
        rows, columns = np.triu_indices(blocks_bar.shape[-1], 1)
        return blocks_bar[..., rows, columns] - blocks_bar[..., columns, rows]


@dataclass(frozen=True)
class BlockDiagonal(Blocks):
    """xi = blockdiag(X_1, X_2, ...), an (n, n) matrix, started at zero.

    Factors: ``blocks`` (n/b, b, b), or with `skew` the (n/b, b(b-1)/2) entries above the diagonals of skew blocks,
    row by row.

    Parameters
    ----------
    block_size : int
        b, at least 2. Where it does not divide n, the divisor of n (at least 2) nearest to it is taken, the smaller of
        two as near; `adjusted` says so.
    skew : bool
        Whether X_ji = -X_ij, the algebra of SO(b): half the numbers.

    References
    ----------
    [Qiu23] for skew blocks under the Cayley map.
    """

    name: ClassVar[str] = "block-diagonal"
    formula: ClassVar[str] = "G·n·b or G·n·(b - 1)/2"

    block_size: int = 4
    skew: bool = False

    def __post_init__(self) -> None:
        check_int(type(self).__name__, "block_size", self.block_size, low=2)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(), cls(block_size=2), cls(block_size=3, skew=True)

    def size_for(self, n: int) -> int:
        self.check_size(n)
        return nearest_divisor(n, self.block_size, low=2)

    def stages_for(self, n: int) -> list[Array]:
        b = self.size_for(n)
        return [np.arange(n).reshape(n // b, b)]

    def group_adjusted(self, shape: Shape) -> str:
        b = self.size_for(shape[-1])
        return f"blocks of {b}" if b != self.block_size else ""


@dataclass(frozen=True)
class Butterfly(BlockDiagonal):
    """xi = the sum of several block-diagonal matrices whose blocks sit as in a butterfly network, started at zero.

    Indices lie in halves of a block, b/2 next to each other. A block of stage j joins two halves that are 2^j halves
    apart, so that m stages mix b 2^(m-1) indices with m n b numbers: with b = 4 the first blocks of stages 0 and 1 hold
    the indices 0, 1, 2, 3 and 0, 1, 4, 5. This is the butterfly of BOFT in the algebra; BOFT itself multiplies the
    exponentials of the stages instead of adding their exponents.

    Factors: ``blocks``, as in `BlockDiagonal`, stage after stage.

    Parameters
    ----------
    stages : int
        m, at most: a stage j above 0 needs an even b, and n a multiple of b 2^j. `adjusted` says where stages are
        left out.

    References
    ----------
    [Liu24B] for the butterfly, in the order of its authors' code; the sum in the algebra is derived here.
    """

    name: ClassVar[str] = "butterfly"
    formula: ClassVar[str] = "G·m·n·b or G·m·n·(b - 1)/2"

    stages: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("Butterfly", "stages", self.stages, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(), cls(block_size=2, stages=3), cls(block_size=2, skew=True)

    def stages_for(self, n: int) -> list[Array]:
        b = self.size_for(n)
        grids = [np.arange(n).reshape(n // b, b)]
        for j in range(1, self._stages(n)):
            # (2^(j+1) halves together, their upper or lower side, halves of a side, indices of a half)
            halves = np.arange(n).reshape(-1, 2, 2**j, b // 2)
            grids.append(halves.swapaxes(1, 2).reshape(n // b, b))
        return grids

    def group_adjusted(self, shape: Shape) -> str:
        blocks, stages = super().group_adjusted(shape), self._stages(shape[-1])
        left = f"{stages} of {self.stages} stages" if stages < self.stages else ""
        return ", ".join(text for text in (blocks, left) if text)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 32  # no size has more stages

    def _stages(self, n: int) -> int:
        """Return how many stages n has room for."""
        b, used = self.size_for(n), 1
        while used < self.stages and b % 2 == 0 and n % (b * 2**used) == 0:
            used += 1
        return used
