"""A trained matrix after a random projection of the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import check_weight_shape
from lieref.param.scaled import AlphaOverRank, RankOfMatrix
from lieref.param.seeded import COLUMNS, Seeded


@dataclass(frozen=True)
class Projected(AlphaOverRank, RankOfMatrix, Seeded):
    """xi = s B A, with B zero at the start and a random A that is not stored: LoRA with A frozen, LoRA-FA.

    Per conv group, rows O and columns I k_h k_w. A (r, I k_h k_w) has LoRA's spread, the variance 1 / (3 I k_h k_w).
    The authors draw an A for each layer; here layers share them. In return half of the adapter is no longer stored.

    Factor: ``lora_b`` (O, r).

    Parameters
    ----------
    r : int
        Rank, at least 1. A matrix with fewer rows or columns gets as much as it has room for; s stays that of r.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.
    frozen_seed, generator : int
        What the random matrices are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Zhang23, equation 3].
    """

    name: ClassVar[str] = "projected"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·r·O"

    r: int = 4
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5, frozen_seed=7)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("projected", shape)
        return {"lora_b": (shape[0], self.rank_for(shape))}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"lora_b": np.zeros((groups, *self.factor_shapes(shape)["lora_b"]))}

    # Derivation.  xi = s B A with A constant:  B_bar = s xi_bar A^T.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return (params["lora_b"] @ self._projection(params, shape)).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        return {"lora_b": xi_bar.reshape(len(xi_bar), shape[0], -1) @ self._projection(params, shape).T}

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        return (np.abs(params["lora_b"]) @ np.abs(self._projection(params, shape))).reshape(-1, *shape)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["lora_b"][1]

    def _projection(self, params: Params, shape: Shape) -> FloatArray:
        """Return s A."""
        b, width = params["lora_b"], math.prod(shape[1:])
        a = self.normalised(COLUMNS, b.shape[-1], width, b)
        return a * a.dtype.type(self.scaling / math.sqrt(3 * width))
