"""Low rank that starts at the principal singular directions of the weight."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, adjusted_rank, check_weight_shape, transposed


@dataclasses.dataclass(frozen=True)
class Principal(Parameterisation):
    """xi = B A - B0 A0, where B0 A0 is the best rank-r part of the weight: PiSSA.

    The published form trains W_res + B A with the frozen rest W_res = W0 - B0 A0, which is W0 + xi. It is computed as
    (B - B0) A + B0 (A - A0): exactly zero at the start, without cancellation later. Per conv group, rows O and columns
    I k_h k_w.

    With `of_logarithm` the decomposed matrix is log|W0|. Then W0 exp(xi) = sign(W0) exp(L_res + B A) with
    L = log|W0| = L_res + B0 A0: PiSSA carried out in the algebra of the Hadamard group, which no source spells out
    (derived here). A zero weight is a fixed point and counts with the mean logarithm.

    Factors: ``lora_a`` (r, I k_h k_w) and ``lora_b`` (O, r), trained; ``start_a`` and ``start_b``, frozen.

    References
    ----------
    [Meng24].
    """

    name: ClassVar[str] = "principal"
    frozen: ClassVar[frozenset[str]] = frozenset({"start_a", "start_b"})
    needs_base_weight: ClassVar[bool] = True
    formula: ClassVar[str] = "G·r·(O + I·k)"

    r: int = 4
    of_logarithm: bool = False

    def __post_init__(self) -> None:
        check_int("Principal", "r", self.r, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2), cls(r=1, of_logarithm=True)

    @property
    def alpha(self) -> float:
        """The number alpha whose alpha / r stands before B A: r."""
        return float(self.r)

    def rank_for(self, shape: Shape) -> int:
        """Return the rank for one conv group of this shape: r, or the largest it has room for."""
        return min(self.r, shape[0], math.prod(shape[1:]))

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def columns_of_channel(self, shape: Shape) -> int:
        """Return how many columns of A, one behind the other, read one in channel."""
        return math.prod(shape[2:])

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("principal", shape)
        rank = self.rank_for(shape)
        return {"lora_a": (rank, math.prod(shape[1:])), "lora_b": (shape[0], rank)}

    def frozen_shapes(self, shape: Shape) -> dict[str, Shape]:
        shapes = self.factor_shapes(shape)
        return {"start_a": shapes["lora_a"], "start_b": shapes["lora_b"]}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        assert base is not None  # `init` refuses a missing base weight
        matrices = base.reshape(groups, shape[0], -1)
        if self.of_logarithm:
            matrices = _log_magnitude(matrices)
        r = self.rank_for(shape)
        u, s, vt = np.linalg.svd(matrices, full_matrices=False)
        root = np.sqrt(s[:, :r])
        a, b = root[:, :, None] * vt[:, :r], u[:, :, :r] * root[:, None, :]
        return {"lora_a": a, "lora_b": b, "start_a": a.copy(), "start_b": b.copy()}

    # Derivation.  (B - B0) A + B0 (A - A0) = B A - B0 A0, so the VJP is LoRA's: A_bar = B^T M, B_bar = M A^T.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        a, b, a0, b0 = (params[name] for name in ("lora_a", "lora_b", "start_a", "start_b"))
        return ((b - b0) @ a + b0 @ (a - a0)).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        m = xi_bar.reshape(xi_bar.shape[0], shape[0], -1)
        return {"lora_a": transposed(params["lora_b"]) @ m, "lora_b": m @ transposed(params["lora_a"])}


def _log_magnitude(weights: FloatArray) -> FloatArray:
    """Return log|W|, with the mean of the finite entries where W is zero."""
    zero = weights == 0.0
    if zero.all():
        return np.zeros_like(weights)
    logs = np.log(np.abs(np.where(zero, 1.0, weights)))
    return np.where(zero, logs[~zero].mean(), logs)
