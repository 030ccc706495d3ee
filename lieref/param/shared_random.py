"""Low rank between two random matrices that every layer shares: only their scales are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError
from lieref.param._base import check_scale, check_weight_shape
from lieref.param.seeded import COLUMNS, ROWS, Seeded

MOST_ENTRIES = 2**28
"""Most entries of one of the random matrices."""


@dataclass(frozen=True)
class SharedRandom(Seeded):
    """xi = diag(b) B diag(d) A, with b zero at the start and random B, A that are not stored: VeRA.

    Per conv group, rows O and columns I k_h k_w. A (r, I k_h k_w) and B (O, r) are uniform with the variances
    2 / (I k_h k_w) and 2 / r. The authors and PEFT draw one A for the widest layer and take its variance; here each
    layer's own width sets it.

    Factors: ``vera_lambda_b`` (O,) and ``vera_lambda_d`` (r,).

    Parameters
    ----------
    r : int
        Rank, at least 1, with random matrices of at most 2^28 entries; one beyond the smaller side of the weight adds
        numbers, not rank.
    d_initial : float
        Of every entry of d at the start, as in PEFT; above 0.
    frozen_seed, generator : int
        What the random matrices are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Kopiczko24, equation 2].
    """

    name: ClassVar[str] = "shared-random"
    formula: ClassVar[str] = "G·(O + r)"
    lowers_rank: ClassVar[bool] = False

    r: int = 64
    d_initial: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("SharedRandom", "r", self.r, low=1)
        check_scale("SharedRandom", "d_initial", self.d_initial)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=2), cls(r=5, d_initial=0.5, frozen_seed=7)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("shared-random", shape)
        most = MOST_ENTRIES // max(shape[0], math.prod(shape[1:]))
        if self.r > most:
            raise DomainError(f"shared-random: `r` must be at most {most} for a weight {shape}; got {self.r}")
        return {"vera_lambda_b": shape[:1], "vera_lambda_d": (self.r,)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {
            "vera_lambda_b": np.zeros((groups, shape[0])),
            "vera_lambda_d": np.full((groups, self.r), self.d_initial),
        }

    # Derivation.  xi_oj = b_o sum_q B_oq d_q A_qj.  With M = xi_bar A^T:
    #   b_bar_o = sum_q M_oq B_oq d_q,   d_bar_q = sum_o b_o B_oq M_oq.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return _delta(params, shape, *self._bases(shape, params["vera_lambda_b"]))

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        b, d = params["vera_lambda_b"], params["vera_lambda_d"]
        random_b, random_a = self._bases(shape, b)
        m = (xi_bar.reshape(len(xi_bar), shape[0], -1) @ random_a.T) * random_b
        return {"vera_lambda_b": (m @ d[:, :, None])[:, :, 0], "vera_lambda_d": (b[:, None, :] @ m)[:, 0]}

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        absolute = {name: np.abs(factor) for name, factor in params.items()}
        random_b, random_a = self._bases(shape, params["vera_lambda_b"])
        return _delta(absolute, shape, np.abs(random_b), np.abs(random_a))

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["vera_lambda_d"][0]

    def _bases(self, shape: Shape, like: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return B and A."""
        width = math.prod(shape[1:])
        b = self.normalised(ROWS, self.r, shape[0], like).T * like.real.dtype.type(math.sqrt(2 / self.r))
        return b, self.normalised(COLUMNS, self.r, width, like) * like.real.dtype.type(math.sqrt(2 / width))


def _delta(params: Params, shape: Shape, random_b: FloatArray, random_a: FloatArray) -> FloatArray:
    b, d = params["vera_lambda_b"], params["vera_lambda_d"]
    return ((b[:, :, None] * random_b * d[:, None, :]) @ random_a).reshape(-1, *shape)
