"""Lie groups, the maps that reach them from their algebras, and their actions on weights.

A map takes an element xi of the algebra to g in the group, and an action takes the weight to g . W::

    action = lieref.lie.make_action("out", "so")
    group = lieref.lie.make_group("so", action, weight.shape)
    g = lieref.lie.make_map("cayley").retract(group, xi)
    adapted = action.act(g, weight)

By their texts: `make_group`, `make_map`, `make_action`; the tables of what there is: `GROUPS`, `MAPS`, `ACTIONS`; what
each of them offers: `Algebra`, `Group`, `Map`, `Action`. How few numbers make xi: `Parameterisation`, and the table
`PARAMETERISATIONS`, which takes your own.

Several adapters of one weight, each a method and its factors: `combine_adapters` makes one of them, by a row of
`COMBINATION_TYPES`; `compose_adapters` applies one after the other. ``f_vjp`` takes the arguments of ``f`` in their
order, then the result where it needs it, and the cotangent last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._lazy import public_names

if TYPE_CHECKING:
    from lieref.algebra.base import Algebra as Algebra
    from lieref.group.action import Action as Action
    from lieref.group.base import Group as Group
    from lieref.group.maps import Map as Map
    from lieref.group.registry import ACTIONS as ACTIONS
    from lieref.group.registry import GROUPS as GROUPS
    from lieref.group.registry import MAPS as MAPS
    from lieref.group.registry import make_action as make_action
    from lieref.group.registry import make_group as make_group
    from lieref.group.registry import make_map as make_map
    from lieref.param._base import Parameterisation as Parameterisation
    from lieref.param.combine import COMBINATION_TYPES as COMBINATION_TYPES
    from lieref.param.combine import combine_adapters as combine_adapters
    from lieref.param.compose import compose_adapters as compose_adapters
    from lieref.param.registry import PARAMETERISATIONS as PARAMETERISATIONS

_PLACES = {
    "make_group": "lieref.group.registry:make_group",
    "make_map": "lieref.group.registry:make_map",
    "make_action": "lieref.group.registry:make_action",
    "Group": "lieref.group.base:Group",
    "Map": "lieref.group.maps:Map",
    "Action": "lieref.group.action:Action",
    "Algebra": "lieref.algebra.base:Algebra",
    "GROUPS": "lieref.group.registry:GROUPS",
    "MAPS": "lieref.group.registry:MAPS",
    "ACTIONS": "lieref.group.registry:ACTIONS",
    "Parameterisation": "lieref.param._base:Parameterisation",
    "PARAMETERISATIONS": "lieref.param.registry:PARAMETERISATIONS",
    "combine_adapters": "lieref.param.combine:combine_adapters",
    "compose_adapters": "lieref.param.compose:compose_adapters",
    "COMBINATION_TYPES": "lieref.param.combine:COMBINATION_TYPES",
}

__all__ = list(_PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = public_names(__name__, _PLACES)
