"""Laws of every parameterisation, run over the registry: a new entry is tested without a line here."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
import zlib
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, ShapeError
from lieref.numerics.gradcheck import inner, random_like
from lieref.param._base import Parameterisation
from lieref.param.registry import PARAMETERISATIONS, get_method
from tests.pairs import EVERYTHING

# Every size of a shape differs, so that no pair of axes can be confused; the last three are matrices and a vector.
GEOMETRIES: dict[str, tuple[tuple[int, ...], int]] = {
    "linear": ((6, 5), 1),
    "1-D": ((8, 6, 5), 1),
    "2-D": ((6, 5, 4, 3), 1),
    "3-D": ((7, 6, 4, 3, 2), 1),
    "grouped": ((8, 3, 5, 2), 2),
    "depthwise": ((5, 1, 4, 3), 5),
    "matrix": ((6, 6), 1),
    "matrices": ((12, 4), 3),
    "vector": ((7,), 1),
}
REGIMES = {"zero": 0.0, "tiny": 1e-8, "generic": 0.3, "large": 30.0}


def variants(cls: type[Parameterisation]) -> list[Parameterisation]:
    """Its examples, the default member, and the first example with the conv groups made to share factors or not."""
    found = [*cls.examples(), cls()]
    for shared in (True, False):
        try:
            found.append(dataclasses.replace(found[0], share_groups=shared))
        except DomainError:
            assert cls.name == "filter-atoms"  # all conv groups share their atoms
    return found


def cases() -> list[Any]:
    """Every variant of every parameterisation on every geometry it has a meaning for."""
    found = []
    for name, cls in PARAMETERISATIONS.items():
        for index, member in enumerate(variants(cls)):
            for geometry, (shape, groups) in GEOMETRIES.items():
                if member.share_groups is not None and groups == 1:  # nothing to share
                    continue
                try:
                    member.num_params(shape, groups)
                except (ShapeError, DomainError):
                    continue
                found.append(pytest.param(member, shape, groups, id=f"{name}-{index}-{geometry}"))
    return found


CASES = cases()

IN_A_REGIME = [
    pytest.param(*case.values, regime, id=f"{case.id}-{regime}")
    for number, case in enumerate(CASES)
    for regime in (REGIMES if EVERYTHING else (list(REGIMES)[(number + number // len(REGIMES)) % len(REGIMES)],))
]
"""Each in one of the regimes in turn."""
_CACHE: dict[str, dict[str, np.ndarray]] = {}


def at_start(
    member: Parameterisation, shape: tuple[int, ...], groups: int, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Factors of `init` on a random base, the same on every call."""
    key = f"{member}{shape}{groups}{np.dtype(dtype)}"
    if key not in _CACHE:
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        _CACHE[key] = member.init(shape, groups, rng, dtype=dtype, base_weight=rng.standard_normal(shape).astype(dtype))
    return {name: factor.copy() for name, factor in _CACHE[key].items()}


def moved(
    member: Parameterisation, params: dict[str, np.ndarray], rng: np.random.Generator, size: float
) -> dict[str, np.ndarray]:
    """Factors with the trainable ones moved away from the start."""
    trained = member.trainable(params)
    return {
        n: p + size * rng.standard_normal(p.shape).astype(p.dtype) if n in trained else p for n, p in params.items()
    }


def test_every_parameterisation_has_a_geometry() -> None:
    assert {case.values[0].name for case in CASES} == set(PARAMETERISATIONS)


@pytest.mark.parametrize(("member", "shape", "groups"), CASES)
def test_start_is_exactly_zero(member: Parameterisation, shape: tuple[int, ...], groups: int) -> None:
    for dtype in (np.float32, np.float64):
        params = at_start(member, shape, groups, dtype)
        xi = member.delta(params, shape, groups)
        assert xi.shape == shape
        assert xi.dtype == dtype
        assert xi.any() != member.starts_at_zero
        assert all(factor.dtype == dtype for factor in params.values())
        assert all(factor.flags.c_contiguous for factor in params.values()), "as it comes back from a file, bit for bit"
        assert member.num_params(shape, groups) == sum(params[name].size for name in member.trainable(params)) > 0
    assert PARAMETERISATIONS[member.name](**json.loads(json.dumps(member.config()))) == member


@pytest.mark.parametrize(("member", "shape", "groups", "regime"), IN_A_REGIME)
def test_vjp_is_the_adjoint_of_the_derivative(
    member: Parameterisation, shape: tuple[int, ...], groups: int, regime: str, rng: np.random.Generator
) -> None:
    """By complex step: every delta is a rational function of its factors, so the derivative is exact to rounding."""
    params = moved(member, at_start(member, shape, groups), rng, REGIMES[regime])
    params_dot = random_like(rng, {name: params[name] for name in member.trainable(params)})
    xi_bar = rng.standard_normal(shape)
    step = 1e-100
    along = {n: p + 1j * step * params_dot[n] if n in params_dot else p.astype(complex) for n, p in params.items()}
    xi_dot = member.delta(along, shape, groups).imag / step
    params_bar = member.delta_vjp(params, shape, groups, xi_bar)
    assert set(params_bar) == set(member.trainable(params))
    scale = np.linalg.norm(xi_dot) * np.linalg.norm(xi_bar)
    assert abs(inner(xi_dot, xi_bar) - inner(params_dot, params_bar)) <= 1e-12 * scale


@pytest.mark.parametrize(("member", "shape", "groups"), CASES)
def test_arguments_are_not_changed(
    member: Parameterisation, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    params = moved(member, at_start(member, shape, groups), rng, 0.3)
    before = {name: factor.copy() for name, factor in params.items()}
    xi = member.delta(params, shape, groups)
    xi_bar = rng.standard_normal(shape)
    bars = member.delta_vjp(params, shape, groups, xi_bar)
    xi += 1.0
    for bar in bars.values():
        bar += 1.0
    assert all(np.array_equal(params[name], before[name]) for name in params)


@pytest.mark.parametrize("name", [n for n, c in PARAMETERISATIONS.items() if c.pruned is not Parameterisation.pruned])
@pytest.mark.parametrize("geometry", ["linear", "grouped", "depthwise"])
def test_what_is_pruned_leaves_xi(name: str, geometry: str, rng: np.random.Generator) -> None:
    """Of every row that may have unused ranks: some of them are zero, in other places of each conv group."""
    (shape, groups), member = GEOMETRIES[geometry], PARAMETERISATIONS[name](r=4, lora_alpha=2.5)  # type: ignore[call-arg]
    params = moved(member, at_start(member, shape, groups), rng, 0.5)
    assert member.pruned(params, shape, groups) == (member, params)
    switch = min(member.trainable(params), key=lambda factor: params[factor].size)
    params[switch][:: 2 if groups == 1 else 3] = 0.0
    found = member.pruned(params, shape, groups)
    assert found is not None
    less, left = found
    assert less.num_params(shape, groups) <= member.num_params(shape, groups)
    np.testing.assert_allclose(less.delta(left, shape, groups), member.delta(params, shape, groups), atol=1e-15)
    params[switch][...] = 0.0
    least, nothing = member.pruned(params, shape, groups) or (member, params)
    assert least.num_params(shape, groups) == sum(one.size for one in nothing.values())
    assert not least.delta(nothing, shape, groups).any()


@pytest.mark.parametrize("name", PARAMETERISATIONS)
def test_the_examples_try_every_option(name: str) -> None:
    """Each field has a value beside its default, and a switch both."""
    cls = PARAMETERISATIONS[name]
    for field in dataclasses.fields(cls):
        if field.name not in ("share_groups", "generator"):  # there is one generator so far
            assert any(getattr(member, field.name) != field.default for member in cls.examples()), field.name
            assert any(getattr(member, field.name) == field.default for member in variants(cls)), field.name


@pytest.mark.parametrize(("member", "shape", "groups"), CASES)
def test_depthwise_factors_are_shared_unless_told_otherwise(
    member: Parameterisation, shape: tuple[int, ...], groups: int
) -> None:
    """One set for a depthwise kernel is the set for the same numbers as an ordinary kernel of one input channel."""
    shared = groups == shape[0] > 1 if member.share_groups is None else member.share_groups
    shared |= member.name == "filter-atoms"
    assert member.factor_groups(shape, groups) == (1 if shared else groups)
    if shared and groups > 1:
        params = at_start(member, shape, 1)
        np.testing.assert_array_equal(member.delta(params, shape, groups), member.delta(params, shape, 1))


@pytest.mark.parametrize("name", [n for n, cls in PARAMETERISATIONS.items() if n != "diagonal"])
def test_sharing_is_an_option_exactly_where_it_makes_a_difference(name: str, rng: np.random.Generator) -> None:
    """Shared factors are fewer numbers, frozen ones included; of a stack of matrices they are those of one matrix."""
    cls, counts = PARAMETERISATIONS[name], set()
    matrices = name in ("block-diagonal", "butterfly", "givens", "householder")
    for shared in (True, None) if name == "filter-atoms" else (True, False):
        member = dataclasses.replace(cls.examples()[0], share_groups=shared)
        shape, groups = (((6, 6), 1) if shared else ((12, 6), 2)) if matrices else ((8, 3, 5, 2), 2)
        params = member.init(shape, groups, rng, base_weight=rng.standard_normal(shape))
        counts.add(sum(factor.size for factor in params.values()))
    assert (len(counts) > 1) == cls.groups_matter
    method = f"{name}+additive+exp"
    if cls.groups_matter:
        assert get_method(method, share_groups=True).config()["share_groups"]
    else:
        with pytest.raises(DomainError, match="must be among"):
            get_method(method, share_groups=True)


@pytest.mark.parametrize("name", [n for n, cls in PARAMETERISATIONS.items() if hasattr(cls, "r") and cls.lowers_rank])
@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 6), (3, 7), (9, 2)])
def test_rank_beyond_the_mode_is_lowered_to_the_largest(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    """From the largest rank on nothing changes any more but what `adjusted` says."""
    cls = PARAMETERISATIONS[name]
    step, least = 2 if name == "householder" else 1, cls.examples()[0].r  # type: ignore[attr-defined]
    try:
        shapes = {r: cls(r=r).factor_shapes(shape) for r in range(least, 60, step)}
    except ShapeError:
        assert name == "householder"
        return
    best = next(r for r in shapes if shapes[r] == shapes[max(shapes)])
    room = {"householder": min(shape) // 2 * 2, "tucker": shape[0]}
    assert best == room.get(name, min(shape[0], math.prod(shape[1:])))
    for r in shapes:
        assert cls(r=r).adjusted(shape) == (f"rank {best}" if r > best else "")
        assert len({str(shapes[k]) for k in shapes if k < best}) == len([k for k in shapes if k < best])
    params = cls(r=best + step).init(shape, 1, rng, base_weight=rng.standard_normal(shape))
    assert cls(r=best + step).delta(params, shape).shape == shape


@pytest.mark.parametrize("name", PARAMETERISATIONS)
def test_rank_below_one_is_refused(name: str) -> None:
    cls = PARAMETERISATIONS[name]
    fields = [f for f in ("r", "m", "block_size", "stages", "kernel_rank", "factor", "recursive") if hasattr(cls, f)]
    for field in fields:
        for bad in (0, -1, 2.5, True):
            with pytest.raises(LierefError, match=f"`{field}`"):
                cls(**{field: bad})


@pytest.mark.parametrize("name", [n for n, cls in PARAMETERISATIONS.items() if cls.needs_base_weight])
def test_missing_base_weight_is_refused(name: str, rng: np.random.Generator) -> None:
    with pytest.raises(DomainError, match="`base_weight` must be given"):
        PARAMETERISATIONS[name]().init((6, 5, 4, 3), 1, rng)


def test_a_new_entry_is_tested_without_a_line_of_test_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong VJP put in the registry is found by the laws above."""
    from lieref.param.low_rank import LowRank

    class Wrong(LowRank):
        name = "wrong"

        def group_delta_vjp(self, params: Any, shape: Any, xi_bar: Any) -> Any:
            return {name: 2.0 * bar for name, bar in super().group_delta_vjp(params, shape, xi_bar).items()}

    monkeypatch.setitem(PARAMETERISATIONS, "wrong", Wrong)
    new = [case for case in cases() if case.id.startswith("wrong-0-")]
    assert len(new) >= 5
    for case in new:
        with pytest.raises(AssertionError), warnings.catch_warnings():
            test_vjp_is_the_adjoint_of_the_derivative(*case.values, "generic", np.random.default_rng(0))
