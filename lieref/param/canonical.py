"""Canonical polyadic form: a sum of outer products, one vector for each mode of the kernel."""

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
class Canonical(AlphaOverRank, Parameterisation):
    """xi[o, i, u, v] = s sum_q A[o, q] B[i, q] C[u, q] D[v, q], with A zero at the start: the CP form.

    Factors: ``factor_0`` (O, r), ``factor_1`` (I, r), and one (size, r) for each kernel axis. B is uniform with the
    variance 1 / (3 I k_h k_w) and the others normal with variance 1, so that their products have the spread of LoRA's
    A. On a linear weight this is LoRA.

    Parameters
    ----------
    r : int
        Number of products. It is the rank of the tensor, which may exceed every side.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.

    References
    ----------
    [Kolda09, section 3]; as an adapter of kernels derived here.
    """

    name: ClassVar[str] = "canonical"
    formula: ClassVar[str] = "G·r·(O + I + w)"
    lowers_rank: ClassVar[bool] = False

    r: int = 4
    lora_alpha: float | None = None

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("canonical", shape)
        return {f"factor_{mode}": (size, self.r) for mode, size in enumerate(shape)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        params: Params = {
            "factor_0": np.zeros((groups, shape[0], self.r)),
            "factor_1": rng.uniform(-bound, bound, (groups, shape[1], self.r)),
        }
        for mode, size in enumerate(shape[2:], start=2):
            params[f"factor_{mode}"] = rng.standard_normal((groups, size, self.r))
        return params

    # Derivation.  P_n[(i_n, i_n+1, ...), q] = U_n[i_n, q] P_n+1[(i_n+1, ...), q] and xi = s U_0 P_1^T. With M the
    # cotangent of P_n, seen as (i_n, rest, q):
    #   U_n_bar[i, q] = sum over rest of M[i, rest, q] P_n+1[rest, q],
    #   P_n+1_bar[rest, q] = sum_i M[i, rest, q] U_n[i, q].
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        products = self._products(params)
        return (self.scaling * (params["factor_0"] @ transposed(products[0]))).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        products = self._products(params)
        m = self.scaling * xi_bar.reshape(len(xi_bar), shape[0], -1)
        bars = {"factor_0": m @ products[0]}
        bar = transposed(m) @ params["factor_0"]
        for mode in range(1, len(shape) - 1):
            factor, rest = params[f"factor_{mode}"], products[mode]
            apart = bar.reshape(len(bar), factor.shape[1], -1, self.r)
            bars[f"factor_{mode}"] = (apart * rest[:, None]).sum(axis=2)
            bar = (apart * factor[:, :, None]).sum(axis=1)
        return {**bars, f"factor_{len(shape) - 1}": bar}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["factor_0"][1] + len(shapes)

    @staticmethod
    def _products(params: Params) -> list[FloatArray]:
        """Return P_1, P_2 ...: the products of the rows of a factor with those of all behind it, (groups, rows, r)."""
        found = [params[f"factor_{len(params) - 1}"]]
        for mode in range(len(params) - 2, 0, -1):
            rows = params[f"factor_{mode}"][:, :, None] * found[0][:, None]
            found.insert(0, rows.reshape(len(rows), -1, rows.shape[-1]))
        return found
