"""Low rank that starts at a product of two matrices, most of them parts of the weight, and counts from there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, ShapeError
from lieref.param._base import (
    Parameterisation,
    adjusted_rank,
    alpha_of,
    check_scale,
    check_weight_shape,
    scaling_of,
    stack,
    transposed,
)
from lieref.param.corda import weighted_parts
from lieref.param.starts import CORDA, KEEPS, NITER, STARTS, is_start

ORTHOGONAL_SCALE = 0.1
"""Of the factors of an orthogonal start, as in PEFT."""


@dataclass(frozen=True)
class Principal(Parameterisation):
    """xi = s (B A - B0 A0), where s B0 A0 is the part of the weight that the rank-r factors start at.

    The published forms train W_res + s B A with the frozen rest W_res = W0 - s B0 A0, which is W0 + xi. It is computed
    as (B - B0) A + B0 (A - A0): exactly zero at the start, without cancellation later. Per conv group, rows O and
    columns I k_h k_w.

    ===================== ==================================================================================
    start                 B0, A0
    ===================== ==================================================================================
    ``pissa``             U sqrt(S / s), sqrt(S / s) V^T of the r largest singular values of W [Meng24]
    ``pissa_niter_N``     the same of W on a random r-dimensional subspace after N iterations [Halko11]
    ``olora``             Q and R of W = Q R, their first r columns and rows [Buyukakyuz24]
    ``orthogonal``        random, with the odd and the even rows of an orthogonal matrix between: B0 A0 = 0
    ``corda``             U sqrt(S / s), sqrt(S / s) V^T C^-1 of the r largest singular values of W C [Yang24]
    ``corda_kpm``         the same of the r smallest
    ===================== ==================================================================================

    The orthogonal one, as in PEFT, is exactly zero there too, though not to rounding; its rank is even. C is the second
    moment of what the layer reads (`weighted_parts`), and I until that is known: `started_from` makes factors of it.

    With `of_logarithm` the decomposed matrix is log|W0|. Then W0 exp(xi) = sign(W0) exp(L_res + B A) with
    L = log|W0| = L_res + B0 A0: PiSSA carried out in the algebra of the Hadamard group, which no source spells out
    (derived here). A zero weight is a fixed point and counts with the mean logarithm.

    Factors: ``lora_a`` (r, I k_h k_w) and ``lora_b`` (O, r), trained; ``start_a`` and ``start_b``, frozen.

    Parameters
    ----------
    r : int
        Rank, at least 1. A matrix with fewer rows or columns gets as much as it has room for; s stays that of r.
    of_logarithm : bool
        Whether the matrix that is decomposed is log|W0|, for xi in the algebra of the Hadamard group.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.
    use_rslora : bool
        s = lora_alpha / sqrt(r) instead, with alpha = 4 by default [Kalajdzievski23].
    start : str
        One of those in the table; N is a number of iterations.

    References
    ----------
    [Meng24], [Buyukakyuz24], [Halko11], [Yang24].
    """

    name: ClassVar[str] = "principal"
    frozen: ClassVar[frozenset[str]] = frozenset({"start_a", "start_b"})
    needs_base_weight: ClassVar[bool] = True
    formula: ClassVar[str] = "G·r·(O + I·k)"

    r: int = 4
    of_logarithm: bool = False
    lora_alpha: float | None = None
    use_rslora: bool = False
    start: str = "pissa"

    def __post_init__(self) -> None:
        check_int("Principal", "r", self.r, low=1)
        if self.lora_alpha is not None:
            check_scale("Principal", "lora_alpha", self.lora_alpha)
        if not is_start(self.start):
            raise DomainError(f"Principal: `start` must be one of {', '.join(STARTS)}; got {self.start!r}")
        if self.start == "orthogonal" and self.r % 2:
            raise DomainError(f"Principal: `r` must be even where the start is orthogonal; got {self.r}")
        if self.start in ("orthogonal", *CORDA) and self.of_logarithm:
            raise DomainError("Principal: `of_logarithm` must be False where the start is no part of the weight")

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (
            cls(r=1), cls(r=2), cls(r=1, of_logarithm=True), cls(r=2, lora_alpha=3.0, start="olora"),
            cls(r=2, use_rslora=True, start="pissa_niter_2"), cls(r=2, lora_alpha=1.0, start="orthogonal"),
            cls(r=2, lora_alpha=3.0, start="corda_kpm"),
        )  # fmt: skip

    @property
    def alpha(self) -> float:
        """The number alpha in s."""
        return alpha_of(self.lora_alpha, self.r, self.use_rslora)

    @property
    def scaling(self) -> float:
        """The factor s in front of B A."""
        return scaling_of(self.lora_alpha, self.r, self.use_rslora)

    @property
    def wants_inputs(self) -> bool:
        return self.start in CORDA

    def rank_for(self, shape: Shape) -> int:
        """Return the rank for one conv group of this shape: r, or the largest it has room for.

        Raises
        ------
        ShapeError
            If an even rank is wanted and there is no room for two.
        """
        room = min(shape[0], math.prod(shape[1:]))
        if self.start != "orthogonal":
            return min(self.r, room)
        if room < 2:
            raise ShapeError(f"principal: `shape` must have room for an even rank; got {shape}")
        return min(self.r, room // 2 * 2)

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
        return _at_start(*self._started(matrices, self.rank_for(shape), rng))

    def started_from(self, moments: FloatArray, base_weight: FloatArray) -> Params:
        """Return the factors of `init` for layers that read such inputs, in float64: xi of them is exactly zero.

        Parameters
        ----------
        moments : (blocks, I k, I k) float64 array
            sum x x^T over the inputs of each block of rows that has factors of its own, `factor_groups` many; finite.
        base_weight : (O, I, *kernel) or (O, I) float array
        """
        matrices = base_weight.astype(np.float64).reshape(len(moments), -1, moments.shape[-1])
        rank = self.rank_for((matrices.shape[1], *base_weight.shape[1:]))
        factors = _at_start(*self._weighted(matrices, moments, rank))
        return {name: stack(factor) for name, factor in factors.items()}

    def _weighted(self, matrices: FloatArray, moments: FloatArray | None, r: int) -> tuple[FloatArray, FloatArray]:
        b, a = weighted_parts(matrices, moments, r, smallest=self.start == KEEPS)
        return b / math.sqrt(self.scaling), a / math.sqrt(self.scaling)

    def _started(self, matrices: FloatArray, r: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Return B0 (groups, rows, r) and A0 (groups, r, columns) of matrices (groups, rows, columns)."""
        if self.wants_inputs:
            return self._weighted(matrices, None, r)
        if self.start == "orthogonal":
            return _orthogonal(matrices.shape, r, rng)
        if self.start == "olora":
            q, upper = np.linalg.qr(matrices)
            return q[:, :, :r], upper[:, :r]
        found = re.fullmatch(NITER, self.start, re.ASCII)
        u, s, vt = _subspace_svd(matrices, r, int(found[1]), rng) if found else _svd(matrices)
        root = np.sqrt(s[:, :r] / self.scaling)
        return u[:, :, :r] * root[:, None, :], root[:, :, None] * vt[:, :r]

    # Derivation.  (B - B0) A + B0 (A - A0) = B A - B0 A0, so the VJP is LoRA's: A_bar = s B^T M, B_bar = s M A^T.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        a, b, a0, b0 = (params[name] for name in ("lora_a", "lora_b", "start_a", "start_b"))
        return (self.scaling * ((b - b0) @ a + b0 @ (a - a0))).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        m = self.scaling * xi_bar.reshape(xi_bar.shape[0], shape[0], -1)
        return {"lora_a": transposed(params["lora_b"]) @ m, "lora_b": m @ transposed(params["lora_a"])}

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        a, b, a0, b0 = (np.abs(params[name]) for name in ("lora_a", "lora_b", "start_a", "start_b"))
        total: FloatArray = self.scaling * ((b + b0) @ a + b0 @ (a + a0))
        return total.reshape(-1, *shape)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 2 * shapes["lora_a"][0] + 2


def _at_start(b: FloatArray, a: FloatArray) -> Params:
    """Return the factors that are B0 and A0, and count from there."""
    return {"lora_a": a, "lora_b": b, "start_a": a.copy(), "start_b": b.copy()}


def _svd(matrices: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    u, s, vt = np.linalg.svd(matrices, full_matrices=False)
    return u, s, vt


# [Halko11, algorithms 4.4 and 5.1] without oversampling: Q spans W (W^T W)^N G with G random, orthonormalised at every
# step, and the singular vectors of Q Q^T W are Q times those of the small Q^T W.
def _subspace_svd(
    matrices: FloatArray, r: int, iterations: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the singular value decomposition of matrices on subspaces of r dimensions."""
    q = np.linalg.qr(matrices @ rng.standard_normal((len(matrices), matrices.shape[2], r)))[0]
    for _ in range(iterations):
        p = np.linalg.qr(transposed(matrices) @ q)[0]
        q = np.linalg.qr(matrices @ p)[0]
    u, s, vt = _svd(transposed(q) @ matrices)
    return q @ u, s, vt


# With Q orthogonal (r, r), E its even and D its odd rows: B0 = G1 E, A0 = D^T G2, and B0 A0 = G1 (E D^T) G2 = 0.
def _orthogonal(shape: Shape, r: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return random factors whose product is zero but for rounding, the factors themselves of full rank r / 2."""
    groups, rows, columns = shape
    q = np.linalg.qr(rng.standard_normal((groups, r, r)))[0]
    a = transposed(q[:, 0::2]) @ rng.standard_normal((groups, r // 2, columns))
    b = rng.standard_normal((groups, rows, r // 2)) @ q[:, 1::2]
    return ORTHOGONAL_SCALE * b, ORTHOGONAL_SCALE * a


def _log_magnitude(weights: FloatArray) -> FloatArray:
    """Return log|W|, with the mean of the finite entries where W is zero."""
    zero = weights == 0.0
    if zero.all():
        return np.zeros_like(weights)
    logs = np.log(np.abs(np.where(zero, 1.0, weights)))
    return np.where(zero, logs[~zero].mean(), logs)
