"""A sum of low ranks in random bases, of full rank together: only their scales are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import adjusted_rank, check_weight_shape, transposed
from lieref.param.scaled import AlphaOverRank
from lieref.param.seeded import COLUMNS, ROWS, Seeded


@dataclass(frozen=True)
class RandomBases(AlphaOverRank, Seeded):
    """xi = s sum_j B_j diag(l_j) A diag(g_j), with l zero at the start and random B_j, A that are not stored: RandLoRA.

    Per conv group, of the matrix with O rows and I k_h k_w columns or of its transpose, whichever has at least as many
    rows, m, as columns, n. There are N = ceil(n / r) terms, as many as make the rank full. B_j (m, r) and A (r, n) are
    uniform with variance 1.

    Factors: ``randlora_lambda`` (r, N), and ``randlora_gamma`` (N, n), 1 / m at the start.

    Parameters
    ----------
    r : int
        Rank of each term, as far as the matrix has room for it: a larger one trains fewer numbers.
    lora_alpha : float, optional
        s = lora_alpha / r; alpha = 20 r by default, as in PEFT.
    frozen_seed, generator : int
        What the random matrices are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Albert25, equation 3].
    """

    name: ClassVar[str] = "random-bases"
    formula: ClassVar[str] = "G·N·(r + e)"
    lowers_rank: ClassVar[bool] = False
    alpha_over_rank: ClassVar[float] = 20.0

    r: int = 4
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5), cls(r=3, frozen_seed=7)

    def rank_for(self, shape: Shape) -> int:
        """Return the rank of each term for one conv group of this shape: r, or the largest it has room for."""
        return min(self.r, *_sides(shape))

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("random-bases", shape)
        n, r = min(_sides(shape)), self.rank_for(shape)
        terms = -(-n // r)
        return {"randlora_lambda": (r, terms), "randlora_gamma": (terms, n)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = self.factor_shapes(shape)
        return {
            "randlora_lambda": np.zeros((groups, *shapes["randlora_lambda"])),
            "randlora_gamma": np.full((groups, *shapes["randlora_gamma"]), 1.0 / max(_sides(shape))),
        }

    # Derivation.  With U_jqi = l_qj A_qi g_ji, a matrix of N r rows (j, q), and B of as many columns:  xi = s B U.
    #   U_bar = s B^T xi_bar,   l_bar_qj = sum_i U_bar_jqi A_qi g_ji,   g_bar_ji = sum_q U_bar_jqi l_qj A_qi.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return self._delta(params, shape, *self._bases(shape, params["randlora_gamma"]))

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        scale, gain = params["randlora_lambda"], params["randlora_gamma"]
        b, a = self._bases(shape, gain)
        matrices = xi_bar.reshape(len(xi_bar), shape[0], -1)
        along = b.T @ (matrices if _upright(shape) else transposed(matrices))
        u_bar = self.scaling * along.reshape(*gain.shape[:2], *a.shape) * a
        return {
            "randlora_lambda": np.einsum("gjqi,gji->gqj", u_bar, gain),
            "randlora_gamma": np.einsum("gjqi,gqj->gji", u_bar, scale),
        }

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        absolute = {name: np.abs(factor) for name, factor in params.items()}
        b, a = self._bases(shape, params["randlora_gamma"])
        return self._delta(absolute, shape, np.abs(b), np.abs(a))

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return math.prod(shapes["randlora_lambda"])

    def _delta(self, params: Params, shape: Shape, b: FloatArray, a: FloatArray) -> FloatArray:
        scale, gain = params["randlora_lambda"], params["randlora_gamma"]
        u = transposed(scale)[..., None] * a * gain[:, :, None, :]
        tall = self.scaling * (b @ u.reshape(len(u), b.shape[1], -1))
        return (tall if _upright(shape) else transposed(tall)).reshape(-1, *shape)

    def _bases(self, shape: Shape, like: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return B (m, N r) and A (r, n)."""
        r, (rows, columns) = self.rank_for(shape), _sides(shape)
        m, n = max(rows, columns), min(rows, columns)
        return self.normalised(ROWS, -(-n // r) * r, m, like).T, self.normalised(COLUMNS, r, n, like)


def _sides(shape: Shape) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _upright(shape: Shape) -> bool:
    """Tell whether the matrix has at least as many rows as columns."""
    rows, columns = _sides(shape)
    return rows >= columns
