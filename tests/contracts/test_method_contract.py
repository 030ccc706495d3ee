"""Laws of every named method, run over the table: a new row is tested without a line here."""

from __future__ import annotations

import json
import warnings
import zlib
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError
from lieref.numerics.gradcheck import adjoint_gap, inner, random_like, taylor_slope
from lieref.param import registry
from lieref.param._base import LierefWarning
from lieref.param.combination import Combination
from lieref.param.method import Method
from lieref.param.registry import METHODS, MethodRow, get_method
from lieref.param.rotation import _Rotation
from tests.pairs import EVERYTHING

# Every size of a shape differs, and no size is 1 except where the geometry is depthwise.
GEOMETRIES: dict[str, tuple[tuple[int, ...], int]] = {
    "linear": ((6, 4), 1),
    "1-D": ((8, 6, 5), 1),
    "2-D": ((6, 4, 2, 3), 1),
    "3-D": ((8, 6, 4, 3, 2), 1),
    "grouped": ((8, 6, 5, 2), 2),
    "depthwise": ((6, 1, 4, 3), 6),
}
# How far the trainable factors are from the start; the last is where exp is no longer close to its truncations.
REGIMES = {"zero": 0.0, "tiny": 1e-8, "generic": 0.1, "far": 0.5}
U = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}


def smallest(row: MethodRow) -> dict[str, Any]:
    """Options with the smallest rank, so that the method fits every geometry it can."""
    assert row.parameterisation is not None
    return {"r": registry.PARAMETERISATIONS[row.parameterisation].least_rank} if "r" in registry._fields(row) else {}


def cases() -> list[Any]:
    """Every named method on every geometry it has a meaning for."""
    found = []
    for name, row in METHODS.items():
        if row.parameterisation is None:
            continue
        method = get_method(name, **smallest(row))
        for geometry, (shape, groups) in GEOMETRIES.items():
            if method.supports(shape, groups) is None:
                found.append(pytest.param(method, shape, groups, id=f"{name}-{geometry}"))
    return found


CASES = cases()


def in_regimes(count: int) -> list[Any]:
    """Every case in some of the regimes, which take turns; in each where every combination is asked for."""
    names = list(REGIMES)
    return [
        pytest.param(*case.values, names[(number + number // len(names) + at) % len(names)], id=f"{case.id}-{at}")
        for number, case in enumerate(CASES)
        for at in range(len(names) if EVERYTHING else count)
    ]


_CACHE: dict[str, tuple[dict[str, np.ndarray], np.ndarray]] = {}


def start(method: Method, shape: tuple[int, ...], groups: int, dtype: Any = np.float64) -> tuple[Any, np.ndarray]:
    """Factors of `init` and the base weight, the same on every call."""
    key = f"{method.config()}{shape}{groups}{np.dtype(dtype)}"
    if key not in _CACHE:
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        base = rng.standard_normal(shape).astype(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)
            _CACHE[key] = method.init(shape, groups, rng, base_weight=base), base
    params, base = _CACHE[key]
    return {name: factor.copy() for name, factor in params.items()}, base.copy()


def moved(method: Method, params: Any, rng: np.random.Generator, size: float) -> Any:
    """Factors with the trainable ones moved away from the start."""
    trained = method.trainable(params)
    return {
        n: p + size * rng.standard_normal(p.shape).astype(p.dtype) if n in trained else p for n, p in params.items()
    }


def test_every_trained_method_has_a_geometry() -> None:
    trained = {name for name, row in METHODS.items() if row.parameterisation is not None}
    assert {case.values[0].name for case in CASES} == trained


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_adapted_weight_starts_at_the_base_bit_for_bit(method: Method, shape: tuple[int, ...], groups: int) -> None:
    for dtype in (np.float32, np.float64):
        params, base = start(method, shape, groups, dtype)
        base[-1].flat[0] = -0.0
        weight = method.adapted_weight(params, base, groups)
        assert weight.dtype == dtype
        assert weight.shape == shape
        if METHODS[method.name].wrapper != "dora":  # its length of that filter is the one before the zero was written
            assert weight.tobytes() == base.tobytes()
        assert np.array_equal(weight[:-1], base[:-1])
        assert not method.weight_delta(params, base, groups)[:-1].any()
        bias = np.arange(1.0, shape[0] + 1).astype(dtype)
        assert method.adapted_bias(params, bias, shape, groups).tobytes() == bias.tobytes()
        assert method.num_params(shape, groups) == sum(params[name].size for name in method.trainable(params)) > 0
    assert get_method(**json.loads(json.dumps(method.config()))) == method


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_delta_is_in_the_algebra(method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator) -> None:
    params, _ = start(method, shape, groups)
    xi = method.delta(moved(method, params, rng, 0.1), shape, groups)
    assert np.isfinite(xi).all()
    if isinstance(method, Combination):
        assert method.group_for(shape, groups).algebra.contains(xi, 1e-14)
    elif isinstance(method, _Rotation) and getattr(method.parameterisation, "skew", True):
        assert np.array_equal(xi, -np.swapaxes(xi, 1, 2))


@pytest.mark.parametrize(("method", "shape", "groups", "regime"), in_regimes(1))
def test_vjp_is_the_adjoint_of_the_derivative(
    method: Method, shape: tuple[int, ...], groups: int, regime: str, rng: np.random.Generator
) -> None:
    params, base = start(method, shape, groups)
    params = moved(method, params, rng, REGIMES[regime])
    assert adjoint_gap(
        lambda p: method.weight_delta(p, base, groups),
        lambda p, weight_bar: method.adapted_weight_vjp(p, base, groups, weight_bar),
        params,
        rng,
        step=2e-4,
    ) <= 1e-9  # fmt: skip


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_float32_gives_the_float64_numbers_rounded(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    narrow, base = start(method, shape, groups, np.float32)
    narrow = moved(method, narrow, rng, 0.1)
    wide = {name: factor.astype(np.float64) for name, factor in narrow.items()}
    g = rng.standard_normal(shape).astype(np.float32)
    bars = method.adapted_weight_vjp(narrow, base, groups, g)
    exact = method.adapted_weight_vjp(wide, base.astype(np.float64), groups, g.astype(np.float64))
    # Chains of a few products of at most a thousand terms: sqrt(1000) roundings each, and a margin of ten.
    tolerance = 10 * 3 * 32 * U[np.dtype(np.float32)]
    for name, bar in bars.items():
        assert bar.dtype == np.float32
        assert np.linalg.norm(bar - exact[name]) <= tolerance * (np.linalg.norm(exact[name]) + 1.0)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_loss_along_a_line_has_a_remainder_of_second_order(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    params, base = start(method, shape, groups)
    params = moved(method, params, rng, 0.1)
    target = base + rng.standard_normal(shape)

    def loss(p: Any) -> float:
        return 0.5 * float(np.sum((method.adapted_weight(p, base, groups) - target) ** 2))

    weight_bar = method.adapted_weight(params, base, groups) - target
    params_bar = method.adapted_weight_vjp(params, base, groups, weight_bar)
    params_dot = random_like(rng, params_bar)
    assert taylor_slope(loss, params, params_bar, params_dot, (1e-3, 1e-4)) > 1.9


@pytest.mark.parametrize(("method", "shape", "groups", "regime"), in_regimes(1))
def test_merged_weight_is_base_plus_delta(
    method: Method, shape: tuple[int, ...], groups: int, regime: str, rng: np.random.Generator
) -> None:
    for dtype in (np.float32, np.float64):
        params, base = start(method, shape, groups, dtype)
        params = moved(method, params, rng, REGIMES[regime])
        weight = method.adapted_weight(params, base, groups)
        delta = method.weight_delta(params, base, groups)
        assert delta.dtype == weight.dtype == dtype
        # Both forms are sums of at most n products of numbers no larger than `size`.
        n = max(shape[0], base[0].size) + 20
        size = np.abs(weight).max() + np.abs(base).max() + np.abs(delta).max()
        assert np.abs(base + delta - weight).max() <= n * U[np.dtype(dtype)] * size


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_delta_keeps_its_digits_when_it_is_tiny(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    """At 1e-12 from the start W' - W0 has four digits left in the plain difference; `weight_delta` keeps most of 16.

    To first order weight_delta is linear, so twice the step gives twice the change up to a relative error of 1e-11.
    """
    params, base = start(method, shape, groups)
    params_dot = random_like(rng, {name: params[name] for name in method.trainable(params)})
    if "start_a" in params or "magnitude" in params:
        # The start is not zero there: steps that are exact in float64 beside it.
        params_dot = {n: np.ldexp(np.round(np.ldexp(d, 3)), -3) for n, d in params_dot.items()}
    step = 2.0**-40

    def change(t: float) -> np.ndarray:
        return method.weight_delta({n: p + t * params_dot.get(n, 0.0) for n, p in params.items()}, base, groups)

    one, two = change(step), change(2 * step)
    assert np.linalg.norm(two - 2 * one) <= 1e-9 * np.linalg.norm(two)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_nothing_given_is_changed(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    params, base = start(method, shape, groups)
    params = moved(method, params, rng, 0.1)
    before = {name: factor.copy() for name, factor in params.items()}, base.copy()
    weight = method.adapted_weight(params, base, groups)
    bars = method.adapted_weight_vjp(params, base, groups, weight)
    weight += 1.0
    for bar in bars.values():
        bar += 1.0
    method.weight_delta(params, base, groups)[...] = 7.0
    assert base.tobytes() == before[1].tobytes()
    assert all(params[name].tobytes() == before[0][name].tobytes() for name in params)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_bias_cotangent_is_the_adjoint_of_the_bias_map(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    params, _ = start(method, shape, groups)
    params = moved(method, params, rng, 0.1)
    bias = rng.standard_normal(shape[0])
    bias_bar = rng.standard_normal(shape[0])
    bars = method.adapted_bias_vjp(params, bias, shape, groups, bias_bar)
    assert set(bars) == set(method.trainable(params))
    if not method.moves_bias:
        assert method.adapted_bias(params, bias, shape, groups) is bias
        assert not any(bar.any() for bar in bars.values())
        return
    params_dot = random_like(rng, {name: params[name] for name in bars})
    step = 1e-6

    def at(t: float) -> np.ndarray:
        return method.adapted_bias({n: p + t * params_dot.get(n, 0.0) for n, p in params.items()}, bias, shape, groups)

    bias_dot = (at(step) - at(-step)) / (2 * step)
    assert abs(inner(bias_dot, bias_bar) - inner(params_dot, bars)) <= 1e-8 * np.linalg.norm(bias_dot)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_bad_arguments_are_refused(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    params, base = start(method, shape, groups)
    bad = base.copy()
    bad.flat[0] = np.nan
    with pytest.raises(DomainError, match="must be finite"):
        method.adapted_weight(params, bad, groups)
    with pytest.raises(LierefError, match="must share one dtype"):
        method.adapted_weight(params, base.astype(np.float32), groups)
    with pytest.raises(LierefError):
        method.adapted_weight({}, base, groups)
    with pytest.raises(LierefError, match="`weight_bar` must have shape"):
        method.adapted_weight_vjp(params, base, groups, np.zeros((3, 3, 3)))
    with pytest.raises(LierefError, match="`base_weight` must have shape"):
        method.init(shape, groups, rng, base_weight=np.zeros((3, 3, 3)))
    broken = {name: np.full_like(factor, np.inf) for name, factor in params.items()}
    with pytest.raises(DomainError, match="must be finite"):
        method.adapted_weight(broken, base, groups)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_weight_that_does_not_fit_its_dtype_is_an_error(
    method: Method, shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    """Never a silent infinity: the base is as large as float32 allows, and the factors move every weight.

    The same numbers in float64 say which results fit. One that does not is refused; one that does is refused only
    where a step on the way to it may not fit, and else is right.
    """
    params, base = start(method, shape, groups, np.float32)
    base = (np.sign(base) * 3.0e38).astype(np.float32)
    params = moved(method, params, rng, 1.5)
    if isinstance(method, Combination) and method.group == "additive":
        params = {
            n: np.clip(1e30 * p.astype(np.float64), -3.4e38, 3.4e38).astype(np.float32) for n, p in params.items()
        }
    wide = {n: p.astype(np.float64) for n, p in params.items()}, base.astype(np.float64)
    largest = float(np.finfo(np.float32).max)
    for call in (method.adapted_weight, method.weight_delta):
        try:
            exact = call(*wide, groups)
        except DomainError:
            exact = np.full(shape, np.inf)
        if np.abs(exact).max() > 1.001 * largest:
            with pytest.raises(DomainError, match=r"finite|fits|overflow"):
                call(params, base, groups)
            continue
        try:
            result = call(params, base, groups)
        except DomainError:
            continue
        assert np.linalg.norm(result - exact) <= 1e-4 * np.linalg.norm(exact) + 1e-4 * largest
    try:
        bars = method.adapted_weight_vjp(params, base, groups, base)
    except DomainError:
        return
    assert all(np.isfinite(bar).all() for bar in bars.values())


def test_some_weights_at_the_end_of_the_range_are_served(rng: np.random.Generator) -> None:
    """What fits is not refused: where nothing moves, the largest weights come back bit for bit."""
    shape, served = (6, 4), set()
    base = np.full(shape, 3.4e38, np.float32) * rng.choice([-1, 1], shape).astype(np.float32)
    for name, row in METHODS.items():
        method = get_method(name)
        if row.parameterisation is None or method.supports(shape) is not None:
            continue
        try:
            params = method.start(shape, 1, rng, base_weight=base)
            assert method.adapted_weight(params, base).tobytes() == base.tobytes()
        except DomainError:
            continue
        served.add(name)
    assert len(served) >= 20, served


@pytest.mark.parametrize("name", METHODS)
def test_unknown_and_fixed_options_are_refused(name: str) -> None:
    with pytest.raises(DomainError, match="must be among"):
        get_method(name, no_such_option=1)
    for field in METHODS[name].fixed:
        with pytest.raises(DomainError, match="must be among"):
            get_method(name, **{field: 1})


def test_a_new_row_is_tested_without_a_line_of_test_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        METHODS, "new", MethodRow("new", "", "kronecker", "hadamard", "taylor3", "element-wise", "", 1e-2)
    )
    assert {case.id for case in cases()} - {case.id for case in CASES} == {f"new-{geometry}" for geometry in GEOMETRIES}
