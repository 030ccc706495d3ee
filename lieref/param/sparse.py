"""Single entries at random places: sparse, of high rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import check_weight_shape
from lieref.param.seeded import Seeded


@dataclass(frozen=True)
class Sparse(Seeded):
    """xi is zero but for r (O + I k_h k_w) entries of each conv group at random places, zero at the start: SHiRA.

    So many entries as LoRA of rank r trains numbers. The places are those of SHiRA's random mask; the authors' other
    masks are made of the weight or of gradients.

    Factor: ``values`` (count,), in the order of the entries of a group.

    Parameters
    ----------
    r : int
        Of the count, which ends where all entries move.
    frozen_seed, generator : int
        What the places are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Bhardwaj24, section 3], with a new mask for each shape, not for each layer.
    """

    name: ClassVar[str] = "sparse"
    formula: ClassVar[str] = "G·r·(O + I·k)"
    lowers_rank: ClassVar[bool] = False

    r: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("Sparse", "r", self.r, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, frozen_seed=7)

    def group_adjusted(self, shape: Shape) -> str:
        count = self._count(shape)
        return f"all {count} entries" if count < self.r * (shape[0] + math.prod(shape[1:])) else ""

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("sparse", shape)
        return {"values": (self._count(shape),)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"values": np.zeros((groups, self._count(shape)))}

    # Derivation.  Every value is one entry of xi, so its cotangent is that entry of xi_bar.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        values = params["values"]
        xi = np.zeros((len(values), math.prod(shape)), values.dtype)
        xi[:, self.places(xi.shape[1], values.shape[1])] = values
        return xi.reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        flat = xi_bar.reshape(len(xi_bar), -1)
        return {"values": flat[:, self.places(flat.shape[1], params["values"].shape[1])]}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 0

    def _count(self, shape: Shape) -> int:
        return min(self.r * (shape[0] + math.prod(shape[1:])), math.prod(shape))
