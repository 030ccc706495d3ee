"""What the table of methods promises: the parts a name is made of, and options that are options."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, LierefWarning
from lieref.group.registry import GROUPS
from lieref.param import registry
from lieref.param.combination import Combination
from lieref.param.method import Method
from lieref.param.registry import METHODS, PARAMETERISATIONS, MethodRow, get_method

TRAINED = [name for name, row in METHODS.items() if row.parameterisation is not None]
GEOMETRIES = [((8, 6, 3, 3), 1), ((8, 3, 3, 3), 2), ((8, 64), 1), ((9, 1, 3, 3), 9)]


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_a_name_made_of_parts_is_that_combination(parameterisation: str, group: str) -> None:
    """No special form that belongs to a named method takes its place."""
    for map_spec in ("exp", "taylor1", "cayley"):
        try:
            method = get_method(f"{parameterisation}+{group}+{map_spec}")
        except LierefError:  # a map that leaves the group
            continue
        assert isinstance(method, Combination)
        assert isinstance(method.parameterisation, PARAMETERISATIONS[parameterisation])
        assert (method.group, method.map.spec) == (group, map_spec)


@pytest.mark.parametrize(("names", "options"), [
    (("liera-taylor1", "liera-taylor2", "hira", "ia3"), ("map",)),
    (("hira",), ("lora_alpha", "use_rslora")),
    (("rslora",), ("use_rslora",)),
    (("lora-view", "lora-structured", "lora-c", "so", "sl", "sp", "elra", "affine"), ("matricisation",)),
    (("affine",), ("action",)),
    (("flora",), ("kernel_factors", "zero")),
    (("locon-tucker",), ("kernel_factors", "zero", "kernel_rank")),
    (("atoms", "atoms-recursive"), ("unit_scale",)),
    (("atoms",), ("recursive",)),
    (("pissa", "pissa-liera", "olora"), ("of_logarithm", "start")),
    (("pissa", "pissa-liera"), ("lora_alpha", "use_rslora")),
    (("oft", "oft-cayley", "boft", "goft", "qgoft"), ("skew", "map", "action")),
    (("oft-cayley-neumann",), ("skew", "action")),
    (("boha",), ("map",)),
    (("hra",), ("map", "action")),
])  # fmt: skip
def test_what_a_name_says_cannot_be_chosen_otherwise(names: tuple[str, ...], options: tuple[str, ...]) -> None:
    for name in names:
        for option in options:
            with pytest.raises(DomainError, match=f"options of {name} must be among .*; got '{option}'"):
                get_method(name, **{option: "taylor1" if option == "map" else True})


def choices(row: MethodRow, option: str) -> list[Any]:
    """Values of an option that are not the method's own."""
    settings = {
        "map": ["taylor2", "taylor3", "cayley", "bounded(0.5)"], "strict": [True], "detach_norm": [True],
        "action": ["element-wise", "out", "in", "fan-in", "scaling(in)", "scaling+bias", "out+bias"],
        "share_groups": [True, False], "lora_dropout": [0.25],
    }  # fmt: skip
    if option in settings:
        return settings[option]
    cls = PARAMETERISATIONS[str(row.parameterisation)]
    default = next(field.default for field in dataclasses.fields(cls) if field.name == option)
    values = [getattr(member, option) for member in (cls(), *cls.examples())]
    return [value for value in values if value != row.defaults.get(option, default)]


def results(method: Method) -> Iterator[list[np.ndarray]]:
    """What a method does to weights of every geometry, with a bias and with zeros: factors, images and gradients."""
    for shape, groups in GEOMETRIES:
        rng = np.random.default_rng(5)
        base, g = rng.standard_normal((2, *shape))
        base.flat[:: 7 if len(shape) == 2 else base.size] = 0.0
        try:
            params = method.init(shape, groups, rng, base_weight=base)
            rng = np.random.default_rng(6)
            moving = method.trainable(params)
            params = {n: p + 0.3 * rng.standard_normal(p.shape) * (n in moving) for n, p in params.items()}
            bias = method.adapted_bias(params, np.arange(1.0, shape[0] + 1), shape, groups)
            weight = method.adapted_weight(params, base, groups)
            bars = method.adapted_weight_vjp(params, base, groups, g)
        except LierefError as error:
            yield [np.frombuffer(str(error).encode(), np.uint8)]
            continue
        masks = method.dropout_masks(shape, groups, np.random.default_rng(8))
        yield [*params.values(), weight, bias, *bars.values(), *masks.values()]


@pytest.mark.parametrize("name", TRAINED)
def test_every_option_makes_a_difference(name: str) -> None:
    """An option that a method takes and does not use would be a promise that nothing keeps."""
    row = METHODS[name]
    fields = set(registry._fields(row)) - {"generator"}  # there is one so far
    low: dict[str, Any] = {"r": registry.PARAMETERISATIONS[str(row.parameterisation)].least_rank}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        for option in fields:
            # some options matter at a low rank alone
            given = [{}, low] if "r" in fields and option != "r" else [{}]
            assert any(_changes(name, option, choices(row, option), other) for other in given), f"{name}: {option}"


def _changes(name: str, option: str, values: list[Any], given: dict[str, Any]) -> bool:
    """Tell whether a value of an option makes something else of a weight."""
    own = list(results(get_method(name, **given)))
    for value in values:
        try:
            if not _equal(own, list(results(get_method(name, **given, **{option: value})))):
                return True
        except LierefError:  # a value that this method refuses
            continue
    return False


def _equal(one: list[list[np.ndarray]], other: list[list[np.ndarray]]) -> bool:
    return all(
        len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lora", {"use_dora": True}, "got 'use_dora': here that is the method dora"),
        ("lora", {"rank": 4}, "here that is r$"),
        ("eva", {}, "'eva' is lora, or liera, with init_lora_weights"),
        ("adalora", {}, "trained by the optimizer"),
    ],
)
def test_what_other_libraries_call_it_is_said(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DomainError, match=said):
        get_method(name, **options)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("lora", "lora_alpha", 10**400),
        ("lora", "lora_alpha", 1e300),
        ("pissa-liera", "r", 10**400),
        ("lokr", "lora_alpha", 1e300),
        ("fourierft", "scale", 1e300),
        ("vera", "d_initial", 1e300),
        ("flora", "scale", 1e300),
        ("flora", "ranks", 3),
        ("atoms", "m", 10**9),
        ("atoms-recursive", "recursive", 10**9),
        ("flora", "ranks", ()),
    ],
)
def test_extreme_options_are_refused_by_name(name: str, option: str, value: Any) -> None:
    with pytest.raises(LierefError, match=f"`{option}` must"):
        get_method(name, **{option: value})


def test_random_matrices_have_a_largest_size() -> None:
    with pytest.raises(LierefError, match="`r` must be at most"):
        get_method("vera", r=10**9).num_params((6, 4))
