"""The table of parameterisations, the table of named methods, and `get_method`, which makes any method from text.

A named method is one row: a choice of parts and of defaults. Any other legal combination needs no row; it is named by
its parts, for instance ``get_method("tucker+hadamard+exp", r=4)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from typing import Any

from lieref._check import check_choice
from lieref.errors import DomainError
from lieref.group.registry import GROUPS, make_action, make_map
from lieref.param._base import Parameterisation
from lieref.param.atoms import FilterAtoms
from lieref.param.blocks import BlockDiagonal, Butterfly
from lieref.param.combination import Combination
from lieref.param.dense import Dense, Diagonal
from lieref.param.hadamard_low_rank import HadamardLowRank
from lieref.param.householder import Householder
from lieref.param.kronecker import Kronecker
from lieref.param.low_rank import LowRank
from lieref.param.method import Method, Recipe, Untrained
from lieref.param.principal import Principal
from lieref.param.separable import Separable
from lieref.param.tensor_train import TensorTrain
from lieref.param.tucker import Tucker

PARAMETERISATIONS: dict[str, type[Parameterisation]] = {
    cls.name: cls
    for cls in (
        Dense, Diagonal, LowRank, Principal, Tucker, Kronecker, HadamardLowRank, FilterAtoms, Separable, TensorTrain,
        BlockDiagonal, Butterfly, Householder,
    )
}  # fmt: skip

SETTINGS = ("map", "action", "strict")
"""Parts of a method that `get_method` lets the caller choose beside the fields of the parameterisation."""


@dataclasses.dataclass(frozen=True)
class MethodRow:
    """One named method.

    Attributes
    ----------
    name, summary : str
        Name in `get_method` and on the command line; one line for people.
    parameterisation : str or None
        Key of `PARAMETERISATIONS`; None where nothing is trained.
    group, map, action : str
        Key of `GROUPS`; texts for `make_map` and `make_action`.
    reference : str
        Keys of `references.py` joined by a space; empty where there is no one source.
    learning_rate : float
        Default for AdamW.
    scope : str
        See `Recipe`.
    defaults : mapping
        Values of parameterisation fields that differ from the field's own default.
    fixed : set of str
        Fields that make the method what it is and that the caller cannot choose.
    """

    name: str
    summary: str
    parameterisation: str | None
    group: str
    map: str
    action: str
    reference: str
    learning_rate: float
    scope: str = "weight"
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Set[str] = frozenset()


def _additive(name: str, summary: str, parameterisation: str, reference: str, lr: float, **rest: Any) -> MethodRow:
    """Return the row of a method that adds xi to the weight."""
    return MethodRow(name, summary, parameterisation, "additive", "exp", "element-wise", reference, lr, **rest)


def _hadamard(
    name: str, summary: str, parameterisation: str, map_spec: str, reference: str, lr: float, **rest: Any
) -> MethodRow:
    """Return the row of a method that multiplies each weight by its own factor."""
    return MethodRow(name, summary, parameterisation, "hadamard", map_spec, "element-wise", reference, lr, **rest)


# Learning rates: the best of a grid with a factor of three on ResNet-8, between what 500 and what 10,000 images prefer.
_ROWS = (
    _additive("full", "Every weight, bias and normalisation parameter", "dense", "", 3e-4, scope="all"),
    _additive("head", "The last layer only", "dense", "", 1e-3, scope="head"),
    _additive("bias", "Biases only", "dense", "", 1e-2, scope="bias"),
    MethodRow("norm-stats", "BatchNorm statistics re-estimated without labels; nothing is trained", None, "additive",
              "exp", "element-wise", "", 0.0, scope="statistics"),
    MethodRow("scale", "One positive factor for each output channel", "dense", "scaling", "exp", "scaling", "", 1e-2),
    _additive("lora", "Low-rank addition, rows out and columns in k_h k_w as in PEFT", "low-rank", "Hu21", 5e-3,
              fixed={"rank_times_kernel"}),
    _hadamard("liera", "Low rank in the algebra of the Hadamard group, exact exponential", "low-rank", "exp", "Si25",
              2e-2, fixed={"rank_times_kernel"}),
    _hadamard("liera-taylor1", "LieRA to first order, W (1 + xi), as its authors released it", "low-rank", "taylor1",
              "Si25", 2e-2, fixed={"rank_times_kernel", "map"}),
    _hadamard("hira", "W (1 + B A), without alpha", "low-rank", "taylor1", "Huang25", 2e-2,
              fixed={"rank_times_kernel", "map", "lora_alpha", "use_rslora"}),
)  # fmt: skip

METHODS: dict[str, MethodRow] = {row.name: row for row in _ROWS}


def get_method(name: str, **config: Any) -> Method:
    """Return a fine-tuning method by its name.

    Parameters
    ----------
    name : str
        A row of `METHODS`, or "parameterisation+group+map" or "parameterisation+group+map+action".
    **config
        Fields of the parameterisation, for instance ``r=4`` and ``lora_alpha=8``; and ``map``, ``action`` and
        ``strict`` (refuse zero weights under the Hadamard group) where the method leaves them open.

    Returns
    -------
    Method

    Raises
    ------
    DomainError
        If the name or a field is unknown, fixed by the method, or out of range.
    """
    row = METHODS.get(name) or _row_of_parts(name)
    recipe = Recipe(name, dict(config), row.scope, row.learning_rate)
    allowed = _fields(row)
    for field in config:
        check_choice(name, "config", field, allowed)
    if row.parameterisation is None:
        return Untrained(recipe)
    fields = {**row.defaults, **{key: value for key, value in config.items() if key not in SETTINGS}}
    return Combination(
        recipe,
        PARAMETERISATIONS[row.parameterisation](**fields),
        row.group,
        make_map(config.get("map", row.map)),
        make_action(config.get("action", row.action), row.group, strict=config.get("strict", False)),
    )


def _fields(row: MethodRow) -> tuple[str, ...]:
    """Return the names a caller may set for a method."""
    if row.parameterisation is None:
        return ()
    fields = [field.name for field in dataclasses.fields(PARAMETERISATIONS[row.parameterisation])]
    return tuple(field for field in (*fields, *SETTINGS) if field not in row.fixed)


def _row_of_parts(name: str) -> MethodRow:
    """Return the row of a name such as "tucker+hadamard+exp+element-wise"."""
    parts = name.split("+", 3)
    if len(parts) < 3:
        raise DomainError(
            f"get_method: `name` must be parameterisation+group+map or one of {', '.join(METHODS)}; got {name!r}"
        )
    parameterisation = check_choice("get_method", "parameterisation", parts[0], tuple(PARAMETERISATIONS))
    group = check_choice("get_method", "group", parts[1], tuple(GROUPS))
    action = parts[3] if len(parts) == 4 else "scaling" if group == "scaling" else "element-wise"
    return MethodRow(name, "Combination", parameterisation, group, parts[2], action, "", 1e-2)
