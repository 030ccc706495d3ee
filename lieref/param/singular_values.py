"""Low rank in the form of a singular value decomposition, whose values are trained on their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, check_weight_shape, stack, transposed
from lieref.param.scaled import AlphaOverRank, RankOfMatrix

SPREAD = 0.02
"""Standard deviation of both outer factors at the start [Zhang23A, appendix A] and in PEFT."""


@dataclass(frozen=True)
class SingularValues(AlphaOverRank, RankOfMatrix, Parameterisation):
    """xi = s B diag(e) A, with e zero at the start: AdaLoRA's form, at a fixed rank.

    Per conv group, rows O and columns I k_h k_w. A value that is zero leaves its row of A and column of B without
    effect, which is how AdaLoRA takes ranks away from a layer in training (`lieref.train.adalora`).

    Factors: ``lora_a`` (r, I k_h k_w), ``lora_b`` (O, r), both normal with the deviation 0.02, and ``lora_e`` (r,).

    Parameters
    ----------
    r : int
        Rank, at least 1. A matrix with fewer rows or columns gets as much as it has room for; s stays that of r.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.

    References
    ----------
    [Zhang23A, equation 3].
    """

    name: ClassVar[str] = "singular-values"
    formula: ClassVar[str] = "G·r·(O + I·k + 1)"

    r: int = 4
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("singular-values", shape)
        rank = self.rank_for(shape)
        return {"lora_a": (rank, math.prod(shape[1:])), "lora_e": (rank,), "lora_b": (shape[0], rank)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = self.factor_shapes(shape)
        params = {name: SPREAD * rng.standard_normal((groups, *shapes[name])) for name in ("lora_a", "lora_b")}
        return {**params, "lora_e": np.zeros((groups, *shapes["lora_e"]))}

    # Derivation.  xi = s B diag(e) A.  With M = s xi_bar and N = M A^T:
    #   B_bar = N diag(e),   e_bar_q = sum_o B_oq N_oq,   A_bar = diag(e) B^T M.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        scaled = params["lora_b"] * params["lora_e"][:, None, :]
        return (self.scaling * (scaled @ params["lora_a"])).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        a, e, b = params["lora_a"], params["lora_e"], params["lora_b"]
        m = self.scaling * xi_bar.reshape(len(xi_bar), shape[0], -1)
        n = m @ transposed(a)
        return {
            "lora_a": e[:, :, None] * (transposed(b) @ m),
            "lora_e": (b * n).sum(axis=1),
            "lora_b": n * e[:, None, :],
        }

    # A conv group that has fewer values left than another keeps some that are zero: all have one rank.
    def pruned(self, params: Params, shape: Shape, groups: int = 1) -> tuple[Self, Params] | None:
        split = self.split(params, shape, groups)
        used = split["lora_e"] != 0.0
        rank = max(1, int(used.sum(axis=1).max()))
        if rank == used.shape[1]:
            return self, params
        kept = np.sort(np.argsort(~used, axis=1, kind="stable")[:, :rank], axis=1)
        left = {
            "lora_a": np.take_along_axis(split["lora_a"], kept[:, :, None], axis=1),
            "lora_e": np.take_along_axis(split["lora_e"], kept, axis=1),
            "lora_b": np.take_along_axis(split["lora_b"], kept[:, None, :], axis=2),
        }
        alpha = None if self.scaling == self.alpha_over_rank else self.scaling * rank
        return dataclasses.replace(self, r=rank, lora_alpha=alpha), {name: stack(one) for name, one in left.items()}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["lora_a"][0]
