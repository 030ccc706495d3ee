"""Tables of groups, maps and actions, and the functions that build one from its text."""

from __future__ import annotations

import re

from lieref._check import check_choice
from lieref._types import Shape
from lieref.errors import DomainError, UnsupportedError
from lieref.group.action import Action, ElementWise, ScaleMode
from lieref.group.base import Group
from lieref.group.maps import Bounded, Cayley, Exp, Map, Taylor
from lieref.group.tensor import Additive, Hadamard, Scaling

GROUPS: dict[str, type[Group]] = {cls.name: cls for cls in (Additive, Hadamard, Scaling)}
MAPS: dict[str, type[Map]] = {cls.name: cls for cls in (Exp, Taylor, Cayley, Bounded)}
ACTIONS: dict[str, type[Action]] = {cls.name: cls for cls in (ElementWise, ScaleMode)}


def make_group(name: str, action: Action, weight_shape: Shape, groups: int = 1) -> Group:
    """Return the group of this name in the size that `action` needs on this weight.

    Raises
    ------
    DomainError
        If the name is unknown.
    ShapeError
        If the weight has no such mode or the size does not fit the group.
    UnsupportedError
        If the action is not one of this group.
    """
    check_choice("make_group", "name", name, tuple(GROUPS))
    group = GROUPS[name].for_shape(action.algebra_shape(weight_shape, groups))
    if not action.legal_for(group):
        raise UnsupportedError(f"make_group: `action` must be one of the group {name!r}; got {action.spec!r}")
    return group


def make_map(spec: str) -> Map:
    """Return the map of a text such as "exp", "taylor2", "cayley", "bounded" or "bounded(0.5)".

    Raises
    ------
    DomainError
        If the text names no map.
    """
    match = re.fullmatch(r"([a-z]+?)(?:(\d+)|\(([^()]+)\))?", spec)
    if match and match[1] in MAPS:
        cls = MAPS[match[1]]
        if cls is Taylor and match[2]:
            return Taylor(int(match[2]))
        if cls is Bounded and match[3]:
            try:
                return Bounded(float(match[3]))
            except ValueError as error:
                raise DomainError(f"make_map: `spec` must hold a number in brackets; got {spec!r}") from error
        if not match[2] and not match[3]:
            return cls()
    raise DomainError(f"make_map: `spec` must be one of exp, taylor<k>, cayley, bounded(<c>); got {spec!r}")


def make_action(spec: str, group: str = "hadamard", *, strict: bool = False) -> Action:
    """Return the action of a text.

    Parameters
    ----------
    spec : str
        "element-wise", or "scaling" or "scaling(in)" with any mode of `lieref.group.mode.MODES`; "+bias" at the end
        lets an action on the out mode move the bias too.
    group : str
        Name of the group that acts: the additive one adds where the Hadamard one multiplies.
    strict : bool
        Refuse zero weights where the Hadamard group acts element-wise.

    Raises
    ------
    DomainError
        If the text names no action.
    """
    name, _, suffix = spec.partition("+")
    with_bias = suffix == "bias"
    if suffix and not with_bias:
        raise DomainError(f"make_action: `spec` must end in +bias or nothing; got {spec!r}")
    if name == ElementWise.name and not with_bias:
        return ElementWise("add" if group == Additive.name else "multiply", strict=strict)
    match = re.fullmatch(r"scaling(?:\(([a-z-]+)\))?", name)
    if match:
        return ScaleMode(match[1] or "out", with_bias)
    raise DomainError(f"make_action: `spec` must name an action; got {spec!r}")
