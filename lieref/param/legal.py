"""Which parameterisation, group, map and action go together, found by asking every combination about a few weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from lieref._record import dataclass
from lieref._types import Shape
from lieref.errors import LierefError
from lieref.group.mode import MODES
from lieref.group.registry import ACTIONS, GROUPS, MAPS, make_action, make_group
from lieref.param.describe import GEOMETRIES
from lieref.param.registry import METHODS, PARAMETERISATIONS, STATISTICS_FIRST, get_method, options_of
from lieref.param.starts import DRAWS, STARTS

WEIGHTS: dict[str, tuple[Shape, int]] = {
    **GEOMETRIES,
    "square linear": ((6, 6), 1),
    "square conv 2-D": ((6, 6, 4, 6), 1),
    "linear of twos": ((2, 2), 1),
    "conv 1-D of twos": ((2, 2, 2), 1),
    "conv 2-D of twos": ((2, 2, 2, 2), 1),
}
"""Weights that are asked about: also those with as many outputs as inputs, even kernels, and modes of two indices,
for each of which something is legal that is not elsewhere."""


@dataclass(frozen=True)
class Entry:
    """Maps and actions of which every pair is legal with one parameterisation and one group.

    Attributes
    ----------
    parameterisation, group : str
    maps, actions : tuple of str
        Texts for `get_method`; ``taylor`` and ``neumann`` stand for every degree, ``bounded`` for every bound.
    weights : tuple of str
        Keys of `WEIGHTS`: which of them each of these pairs serves.
    """

    parameterisation: str
    group: str
    maps: tuple[str, ...]
    actions: tuple[str, ...]
    weights: tuple[str, ...]


@cache
def candidates() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts of all maps, one of each kind, and of all actions: the examples of each kind, on every mode."""
    actions = [spec for name in ACTIONS for spec in dict.fromkeys(one.spec for one in ACTIONS[name].examples())]
    on_modes = [make_action(text.format(mode)).spec for text in ("scaling({})", "{}") for mode in MODES]
    return tuple(MAPS), tuple(dict.fromkeys([*actions, *on_modes]))


def legal_entries() -> list[Entry]:
    """Return every legal combination of single groups, few entries for each parameterisation and group.

    Where an action moves several modes, "out*in", a group may be named for each of them: "so*gl". Such a product is
    legal where each of its groups is.
    """
    return [entry for kind in PARAMETERISATIONS for group in GROUPS for entry in _entries(kind, group)]


def served(kind: str, group: str, map_: str, action: str) -> tuple[str, ...]:
    """Return the keys of `WEIGHTS` that a combination serves, none where it is not legal."""
    try:
        method = get_method(f"{kind}+{group}+{map_}+{action}")
    except LierefError:
        return ()
    return tuple(name for name in _acted_on(group, action) if method.supports(*WEIGHTS[name]) is None)


def _entries(kind: str, group: str) -> Iterator[Entry]:
    maps, actions = candidates()
    by_weights: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for action, map_ in itertools.product(actions, maps):
        if weights := served(kind, group, map_, action):
            by_weights.setdefault((weights, action), []).append(map_)
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (weights, action), of in by_weights.items():
        alike.setdefault((tuple(of), weights), []).append(action)
    for (legal_maps, weights), acting in alike.items():
        yield Entry(kind, group, legal_maps, tuple(acting), weights)


@cache
def _acted_on(group: str, action: str) -> tuple[str, ...]:
    """Return the keys of `WEIGHTS` on which a group has an action, whatever makes its elements."""
    found = []
    for name, (shape, groups) in WEIGHTS.items():
        try:
            make_group(group, make_action(action, group), shape, groups)
        except LierefError:
            continue
        found.append(name)
    return tuple(found)


def couplings(kind: str, group: str) -> dict[str, Any]:
    """Return what may be put around a parameterisation and a group, or before their training.

    Returns
    -------
    dict
        ``wrappers``: rows of `METHODS` with these parts, by what is around them. ``starts``: values of
        ``init_lora_weights``, True and others, with N = 1 for a number. ``settings``: options of the combination
        beside map, action and the fields. ``norm-stats+``: whether statistics may be re-estimated first. ``still``:
        whether no training moves the weight, because what the factors make has no part in the algebra.
    """
    name = f"{kind}+{group}+exp"
    wrappers: dict[str, list[str]] = {}
    for row in METHODS.values():
        if row.wrapper and (row.parameterisation, row.group) == (kind, group):
            wrappers.setdefault(row.wrapper, []).append(row.name)
    options = options_of(name)
    starts = [start for start in (*DRAWS, *STARTS) if _makes(name, init_lora_weights=_started(start))]
    return {
        "wrappers": wrappers,
        "starts": starts,
        "settings": [one for one in ("strict", "lora_dropout") if one in options],
        STATISTICS_FIRST: _makes(f"{STATISTICS_FIRST}{name}"),
        "still": is_still(kind, group),
    }


def is_still(kind: str, group: str) -> bool:
    """Return whether a parameterisation has nothing in the algebra of a group: the diagonal of a skew matrix.

    Asked at the start, of the first action and weight for which the two are legal.
    """
    action = next((one for one in candidates()[1] if served(kind, group, "exp", one)), None)
    if action is None:
        return False
    method, rng = get_method(f"{kind}+{group}+exp+{action}"), np.random.default_rng(0)
    shape, groups = WEIGHTS[served(kind, group, "exp", action)[0]]
    base, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
    return method.is_still(method.start(shape, groups, rng, base_weight=base), base, bias, groups)


def _started(start: bool | str) -> bool | str:
    return start.replace("_N", "_1") if isinstance(start, str) else start


def _makes(name: str, **config: Any) -> bool:
    try:
        get_method(name, **config)
    except LierefError:
        return False
    return True
