"""Rotations of the flattened filters: OFT, BOFT and GOFT by small blocks, HRA by reflections; and near-rotations.

The filters of one conv group are the rows of V (O/groups, n) with n = I k_h k_w, and every one is multiplied by the
same R: V' = V R^T; the channels of a depthwise kernel share one R. Where R is orthogonal, norms of filters and angles
between them stay. R is never formed; the methods keep V' - V, which is exactly zero at the start.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, FloatArray, Params, Shape
from lieref.errors import DomainError, UnsupportedError
from lieref.group.base import Group
from lieref.group.maps import Map
from lieref.group.registry import GROUPS
from lieref.param._base import Parameterisation, check_weight_shape, transposed
from lieref.param.blocks import Blocks
from lieref.param.householder import Householder
from lieref.param.method import (
    OVERFLOW_IS_CHECKED,
    Method,
    check_bars,
    check_fits,
    checked_bar,
    checked_base,
    cotangent_last,
    keep_equal,
)

_TURNED = "W' = W R^T, with the filters as the rows of W, one R for each conv group"


@dataclass(frozen=True)
class _Rotation(Method):
    """What the rotations share: the weight seen as rows, one stack for each conv group."""

    parameterisation: Parameterisation

    def preserves(self, shape: Shape, groups: int = 1) -> frozenset[str]:
        return frozenset({"filter norms", "filter angles"})

    @property
    def rank(self) -> int | None:
        return getattr(self.parameterisation, "r", None)

    def num_params(self, shape: Shape, groups: int = 1) -> int:
        return self.parameterisation.num_params(*self._factor_shape(shape, groups))

    def adjusted(self, shape: Shape, groups: int = 1) -> str:
        return self.parameterisation.adjusted(*self._factor_shape(shape, groups))

    def fixed_points(self, base_weight: FloatArray) -> int:
        filters = base_weight.reshape(base_weight.shape[0], -1)
        return int(filters.shape[1] * np.count_nonzero(~filters.any(axis=1)))

    def trainable(self, params: Params) -> tuple[str, ...]:
        return self.parameterisation.trainable(params)

    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return xi of the factors, (rotations, n, n): R - I to first order, in so(n) unless the blocks are free."""
        factor_shape, rotations = self._factor_shape(shape, groups)
        xi = self.parameterisation.delta(params, factor_shape, rotations)
        return xi.reshape(rotations, factor_shape[1], factor_shape[1])

    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        factor_shape, rotations = self._factor_shape(shape, groups)
        return self.parameterisation.delta_vjp(params, factor_shape, rotations, xi_bar.reshape(factor_shape))

    @OVERFLOW_IS_CHECKED
    def adapted_weight(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        return keep_equal(self, base, base + self.weight_delta(params, base, groups))

    @OVERFLOW_IS_CHECKED
    def weight_delta(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        factor_shape, rotations = self._factor_shape(base.shape, groups)
        rows = base.reshape(rotations, base.shape[0] // rotations, -1)
        factors = self.parameterisation.split(params, factor_shape, rotations)
        return check_fits(self, self.change(factors, rows).reshape(base.shape))

    @cotangent_last
    @OVERFLOW_IS_CHECKED
    def adapted_weight_vjp(
        self, params: Params, base_weight: FloatArray, groups: int, weight_bar: FloatArray
    ) -> Params:
        base = checked_base(self, params, base_weight)
        weight_bar = checked_bar(self, base, weight_bar)
        factor_shape, rotations = self._factor_shape(base.shape, groups)
        rows = base.reshape(rotations, base.shape[0] // rotations, -1)
        factors = self.parameterisation.split(params, factor_shape, rotations)
        bars = self.change_vjp(factors, rows, weight_bar.reshape(rows.shape))
        return check_bars(self, {name: bar.reshape(params[name].shape) for name, bar in bars.items()})

    @abstractmethod
    def change(self, params: Params, rows: FloatArray) -> FloatArray:
        """Return V' - V for rows V (groups, O/groups, n) and factors with a leading group axis."""

    @abstractmethod
    def change_vjp(self, params: Params, rows: FloatArray, rows_bar: FloatArray) -> Params:
        """Return the cotangents of the factors for the cotangent of V'."""

    def _init(
        self, shape: Shape, groups: int, rng: np.random.Generator, dtype: Any, base_weight: FloatArray | None
    ) -> Params:
        self.num_params(shape, groups)
        return self.parameterisation.init(*self._factor_shape(shape, groups), rng, dtype)

    def _factor_shape(self, shape: Shape, groups: int) -> tuple[Shape, int]:
        """Return the shape and number of the rotations: one for each conv group, or one where groups share it."""
        check_weight_shape(self.name, shape)
        rotations, n = self.parameterisation.factor_groups(shape, groups), math.prod(shape[1:])
        return (rotations * n, n), rotations


@dataclass(frozen=True)
class BlockRotation(_Rotation):
    """R = R_m ... R_1, each R_j made of blocks map(X) in SO(b) at rows and columns of its own stage.

    One stage is OFT, a butterfly of them BOFT, a tree of blocks of two GOFT. The map is `exp` or `cayley`; OFT's own
    Cayley transform (I - S)(I + S)^-1 is this one with X = -2 S. In GL(b) the blocks are nearly rotations: skew ones
    under a polynomial, or free ones, and lengths and angles are not kept.

    References
    ----------
    [Qiu23], [Liu24B] and [Ma24], without the scale for each filter or input that the code of the latter two has.
    """

    parameterisation: Blocks
    map: Map
    group: str = "so"

    def preserves(self, shape: Shape, groups: int = 1) -> frozenset[str]:
        return super().preserves(shape, groups) if self.group == "so" else frozenset()

    @property
    def equations(self) -> tuple[str, ...]:
        blocks = f"blockdiag(g_1, g_2, ...), g = {self.map.equation} of its block of xi"
        if self.parameterisation.name != "block-diagonal":
            return _TURNED, "R = R_m ... R_1, one for each stage", f"R_j = {blocks}, at places of its own"
        return _TURNED, f"R = {blocks}"

    def __post_init__(self) -> None:
        if not self.map.legal_for(self._group(2)):
            raise UnsupportedError(f"{self.name}: `map` must stay in SO(n), exp or cayley; got {self.map.spec}")

    # Derivation.  One stage: the rows at the positions of a block, V (rows, b), become V + V E^T with E = R - I.
    #   V_bar = V'_bar + V'_bar E,   E_bar = V'_bar^T V,   and E_bar is the cotangent of R.
    # Stages go forwards in `change` and backwards in its VJP; the map and the skew blocks have their own VJPs.
    def change(self, params: Params, rows: FloatArray) -> FloatArray:
        blocks = self._blocks(params, rows)
        total = np.zeros_like(rows)
        for at, e in self._stages(self._minus_identity(blocks), rows.shape[-1]):
            total[..., at] += _swapped(_swapped((rows + total)[..., at]) @ transposed(e))
        return total

    def change_vjp(self, params: Params, rows: FloatArray, rows_bar: FloatArray) -> Params:
        blocks = self._blocks(params, rows)
        minus_identity = self._minus_identity(blocks)
        stages = self._stages(minus_identity, rows.shape[-1])
        before = [rows]
        for at, e in stages[:-1]:
            after = before[-1].copy()
            after[..., at] += _swapped(_swapped(before[-1][..., at]) @ transposed(e))
            before.append(after)
        v_bar = rows_bar.copy()
        e_bars = []
        for (at, e), v in zip(reversed(stages), reversed(before), strict=True):
            out_bar = _swapped(v_bar[..., at])
            e_bars.append(transposed(out_bar) @ _swapped(v[..., at]))
            v_bar[..., at] += _swapped(out_bar @ e)
        g_bar = np.concatenate(e_bars[::-1], axis=1)
        b = blocks.shape[-1]
        g = minus_identity + np.eye(b, dtype=blocks.dtype)
        return {"blocks": self.parameterisation.full_blocks_vjp(self.map.retract_vjp(self._group(b), blocks, g, g_bar))}

    def _blocks(self, params: Params, rows: FloatArray) -> FloatArray:
        return self.parameterisation.full_blocks(params["blocks"], rows.shape[-1])

    def _minus_identity(self, blocks: FloatArray) -> FloatArray:
        return self.map.retract_minus_identity(self._group(blocks.shape[-1]), blocks)

    def _stages(self, blocks: FloatArray, n: int) -> list[tuple[Array, FloatArray]]:
        """Return, for each stage, the positions (blocks, b) of its blocks and the blocks (groups, blocks, b, b)."""
        found, start = [], 0
        for at in self.parameterisation.stages_for(n):
            found.append((at, blocks[:, start : start + len(at)]))
            start += len(at)
        return found

    def _group(self, b: int) -> Group:
        return GROUPS[self.group].for_shape((b, b))


@dataclass(frozen=True)
class Reflections(_Rotation):
    """R^T = H(u_1) H(u_1 + w_1) H(u_2) H(u_2 + w_2) ..., with reflections H(v) = I - 2 v v^T / (v . v).

    References
    ----------
    [Yuan24], in the coordinates of `Householder`.
    """

    parameterisation: Householder

    @property
    def equations(self) -> tuple[str, ...]:
        return _TURNED, "R^T = H(u_1) H(u_1 + w_1) H(u_2) H(u_2 + w_2) ..., with H(v) = I - 2 v v^T / (v . v)"

    # One pair on rows V, with a = u . u, s = u . w, q = w . w and v = u + w, so v . v = a + 2 s + q:
    #   V H(u) H(v) - V = X (H(v) - H(u)),  X = V H(u),  because H(u)^2 = I, and
    #   H(v) - H(u) = 2/(a (v . v)) [(2 s + q) u u^T - a (u w^T + w u^T + w w^T)],
    # which is exactly zero for w = 0. With X u = -V u and X w = V w - 2 (s/a) V u no reflection is formed.
    def change(self, params: Params, rows: FloatArray) -> FloatArray:
        total = np.zeros_like(rows)
        for u, w in self._pairs(params):
            a, s, q = (np.sum(x * y, axis=-1, keepdims=True) for x, y in ((u, u), (u, w), (w, w)))
            v_square = _positive(self.name, a + 2 * s + q)
            vu, vw = (rows + total) @ transposed(u), (rows + total) @ transposed(w)
            xu, xw = -vu, vw - 2 * (s / _positive(self.name, a)) * vu
            along = (2 * s + q) * (xu @ u) - a * (xu @ w + xw @ u + xw @ w)
            total += 2 / (a * v_square) * along
        return total

    # Derivation.  One reflection: Y = X H(v) = X - (2/c) y v^T with y = X v and c = v . v. Let z = Y_bar v.
    #   X_bar = Y_bar H(v),   v_bar = -(2/c) (X^T z + Y_bar^T y) + (4/c^2) (y . z) v.
    # A pair has v = u + w after u: u gets both cotangents, w the second.
    def change_vjp(self, params: Params, rows: FloatArray, rows_bar: FloatArray) -> Params:
        inputs, x = [], rows
        for u, w in self._pairs(params):
            inputs.append((u, w, x, _reflect(x, u)))
            x = _reflect(inputs[-1][3], u + w)
        bars: list[tuple[FloatArray, FloatArray]] = []
        for u, w, x, between in reversed(inputs):
            w_bar = _reflect_vjp(between, u + w, rows_bar)
            rows_bar = _reflect(rows_bar, u + w)
            bars.append((_reflect_vjp(x, u, rows_bar) + w_bar, w_bar))
            rows_bar = _reflect(rows_bar, u)
        u_bars, w_bars = zip(*reversed(bars), strict=True)
        return {"u": np.concatenate(u_bars, axis=1), "w": np.concatenate(w_bars, axis=1)}

    def _pairs(self, params: Params) -> list[tuple[FloatArray, FloatArray]]:
        """Return the pairs (u, w), each (groups, 1, n)."""
        return [(params["u"][:, j : j + 1], params["w"][:, j : j + 1]) for j in range(params["u"].shape[1])]


def _swapped(rows: FloatArray) -> FloatArray:
    """Return (groups, rows, blocks, b) as stacks of matrices (groups, blocks, rows, b), and back."""
    return np.swapaxes(rows, 1, 2)


def _reflect(x: FloatArray, v: FloatArray) -> FloatArray:
    """Return X H(v) for stacks X (groups, rows, n) and v (groups, 1, n)."""
    square = _positive("reflection", np.sum(v * v, axis=-1, keepdims=True))
    return x - (2 / square) * (x @ transposed(v)) @ v


def _reflect_vjp(x: FloatArray, v: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of v in `_reflect`."""
    square = _positive("reflection", np.sum(v * v, axis=-1, keepdims=True))
    y, z = x @ transposed(v), y_bar @ transposed(v)
    across = transposed(z) @ x + transposed(y) @ y_bar
    along: FloatArray = np.sum(y * z, axis=(1, 2), keepdims=True) * v
    return (4 / square**2) * along - (2 / square) * across


def _positive(function: str, square: FloatArray) -> FloatArray:
    """Return squared lengths after checking that none is zero."""
    if not (square > 0).all():
        raise DomainError(f"{function}: the vector of a reflection must not be zero; got one")
    return square
