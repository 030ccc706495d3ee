"""A pointwise matrix times a depthwise kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, check_weight_shape


@dataclass(frozen=True)
class Separable(Parameterisation):
    """xi[o, i, u, v] = P[o, i] D[o, u, v], with D zero at the start: a depthwise-separable convolution.

    [CoLoRA25] calls this convolutional low-rank adaptation, in short CoLoRA, which is another method's name too
    (continuous low-rank adaptation, ICML 2024). Its branch has a bias and no place in a grouped kernel; here it is
    merged, without a bias, and has a set of factors for each conv group.

    Factors: ``pointwise`` (O, I), Glorot-uniform, and ``depthwise`` (O, *kernel). About one k_h k_w-th of the kernel:
    not low rank. On a linear weight D is one number for each row.

    References
    ----------
    [CoLoRA25].
    """

    name: ClassVar[str] = "separable"
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "G·O·(I + k)"

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("separable", shape)
        return {"pointwise": shape[:2], "depthwise": (shape[0], *shape[2:])}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        bound = math.sqrt(6.0 / (shape[0] + shape[1]))
        return {
            "pointwise": rng.uniform(-bound, bound, (groups, *shape[:2])),
            "depthwise": np.zeros((groups, shape[0], *shape[2:])),
        }

    # Derivation.  xi_oik = P_oi D_ok:  P_bar_oi = sum_k xi_bar_oik D_ok,  D_bar_ok = sum_i xi_bar_oik P_oi.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        p, d = params["pointwise"], self._flat(params["depthwise"])
        return (p[..., None] * d[:, :, None, :]).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        p, d = params["pointwise"], self._flat(params["depthwise"])
        m = xi_bar.reshape(*p.shape, -1)
        d_bar = np.einsum("goik,goi->gok", m, p)
        return {"pointwise": np.einsum("goik,gok->goi", m, d), "depthwise": d_bar.reshape(params["depthwise"].shape)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 1

    def _flat(self, depthwise: FloatArray) -> FloatArray:
        """Return D as (groups, O, kernel positions)."""
        return depthwise.reshape(*depthwise.shape[:2], -1)
