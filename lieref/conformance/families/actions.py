"""Cases of every action: each example of each class of the registry, with conv groups where they matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from lieref._types import Array, FloatArray, Shape
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec
from lieref.errors import LierefError
from lieref.group.action import Action, ElementWise
from lieref.group.base import Group
from lieref.group.registry import ACTIONS, GROUPS, make_group

WEIGHTS: Final[tuple[tuple[Shape, int], ...]] = (((4, 3, 2), 1), ((2, 3, 4, 5), 1), ((3, 3, 4, 2), 1))
"""Weights (shape, conv groups) of which an action takes the first that it has a meaning for: the second one has kernel
rows and columns, the third one is square for the conjugation."""

GROUPED: Final[tuple[tuple[Shape, int], ...]] = (((6, 4, 2), 2), ((6, 3, 2), 2))


def group_of(action: Action, shape: Shape, groups: int) -> Group | None:
    """Return the first group that has this action on a weight, or None."""
    for name in GROUPS:
        try:
            return make_group(name, action, shape, groups)
        except LierefError:
            continue
    return None


def group_element(action: Action, group: Group, shape: Shape, groups: int, draw: Draw, dtype: str) -> FloatArray:
    """Return numbers near the identity: every action is a formula in the entries of g, in the group or beside it."""
    near = draw.short(action.algebra_shape(shape, groups), dtype) * 0.25
    if group.name == "additive":
        return near
    if near.ndim == 1 and group.name == "product":
        return near + 0.25
    return near + (1.0 if near.ndim == 1 or isinstance(action, ElementWise) else np.eye(near.shape[-1]))


def cases(action: Action, weights: tuple[tuple[Shape, int], ...], dtype: str) -> Iterator[Spec]:
    """Return the forward and the backward case of an action on the first weight that fits."""
    for shape, groups in weights:
        group = group_of(action, shape, groups)
        if group is None:
            continue
        comment = f"{action.spec}, {group.name}" + (f", {groups} conv groups" if groups > 1 else "")
        draw = Draw("action", comment)
        inputs: dict[str, Array] = {
            "g": group_element(action, group, shape, groups, draw, dtype),
            "base_weight": draw.short(shape, dtype),
            "bias": draw.short(shape[:1], dtype),
        }
        attrs: dict[str, Any] = {"group": group.name, "action": action.spec, "groups": groups}
        family = f"action_{action.name.replace('-', '_')}"
        flags = ("Noncommuting", *(("GroupedFactors",) if groups > 1 else ()))
        yield Spec(family, "act", inputs, attrs, dtype, comment, flags)
        bars = {"weight_bar": draw.short(shape, dtype), "bias_bar": draw.short(shape[:1], dtype)}
        yield Spec(family, "act_vjp", {**inputs, **bars}, attrs, dtype, comment, flags)
        return


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for action_class in ACTIONS.values():
        for action in action_class.examples():
            yield from cases(action, WEIGHTS, "f32")
            yield from cases(action, GROUPED, "f64")


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: the weights of the core set in the other dtype."""
    for action_class in ACTIONS.values():
        for action in action_class.examples():
            yield from cases(action, WEIGHTS, "f64")
            yield from cases(action, GROUPED, "f32")
