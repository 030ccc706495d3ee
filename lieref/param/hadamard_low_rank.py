"""Entry-wise product of two low-rank matrices, or of two kernels in Tucker form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import (
    Parameterisation,
    check_weight_shape,
    kaiming_uniform,
    transposed,
)
from lieref.param.middle import between, between_vjp
from lieref.param.scaled import AlphaOverRank, RankOfMatrix

_NAMES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_CORES = ("hada_t1", "hada_t2")


@dataclass(frozen=True)
class HadamardLowRank(AlphaOverRank, RankOfMatrix, Parameterisation):
    """xi = s (A1 B1) * (A2 B2), of rank up to r^2, with B2 zero at the start: LoHa.

    Factors of one conv group: ``hada_w1_a`` and ``hada_w2_a`` (O, r), ``hada_w1_b`` and ``hada_w2_b`` (r, I k_h k_w).
    With `tucker`, each of the two is a kernel T ×_1 A ×_2 B^T, with ``hada_t1`` and ``hada_t2`` (r, r, *kernel) and B
    (r, I); a weight without a kernel keeps the first form.

    Parameters
    ----------
    r : int
        Rank of each of the two products, as far as the matrix has room for it.
    lora_alpha : float, optional
        s = lora_alpha / r; alpha = r by default.
    tucker : bool
        Whether kernels have a core each, between pointwise matrices.

    References
    ----------
    [Hyeon22, equation 1; section 2.3 for kernels], [Yeh24].
    """

    name: ClassVar[str] = "hadamard-low-rank"
    formula: ClassVar[str] = "2·G·r·(O + I·k)"

    r: int = 4
    lora_alpha: float | None = None
    tucker: bool = False

    def __post_init__(self) -> None:
        self.check_rank_and_alpha()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2, lora_alpha=2.5), cls(r=2, tucker=True)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("hadamard-low-rank", shape)
        rank = self.rank_for(shape)
        if self._has_cores(shape):
            shapes = dict(zip(_NAMES, [(shape[0], rank), (rank, shape[1])] * 2, strict=True))
            return {**shapes, **dict.fromkeys(_CORES, (rank, rank, *shape[2:]))}
        return dict(zip(_NAMES, [(shape[0], rank), (rank, math.prod(shape[1:]))] * 2, strict=True))

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = self.factor_shapes(shape)
        params = {name: kaiming_uniform(rng, (groups, *shapes[name])) for name in _NAMES[:3]}
        params[_NAMES[3]] = np.zeros((groups, *shapes[_NAMES[3]]))
        for name in (core for core in _CORES if core in shapes):
            flat = (groups, shapes[name][0], math.prod(shapes[name][1:]))
            params[name] = kaiming_uniform(rng, flat).reshape(groups, *shapes[name])
        return params

    # Derivation.  With P = A1 B1 and Q = A2 B2:  xi = s P * Q,  P_bar = s xi_bar * Q,  Q_bar = s xi_bar * P,
    # and each product as in LoRA:  A_bar = P_bar B^T,  B_bar = A^T P_bar. With cores, `lieref.param.middle` has both.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        p, q = (self._product(params, number, shape) for number in (1, 2))
        return (self.scaling * p * q).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        p, q = (self._product(params, number, shape) for number in (1, 2))
        m = self.scaling * xi_bar.reshape(p.shape)
        return {**self._product_vjp(params, 1, m * q), **self._product_vjp(params, 2, m * p)}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 2 * shapes["hada_w1_b"][0] * (2 if "hada_t1" in shapes else 1)

    def _has_cores(self, shape: Shape) -> bool:
        return self.tucker and math.prod(shape[2:]) > 1

    def _product(self, params: Params, number: int, shape: Shape) -> FloatArray:
        """Return P or Q: matrices (groups, O, I k), or kernels (groups, O, I, k)."""
        a, b = params[f"hada_w{number}_a"], params[f"hada_w{number}_b"]
        return between(a, _flat(params[f"hada_t{number}"]), b) if self._has_cores(shape) else a @ b

    def _product_vjp(self, params: Params, number: int, bar: FloatArray) -> Params:
        names = f"hada_w{number}_a", f"hada_t{number}", f"hada_w{number}_b"
        a, b = params[names[0]], params[names[2]]
        if names[1] not in params:
            return {names[0]: bar @ transposed(b), names[2]: transposed(a) @ bar}
        core = params[names[1]]
        a_bar, core_bar, b_bar = between_vjp(a, _flat(core), b, bar)
        return dict(zip(names, (a_bar, core_bar.reshape(core.shape), b_bar), strict=True))


def _flat(core: FloatArray) -> FloatArray:
    """Return cores (groups, r, r, *kernel) with one axis for the kernel."""
    return core.reshape(*core.shape[:3], -1)
