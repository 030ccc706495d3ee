"""One method and one layer: what the method is, and what it makes of the layer, as data for people and programs.

Nothing is said here that a part does not say of itself: equations and counts come from the objects, texts from their
docstrings.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lieref._types import Params, Shape
from lieref.errors import LierefError, LierefWarning
from lieref.group.action import PRESERVED
from lieref.group.mode import check_weight_shape
from lieref.group.registry import GROUPS, make_action, make_map
from lieref.param.combination import Combination
from lieref.param.describe import LETTERS
from lieref.param.docstring import arguments, cited, paragraphs
from lieref.param.dora import Dora
from lieref.param.legal import candidates
from lieref.param.method import Method
from lieref.param.registry import METHODS, PARAMETERISATIONS, MethodRow, get_method, options_of, row_of
from lieref.param.written import written_out
from lieref.references import REFERENCES

SHAPE = (64, 64, 3, 3)
"""Weight of the layer that is explained by default: an ordinary convolution."""

SCOPES = {
    "weight": ("weight",), "head": ("weight", "bias"), "bias": ("bias",), "norm": ("scale", "shift"),
    "all": ("weight", "bias"), "statistics": (),
}  # fmt: skip
"""Tensors of one layer that a method trains, by its scope; of a normalisation with as many channels for ``norm``."""

_SETTINGS: dict[str, tuple[Any, str]] = {
    "map": (make_map, "spec"), "action": (make_action, "spec"), "strict": (make_action, "strict"),
    "detach_norm": (Dora, "detach_norm"), "lora_dropout": (Combination, "lora_dropout"),
}  # fmt: skip
"""Where the options that no field of the parameterisation is are explained: a docstring and a name in it."""

_SIDE = 16
"""Largest size of the stand-in for a weight that is decomposed, or whose factors are large: the start of a factor
depends on no size, and a decomposition of a large weight takes minutes."""

_MOST = 2**20
"""Numbers in factors that are made to see how they start: 8 MiB."""

_SILENT = ("", "")
"""What a docstring says that Python has left out, as it does with ``-OO``."""


def explain(name: str, shape: Shape = SHAPE, groups: int = 1, **config: Any) -> dict[str, Any]:
    """Return what a method is and what it makes of one layer, as plain values.

    Parameters
    ----------
    name : str
        As for `get_method`.
    shape : tuple of int
        Of the weight: (O, I/groups, *kernel) of a convolution, (O, I) of a linear layer.
    groups : int
        Conv groups.
    **config
        Options of the method.

    Returns
    -------
    dict
        ``name``, ``summary``, ``same_parts`` (named methods that a combination is), ``scope``, ``statistics_first``,
        ``learning_rate``; ``parts`` (its four parts and wrapper, by name); ``equations`` (lines from W' down to xi);
        ``about`` (paragraphs of each part's docstring); ``rank``, ``alpha``, ``scaling``; ``layer`` and, of a
        convolution, ``linear``: the same method on (O, I), each with ``shape``, ``groups``, ``tensors``,
        ``numbers``, ``of``, ``adjusted``, ``moves_bias``, ``factors``, or with ``refused``; ``count`` (formula and
        letters); ``options``; ``preserves``; ``starts_at_base``; ``sources``, citations of the method, and ``cited``,
        those of its parts.

    Raises
    ------
    DTypeError, DomainError
        As `get_method`.
    ShapeError, UnsupportedError
        If the method has no meaning for the weight.
    """
    method, row, shape = get_method(name, **config), row_of(name), tuple(shape)
    for tensor in trained_tensors(method, shape, groups).values():
        method.num_params(*tensor)  # the method's own error comes first
    check_weight_shape("explain", shape, groups)
    layer = _layer(method, shape, groups)
    inner = inner_method(method)
    about = _about(method, shape, groups)
    keys = cited(row.reference)
    if method.recipe.statistics_first:
        keys += cited(METHODS["norm-stats"].reference)
    told = [key for texts in about.values() for key in cited(" ".join(texts)) if key not in keys]
    told += [key for part in _parts(method) for key in cited(part.__doc__ or "") if key not in keys]
    return {
        "name": name,
        "summary": row.summary if row.name in METHODS else _summary(row),
        "same_parts": [] if row.name in METHODS else same_parts(name),
        "scope": method.scope,
        "statistics_first": method.recipe.statistics_first,
        "learning_rate": method.default_learning_rate,
        "parts": {
            "parameterisation": row.parameterisation,
            "group": row.group if row.parameterisation else None,
            "map": inner.map.spec if hasattr(inner, "map") else None,
            "action": inner.action.spec if isinstance(inner, Combination) else row.action if about else None,
            "wrapper": row.wrapper or None,
        },
        "equations": list(method.equations),
        "about": about,
        "rank": method.rank,
        "alpha": method.alpha,
        "scaling": method.scaling,
        "layer": layer,
        "linear": _linear(method, shape, groups) if len(shape) > 2 else None,
        "count": _count(name),
        "options": _options(name, config, shape, groups),
        "preserves": _preserved(method, shape, groups),
        "starts_at_base": method.starts_at_base,
        "sources": _citations(keys),
        "cited": _citations(told),
    }


def same_parts(name: str) -> list[str]:
    """Return the rows of `METHODS` that have the four parts of a method and choose nothing else; see `row_of`."""
    own = get_method(name)
    assert isinstance(own, Combination)  # of parts
    found = []
    for row in METHODS.values():
        if (row.parameterisation, row.group, row.wrapper) == (own.parameterisation.name, own.group, ""):
            other = get_method(row.name)
            if isinstance(other, Combination) and (other.map, other.action) == (own.map, own.action):
                found += [row.name] if other.parameterisation == own.parameterisation and row.scope == "weight" else []
    return found


def _summary(row: MethodRow) -> str:
    return f"{row.parameterisation} in the algebra of {row.group}, which acts as {row.action}, by {row.map}"


def inner_method(method: Method) -> Method:
    """Return what a wrapper is around, or the method itself."""
    return method.direction if isinstance(method, Dora) else method


def trained_tensors(method: Method, shape: Shape, groups: int) -> dict[str, tuple[Shape, int]]:
    """Return shape and conv groups of the tensors of a layer that a method trains, by name."""
    vector = (shape[:1], 1)
    return {one: (shape, groups) if one == "weight" else vector for one in SCOPES[method.scope]}


def factors_of(method: Method, shape: Shape, groups: int = 1) -> dict[str, tuple[Shape, bool]]:
    """Return the shape of every factor for one tensor, as `Method.init` makes it, and whether it is trained."""
    inner = inner_method(method)
    recipe = getattr(inner, "parameterisation", None)
    if recipe is None:
        return {}
    assert hasattr(inner, "_factor_shape")  # as all that have a parameterisation
    seen, blocks = inner._factor_shape(shape, groups)
    blocks = recipe.factor_groups(seen, blocks)
    one = (seen[0] // blocks, *seen[1:])
    trained = {name: True for name in recipe.factor_shapes(one)}
    every = {**recipe.factor_shapes(one), **recipe.frozen_shapes(one)}
    found = {name: ((blocks * size[0], *size[1:]), name in trained) for name, size in every.items()}
    return {**found, "magnitude": (shape[:1], True)} if isinstance(method, Dora) else found


def _layer(method: Method, shape: Shape, groups: int) -> dict[str, Any]:
    """Return what a method trains in one layer; raises as `Method.num_params`."""
    tensors = trained_tensors(method, shape, groups)
    numbers = sum(method.num_params(*at) for at in tensors.values())
    factors = []
    for tensor, at in tensors.items():
        starts = _starts(method, *at)
        for name, (size, trained) in factors_of(method, *at).items():
            factors.append({"tensor": tensor, "name": name, "shape": list(size), "trained": trained,
                            "start": starts[name]})  # fmt: skip
    return {
        "shape": list(shape),
        "groups": groups,
        "tensors": list(tensors),
        "numbers": numbers,
        "of": math.prod(shape),
        "adjusted": method.adjusted(shape, groups) if "weight" in tensors else "",
        "moves_bias": method.moves_bias,
        "factors": factors,
    }


def _linear(method: Method, shape: Shape, groups: int) -> dict[str, Any]:
    flat = (shape[0], shape[1] * groups)
    try:
        return _layer(method, flat, 1)
    except LierefError as error:
        return {"shape": list(flat), "groups": 1, "refused": str(error)}


def _starts(method: Method, shape: Shape, groups: int) -> dict[str, str]:
    """Return what every factor is at the start, found by making them: from other numbers, and for another weight."""
    recipe = getattr(inner_method(method), "parameterisation", None)
    factors, blocks = factors_of(method, shape, groups), min(groups, 2)
    small = (min(shape[0] // groups, _SIDE) * blocks, *(min(size, _SIDE) for size in shape[1:]))
    from_weight = isinstance(method, Dora) or (recipe is not None and recipe.needs_base_weight)
    if from_weight or sum(math.prod(size) for size, _ in factors.values()) > _MOST:
        if method.supports(small, blocks) is None and factors_of(method, small, blocks).keys() == factors.keys():
            shape, groups = small, blocks

    def made(draws: int, weight: int) -> Params:
        base = np.random.default_rng(weight).standard_normal(shape) if from_weight else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)
            return method.start(shape, groups, np.random.default_rng(draws), base_weight=base)

    first, redrawn, other = made(0, 2), made(1, 2), made(0, 3)
    found = {}
    for name, factor in first.items():
        drawn, follows = not np.array_equal(factor, redrawn[name]), not np.array_equal(factor, other[name])
        words = [word for word, is_so in (("from the weight", follows), ("random", drawn)) if is_so]
        found[name] = " and ".join(words) or ("zero" if not factor.any() else "constant")
    return found


def _parts(method: Method) -> tuple[Any, ...]:
    """Return the classes whose docstrings say what a method is."""
    inner = inner_method(method)
    recipe = getattr(inner, "parameterisation", None)
    if recipe is None:
        return ()
    wrapper = (type(method),) if not isinstance(method, Combination) else ()
    return (*wrapper, type(recipe), *((type(inner.map),) if hasattr(inner, "map") else ()))


def _about(method: Method, shape: Shape, groups: int) -> dict[str, list[str]]:
    inner = inner_method(method)
    recipe = getattr(inner, "parameterisation", None)
    if recipe is None:
        return {}
    texts = {"wrapper": paragraphs(type(method))} if not isinstance(method, Combination) else {}
    texts["parameterisation"] = paragraphs(type(recipe))
    if isinstance(inner, Combination):
        at = next(iter(trained_tensors(method, shape, groups).values()))
        group = inner.group_for(*at)
        texts["group"] = [text for name in dict.fromkeys(inner.group.split("*")) for text in paragraphs(GROUPS[name])]
        if group.algebra.dimension < math.prod(group.element_shape):
            texts["algebra"] = ["xi is projected on the algebra,", *paragraphs(type(group.algebra))]
        texts["map"] = paragraphs(type(inner.map)) if group.name != "additive" else ["Every map is the identity here."]
        texts["action"] = paragraphs(type(inner.action))
    elif hasattr(inner, "map"):
        texts["map"] = paragraphs(type(inner.map))
    return texts


def _count(name: str) -> dict[str, Any]:
    """Return the formula of the trainable count and what its letters mean."""
    row = row_of(name)
    if row.parameterisation is None:
        return {"formula": "0", "letters": {}, "of_xi": False}
    formula = row.formula or PARAMETERISATIONS[row.parameterisation].formula
    letters = {key: LETTERS[key] for key in letters_of(formula)}
    return {"formula": formula, "letters": letters, "of_xi": not row.formula and row.action != "element-wise"}


def letters_of(formula: str) -> list[str]:
    """Return the keys of `LETTERS` that explain the letters of a formula, in their order there.

    A letter may be a key, one of several in a key, or explained in the words of one; of several keys that one which
    explains most letters of the formula, the shortest of them where they explain as many.
    """
    tokens = set(re.findall(r"[A-Za-z]\d?", formula.replace(" or ", " ")))
    names = {key: set(key.split(", ")) for key in LETTERS}
    found = set()
    for token in tokens:
        holders = [key for key in LETTERS if token in names[key]]
        if holders:
            found.add(max(holders, key=lambda key: (len(names[key] & tokens), -len(key))))
        else:
            found.update([key for key, text in LETTERS.items() if re.search(rf"\b{token}\b", text)][:1])
    return [key for key in LETTERS if key in found]


def _options(name: str, config: Mapping[str, Any], shape: Shape, groups: int) -> list[dict[str, Any]]:
    """Return name, default, value, type, meaning and, of map and action, the legal values of every option."""
    defaults = written_out(get_method(name))
    values = written_out(get_method(name, **config))
    row, found = row_of(name), []
    for option in options_of(name):
        if option in _SETTINGS:
            thing, key = _SETTINGS[option]
            kind, meaning = arguments(thing).get(key, _SILENT)
        else:
            assert row.parameterisation is not None  # a method without one has no options
            kind, meaning = arguments(PARAMETERISATIONS[row.parameterisation]).get(option, _SILENT)
        known = {"name": option, "default": defaults[option], "value": values[option], "type": kind, "meaning": meaning}
        if option in ("map", "action"):
            maps, actions = candidates()
            known["legal"] = _taken(name, config, option, maps if option == "map" else actions, shape, groups)
        found.append(known)
    return found


def _taken(
    name: str, config: Mapping[str, Any], option: str, values: Iterable[str], shape: Shape, groups: int
) -> list[str]:
    """Return the values of an option with which the method takes the weight."""

    def takes(value: str) -> bool:
        try:
            return get_method(name, **{**config, option: value}).supports(shape, groups) is None
        except LierefError:
            return False

    return [value for value in values if takes(value)]


def _preserved(method: Method, shape: Shape, groups: int) -> dict[str, str]:
    kept = method.preserves(shape, groups) if "weight" in SCOPES[method.scope] else frozenset()
    return {name: PRESERVED[name] for name in PRESERVED if name in kept}


def _citations(keys: Iterable[str]) -> dict[str, str]:
    return {key: REFERENCES[key] for key in keys if key in REFERENCES}
