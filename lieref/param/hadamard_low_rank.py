"""Entry-wise product of two low-rank matrices."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int, check_real
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import (
    Parameterisation,
    adjusted_rank,
    alpha_of,
    check_weight_shape,
    kaiming_uniform,
    scaling_of,
    transposed,
)

_NAMES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


@dataclass(frozen=True)
class HadamardLowRank(Parameterisation):
    """xi = s (A1 B1) * (A2 B2), of rank up to r^2, with B2 zero at the start: LoHa.

    Factors of one conv group: ``hada_w1_a`` and ``hada_w2_a`` (O, r), ``hada_w1_b`` and ``hada_w2_b`` (r, I k_h k_w).

    Parameters
    ----------
    r : int
        Rank of each of the two products, as far as the matrix has room for it.
    lora_alpha : float, optional
        s = lora_alpha / r; alpha = r by default.

    References
    ----------
    [Hyeon22], [Yeh24].
    """

    name: ClassVar[str] = "hadamard-low-rank"
    formula: ClassVar[str] = "2·G·r·(O + I·k)"

    r: int = 4
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        check_int("HadamardLowRank", "r", self.r, low=1)
        if self.lora_alpha is not None:
            check_real("HadamardLowRank", "lora_alpha", self.lora_alpha, above=0.0)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5)

    @property
    def alpha(self) -> float:
        """The number alpha in s."""
        return alpha_of(self.lora_alpha, self.r)

    @property
    def scaling(self) -> float:
        """The factor s."""
        return scaling_of(self.lora_alpha, self.r)

    def rank_for(self, shape: Shape) -> int:
        """Return the rank for one conv group of this shape: r, or the largest it has room for."""
        return min(self.r, shape[0], math.prod(shape[1:]))

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("hadamard-low-rank", shape)
        rank = self.rank_for(shape)
        return dict(zip(_NAMES, [(shape[0], rank), (rank, math.prod(shape[1:]))] * 2, strict=True))

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = self.factor_shapes(shape)
        params = {name: kaiming_uniform(rng, (groups, *shapes[name])) for name in _NAMES[:3]}
        return {**params, _NAMES[3]: np.zeros((groups, *shapes[_NAMES[3]]))}

    # Derivation.  With P = A1 B1 and Q = A2 B2:  xi = s P * Q,  P_bar = s xi_bar * Q,  Q_bar = s xi_bar * P,
    # and each product as in LoRA:  A_bar = P_bar B^T,  B_bar = A^T P_bar.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        a1, b1, a2, b2 = (params[name] for name in _NAMES)
        return (self.scaling * (a1 @ b1) * (a2 @ b2)).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        a1, b1, a2, b2 = (params[name] for name in _NAMES)
        m = self.scaling * xi_bar.reshape(xi_bar.shape[0], shape[0], -1)
        p_bar, q_bar = m * (a2 @ b2), m * (a1 @ b1)
        bars = (p_bar @ transposed(b1), transposed(a1) @ p_bar, q_bar @ transposed(b2), transposed(a2) @ q_bar)
        return dict(zip(_NAMES, bars, strict=True))
