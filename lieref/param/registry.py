"""The table of parameterisations, and `get_method`, which makes any method from text.

A named method is one row of `lieref.param.table`. Any other legal combination needs no row; it is named by its parts,
for instance ``get_method("tucker+hadamard+exp", r=4)``. The classes that a method is made of are imported when it is
made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from lieref._check import check_bool, check_real
from lieref._lazy import ClassTable
from lieref._text import close_names, did_you_mean
from lieref.errors import DomainError, DTypeError, UnsupportedError
from lieref.group.registry import GROUPS, make_action, make_map
from lieref.param._base import Parameterisation
from lieref.param.combination import Combination
from lieref.param.method import Method, Recipe, Untrained
from lieref.param.table import METHODS as METHODS
from lieref.param.table import OF_OTHERS, SPELLINGS
from lieref.param.table import RENAMED as RENAMED
from lieref.param.table import MethodRow as MethodRow

PARAMETERISATIONS: ClassTable[Parameterisation] = ClassTable(
    {
        "dense": "lieref.param.dense:Dense",
        "diagonal": "lieref.param.dense:Diagonal",
        "low-rank": "lieref.param.low_rank:LowRank",
        "principal": "lieref.param.principal:Principal",
        "tucker": "lieref.param.tucker:Tucker",
        "kronecker": "lieref.param.kronecker:Kronecker",
        "hadamard-low-rank": "lieref.param.hadamard_low_rank:HadamardLowRank",
        "filter-atoms": "lieref.param.atoms:FilterAtoms",
        "separable": "lieref.param.separable:Separable",
        "tensor-train": "lieref.param.tensor_train:TensorTrain",
        "block-diagonal": "lieref.param.blocks:BlockDiagonal",
        "butterfly": "lieref.param.blocks:Butterfly",
        "givens": "lieref.param.givens:GivensTree",
        "householder": "lieref.param.householder:Householder",
        "shared-random": "lieref.param.shared_random:SharedRandom",
        "random-bases": "lieref.param.random_bases:RandomBases",
        "projected": "lieref.param.projected:Projected",
        "fourier": "lieref.param.spectrum:Fourier",
        "wavelet": "lieref.param.spectrum:Wavelet",
        "sparse": "lieref.param.sparse:Sparse",
        "circulant": "lieref.param.circulant:Circulant",
        "shared-blocks": "lieref.param.shared_blocks:SharedBlocks",
        "block-low-rank": "lieref.param.block_low_rank:BlockLowRank",
        "singular-values": "lieref.param.singular_values:SingularValues",
        "core": "lieref.param.core:Core",
        "principal-rotation": "lieref.param.core:PrincipalRotation",
        "canonical": "lieref.param.canonical:Canonical",
        "tensor-ring": "lieref.param.tensor_ring:TensorRing",
    }
)
"""Parameterisations by their names; a class put into it is one more, in every group that it is legal for."""

_NOT_FIELDS = ("map", "action", "strict", "detach_norm", "lora_dropout")

SETTINGS = {"additive": (), "hadamard": ("map", "strict")}
"""Parts the caller of `get_method` may choose beside the fields of the parameterisation, by group: where xi is added
every map is the identity, and both tensor groups act element-wise. Map and action for every other group."""

_OF_WRAPPERS = {"rotation": ("map",), "reflections": ()}
"""The same of what rotates filters: the action is what the wrapper does."""

STATISTICS_FIRST = "norm-stats+"
"""What stands before the name of a method that re-estimates the statistics of BatchNormalization first."""


def get_method(name: str, **config: Any) -> Method:
    """Return a fine-tuning method by its name.

    Parameters
    ----------
    name : str
        A row of `METHODS`, or "parameterisation+group+map" or "parameterisation+group+map+action"; "norm-stats+" before
        any of them re-estimates the statistics of every BatchNormalization before the training.
    **config
        Fields of the parameterisation, for instance ``r=4`` and ``lora_alpha=8``; and ``map``, ``action`` and
        ``strict`` (refuse zero weights under the Hadamard group) where the method leaves them open; ``detach_norm``
        where DoRA is around it; ``lora_dropout`` where xi is an added low rank: there alone the adapter is a branch of
        its own on the layer's input, whose channels can be dropped.

    Returns
    -------
    Method

    Raises
    ------
    DTypeError
        If the name is no text, or a field is of the wrong type.
    DomainError
        If the name or a field is unknown, fixed by the method, or out of range.
    """
    if not isinstance(name, str):
        raise DTypeError(f"get_method: `name` must be text; got {name!r}")
    if name.startswith(STATISTICS_FIRST):
        method = get_method(name.removeprefix(STATISTICS_FIRST), **config)
        if method.recipe.statistics_first or method.scope == "statistics":
            raise DomainError(
                f"get_method: `name` must have a method that trains after {STATISTICS_FIRST}; got {name!r}"
            )
        recipe = dataclasses.replace(method.recipe, name=name, statistics_first=True)
        return dataclasses.replace(method, recipe=recipe)
    if name in RENAMED:
        raise DomainError(
            f"get_method: `name` must be {RENAMED[name]!r} for what was {name!r}, which is another method"
        )
    if name in OF_OTHERS:
        raise DomainError(f"get_method: `name` must be a method; {name!r} is {OF_OTHERS[name]}")
    row = METHODS.get(name) or _row_of_parts(name)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    recipe = Recipe(name, plain, row.scope, row.learning_rate)
    allowed = _fields(row)
    for option in config:
        if option not in allowed:
            known = ", ".join(allowed) or "nothing"
            meant = f": here that is {SPELLINGS[option]}" if option in SPELLINGS else did_you_mean(option, allowed)
            raise DomainError(f"get_method: options of {name} must be among {known}; got {option!r}{meant}")
    if row.parameterisation is None:
        return Untrained(recipe)
    switches = {f.name for f in dataclasses.fields(PARAMETERISATIONS[row.parameterisation]) if f.type == "bool"}
    for option in config.keys() & {"strict", "detach_norm", *switches}:
        check_bool("get_method", option, config[option])
    if config.get("share_groups") is not None:
        check_bool("get_method", "share_groups", config["share_groups"])
    fields = {**row.defaults, **{key: value for key, value in config.items() if key not in _NOT_FIELDS}}
    kind = row.parameterisation
    if _is_added_low_rank(row) and isinstance(fields.get("init_lora_weights"), str):
        from lieref.param.starts import learning_rate_of, principal_fields, starts_elsewhere

        if starts_elsewhere(fields):
            kind, fields = "principal", principal_fields(fields)
            recipe = dataclasses.replace(recipe, default_learning_rate=learning_rate_of(fields["start"]))
    parameterisation = PARAMETERISATIONS[kind](**fields)
    if parameterisation.wants_inputs and not str(config.get("action", row.action)).startswith("element-wise"):
        start = fields["init_lora_weights"]
        raise UnsupportedError(
            f"{name}: `init_lora_weights` must not be {start!r}: its factors do not read the inputs of a layer"
        )
    if kind == "principal" and parameterisation.wants_inputs and row.group != "additive":
        raise UnsupportedError(
            f"{name}: `start` must not be {fields['start']!r}: a part of W is added to W, and this is in the group "
            f"{row.group}"
        )
    if row.alpha_over_rank is not None and fields.get("lora_alpha") is None:
        alpha = row.alpha_over_rank * parameterisation.r  # type: ignore[attr-defined]
        parameterisation = dataclasses.replace(parameterisation, lora_alpha=alpha)  # type: ignore[call-arg]
    if row.wrapper in ("rotation", "reflections"):
        return _rotating(recipe, parameterisation, row)
    action = make_action(config.get("action", row.action), row.group, strict=config.get("strict", False))
    dropout = check_real("get_method", "lora_dropout", config.get("lora_dropout", 0.0), low=0.0)
    if dropout >= 1:
        raise DomainError(f"get_method: `lora_dropout` must be below 1; got {dropout}")
    map_ = make_map(config.get("map", row.map))
    combination = Combination(recipe, parameterisation, row.group, map_, action, dropout)
    if row.wrapper == "dora":
        from lieref.param.dora import Dora

        return Dora(recipe, combination, config.get("detach_norm", False))
    return combination


def saved_method(**config: Any) -> Method:
    """Return the method of a configuration that was saved with its factors; raises as `get_method`.

    Raises
    ------
    DomainError
        If an option is missing that no default can stand for: frozen numbers are made of it.
    """
    method, row = get_method(**config), row_of(config["name"])
    needed = () if row.parameterisation is None else PARAMETERISATIONS[row.parameterisation].must_be_saved
    for option in needed:
        if option not in config:
            raise DomainError(f"{method.name}: `{option}` must be saved with the factors; got {sorted(config)}")
    return method


def _rotating(recipe: Recipe, parameterisation: Parameterisation, row: MethodRow) -> Method:
    """Return the method that rotates or reflects filters."""
    from lieref.param.blocks import Blocks
    from lieref.param.householder import Householder
    from lieref.param.rotation import BlockRotation, Reflections

    if isinstance(parameterisation, Householder):
        return Reflections(recipe, parameterisation)
    assert isinstance(parameterisation, Blocks)  # what the rows of the table have
    return BlockRotation(recipe, parameterisation, make_map(recipe.settings.get("map", row.map)), row.group)


def row_of(name: str) -> MethodRow:
    """Return the row of a method, of a combination that has none the one that its parts make.

    Raises
    ------
    DomainError
        If there is no such method.
    """
    name = name.removeprefix(STATISTICS_FIRST)
    return METHODS.get(name) or _row_of_parts(name)


def options_of(name: str) -> tuple[str, ...]:
    """Return the names of the options that `get_method` takes for a method.

    Raises
    ------
    DomainError
        If there is no such method.
    """
    return _fields(row_of(name))


def _fields(row: MethodRow) -> tuple[str, ...]:
    """Return the names a caller may set for a method."""
    if row.parameterisation is None:
        return ()
    parameterisation = PARAMETERISATIONS[row.parameterisation]
    fields = [field.name for field in dataclasses.fields(parameterisation)]
    if not parameterisation.groups_matter:
        fields.remove("share_groups")
    settings = _OF_WRAPPERS.get(row.wrapper, SETTINGS.get(row.group, ("map", "action")))
    if row.wrapper == "dora":
        settings = (*settings, "detach_norm")
    elif _is_added_low_rank(row) or (row.group, row.parameterisation) == ("additive", "principal"):
        settings = (*settings, "lora_dropout")
    return tuple(field for field in (*fields, *settings) if field not in row.fixed)


def _is_added_low_rank(row: MethodRow) -> bool:
    """Tell whether a method adds B A to the weight, a branch of its own."""
    return (row.group, row.parameterisation, row.wrapper) == ("additive", "low-rank", "")


def _row_of_parts(name: str) -> MethodRow:
    """Return the row of a name such as "tucker+hadamard+exp+element-wise"."""
    parts = name.split("+", 3)
    if len(parts) < 3:
        which = _nearest("method", name, METHODS)
        raise DomainError(f"get_method: `name` must be {which}, or parameterisation+group+map[+action]; got {name!r}")
    parameterisation = parts[0]
    if parameterisation not in PARAMETERISATIONS:
        which = _nearest("parameterisation", parameterisation, PARAMETERISATIONS)
        raise DomainError(f"get_method: `name` must begin with {which}; got {parameterisation!r} in {name!r}")
    for group in parts[1].split("*"):
        if group not in GROUPS:
            which = _nearest("group", group, GROUPS)
            raise DomainError(f"get_method: `name` must have {which}, after the first +; got {group!r} in {name!r}")
    action = parts[3] if len(parts) == 4 else _USUAL_ACTION.get(parts[1], "out")
    return MethodRow(name, "Combination", parameterisation, parts[1], parts[2], action, "", 1e-2)


def _nearest(what: str, name: str, known: Collection[str]) -> str:
    """Return the names that somebody may have meant, all where none is near."""
    close = close_names(name, known)
    return f"a {what}, such as {' or '.join(close)}" if close else f"one of {', '.join(known)}"


_USUAL_ACTION = {
    "additive": "element-wise", "hadamard": "element-wise", "scaling": "scaling", "affine": "affine", "se": "affine",
}  # fmt: skip
