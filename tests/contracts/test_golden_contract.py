"""Every entry of every registry has golden cases: a new named row without a definition and a family fails here."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from lieref.conformance.case import Case
from lieref.conformance.definitions import methods as definitions
from lieref.conformance.definitions.groups import PROJECTIONS
from lieref.conformance.definitions.parameterisations import PARAMETERISATIONS as PARAMETERISATION_DEFINITIONS
from lieref.conformance.definitions.training import LOSSES as LOSS_DEFINITIONS
from lieref.conformance.definitions.training import OPTIMIZERS as OPTIMIZER_DEFINITIONS
from lieref.conformance.definitions.training import SCHEDULES as SCHEDULE_DEFINITIONS
from lieref.conformance.families import actions, groups, learning, methods
from lieref.conformance.families.spec import Spec
from lieref.conformance.vectors import read_vectors
from lieref.errors import LierefError
from lieref.group.maps import Cayley
from lieref.group.matrix import SO
from lieref.group.mode_action import MatrixOnMode
from lieref.group.registry import ACTIONS, GROUPS, MAPS
from lieref.numerics import expm, low_rank, matrix_maps, phi
from lieref.param.low_rank_group import FORMS
from lieref.param.registry import METHODS, PARAMETERISATIONS
from lieref.train.loss import MeanSquaredError
from lieref.train.loss_registry import LOSSES
from lieref.train.optimizer_registry import OPTIMIZERS
from lieref.train.schedule import SCHEDULES

BOTH = {"f32", "f64"}


@cache
def stored() -> list[Case]:
    cases, problems = read_vectors()
    assert not problems
    return cases


def of(op: str, **attrs: Any) -> list[Case]:
    """Stored cases of an operation with these attributes."""
    return [c for c in stored() if c.op == op and all(c.attrs.get(key) == value for key, value in attrs.items())]


def dtypes(cases: list[Case]) -> set[str]:
    return {case.dtype for case in cases}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_in_every_regime_and_on_every_kind_of_weight_it_serves(name: str) -> None:
    forward, backward = of("merge", method=name), of("merge_vjp", method=name)
    for kind in methods.KINDS:
        served = methods.serves(name, kind) and not (kind == methods.CONV_3D and methods.flattens(name))
        assert served == any(tuple(c.inputs["base_weight"].shape) == kind.shape for c in forward), kind.name
    regimes = {case.comment.split(",")[0] for case in forward}
    if METHODS[name].scope not in ("bias", "norm"):
        assert regimes == set(methods.SIZES)
        assert dtypes(forward) == BOTH
        assert any("bias" in case.inputs for case in forward)
    if METHODS[name].parameterisation is not None:
        assert {(c.dtype, c.comment) for c in backward} == {(c.dtype, c.comment) for c in forward}


def test_definitions_are_those_of_the_registries() -> None:
    assert set(definitions.METHODS) == set(METHODS)
    assert set(PARAMETERISATION_DEFINITIONS) == set(PARAMETERISATIONS)
    assert set(PROJECTIONS) == set(GROUPS) - {"product"}
    assert set(LOSS_DEFINITIONS) == set(LOSSES)
    assert set(SCHEDULE_DEFINITIONS) == set(SCHEDULES)
    assert set(OPTIMIZER_DEFINITIONS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", METHODS)
def test_every_switch_of_a_method_is_seen(name: str) -> None:
    for switch, kind in methods.switches(name).items():
        if methods.serves(name, kind, {switch: True}):
            assert any(case.attrs["options"].get(switch) is True for case in of("merge", method=name)), switch


@pytest.mark.parametrize("name", PARAMETERISATIONS)
def test_every_parameterisation(name: str) -> None:
    rows = {row.name for row in METHODS.values() if row.parameterisation == name and row.wrapper in ("", "dora")}
    known = rows | set(methods.uncovered())
    merged = {case.attrs["method"] for case in of("merge")} & known
    assert any(method in rows or method.split("+")[0] == name for method in merged)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(
    "op",
    ["retract", "retract_vjp", "group_log", "group_compose", "group_inverse", "group_adjoint", "group_bracket"],
)
def test_every_operation_of_every_group(name: str, op: str) -> None:
    assert dtypes(of(op, group=name)) == BOTH


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("op", ["retract", "retract_vjp"])
def test_every_map_on_every_group_it_is_legal_for(name: str, op: str) -> None:
    cases = [c for c in stored() if c.op == op and c.attrs["map"].startswith(name)]
    assert dtypes(cases) == BOTH
    map_ = MAPS[name].examples()[-1]
    legal = {group for group in GROUPS if map_.legal_for(groups.member(group))}
    assert legal == {c.attrs["group"] for c in cases}
    regimes = {c.comment.split(", ")[1] for c in cases}
    assert {"generic", "tiny", "near the singular set"} <= regimes


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("op", ["act", "act_vjp"])
def test_every_example_of_every_action(name: str, op: str) -> None:
    for action in ACTIONS[name].examples():
        assert of(op, action=action.spec), action.spec


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("op", ["loss", "loss_vjp"])
def test_every_loss_and_setting(name: str, op: str) -> None:
    cases = of(op, loss=name)
    assert dtypes(cases) == BOTH
    for field in dataclasses.fields(LOSSES[name]):
        assert any(field.name in case.attrs for case in cases), field.name


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name: str) -> None:
    cases = of("learning_rate", schedule=name)
    assert dtypes(cases) == BOTH
    assert {case.attrs["warmup_steps"] > 0 for case in cases} == {True, False}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_setting_of_every_optimizer_has_two_values(name: str) -> None:
    cases = of("optimizer_step", optimizer=name)
    assert dtypes(cases) == BOTH
    for field in dataclasses.fields(OPTIMIZERS[name]):
        if field.init:
            values = {case.attrs.get(field.name, field.default) for case in cases}
            assert len(values) > 1, field.name


def test_clipping_and_layers() -> None:
    for op in ("clip_gradients", "fold_batch_normalization", "fold_batch_normalization_vjp", "gemm", "gemm_vjp"):
        assert dtypes(of(op)) == BOTH, op
    for kind in ("max", "average"):
        assert dtypes(of("pool", kind=kind)) == dtypes(of("pool_vjp", kind=kind)) == BOTH


# Function -> the operation, and attributes, whose cases it is checked by; its VJP and its form without the identity are
# parts of it.
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "expm": ("expm", {}),
    "expm_minus_identity": ("expm_delta", {}),
    "expm_frechet": ("expm_frechet", {}),
    "expm_vjp": ("expm_vjp", {}),
    "logm": ("logm", {}),
    "phi": ("phi", {}),
    "matrix_phi": ("matrix_phi", {}),
    "matrix_phi_vjp": ("matrix_phi_vjp", {}),
    "matrix_taylor": ("retract", {"group": "gl", "map": "taylor3"}),
    "matrix_taylor_vjp": ("retract_vjp", {"group": "gl", "map": "taylor3"}),
    "matrix_polynomial": ("retract", {"group": "gl", "map": "neumann4"}),
    "matrix_polynomial_vjp": ("retract_vjp", {"group": "gl", "map": "neumann4"}),
    "cayley": ("retract", {"group": "gl", "map": "cayley"}),
    "cayley_vjp": ("retract_vjp", {"group": "gl", "map": "cayley"}),
    "exp_low_rank": ("low_rank_expm", {}),
    "exp_low_rank_vjp": ("low_rank_expm_vjp", {}),
    "exp_skew_low_rank": ("low_rank_retract", {"group": "so", "map": "exp"}),
    "exp_skew_low_rank_vjp": ("low_rank_retract_vjp", {"group": "so", "map": "exp"}),
    "exp_traceless_low_rank": ("low_rank_retract", {"group": "sl", "map": "exp"}),
    "exp_traceless_low_rank_vjp": ("low_rank_retract_vjp", {"group": "sl", "map": "exp"}),
    "cayley_low_rank": ("low_rank_retract", {"group": "gl", "map": "cayley"}),
    "cayley_low_rank_vjp": ("low_rank_retract_vjp", {"group": "gl", "map": "cayley"}),
}
HELPERS = {"check_square", "phi_series"}


def public(module: ModuleType) -> set[str]:
    functions = inspect.getmembers(module, inspect.isfunction)
    return {n for n, f in functions if f.__module__ == module.__name__ and not n.startswith("_")} - HELPERS


@pytest.mark.parametrize("module", [expm, low_rank, matrix_maps, phi], ids=lambda m: m.__name__)
def test_every_function_of_matrices(module: ModuleType) -> None:
    for name in public(module):
        whole = name.removesuffix("_minus_identity") if name not in FUNCTIONS else name
        op, attrs = FUNCTIONS[whole]
        assert dtypes(of(op, **attrs)) == BOTH, name


def test_every_form_of_low_rank_factors() -> None:
    assert {(c.attrs["group"], c.attrs["map"]) for c in of("low_rank_retract")} == {(g, m().spec) for g, m in FORMS}


class NewRotation(SO):
    name = "new"


class NewMap(Cayley):
    name = "new"

    @property
    def spec(self) -> str:
        return "new"


class NewAction(MatrixOnMode):
    name = "new"

    @property
    def spec(self) -> str:
        return "new"

    @classmethod
    def examples(cls) -> tuple[NewAction, ...]:
        return (cls(),)


class NewMeanError(MeanSquaredError):
    name = "new"


def _methods() -> list[Spec]:
    return list(methods.cases("new", "method_new", "generic", methods.CONV_1D, "f64"))


@pytest.mark.parametrize(
    ("registry", "entry", "specs"),
    [
        (METHODS, dataclasses.replace(METHODS["lora"], name="new"), _methods),
        (GROUPS, NewRotation, lambda: list(groups.operations("new", "f64"))),
        (MAPS, NewMap, lambda: list(groups.maps("new"))),
        (ACTIONS, NewAction, lambda: list(actions.cases(NewAction(), actions.WEIGHTS, "f64"))),
        (LOSSES, NewMeanError, lambda: list(learning.losses("new", "f64"))),
    ],
    ids=["method", "group", "map", "action", "loss"],
)
def test_a_new_entry_cannot_be_generated_without_a_definition(
    monkeypatch: pytest.MonkeyPatch, registry: dict[str, Any], entry: Any, specs: Callable[[], list[Spec]]
) -> None:
    pytest.importorskip("mpmath")
    monkeypatch.setitem(registry, "new", entry)
    with pytest.raises(LierefError, match="new"):
        [spec.complete(number) for number, spec in enumerate(specs(), 1)]
