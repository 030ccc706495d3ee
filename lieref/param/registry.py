"""The table of parameterisations, the table of named methods, and `get_method`, which makes any method from text.

A named method is one row: a choice of parts and of defaults. Any other legal combination needs no row; it is named by
its parts, for instance ``get_method("tucker+hadamard+exp", r=4)``. The classes that a method is made of are imported
when it is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Set
from typing import Any

from lieref._check import check_bool, check_real
from lieref._class_table import ClassTable
from lieref._record import dataclass
from lieref.errors import DomainError, DTypeError
from lieref.group.registry import GROUPS, make_action, make_map
from lieref.param._base import Parameterisation
from lieref.param.combination import Combination
from lieref.param.method import Method, Recipe, Untrained
from lieref.param.starts import learning_rate_of, principal_fields, starts_elsewhere

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
        "householder": "lieref.param.householder:Householder",
    }
)

_NOT_FIELDS = ("map", "action", "strict", "detach_norm", "lora_dropout")

SETTINGS = {"additive": (), "hadamard": ("map", "strict")}
"""Parts the caller of `get_method` may choose beside the fields of the parameterisation, by group: where xi is added
every map is the identity, and both tensor groups act element-wise. Map and action for every other group."""


@dataclass(frozen=True)
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
        Keys of `references.py` in brackets; empty where there is no one source.
    learning_rate : float
        Default for AdamW.
    scope : str
        See `Recipe`.
    wrapper : str
        What is put around the combination: "dora" (`Dora`), "rotation" (`BlockRotation`), "reflections"
        (`Reflections`), or nothing.
    formula : str
        Trainable count where it is not the parameterisation's own.
    defaults : mapping
        Values of parameterisation fields that differ from the field's own default.
    alpha_over_rank : float, optional
        Default of `lora_alpha` over r, where it is not the parameterisation's own.
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
    wrapper: str = ""
    formula: str = ""
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alpha_over_rank: float | None = None
    fixed: Set[str] = frozenset()


def _additive(name: str, summary: str, parameterisation: str, reference: str, lr: float, **rest: Any) -> MethodRow:
    """Return the row of a method that adds xi to the weight."""
    return MethodRow(name, summary, parameterisation, "additive", "exp", "element-wise", reference, lr, **rest)


def _on_out(name: str, summary: str, group: str, reference: str) -> MethodRow:
    """Return the row of a method that mixes the filters by low-rank elements of a matrix algebra.

    With the action "out+bias" the bias is mixed too, which mixes the outputs of the layer.
    """
    return MethodRow(name, summary, "low-rank", group, "exp", "out", reference, 5e-3,
                     fixed={"matricisation", "rank_times_kernel"}, formula="2·G·r·n")  # fmt: skip


def _rotation(
    name: str, summary: str, parameterisation: str, map_spec: str, reference: str, lr: float, **rest: Any
) -> MethodRow:
    """Return the row of a method that rotates the flattened filters."""
    return MethodRow(name, summary, parameterisation, "so", map_spec, "fan-in", reference, lr,
                     fixed={"skew"}, **rest)  # fmt: skip


def _hadamard(
    name: str, summary: str, parameterisation: str, map_spec: str, reference: str, lr: float, **rest: Any
) -> MethodRow:
    """Return the row of a method that multiplies each weight by its own factor."""
    return MethodRow(name, summary, parameterisation, "hadamard", map_spec, "element-wise", reference, lr, **rest)


# Learning rates: between what 500 and what 10,000 images prefer on ResNet-8 where both were searched (full, head, bias,
# norm, scale, lora, lora-view, liera), near the best of three on 500 images elsewhere: validation/learning_rates.py.
_ROWS = (
    _additive("full", "Every weight and bias of a layer, scale and shift of a normalisation", "dense", "", 3e-4,
              scope="all"),
    _additive("head", "The last layer only", "dense", "", 3e-3, scope="head"),
    _additive("bias", "Every bias of a layer and shift of a normalisation", "dense", "[BenZaken22]", 1e-2,
              scope="bias"),
    _additive("norm", "Every scale and shift of a normalisation", "dense", "[Frankle21] [Zhao24]", 1e-2, scope="norm"),
    MethodRow("norm-stats", "BatchNorm statistics re-estimated without labels; nothing is trained", None, "additive",
              "exp", "element-wise", "[Li16]", 0.0, scope="statistics"),
    MethodRow("scale", "One positive factor for each output channel of the weight; the bias stays", "dense", "scaling",
              "exp", "scaling", "", 1e-2, formula="G·O"),
    MethodRow("ia3", "One factor for each output, weight and bias: (IA)^3; action scaling(in) for feed-forward layers",
              "dense", "scaling", "taylor1", "scaling+bias", "[Liu22]", 1e-2, fixed={"map"}, formula="G·O"),
    _additive("lora", "Low-rank addition, rows out and columns in k_h k_w as in PEFT", "low-rank", "[Hu21]", 5e-3,
              fixed={"rank_times_kernel"}),
    _additive("lora-view", "Low-rank addition in loralib's shape (out k, r k) (r k, in k), in each conv group",
              "low-rank", "[Hu21]", 3e-3,
              defaults={"matricisation": "view"}, fixed={"matricisation", "rank_times_kernel"},
              formula="G·r·p·(O·p + I·q)"),
    _additive("lora-structured", "Low-rank addition, rows (out, k_h) and columns (in, k_w) unmixed; derived here",
              "low-rank", "[Hu21]", 3e-3,
              defaults={"matricisation": "structured"}, fixed={"matricisation", "rank_times_kernel"},
              formula="G·r·p·(O·p + I·q)"),
    _additive("rslora", "LoRA scaled by alpha / sqrt(r), alpha 4 at any rank", "low-rank", "[Kalajdzievski23]", 5e-3,
              defaults={"use_rslora": True}, fixed={"use_rslora", "rank_times_kernel"}),
    _additive("lora-c", "loralib's layout at rank r instead of r k, alpha 2 r", "low-rank", "[LoRAC24]", 3e-3,
              defaults={"matricisation": "view", "rank_times_kernel": False}, alpha_over_rank=2.0,
              fixed={"matricisation", "rank_times_kernel"}, formula="G·r·(O·p + I·q)"),
    _additive("locon-tucker", "A core over the whole kernel between two pointwise factors", "tucker", "[Yeh24]", 3e-3,
              defaults={"kernel_factors": False, "zero": "out"}, fixed={"kernel_factors", "zero", "kernel_rank"},
              formula="G·(r·s·k + O·r + I·s)"),
    _additive("loha", "Product of two low-rank matrices, entry by entry", "hadamard-low-rank", "[Hyeon22] [Yeh24]",
              1e-2),
    _additive("lokr", "Kronecker product", "kronecker", "[Yeh24]", 1e-2),
    _additive("convolutional-low-rank-adaptation", "Pointwise matrix times depthwise kernel", "separable",
              "[CoLoRA25]", 2e-3),
    _additive("lora-edge", "Output-side core of a tensor train of the kernel", "tensor-train", "[LoRAEdge25]", 2e-3),
    _additive("flora", "Tucker form, core zero", "tucker", "[Si25F]", 1e-3, defaults={"scale": 4.0},
              fixed={"kernel_factors", "zero"}),
    _additive("atoms", "Spatial atoms shared by all filters", "filter-atoms", "[Chen25]", 2e-3,
              fixed={"recursive", "unit_scale"}, formula="m·f"),
    _additive("atoms-recursive", "Spatial atoms, each made of smaller ones for each input channel", "filter-atoms",
              "[Chen25]", 1e-3, defaults={"recursive": 3}, fixed={"unit_scale"}, formula="m·m1·(v + f)"),
    _additive("dora", "Length of each filter, and LoRA for its direction", "low-rank", "[Liu24]", 5e-3,
              fixed={"rank_times_kernel"}, wrapper="dora", formula="G·r·(O + I·k) + G·O"),
    _additive("pissa", "Low rank from the principal singular directions of the weight", "principal", "[Meng24]", 1e-3,
              fixed={"of_logarithm", "lora_alpha", "use_rslora", "start"}),
    _additive("olora", "Low rank from the QR decomposition of the weight", "principal", "[Buyukakyuz24]", 1e-3,
              defaults={"start": "olora"}, fixed={"of_logarithm", "start"}),
    _rotation("oft", "Filters rotated in small blocks, exact exponential", "block-diagonal", "exp", "[Qiu23]",
              5e-3, wrapper="rotation", defaults={"skew": True}, formula="G·n·(b - 1)/2"),
    _rotation("oft-cayley", "Filters rotated in small blocks by the Cayley map", "block-diagonal", "cayley", "[Qiu23]",
              5e-3, wrapper="rotation", defaults={"skew": True}, formula="G·n·(b - 1)/2"),
    _rotation("boft", "Filters rotated by a butterfly of small blocks, Cayley map; filters are not scaled",
              "butterfly", "cayley", "[Liu24B]", 2e-3, wrapper="rotation", defaults={"skew": True},
              formula="G·m·n·(b - 1)/2"),
    _rotation("hra", "Filters reflected an even number of times", "householder", "exp", "[Yuan24]", 3e-3,
              wrapper="reflections"),
    _on_out("elra", "Filters mixed by exp(B A), any invertible mixing near one; the bias stays", "gl", "[Hamidi25]"),
    _on_out("so", "Filters mixed by a rotation, exp of a low-rank matrix made skew; the bias stays", "so", ""),
    _on_out("sl", "Filters mixed without changing volume: exp of a low-rank matrix made traceless; the bias stays",
            "sl", ""),
    _on_out("sp", "Filters mixed by a symplectic matrix, an even number of them; the bias stays", "sp", ""),
    MethodRow("affine", "Outputs mixed and shifted, y to A y + t, the bias too", "low-rank", "affine", "exp",
              "affine", "", 5e-3, fixed={"matricisation", "rank_times_kernel", "action"},
              formula="2·G·r·(n + 1)"),
    _hadamard("liera", "Low rank in the algebra of the Hadamard group, exact exponential", "low-rank", "exp",
              "[Si25]", 2e-2, fixed={"rank_times_kernel"}),
    _hadamard("liera-taylor1", "LieRA to first order, W (1 + xi), as its authors released it", "low-rank", "taylor1",
              "[Si25]", 2e-2, fixed={"rank_times_kernel", "map"}),
    _hadamard("liera-taylor2", "LieRA to second order, W (1 + xi + xi^2 / 2)", "low-rank", "taylor2", "[Si25]", 2e-2,
              fixed={"rank_times_kernel", "map"}),
    _hadamard("liera-bounded", "LieRA with exp(c tanh(xi / c)): no weight changes by more than e^c", "low-rank",
              "bounded", "[Si25]", 2e-2, fixed={"rank_times_kernel"}),
    _hadamard("liera-tucker", "LieRA with a Tucker form in the algebra; derived here", "tucker", "exp", "[Si25]", 5e-3,
              defaults={"scale": 4.0}),
    _hadamard("liera-kronecker", "LieRA with a Kronecker product in the algebra; derived here", "kronecker", "exp",
              "[Si25]", 2e-2),
    _hadamard("liera-atoms", "LieRA with filter atoms in the algebra; derived here", "filter-atoms", "exp", "[Si25]",
              2e-3, defaults={"unit_scale": True}),
    _hadamard("hira", "W (1 + B A), without alpha", "low-rank", "taylor1", "[Huang25]", 2e-2,
              fixed={"rank_times_kernel", "map", "lora_alpha", "use_rslora"}),
    _hadamard("dora-liera", "Length of each filter, and LieRA for its direction; derived here", "low-rank", "exp",
              "[Si25] [Liu24]", 1e-2, fixed={"rank_times_kernel"}, wrapper="dora", formula="G·r·(O + I·k) + G·O"),
    _hadamard("pissa-liera", "PiSSA of log|W| in the algebra of the Hadamard group; derived here", "principal", "exp",
              "[Si25] [Meng24]", 2e-3, defaults={"of_logarithm": True},
              fixed={"of_logarithm", "lora_alpha", "use_rslora", "start"}),
)  # fmt: skip

METHODS: dict[str, MethodRow] = {row.name: row for row in _ROWS}

RENAMED = {"colora": "convolutional-low-rank-adaptation"}
"""Names that methods had before, and the names they have: CoLoRA is also the published name of another method."""

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
    row = METHODS.get(name) or _row_of_parts(name)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    recipe = Recipe(name, plain, row.scope, row.learning_rate)
    allowed = _fields(row)
    for option in config:
        if option not in allowed:
            known = ", ".join(allowed) or "nothing"
            raise DomainError(f"get_method: options of {name} must be among {known}; got {option!r}")
    if row.parameterisation is None:
        return Untrained(recipe)
    switches = {f.name for f in dataclasses.fields(PARAMETERISATIONS[row.parameterisation]) if f.type == "bool"}
    for option in config.keys() & {"strict", "detach_norm", *switches}:
        check_bool("get_method", option, config[option])
    if config.get("share_groups") is not None:
        check_bool("get_method", "share_groups", config["share_groups"])
    fields = {**row.defaults, **{key: value for key, value in config.items() if key not in _NOT_FIELDS}}
    kind = row.parameterisation
    if _is_added_low_rank(row) and starts_elsewhere(fields):
        kind, fields = "principal", principal_fields(fields)
        recipe = dataclasses.replace(recipe, default_learning_rate=learning_rate_of(fields["start"]))
    parameterisation = PARAMETERISATIONS[kind](**fields)
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


def _rotating(recipe: Recipe, parameterisation: Parameterisation, row: MethodRow) -> Method:
    """Return the method that rotates or reflects filters."""
    from lieref.param.blocks import BlockDiagonal
    from lieref.param.householder import Householder
    from lieref.param.rotation import BlockRotation, Reflections

    if isinstance(parameterisation, Householder):
        return Reflections(recipe, parameterisation)
    assert isinstance(parameterisation, BlockDiagonal)  # what the rows of the table have
    return BlockRotation(recipe, parameterisation, make_map(row.map))


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
    settings = () if row.wrapper in ("rotation", "reflections") else SETTINGS.get(row.group, ("map", "action"))
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
        raise DomainError(f"get_method: `name` must be {which}, or parameterisation+group+map; got {name!r}")
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
    from difflib import get_close_matches

    close = get_close_matches(name, known, 3)
    return f"a {what}, such as {' or '.join(close)}" if close else f"one of {', '.join(known)}"


_USUAL_ACTION = {
    "additive": "element-wise", "hadamard": "element-wise", "scaling": "scaling", "affine": "affine", "se": "affine",
}  # fmt: skip
