"""A small trained core between the principal singular directions of the weight: any matrix, or a rotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import ShapeError
from lieref.param._base import Parameterisation, adjusted_rank, check_weight_shape, transposed


@dataclass(frozen=True)
class _PrincipalCore(Parameterisation):
    """xi = L X R, with L = U S and R = V^T of the r largest singular values of the weight, frozen."""

    frozen: ClassVar[frozenset[str]] = frozenset({"left", "right"})
    needs_base_weight: ClassVar[bool] = True

    r: int = 4

    def __post_init__(self) -> None:
        check_int(type(self).__name__, "r", self.r, low=self.least_rank)

    def rank_for(self, shape: Shape) -> int:
        """Return the size of the core for one conv group of this shape: r, or the largest it has room for."""
        return min(self.r, shape[0], math.prod(shape[1:]))

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def frozen_shapes(self, shape: Shape) -> dict[str, Shape]:
        rank = self.rank_for(shape)
        return {"left": (shape[0], rank), "right": (rank, math.prod(shape[1:]))}

    def _principal(self, shape: Shape, base: FloatArray | None) -> Params:
        """Return L and R of weights (groups, *shape)."""
        assert base is not None  # `init` refuses a missing base weight
        rank = self.rank_for(shape)
        u, s, vt = np.linalg.svd(base.reshape(len(base), shape[0], -1), full_matrices=False)
        return {"left": u[:, :, :rank] * s[:, None, :rank], "right": vt[:, :rank]}


@dataclass(frozen=True)
class Core(_PrincipalCore):
    """xi = L X R, with a core X that is zero at the start, L = U S and R = V^T of W's largest singular values: LoRA-XS.

    Per conv group, rows O and columns I k_h k_w. The authors make L and R again from the weight wherever they are
    needed; a singular value decomposition is no function that two machines agree on, so here they are stored.

    Factors: ``core`` (r, r), trained; ``left`` (O, r) and ``right`` (r, I k_h k_w), frozen.

    Parameters
    ----------
    r : int
        Size of the core, at least 1. A matrix with fewer rows or columns gets as much as it has room for.

    References
    ----------
    [Balazy24, equation 2].
    """

    name: ClassVar[str] = "core"
    formula: ClassVar[str] = "G·r·r"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("core", shape)
        rank = self.rank_for(shape)
        return {"core": (rank, rank)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"core": np.zeros((groups, *self.factor_shapes(shape)["core"])), **self._principal(shape, base)}

    # Derivation.  xi = L X R with L and R frozen:  X_bar = L^T xi_bar R^T.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return (params["left"] @ params["core"] @ params["right"]).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        m = xi_bar.reshape(len(xi_bar), shape[0], -1)
        return {"core": transposed(params["left"]) @ (m @ transposed(params["right"]))}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 2 * shapes["core"][0]


@dataclass(frozen=True)
class PrincipalRotation(_PrincipalCore):
    """xi = L (diag(b) Q diag(a) - I) R, with Q the Cayley transform (I + K) (I - K)^-1 of a skew K: PSOFT.

    Per conv group, rows O and columns I k_h k_w; L = U S and R = V^T of W's r largest singular values. The part of the
    weight outside its principal directions stays, and within them W is turned, and stretched by a and b.

    Factors, zero at the start: ``skew`` (r (r - 1) / 2,), the entries of K above its diagonal row by row, and
    ``stretch_a`` and ``stretch_b`` (r,), which are a - 1 and b - 1, for a small change of a number near 1 has no digits
    left; ``left`` (O, r) and ``right`` (r, I k_h k_w), frozen.

    Parameters
    ----------
    r : int
        Size of the rotation, at least 2. A matrix with fewer rows or columns gets as much as it has room for.

    References
    ----------
    [Wu25, equations 6 to 8]; the sides of a and b as in PEFT, without its truncated series for the inverse.
    """

    name: ClassVar[str] = "principal-rotation"
    least_rank: ClassVar[int] = 2
    formula: ClassVar[str] = "G·(r·(r - 1)/2 + 2·r)"

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=2), cls(r=3)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("principal-rotation", shape)
        rank = self.rank_for(shape)
        if rank < 2:
            raise ShapeError(
                f"principal-rotation: `shape` must have room for a rotation in two dimensions; got {shape}"
            )
        return {"skew": (rank * (rank - 1) // 2,), "stretch_a": (rank,), "stretch_b": (rank,)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        zeros = {name: np.zeros((groups, *one)) for name, one in self.factor_shapes(shape).items()}
        return {**zeros, **self._principal(shape, base)}

    # Derivation.  X = diag(b) (Q - I) diag(a) + diag(a b - 1), each term exactly zero at the start, with
    # a b - 1 = (a - 1) + (b - 1) + (a - 1) (b - 1) and Q - I = 2 K (I - K)^-1.  From dQ = (I + Q) dK (I - K)^-1:
    #   K_bar = (I + Q)^T Q_bar (I - K)^-T,   Q_bar = diag(b) X_bar diag(a),
    #   a_bar_j = sum_i X_bar_ij b_i Q_ij,   b_bar_i = sum_j X_bar_ij Q_ij a_j;
    # and an entry of `skew` stands in K twice, with both signs.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        alpha, beta = params["stretch_a"], params["stretch_b"]
        turn, eye = self._turn(params)[1], np.eye(alpha.shape[1], dtype=alpha.real.dtype)
        x = (1.0 + beta)[:, :, None] * turn * (1.0 + alpha)[:, None, :]
        x = x + eye * (alpha + beta + alpha * beta)[:, :, None]
        xi: FloatArray = params["left"] @ x @ params["right"]
        return xi.reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        a, b = 1.0 + params["stretch_a"], 1.0 + params["stretch_b"]
        inverse, turn = self._turn(params)
        q = turn + np.eye(a.shape[1], dtype=a.dtype)
        m = xi_bar.reshape(len(xi_bar), shape[0], -1)
        x_bar = transposed(params["left"]) @ (m @ transposed(params["right"]))
        q_bar = b[:, :, None] * x_bar * a[:, None, :]
        k_bar = transposed(q + np.eye(a.shape[1], dtype=a.dtype)) @ q_bar @ transposed(inverse)
        rows, columns = np.triu_indices(a.shape[1], 1)
        return {
            "skew": k_bar[:, rows, columns] - k_bar[:, columns, rows],
            "stretch_a": (x_bar * b[:, :, None] * q).sum(axis=1),
            "stretch_b": (x_bar * q * a[:, None, :]).sum(axis=2),
        }

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        # Q is orthogonal: none of its entries, nor of the numbers it is made of, is above 2 in absolute value.
        a, b = 1.0 + np.abs(params["stretch_a"]), 1.0 + np.abs(params["stretch_b"])
        x = 2.0 * b[:, :, None] * a[:, None, :] + np.eye(a.shape[1]) * (a * b + 1.0)[:, :, None]
        return (np.abs(params["left"]) @ x @ np.abs(params["right"])).reshape(-1, *shape)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 8 * shapes["stretch_a"][0]

    @staticmethod
    def _turn(params: Params) -> tuple[FloatArray, FloatArray]:
        """Return (I - K)^-1 and Q - I."""
        skew, r = params["skew"], params["stretch_a"].shape[1]
        rows, columns = np.triu_indices(r, 1)
        k = np.zeros((len(skew), r, r), skew.dtype)
        k[:, rows, columns] = skew
        k[:, columns, rows] = -skew
        inverse = np.linalg.inv(np.eye(r, dtype=skew.dtype) - k)
        return inverse, 2.0 * k @ inverse
