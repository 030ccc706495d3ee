"""The adjoint identity and the exact start on shapes nobody chose: sizes of one, equal sizes, odd groups."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lieref.errors import LierefError
from lieref.numerics.gradcheck import inner
from lieref.param._base import LierefWarning
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method

RECIPES = sorted(PARAMETERISATIONS)
NAMES = sorted(n for n, row in METHODS.items() if row.parameterisation in RECIPES)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    groups = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    return (groups * draw(st.integers(1, 4)), *sizes), groups


def fields(cls: Any, rank: int) -> dict[str, int]:
    return {"r": cls.least_rank * rank} if hasattr(cls, "r") else {}


@settings(max_examples=300)
@given(st.sampled_from(RECIPES), geometries(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_delta_vjp_is_the_adjoint(name: str, geometry: tuple[tuple[int, ...], int], rank: int, seed: int) -> None:
    shape, groups = geometry
    cls = PARAMETERISATIONS[name]
    member = cls(**fields(cls, rank))
    try:
        member.num_params(shape, groups)
    except LierefError:
        assume(False)
    rng = np.random.default_rng(seed)
    params = member.init(shape, groups, rng, base_weight=rng.standard_normal(shape))
    assert not member.delta(params, shape, groups).any()
    params = {n: p + 0.5 * rng.standard_normal(p.shape) for n, p in params.items()}
    params_dot = {n: rng.standard_normal(params[n].shape) for n in member.trainable(params)}
    xi_bar = rng.standard_normal(shape)
    step = 1e-100
    along = {n: p + 1j * step * params_dot.get(n, 0.0) for n, p in params.items()}
    xi_dot = member.delta(along, shape, groups).imag / step  # type: ignore[arg-type]
    params_bar = member.delta_vjp(params, shape, groups, xi_bar)
    scale = np.linalg.norm(xi_dot) * np.linalg.norm(xi_bar) + 1e-300
    assert abs(inner(xi_dot, xi_bar) - inner(params_dot, params_bar)) <= 1e-12 * scale


@settings(max_examples=300)
@given(st.sampled_from(NAMES), geometries(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_method_starts_at_the_base_and_counts_its_numbers(
    name: str, geometry: tuple[tuple[int, ...], int], rank: int, seed: int
) -> None:
    shape, groups = geometry
    method = get_method(name, **fields(PARAMETERISATIONS[str(METHODS[name].parameterisation)], rank))
    assume(method.supports(shape, groups) is None)
    rng = np.random.default_rng(seed)
    base = rng.standard_normal(shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        params = method.init(shape, groups, rng, base_weight=base)
    assert method.adapted_weight(params, base, groups).tobytes() == base.tobytes()
    bars = method.adapted_weight_vjp(params, base, groups, base)
    assert {n: bar.shape for n, bar in bars.items()} == {n: params[n].shape for n in method.trainable(params)}
    assert sum(bar.size for bar in bars.values()) == method.num_params(shape, groups)
