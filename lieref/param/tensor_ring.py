"""Tensor ring: a core for each mode of the kernel, each tied to the next and the last to the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, check_weight_shape, transposed
from lieref.param.scaled import AlphaOverRank


@dataclass(frozen=True)
class TensorRing(AlphaOverRank, Parameterisation):
    """xi[o, i, u, v] = s tr(G_0[:, o] G_1[:, i] G_2[:, u] G_3[:, v]), with G_0 zero at the start.

    Factors: ``core_0`` (r, O, r), ``core_1`` (r, I, r), and one (r, size, r) for each kernel axis. G_1 is uniform with
    the variance 1 / (3 I k_h k_w) and those of the kernel normal with the variance 1 / r, so that their product has the
    spread of LoRA's A. On a linear weight the rank is up to r^2.

    Parameters
    ----------
    r : int
        Size of every tie.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.

    References
    ----------
    [Zhao16, equation 1]; as an adapter of kernels derived here.
    """

    name: ClassVar[str] = "tensor-ring"
    formula: ClassVar[str] = "G·r·r·(O + I + w)"
    lowers_rank: ClassVar[bool] = False

    r: int = 2
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=3, lora_alpha=2.5)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("tensor-ring", shape)
        return {f"core_{mode}": (self.r, size, self.r) for mode, size in enumerate(shape)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        bound, r = 1.0 / math.sqrt(math.prod(shape[1:])), self.r
        params: Params = {
            "core_0": np.zeros((groups, r, shape[0], r)),
            "core_1": rng.uniform(-bound, bound, (groups, r, shape[1], r)),
        }
        for mode, size in enumerate(shape[2:], start=2):
            params[f"core_{mode}"] = rng.standard_normal((groups, r, size, r)) / math.sqrt(r)
        return params

    # Derivation.  The chain P_n[a, (i_n, i_n+1, ...), z] = sum_b G_n[a, i_n, b] P_n+1[b, (i_n+1, ...), z] closes to
    # xi[o, j] = s sum_ab G_0[a, o, b] P_1[b, j, a].  With M = P_n_bar as (a, i, rest, z):
    #   G_n_bar[a, i, b] = sum_(rest, z) M[a, i, rest, z] P_n+1[b, rest, z],
    #   P_n+1_bar[b, rest, z] = sum_(a, i) G_n[a, i, b] M[a, i, rest, z].
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        chain = self._chains(params)[0]
        return (self.scaling * (_opened(params["core_0"]) @ _closing(chain))).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        chains, r = self._chains(params), self.r
        m = self.scaling * xi_bar.reshape(len(xi_bar), shape[0], -1)
        opened_bar = m @ transposed(_closing(chains[0]))
        bars: Params = {"core_0": opened_bar.reshape(-1, shape[0], r, r).transpose(0, 2, 1, 3)}
        bar: FloatArray = (transposed(_opened(params["core_0"])) @ m).reshape(len(m), r, r, -1).transpose(0, 2, 3, 1)
        for mode in range(1, len(shape) - 1):
            core, rest = params[f"core_{mode}"], chains[mode]
            rows, columns = r * core.shape[2], rest.shape[2] * r
            apart = bar.reshape(len(bar), rows, columns)
            bars[f"core_{mode}"] = (apart @ transposed(rest.reshape(-1, r, columns))).reshape(core.shape)
            bar = (transposed(core.reshape(-1, rows, r)) @ apart).reshape(rest.shape)
        return {**bars, f"core_{len(shape) - 1}": bar}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["core_0"][0] * (len(shapes) + shapes["core_0"][0])

    @staticmethod
    def _chains(params: Params) -> list[FloatArray]:
        """Return P_1, P_2 ..., each (groups, r, positions, r)."""
        found = [params[f"core_{len(params) - 1}"]]
        for mode in range(len(params) - 2, 0, -1):
            core = params[f"core_{mode}"]
            groups, r, size, _ = core.shape
            product = core.reshape(groups, r * size, r) @ found[0].reshape(groups, r, -1)
            found.insert(0, product.reshape(groups, r, -1, r))
        return found


def _opened(core: FloatArray) -> FloatArray:
    """Return G_0 (groups, a, O, b) as matrices (groups, O, a b)."""
    return core.transpose(0, 2, 1, 3).reshape(len(core), core.shape[2], -1)


def _closing(chain: FloatArray) -> FloatArray:
    """Return P_1 (groups, b, J, a) as matrices (groups, a b, J)."""
    return chain.transpose(0, 3, 1, 2).reshape(len(chain), -1, chain.shape[2])
