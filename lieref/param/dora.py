"""Magnitude and direction: every output filter is a trained length times the direction another method adapts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lieref._check import check_shape
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, UnsupportedError
from lieref.param.combination import Combination
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

_MAGNITUDE = "magnitude"


@dataclass(frozen=True)
class Dora(Method):
    """W'_o = m_o V_o / ||V_o||, with V the weight of `direction` and ||V_o|| over the in and kernel axes of filter o.

    m starts at ||W0_o||, so that the length starts unchanged. The gradient is exact: it goes through the norm. [Liu24],
    section 4.3, and PEFT hold the norm constant to save memory; `detach_norm` does the same. DoRA has low-rank addition
    for its direction; DoRA+LieRA has LieRA, V = W0 exp(xi), as [Si25] names but does not write down (derived here).

    Factors: those of `direction`, and ``magnitude`` (O,).

    Parameters
    ----------
    direction : Combination
    detach_norm : bool
        Whether the gradient takes ||V_o|| as a constant. Forward, both are the same.

    Raises
    ------
    UnsupportedError
        From `init`, if a filter is zero: it has no direction.
    DomainError
        From every other method that sees a weight, if a filter is or becomes zero.
    """

    direction: Combination
    detach_norm: bool = False

    @property
    def rank(self) -> int | None:
        return self.direction.rank

    @property
    def alpha(self) -> float | None:
        return self.direction.alpha

    @property
    def scaling(self) -> float | None:
        return self.direction.scaling

    @property
    def wants_inputs(self) -> bool:
        return self.direction.wants_inputs

    def directions(self, params: Params) -> tuple[int, bool]:
        return self.direction.directions(params)

    def along(self, params: Params, rows: FloatArray) -> tuple[Dora, Params]:
        direction, found = self.direction.along(params, rows)
        return dataclasses.replace(self, direction=direction), {**found, _MAGNITUDE: params[_MAGNITUDE]}

    @property
    def starts_at_base(self) -> bool:
        return self.direction.starts_at_base

    @property
    def equations(self) -> tuple[str, ...]:
        own = "W'_o = m_o V_o / ||V_o|| for each filter o"
        return own, *(line.replace("W'", "V") for line in self.direction.equations)

    def num_params(self, shape: Shape, groups: int = 1) -> int:
        return self.direction.num_params(shape, groups) + shape[0]

    def adjusted(self, shape: Shape, groups: int = 1) -> str:
        return self.direction.adjusted(shape, groups)

    def trainable(self, params: Params) -> tuple[str, ...]:
        inner = self.direction.trainable({name: p for name, p in params.items() if name != _MAGNITUDE})
        return (*inner, _MAGNITUDE)

    def fixed_points(self, base_weight: FloatArray) -> int:
        return self.direction.fixed_points(base_weight)

    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return the algebra element of the direction."""
        return self.direction.delta(self._split(params, shape)[0], shape, groups)

    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        inner, m = self._split(params, shape)
        return {**self.direction.delta_vjp(inner, shape, groups, xi_bar), _MAGNITUDE: np.zeros_like(m)}

    # Derivation.  W' = m V / n with n = ||V||, filter by filter, and G = W'_bar:
    #   dW' = V/n dm + m/n dV - m/n^2 V dn,   dn = <V, dV>/n.
    # Hence  m_bar = <G, V>/n  and  V_bar = (m/n) (G - V <G, V>/n^2), or with dn = 0 held  V_bar = (m/n) G.
    @OVERFLOW_IS_CHECKED
    def adapted_weight(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        inner, m = self._split(params, base.shape)
        v = self.direction.adapted_weight(inner, base, groups)
        return keep_equal(self, base, v * _column(m / self._norms(v), v))

    @cotangent_last
    @OVERFLOW_IS_CHECKED
    def adapted_weight_vjp(
        self, params: Params, base_weight: FloatArray, groups: int, weight_bar: FloatArray
    ) -> Params:
        base = checked_base(self, params, base_weight)
        weight_bar = checked_bar(self, base, weight_bar)
        inner, m = self._split(params, base.shape)
        v = self.direction.adapted_weight(inner, base, groups)
        n = self._norms(v)
        along = _filter_dot(weight_bar, v) / n
        v_bar = _column(m / n, v) * (weight_bar if self.detach_norm else weight_bar - v * _column(along / n, v))
        bars = self.direction.adapted_weight_vjp(inner, base, groups, v_bar)
        return check_bars(self, {**bars, _MAGNITUDE: along})

    # W' - W0 = D + (m/n - 1) V with D = V - W0, and n - n0 = <2 W0 + D, D> / (n + n0) where n0 = ||W0||.
    @OVERFLOW_IS_CHECKED
    def weight_delta(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        inner, m = self._split(params, base.shape)
        d = self.direction.weight_delta(inner, base, groups)
        v = base + d
        n, n0 = self._norms(v), self._norms(base)
        growth = _filter_dot(2.0 * base + d, d) / (n + n0)
        return check_fits(self, d + v * _column(((m - n0) - growth) / n, v))

    def _init(
        self, shape: Shape, groups: int, rng: np.random.Generator, dtype: Any, base_weight: FloatArray | None
    ) -> Params:
        if base_weight is None:
            raise DomainError(f"{self.name}: `base_weight` must be given to init; got None")
        alive = base_weight.reshape(base_weight.shape[0], -1).any(axis=1)
        if not alive.all():
            raise UnsupportedError(
                f"{self.name}: `base_weight` must have a direction in each filter; filter {alive.argmin()} is zero"
            )
        magnitude = self._norms(base_weight.astype(dtype))
        return {**self.direction._init(shape, groups, rng, dtype, base_weight), _MAGNITUDE: magnitude}

    def _split(self, params: Params, shape: Shape) -> tuple[Params, FloatArray]:
        """Return the factors of the direction, and the magnitude."""
        if _MAGNITUDE not in params:
            raise DomainError(f"{self.name}: `params` must hold {_MAGNITUDE!r}; got {sorted(params)}")
        check_shape(self.name, _MAGNITUDE, params[_MAGNITUDE], shape[:1])
        return {name: p for name, p in params.items() if name != _MAGNITUDE}, params[_MAGNITUDE]

    def _norms(self, weight: FloatArray) -> FloatArray:
        """Return the norm of every filter, summed in float64 and rounded to the dtype of the weight."""
        wide = weight.astype(np.float64).reshape(weight.shape[0], -1)
        with np.errstate(over="ignore"):
            norms: FloatArray = check_fits(self, np.sqrt(np.sum(wide * wide, axis=1)).astype(weight.dtype))
        if not norms.all():
            raise DomainError(f"{self.name}: `base_weight` must have no zero filter; filter {norms.argmin()} is zero")
        return norms


def _filter_dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the inner product of matching filters, (O,)."""
    dots: FloatArray = (a * b).reshape(a.shape[0], -1).sum(axis=1)
    return dots


def _column(factors: FloatArray, weight: FloatArray) -> FloatArray:
    """Return one factor a filter, shaped to multiply the weight."""
    return factors.reshape(-1, *(1,) * (weight.ndim - 1))
