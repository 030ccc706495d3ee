"""A method as a choice of four parts: parameterisation, group, map, action.

theta --parameterisation--> xi in the algebra --map--> g in the group --action--> W' = g . W0
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import NotInGroupError, UnsupportedError
from lieref.group.action import Action, ElementWise, ScaleMode
from lieref.group.base import Group
from lieref.group.maps import Map
from lieref.group.registry import make_group
from lieref.param._base import Parameterisation
from lieref.param.low_rank import LowRank
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

if TYPE_CHECKING:
    from lieref.param.low_rank_group import LowRankForm
    from lieref.param.principal import Principal


@dataclass(frozen=True)
class Combination(Method):
    """W' = map(xi(params)) . W0.

    Attributes
    ----------
    lora_dropout : float
        Probability, in [0, 1), with which an input channel of a low-rank branch is dropped in a step of training; see
        `lieref.train.dropout`.

    Raises
    ------
    UnsupportedError
        From every method that sees a shape, if the map or the action is not legal for the group.
    """

    parameterisation: Parameterisation
    group: str
    map: Map
    action: Action
    lora_dropout: float = 0.0

    @property
    def rank(self) -> int | None:
        return getattr(self.parameterisation, "r", None)

    @property
    def alpha(self) -> float | None:
        return getattr(self.parameterisation, "alpha", None)

    @property
    def scaling(self) -> float | None:
        return getattr(self.parameterisation, "scaling", None)

    @property
    def starts_at_base(self) -> bool:
        return self.parameterisation.starts_at_zero

    @property
    def equations(self) -> tuple[str, ...]:
        adds = isinstance(self.action, ElementWise) and self.action.adds  # there every map is the identity
        return self.action.equation, "g = xi" if adds else f"g = {self.map.equation}"

    @property
    def moves_bias(self) -> bool:
        return self.action.moves_bias

    @property
    def shifts_bias(self) -> bool:
        return self.action.shifts_bias

    def num_params(self, shape: Shape, groups: int = 1) -> int:
        self.group_for(shape, groups)
        return self.parameterisation.num_params(*self._factor_shape(shape, groups))

    def adjusted(self, shape: Shape, groups: int = 1) -> str:
        return self.parameterisation.adjusted(*self._factor_shape(shape, groups))

    @property
    def wants_inputs(self) -> bool:
        return self.parameterisation.wants_inputs

    def directions(self, params: Params) -> tuple[int, bool]:
        return self.parameterisation.directions(params)

    def along(self, params: Params, rows: FloatArray) -> tuple[Combination, Params]:
        recipe, found = self.parameterisation.along(params, rows)
        return replace(self, parameterisation=recipe), found

    def pruned(self, params: Params, shape: Shape, groups: int = 1) -> tuple[Combination, Params] | None:
        found = self.parameterisation.pruned(params, *self._factor_shape(shape, groups))
        return found and (replace(self, parameterisation=found[0]), found[1])

    def trainable(self, params: Params) -> tuple[str, ...]:
        return self.parameterisation.trainable(params)

    def fixed_points(self, base_weight: FloatArray) -> int:
        return self.action.fixed_points(base_weight) if isinstance(self.action, (ElementWise, ScaleMode)) else 0

    def preserves(self, shape: Shape, groups: int = 1) -> frozenset[str]:
        group = self.group_for(shape, groups)
        return self.action.preserves(group) if self.map.stays_in(group) else frozenset()

    def group_for(self, shape: Shape, groups: int = 1) -> Group:
        """Return the group that acts on a weight of this shape.

        Raises
        ------
        ShapeError
            If the weight has no such mode.
        UnsupportedError
            If the map does not stay in the group, even close to the identity.
        """
        group = make_group(self.group, self.action, _weight_shape(shape), groups)
        if not self.map.legal_for(group):
            raise UnsupportedError(f"{self.name}: `map` must be legal for the group {self.group}; got {self.map.spec}")
        if self.parameterisation.needs_base_weight and not isinstance(self.action, ElementWise):
            raise UnsupportedError(
                f"{self.name}: `action` must be element-wise for factors made from the weight; got {self.action.spec}"
            )
        if self.lora_dropout and self._branch().columns_of_channel(shape) is None:
            raise UnsupportedError(
                f"{self.name}: `lora_dropout` must be 0 where the columns of A mix channels with kernel rows; "
                f"got {self.lora_dropout} for a weight of shape {shape}"
            )
        return group

    # Derivation.  theta -> xi -> g -> W' is a chain, and each link has its VJP beside it; W0 is frozen.
    #   <W'_bar, dW'> = <g_bar, dg> = <xi_bar, dxi> = <theta_bar, dtheta>.
    # exp and its truncations have different VJPs: for W0 exp(xi) xi_bar = W'_bar W', for W0 (1 + xi) it is W'_bar W0.
    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        element = self.parameterisation.delta(params, *self._factor_shape(shape, groups))
        algebra = self.group_for(shape, groups).algebra
        return algebra.project(element.reshape(self._algebra_shape(shape, groups)))

    # `project` is orthogonal, hence its own adjoint.
    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        factor_shape, factor_groups = self._factor_shape(shape, groups)
        element_bar = self.group_for(shape, groups).algebra.project(xi_bar).reshape(factor_shape)
        return self.parameterisation.delta_vjp(params, factor_shape, factor_groups, element_bar)

    def group_element(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return g = map(xi)."""
        group = self.group_for(shape, groups)
        if (low_rank := self._low_rank()) is not None:
            form, recipe = low_rank
            g = form.element(*recipe.scaled_factors(params, *self._factor_shape(shape, groups)))
            return g.reshape(self._algebra_shape(shape, groups))
        return self.map.retract(group, self.delta(params, shape, groups))

    def group_element_vjp(self, params: Params, shape: Shape, groups: int, g: FloatArray, g_bar: FloatArray) -> Params:
        """Return the cotangents of the trainable factors for the cotangent of g."""
        group = self.group_for(shape, groups)
        factor_shape, factor_groups = self._factor_shape(shape, groups)
        if (low_rank := self._low_rank()) is not None:
            form, recipe = low_rank
            b, a = recipe.scaled_factors(params, factor_shape, factor_groups)
            return recipe.scaled_factors_vjp(*form.element_vjp(b, a, g_bar.reshape(*b.shape[:2], b.shape[1])))
        xi_bar = self.map.retract_vjp(group, self.delta(params, shape, groups), g, g_bar)
        return self.parameterisation.delta_vjp(params, factor_shape, factor_groups, xi_bar.reshape(factor_shape))

    @OVERFLOW_IS_CHECKED
    def adapted_weight(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        g = self.group_element(params, base.shape, groups)
        return keep_equal(self, base, self.action.act(g, _as_weight(base), groups).reshape(base.shape))

    @cotangent_last
    @OVERFLOW_IS_CHECKED
    def adapted_weight_vjp(
        self, params: Params, base_weight: FloatArray, groups: int, weight_bar: FloatArray
    ) -> Params:
        base = checked_base(self, params, base_weight)
        weight_bar = checked_bar(self, base, weight_bar)
        g = self.group_element(params, base.shape, groups)
        g_bar = self.action.act_vjp(g, _as_weight(base), groups, _as_weight(weight_bar))
        return check_bars(self, self.group_element_vjp(params, base.shape, groups, g, g_bar))

    @OVERFLOW_IS_CHECKED
    def weight_delta(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        base = checked_base(self, params, base_weight)
        group = self.group_for(base.shape, groups)
        if (low_rank := self._low_rank()) is not None:
            form, recipe = low_rank
            factors = recipe.scaled_factors(params, *self._factor_shape(base.shape, groups))
            e = form.element_minus_identity(*factors).reshape(self._algebra_shape(base.shape, groups))
        else:
            e = self.map.retract_minus_identity(group, self.delta(params, base.shape, groups))
        return check_fits(self, self.action.act_delta(e, _as_weight(base), groups).reshape(base.shape))

    @OVERFLOW_IS_CHECKED
    def adapted_bias(self, params: Params, bias: FloatArray, shape: Shape, groups: int = 1) -> FloatArray:
        if not self.moves_bias:
            return bias
        return keep_equal(self, bias, self.action.act_bias(self.group_element(params, shape, groups), bias, groups))

    @cotangent_last
    def adapted_bias_vjp(
        self, params: Params, bias: FloatArray, shape: Shape, groups: int, bias_bar: FloatArray
    ) -> Params:
        if not self.moves_bias:
            return super().adapted_bias_vjp(params, bias, shape, groups, bias_bar)
        g = self.group_element(params, shape, groups)
        return self.group_element_vjp(params, shape, groups, g, self.action.act_bias_vjp(g, bias, groups, bias_bar))

    def dropout_masks(self, shape: Shape, groups: int, rng: np.random.Generator) -> Params:
        if not self.lora_dropout:
            return {}
        branch = self._branch()
        groups = branch.factor_groups(shape, groups)
        one = (shape[0] // groups, *shape[1:])
        rows, columns = branch.factor_shapes(one)["lora_a"]
        kept = rng.random((groups, 1, shape[1], 1)) >= self.lora_dropout
        each = (groups, rows, shape[1], columns // shape[1])
        return {"lora_a": np.broadcast_to(kept / (1.0 - self.lora_dropout), each).reshape(groups * rows, columns)}

    def _branch(self) -> LowRank | Principal:
        """Return the parameterisation where it is a branch A, then B, on the layer's input: dropout is for no other."""
        from lieref.param.principal import Principal

        assert isinstance(self.parameterisation, (LowRank, Principal))  # `get_method` takes it for these alone
        return self.parameterisation

    def _low_rank(self) -> tuple[LowRankForm, LowRank] | None:
        """Return how to make g from low-rank factors, or None where g comes from xi."""
        recipe = self.parameterisation
        if isinstance(self.action, (ElementWise, ScaleMode)) or not isinstance(recipe, LowRank) or recipe.share_groups:
            return None
        from lieref.param.low_rank_group import low_rank_form  # what acts entry by entry loads no matrix function

        form = low_rank_form(self.group, self.map)
        return None if form is None else (form, recipe)

    def _init(
        self, shape: Shape, groups: int, rng: np.random.Generator, dtype: Any, base_weight: FloatArray | None
    ) -> Params:
        self.group_for(shape, groups)
        factor_shape, factor_groups = self._factor_shape(shape, groups)
        strict = isinstance(self.action, ElementWise) and self.action.strict
        if strict and base_weight is not None and self.fixed_points(base_weight):
            zeros = self.fixed_points(base_weight)
            raise NotInGroupError(f"{self.name}: `base_weight` must have no zero in strict mode; got {zeros} zeros")
        base = base_weight if self.parameterisation.needs_base_weight else None
        return self.parameterisation.init(factor_shape, factor_groups, rng, dtype, base)

    def _algebra_shape(self, shape: Shape, groups: int) -> Shape:
        return self.action.algebra_shape(_weight_shape(shape), groups)

    def _factor_shape(self, shape: Shape, groups: int) -> tuple[Shape, int]:
        """Return the shape and groups the parameterisation sees: a stack of matrices is a grouped linear weight."""
        if isinstance(self.action, ElementWise):
            return shape, groups
        algebra = self._algebra_shape(shape, groups)
        if len(algebra) < 3:
            return algebra, 1
        blocks = math.prod(algebra[:-2])
        return (blocks * algebra[-2], algebra[-1]), blocks


def _weight_shape(shape: Shape) -> Shape:
    """Return the shape in which a weight is adapted: a bias (O,) as (O, 1)."""
    return (shape[0], 1) if len(shape) == 1 else shape


def _as_weight(array: FloatArray) -> FloatArray:
    return array.reshape(_weight_shape(array.shape))
