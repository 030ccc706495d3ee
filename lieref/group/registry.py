"""Tables of groups, maps and actions, and the functions that build one from its text.

A class is imported when it is asked for: additions to a weight load no matrix group.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from lieref._check import check_choice
from lieref._lazy import ClassTable
from lieref._text import did_you_mean
from lieref._types import Shape
from lieref.errors import DomainError, DTypeError, UnsupportedError
from lieref.group.action import Action, ElementWise, ScaleMode
from lieref.group.base import Group
from lieref.group.maps import Bounded, CayleyNeumann, Map, Taylor
from lieref.group.mode import MODES
from lieref.group.tensor import Additive

if TYPE_CHECKING:
    from lieref.group.mode_action import MatrixOnMode

GROUPS: ClassTable[Group] = ClassTable(
    {
        "additive": "lieref.group.tensor:Additive",
        "hadamard": "lieref.group.tensor:Hadamard",
        "scaling": "lieref.group.tensor:Scaling",
        "gl": "lieref.group.matrix:GLPlus",
        "sl": "lieref.group.matrix:SL",
        "so": "lieref.group.matrix:SO",
        "sp": "lieref.group.matrix:Sp",
        "affine": "lieref.group.matrix:AffineGroup",
        "se": "lieref.group.matrix:SE",
        "unipotent": "lieref.group.matrix:Unipotent",
        "product": "lieref.group.product:Product",
    }
)
"""The groups by their names, each a class of `Group`."""
MAPS: ClassTable[Map] = ClassTable(
    {
        "exp": "lieref.group.maps:Exp",
        "taylor": "lieref.group.maps:Taylor",
        "cayley": "lieref.group.maps:Cayley",
        "neumann": "lieref.group.maps:CayleyNeumann",
        "bounded": "lieref.group.maps:Bounded",
    }
)
"""The maps from an algebra to its group by their names, each a class of `Map`."""
ACTIONS: ClassTable[Action] = ClassTable(
    {
        "element-wise": "lieref.group.action:ElementWise",
        "scaling": "lieref.group.action:ScaleMode",
        "matrix": "lieref.group.mode_action:MatrixOnMode",
        "conjugation": "lieref.group.mode_action:Conjugation",
        "affine": "lieref.group.mode_action:AffineOnOut",
        "modes": "lieref.group.mode_action:OnModes",
    }
)
"""The actions of a group element on a weight by their names, each a class of `Action`."""


def make_group(name: str, action: Action, weight_shape: Shape, groups: int = 1) -> Group:
    """Return the group of this name in the size that `action` needs on this weight.

    Parameters
    ----------
    name : str
        A key of `GROUPS`; on several modes one for all ("so") or one for each ("so*gl").
    action : Action
    weight_shape : tuple of int
        (O, I / groups, *kernel) of a convolution, (O, I) of a linear layer.
    groups : int
        Conv groups.

    Raises
    ------
    DomainError
        If the name is unknown.
    ShapeError
        If the weight has no such mode or the size does not fit the group.
    UnsupportedError
        If the action is not one of this group.
    """
    return _make_group(name, action, tuple(weight_shape), groups)


@lru_cache(maxsize=4096)
def _make_group(name: str, action: Action, weight_shape: Shape, groups: int) -> Group:
    """Return the group; the same one each time, as a training step asks for it again and again."""
    names = name.split("*")
    for one in names:
        check_choice("make_group", "name", one, tuple(GROUPS))
    group: Group
    several = action.name == "modes"
    if several:
        from lieref.group.mode_action import OnModes

        assert isinstance(action, OnModes)
        names = names * len(action.parts) if len(names) == 1 else names
        if len(names) != len(action.parts):
            raise DomainError(f"make_group: `name` must name one group for each mode of {action.spec!r}; got {name!r}")
        group = action.group_of([GROUPS[one] for one in names], weight_shape, groups)
    else:
        group = GROUPS[names[0]].for_shape(action.algebra_shape(weight_shape, groups))
    if (len(names) > 1 and not several) or not action.legal_for(group):
        raise UnsupportedError(f"make_group: `action` must be one of the group {name!r}; got {action.spec!r}")
    return group


def make_map(spec: str) -> Map:
    """Return the map of a text: what takes an element xi of an algebra to its group.

    Parameters
    ----------
    spec : str
        What takes xi to the group: "exp", "taylor2" or another degree, "cayley", "neumann4" or another degree,
        "bounded" or "bounded(0.5)".

    Raises
    ------
    DTypeError
        If it is no text.
    DomainError
        If the text names no map.
    """
    if not isinstance(spec, str):
        raise DTypeError(f"make_map: `spec` must be text; got {spec!r}")
    match = re.fullmatch(r"([a-z]+?)(?:(\d+)|\(([^()]+)\))?", spec)
    if match and match[1] in MAPS:
        cls = MAPS[match[1]]
        if issubclass(cls, (Taylor, CayleyNeumann)) and match[2]:
            return cls(int(match[2]))
        if cls is Bounded and match[3]:
            try:
                return Bounded(float(match[3]))
            except ValueError as error:
                raise DomainError(f"make_map: `spec` must hold a number in brackets; got {spec!r}") from error
        if not match[2] and not match[3]:
            return cls()
    near = did_you_mean(spec.partition("(")[0], MAPS)
    raise DomainError(
        f"make_map: `spec` must be one of exp, taylor<k>, cayley, neumann<k>, bounded(<c>); got {spec!r}{near}"
    )


def make_action(spec: str, group: str = "hadamard", *, strict: bool = False) -> Action:
    """Return the action of a text: how an element of a group changes a weight.

    Parameters
    ----------
    spec : str
        "element-wise"; "scaling" or "scaling(in)" with any mode; a mode ("out", "in", "rows", "columns", "kernel",
        "fan-in") for a matrix on it, with "/4" for four diagonal blocks; several modes joined by "*"; "conjugation";
        "affine". "+bias" after the out mode moves the bias too.
    group : str
        Name of the group that acts: the additive one adds where the Hadamard one multiplies.
    strict : bool
        Refuse zero weights where the Hadamard group acts element-wise.

    Raises
    ------
    DTypeError
        If it is no text.
    DomainError
        If the text names no action.
    """
    if not isinstance(spec, str):
        raise DTypeError(f"make_action: `spec` must be text; got {spec!r}")
    if spec == ElementWise.name:
        return ElementWise("add" if group == Additive.name else "multiply", strict=strict)
    if spec in ("conjugation", "affine"):
        return ACTIONS[spec]()
    parts = tuple(_on_mode(part, spec) for part in spec.split("*"))
    if len(parts) == 1:
        return parts[0]
    from lieref.group.mode_action import MatrixOnMode, OnModes

    matrices = tuple(part for part in parts if isinstance(part, MatrixOnMode))
    if len(matrices) < len(parts):
        raise DomainError(f"make_action: `spec` must join matrices on modes only; got {spec!r}")
    return OnModes(matrices)


def _on_mode(part: str, spec: str) -> MatrixOnMode | ScaleMode:
    """Return the action of a text such as "out+bias", "fan-in/4" or "scaling(in)"."""
    match = re.fullmatch(r"(?:(?P<scaling>scaling)(?:\((?P<scaled>[a-z-]+)\))?|(?P<mode>[a-z-]+)(?:/(?P<blocks>\d+))?)"
                         r"(?P<bias>\+bias)?", part)  # fmt: skip
    if match is None or (match["scaled"] or match["mode"] or "out") not in MODES:
        raise DomainError(
            f"make_action: `spec` must name an action; got {spec!r}{did_you_mean(part, (*ACTIONS, *MODES))}"
        )
    if match["scaling"]:
        return ScaleMode(match["scaled"] or "out", bool(match["bias"]))
    from lieref.group.mode_action import MatrixOnMode

    return MatrixOnMode(match["mode"], bool(match["bias"]), int(match["blocks"] or 1))
