"""Kronecker product of a small and a large factor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import (
    Parameterisation,
    check_weight_shape,
    kaiming_uniform,
    transposed,
)
from lieref.param.middle import between, between_vjp
from lieref.param.scaled import AlphaOverRank


@dataclass(frozen=True)
class Kronecker(AlphaOverRank, Parameterisation):
    """xi[(a, c), (b, d), ...] = s w1[a, b] w2[c, d, ...], with w1 zero at the start: LoKr.

    O = a c and I = b d, each split by `split`. Factors: ``w1`` (a, b), and ``w2`` (c, d, *kernel) or, where
    the rank is below half of max(c, d), its low-rank form ``w2_a`` (c, r) and ``w2_b`` (r, d k_h k_w). With `tucker`
    that of a kernel is T ×_1 A ×_2 B^T, with ``t2`` (r, r, *kernel) and B (r, d).

    Parameters
    ----------
    r : int
        Rank of w2.
    lora_alpha : float, optional
        s = lora_alpha / r; alpha = r by default.
    factor : int, optional
        Size of a and of b, where it divides O, respectively I; see `split`.
    tucker : bool
        Whether the low-rank form of a kernel has a core between pointwise matrices.

    References
    ----------
    [Yeh24]; sizes and start as in PEFT. LyCORIS takes s = 1 wherever w2 is whole, whatever alpha is.
    """

    name: ClassVar[str] = "kronecker"
    lowers_rank: ClassVar[bool] = False
    formula: ClassVar[str] = "G·(a·b + c·d·k) or G·(a·b + r·(c + d·k))"

    r: int = 4
    lora_alpha: float | None = None
    factor: int | None = None
    tucker: bool = False

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()
        if self.factor is not None:
            check_int("Kronecker", "factor", self.factor, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=4), cls(r=1, lora_alpha=2.5, factor=2), cls(r=1, tucker=True)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("kronecker", shape)
        (a, c), (b, d) = split(shape[0], self.factor), split(shape[1], self.factor)
        if 2 * self.r < max(c, d):
            if self.tucker and math.prod(shape[2:]) > 1:
                core = (self.r, self.r, *shape[2:])
                return {"w1": (a, b), "w2_a": (c, self.r), "w2_b": (self.r, d), "t2": core}
            return {"w1": (a, b), "w2_a": (c, self.r), "w2_b": (self.r, d * math.prod(shape[2:]))}
        return {"w1": (a, b), "w2": (c, d, *shape[2:])}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        params: Params = {}
        for name, one in self.factor_shapes(shape).items():
            flat = (groups, one[0], math.prod(one[1:]))
            drawn = np.zeros(flat) if name == "w1" else kaiming_uniform(rng, flat)
            params[name] = drawn.reshape(groups, *one)
        return params

    # Derivation.  xi_acbdk = s w1_ab w2_cdk is bilinear:
    #   w1_bar_ab = s sum_cdk xi_bar_acbdk w2_cdk,   w2_bar_cdk = s sum_ab xi_bar_acbdk w1_ab,
    # and where w2 = A B:  A_bar = w2_bar B^T,  B_bar = A^T w2_bar. With a core, `lieref.param.middle` has both.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        w1, w2 = params["w1"], self._w2(params, shape)
        groups = w1.shape[0]
        xi: FloatArray = self.scaling * np.einsum("gab,gcdk->gacbdk", w1, w2)
        return xi.reshape(groups, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        w1, w2 = params["w1"], self._w2(params, shape)
        (groups, a, b), (_, c, d, k) = w1.shape, w2.shape
        apart = self.scaling * xi_bar.reshape(groups, a, c, b, d, k)
        bars = {"w1": np.einsum("gacbdk,gcdk->gab", apart, w2)}
        w2_bar = np.einsum("gacbdk,gab->gcdk", apart, w1)
        if "w2" in params:
            return {**bars, "w2": w2_bar.reshape(params["w2"].shape)}
        if "t2" in params:
            core, flat = params["t2"], params["t2"].reshape(*params["t2"].shape[:3], k)
            a_bar, core_bar, b_bar = between_vjp(params["w2_a"], flat, params["w2_b"], w2_bar)
            return {**bars, "w2_a": a_bar, "w2_b": b_bar, "t2": core_bar.reshape(core.shape)}
        m = w2_bar.reshape(groups, c, d * k)
        return {**bars, "w2_a": m @ transposed(params["w2_b"]), "w2_b": transposed(params["w2_a"]) @ m}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["w2_b"][0] * (2 if "t2" in shapes else 1) if "w2_b" in shapes else 1

    def _w2(self, params: Params, shape: Shape) -> FloatArray:
        """Return w2 as (groups, c, d, kernel positions)."""
        if "t2" in params:
            core = params["t2"]
            return between(params["w2_a"], core.reshape(*core.shape[:3], -1), params["w2_b"])
        w2 = params["w2"] if "w2" in params else params["w2_a"] @ params["w2_b"]
        d = split(shape[1], self.factor)[1]
        return w2.reshape(*w2.shape[:2], d, math.prod(shape[2:]))


def split(size: int, factor: int | None) -> tuple[int, int]:
    """Return two factors of a size as LyCORIS and PEFT choose them.

    Where `factor` divides the size it is the first of them. Else the first is the largest divisor up to `factor` and
    up to the square root, or up to the square root alone without a `factor`: 360 is 15 x 24 for 16, 18 x 20 for none.
    """
    if factor is not None and size % factor == 0:
        return factor, size // factor
    limit = math.isqrt(size) if factor is None else min(factor, math.isqrt(size))
    small = next(n for n in range(limit, 0, -1) if size % n == 0)
    return small, size // small
