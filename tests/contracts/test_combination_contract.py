"""Laws of every combination type, run over both tables: a new type or a new method is tested without a line here.

A type may refuse a method by name; which it takes is written down once, below.
"""

from __future__ import annotations

import json
import warnings
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.group.maps import Exp
from lieref.param._base import LierefWarning
from lieref.param.combination import Combination
from lieref.param.combine import COMBINATION_TYPES, combine_adapters
from lieref.param.compose import compose_adapters
from lieref.param.element import elements_of
from lieref.param.low_rank import LowRank
from lieref.param.method import Method
from lieref.param.registry import METHODS, get_method
from tests.contracts.test_method_contract import smallest

GEOMETRIES: dict[str, tuple[tuple[int, ...], int]] = {
    "linear": ((6, 4), 1), "2-D": ((4, 3, 1, 2), 1), "grouped": ((6, 3, 2, 1), 2), "depthwise": ((6, 1, 2, 3), 6),
}  # fmt: skip
CONV = ("full", "lora-view", "liera", "scale", "so", "affine", "low-rank+gl+exp+in", "dense+so*gl+exp+out*in")
"""Methods that are tried on every geometry; the others on the first, rotations of the filters on the first three."""
ROTATIONS = ("oft", "hra")
MORE = {
    "low-rank+gl+exp+in": {"r": 2}, "low-rank+gl+cayley+out": {"r": 1}, "low-rank+gl+taylor2+out": {"r": 1},
    "low-rank+so+cayley+out": {"r": 1}, "low-rank+sp+cayley+out": {"r": 1}, "dense+so*gl+exp+out*in": {},
    "dense+se+exp+affine": {}, "low-rank+affine+taylor1+affine": {"r": 1}, "dense+unipotent+exp+out": {},
    "dense+gl+exp+conjugation": {}, "dense+so+exp+fan-in/2": {}, "diagonal+gl+exp+out": {}, "dense+sl+exp+out+bias": {},
}  # fmt: skip
GROUP_TYPES = ("exp_sum", "product", "geodesic_mean")
PRUNING = {name for name, row in COMBINATION_TYPES.items() if row.prunes}
MEANS = {name for name in COMBINATION_TYPES if name.removesuffix("_svd") in ("ties", "dare_ties")}


def known_methods() -> list[tuple[str, Method]]:
    trained = [(name, get_method(name, **smallest(row))) for name, row in METHODS.items() if row.parameterisation]
    return trained + [(name, get_method(name, **config)) for name, config in MORE.items()]


CASES = [
    pytest.param(method, *geometry, id=f"{name}-{kind}")
    for name, method in known_methods()
    for kind, geometry in GEOMETRIES.items()
    if method.supports(*geometry) is None
    and (kind == "linear" or name in CONV or (name in ROTATIONS and kind != "depthwise"))
]
OF_THREE = ("liera", "hira", "scale", "so", "elra", "affine", "oft", "dense+se+exp+affine", "dense+gl+exp+conjugation")
"""Methods whose mean of three is tried."""


@cache
def drawn(config: str, shape: tuple[int, ...], groups: int, seed: int, size: float = 0.15) -> tuple[Method, Any]:
    method = get_method(**json.loads(config))
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        params = method.init(shape, groups, rng, base_weight=base(shape))
    trained = method.trainable(params)
    return method, {n: p + size * rng.standard_normal(p.shape) * (n in trained) for n, p in params.items()}


def base(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(9).standard_normal(shape) + 2.0


def some(method: Method, shape: tuple[int, ...], groups: int, count: int = 2) -> list[tuple[Method, Any]]:
    return [drawn(json.dumps(method.config()), shape, groups, seed) for seed in range(count)]


def options(name: str, method: Method, density: float = 1.0) -> dict[str, Any]:
    row = COMBINATION_TYPES[name]
    found: dict[str, Any] = {"density": density} if row.prunes else {}
    return found | ({"svd_rank": 64} if row.cuts else {})


def attempt(name: str, adapters: Any, weights: Any, shape: Any, groups: int, **more: Any) -> Any:
    """Return the combined adapter, or None where the type refuses the methods by name."""
    try:
        return combine_adapters(adapters, weights, shape, groups, name, **options(name, adapters[0][0], **more))
    except UnsupportedError:
        return None


def weight_of(adapter: Any, shape: Any, groups: int) -> np.ndarray:
    return adapter[0].adapted_weight(adapter[1], base(shape), groups)


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-11) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_the_table_says_what_each_is() -> None:
    assert set(COMBINATION_TYPES) == {
        *GROUP_TYPES, "cat", "svd", "linear", "magnitude_prune", "magnitude_prune_svd", "dare_linear",
        "dare_linear_svd", "ties", "ties_svd", "dare_ties", "dare_ties_svd",
    }  # fmt: skip
    assert all(row.name == name and row.summary and row.exact for name, row in COMBINATION_TYPES.items())


def test_what_each_type_takes() -> None:
    """Those of the group take every element, which the laws below try."""
    shape, groups = GEOMETRIES["linear"]
    taken: dict[str, set[str]] = {name: set() for name in COMBINATION_TYPES if name not in GROUP_TYPES}
    methods = [(name, method) for name, method in known_methods() if method.supports(shape, groups) is None]
    for label, method in methods:
        for name in taken:
            if attempt(name, some(method, shape, groups), [0.5, 0.5], shape, groups) is not None:
                taken[name].add(label)
    of = {label: method for label, method in methods}
    low_rank = {n for n, m in of.items() if isinstance(m, Combination) and isinstance(m.parameterisation, LowRank)}
    full = {n for n, m in of.items() if isinstance(m, Combination) and m.group in ("additive", "hadamard", "gl")}
    dense = {
        n for n, m in of.items() if isinstance(m, Combination) and m.parameterisation.name in ("dense", "diagonal")
    }
    assert taken["cat"] == low_rank
    on_factors = {name for name, row in COMBINATION_TYPES.items() if not row.cuts and name not in (*GROUP_TYPES, "cat")}
    assert all(taken[name] == low_rank | dense for name in on_factors)
    assert all(taken[name] == full for name, row in COMBINATION_TYPES.items() if row.cuts)


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_weights_one_and_zero_give_the_first_back(method: Method, shape: tuple[int, ...], groups: int) -> None:
    adapters = some(method, shape, groups)
    for name in COMBINATION_TYPES:
        found = attempt(name, adapters, [1.0, 0.0], shape, groups)
        if found is not None:
            near(weight_of(found, shape, groups), weight_of(adapters[0], shape, groups))
            assert found[0] == get_method(**json.loads(json.dumps(found[0].config())))
            assert found[0].supports(shape, groups) is None
            bars = found[0].adapted_weight_vjp(found[1], base(shape), groups, base(shape))
            assert bars.keys() == set(found[0].trainable(found[1])) == set(found[1]), "all of it is trained further"
            assert {n: b.shape for n, b in bars.items()} == {n: f.shape for n, f in found[1].items()}


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_equal_adapters(method: Method, shape: tuple[int, ...], groups: int) -> None:
    """Halves of one adapter are that adapter, but for what a rule on A and B apart, or a mean, makes of them."""
    one = some(method, shape, groups, 1)[0]
    for name, row in COMBINATION_TYPES.items():
        found = attempt(name, [one, one], [0.5, 0.5], shape, groups)
        if found is None:
            continue
        if row.cuts or name in (*GROUP_TYPES, "cat"):
            times = 0.5 if name in MEANS else 1.0
        else:
            apart = isinstance(method.parameterisation, LowRank)  # type: ignore[attr-defined]
            times = (0.5 if name in MEANS else 2.0) if apart else (0.5 if name in MEANS else 1.0)
        if times == 1.0 and name not in PRUNING:
            near(weight_of(found, shape, groups), weight_of(one, shape, groups))
        else:
            near(found[0].delta(found[1], shape, groups), times * one[0].delta(one[1], shape, groups))


@pytest.mark.parametrize(("method", "shape", "groups"), CASES)
def test_a_product_is_one_after_the_other(method: Method, shape: tuple[int, ...], groups: int) -> None:
    adapters = some(method, shape, groups, 3)
    found = attempt("product", adapters, [1.0, 1.0, 1.0], shape, groups)
    if found is None:
        assert METHODS[method.name].wrapper == "dora"
        return
    near(weight_of(found, shape, groups), compose_adapters(adapters, base(shape), groups))
    undone = attempt("product", [adapters[0], adapters[1], adapters[1]], [1.0, 1.0, -1.0], shape, groups)
    near(weight_of(undone, shape, groups), weight_of(adapters[0], shape, groups))
    group = elements_of("test", adapters, shape, groups)[0].group
    back = attempt("product", adapters[::-1], [1.0, 1.0, 1.0], shape, groups)
    gap = np.abs(weight_of(back, shape, groups) - weight_of(found, shape, groups)).max()
    if not method.name.startswith("diagonal"):  # which commute in any group
        assert (gap < 1e-12) if group.is_abelian else (gap > 1e-6), "the order matters where it should"
    if group.is_abelian and isinstance(method.map, Exp):
        summed = attempt("exp_sum", adapters, [1.0, 1.0, 1.0], shape, groups)
        near(weight_of(summed, shape, groups), weight_of(found, shape, groups))
    if (
        isinstance(method, Combination)
        and method.group in ("gl", "so")
        and isinstance(method.parameterisation, LowRank)
    ):
        assert isinstance(found[0], Combination)
        size = elements_of("test", adapters, shape, groups)[0].g.shape[-1]
        small = 2 * 3 * method.rank < size  # type: ignore[operator]
        assert found[0].parameterisation.name == ("low-rank" if small else "dense")


@pytest.mark.parametrize(
    ("method", "shape", "groups", "count"),
    [pytest.param(*case.values, 2, id=f"{case.id}-2") for case in CASES]
    + [pytest.param(*c.values, 3, id=f"{c.id}-3") for c in CASES if c.id in [f"{name}-linear" for name in OF_THREE]],
)
def test_a_geodesic_mean_moves_with_its_points(method: Method, shape: tuple[int, ...], groups: int, count: int) -> None:
    *points, moving = some(method, shape, groups, count + 1)
    weights = [0.25, 0.75] if count == 2 else [0.2, 0.5, 0.3]
    found = attempt("geodesic_mean", points, weights, shape, groups)
    if found is None:
        assert METHODS[method.name].wrapper == "dora"
        return

    def element(adapter: Any) -> np.ndarray:
        return elements_of("test", [adapter], shape, groups)[0].g

    def combined(name: str, adapters: Any, by: Any) -> Any:
        return combine_adapters(adapters, by, shape, groups, name)

    first, mean = elements_of("test", [points[0]], shape, groups)[0], weight_of(found, shape, groups)
    near(weight_of(combined("geodesic_mean", points[::-1], weights[::-1]), shape, groups), mean)
    same = combined("geodesic_mean", [points[0]] * count, weights)
    near(weight_of(same, shape, groups), weight_of(points[0], shape, groups))
    for left in (True, False):
        pairs = [(point, moving) if left else (moving, point) for point in points]
        moved = combined("geodesic_mean", [combined("product", pair, [1.0, 1.0]) for pair in pairs], weights)
        pair = (found, moving) if left else (moving, found)
        near(weight_of(moved, shape, groups), compose_adapters(pair, base(shape), groups), 1e-10)
    # Where it is defined: the tangents from the mean to the points cancel.
    group, m = first.group, elements_of("test", [found, *points], shape, groups)
    tangents = [w * group.log(group.compose(group.inverse(m[0].g), p.g)) for w, p in zip(weights, m[1:], strict=True)]
    assert np.abs(np.sum(tangents, axis=0)).max() < 1e-12


def exactly(matrix: np.ndarray) -> Any:
    return mpmath.matrix(matrix.tolist())


def rounded(matrix: Any) -> np.ndarray:
    return np.array(matrix.tolist(), dtype=object).astype(complex).real


@pytest.mark.parametrize("name", ["so", "sl", "elra", "sp", "affine", "low-rank+gl+cayley+out"])
def test_group_types_are_their_formulas_at_40_digits(name: str) -> None:
    shape = (4, 5)
    adapters = some(get_method(name, r=1), shape, 1, 2)
    with mpmath.workdps(40):
        half = mpmath.mpf(1) / 2
        eye = mpmath.eye(5 if name == "affine" else 4)
        xi = [exactly(method.delta(params, shape)) for method, params in adapters]
        if "cayley" in name:
            g = [(eye - x / 2) ** -1 * (eye + x / 2) for x in xi]
        else:
            g = [mpmath.expm(x) for x in xi]
        third = mpmath.expm(mpmath.logm(g[1]) * half) * g[0]
        mean = g[0] * mpmath.expm(mpmath.logm(g[0] ** -1 * g[1]) * (mpmath.mpf(3) / 4))
        summed = xi[0] * half - xi[1] * 2
        total = mpmath.expm(summed) if "cayley" not in name else (eye - summed / 2) ** -1 * (eye + summed / 2)
        wanted = {"product": rounded(third), "geodesic_mean": rounded(mean), "exp_sum": rounded(total)}
    weights = {"product": [1.0, 0.5], "geodesic_mean": [0.25, 0.75], "exp_sum": [0.5, -2.0]}
    for kind, expected in wanted.items():
        found = combine_adapters(adapters, weights[kind], shape, 1, kind)
        near(elements_of("test", [found], shape, 1)[0].g, expected, 1e-13)


def test_methods_of_one_group_multiply_whatever_their_coordinates() -> None:
    shape, groups = (6, 4, 2, 3), 1
    for names in (("oft", "hra"), ("dense+so+exp+fan-in/6", "oft"),
                  ("hra", "dense+so+exp+fan-in/3"),
                  ("oft", "oft-cayley"), ("boft", "goft"), ("oft-cayley-neumann", "qgoft"),
                  ("liera", "liera-kronecker"),
                  ("liera", "hira"), ("lora", "flora"), ("lora", "pissa"), ("scale", "ia3")):  # fmt: skip
        adapters = [
            drawn(
                json.dumps(get_method(n, **(smallest(METHODS[n]) if n in METHODS else {})).config()), shape, groups, 4
            )
            for n in names
        ]
        if names == ("scale", "ia3"):
            with pytest.raises(
                UnsupportedError, match="must share group and action; got scaling on scaling, scaling on"
            ):
                combine_adapters(adapters, [1.0, 1.0], shape, groups, "product")
            continue
        found = combine_adapters(adapters, [1.0, 1.0], shape, groups, "product")
        near(weight_of(found, shape, groups), compose_adapters(adapters, base(shape), groups))
        half = combine_adapters(adapters, [0.5, 0.5], shape, groups, "geodesic_mean")
        other = combine_adapters(adapters[::-1], [0.5, 0.5], shape, groups, "geodesic_mean")
        near(weight_of(half, shape, groups), weight_of(other, shape, groups))


def test_blocks_stay_blocks() -> None:
    shape, groups = (6, 4, 2, 3), 1
    found, params = combine_adapters(some(get_method("oft"), shape, groups), [1.0, 1.0], shape, groups, "product")
    assert found.name == "dense+so+exp+fan-in/6"
    assert params["xi"].size == 6 * 4 * 4


def test_rules_that_leave_numbers_out() -> None:
    shape = (8, 6)
    adapters = some(get_method("full"), shape, 1, 3)
    stack = np.stack([params["xi"] for _, params in adapters])
    _, pruned = combine_adapters(adapters, [1.0, 2.0, -1.0], shape, 1, "magnitude_prune", density=0.25)
    kept = [np.where(np.abs(x) >= np.sort(np.abs(x), axis=None)[-12], x, 0) for x in stack]
    near(pruned["xi"], kept[0] + 2 * kept[1] - kept[2])
    _, drawn_ = combine_adapters(adapters, [1.0, 1.0, 1.0], shape, 1, "dare_linear", density=0.5)
    # every number of the result is a sum of some of the three, doubled
    sums = [2 * sum(stack[i] * (choice >> i & 1) for i in range(3)) for choice in range(8)]
    assert np.all(np.min([np.abs(drawn_["xi"] - each) for each in sums], axis=0) < 1e-14)
    many = [combine_adapters(adapters, [1.0, 1.0, 1.0], shape, 1, "dare_linear", density=0.5,
                             rng=np.random.default_rng(seed))[1]["xi"] for seed in range(400)]  # fmt: skip
    spread = np.sqrt(np.sum(stack**2, axis=0) / 400)  # of the mean of 400 draws: each number is 0 or twice itself
    assert np.abs((np.mean(many, axis=0) - stack.sum(axis=0)) / spread).max() < 5
    for method, votes in (("total", stack), ("frequency", np.sign(stack))):
        _, elected = combine_adapters(adapters, [1.0] * 3, shape, 1, "ties", density=1.0, majority_sign_method=method)
        sign = np.where(votes.sum(axis=0) >= 0, 1, -1)
        for at in np.ndindex(shape):
            same = [x[at] for x in stack if np.sign(x[at]) == sign[at]]
            assert elected["xi"][at] == pytest.approx(np.mean(same) if same else 0.0, abs=1e-15)


BAD: dict[str, tuple[type[Exception], str, Any, Any, dict[str, Any]]] = {
    "type": (DomainError, "combination_type", "lora", [1, 1], {"combination_type": "mean"}),
    "no density": (DomainError, "`density` must be given for ties", "lora", [1, 1], {"combination_type": "ties"}),
    "density": (DomainError, "density", "lora", [1, 1], {"combination_type": "ties", "density": 0.0}),
    "density above": (DomainError, "density", "lora", [1, 1], {"combination_type": "ties", "density": 1.5}),
    "density unread": (DomainError, "`density` must be left out for cat", "lora", [1, 1],
                       {"combination_type": "cat", "density": 0.5}),
    "sign unread": (DomainError, "`majority_sign_method` must be left out for linear", "lora", [1, 1],
                    {"combination_type": "linear", "majority_sign_method": "total"}),
    "sign": (DomainError, "majority_sign_method", "lora", [1, 1],
             {"combination_type": "ties", "density": 1, "majority_sign_method": "most"}),
    "rank": (DomainError, "svd_rank", "lora", [1, 1], {"combination_type": "svd", "svd_rank": 0}),
    "rank unread": (DomainError, "`svd_rank` must be left out for cat", "lora", [1, 1],
                    {"combination_type": "cat", "svd_rank": 2}),
    "rank unknown": (DomainError, "`svd_rank` must be given where no adapter has a rank", "full", [1, 1],
                     {"combination_type": "svd"}),
    "weights": (DomainError, "must match the adapters; got 1 for 2", "lora", [1], {"combination_type": "cat"}),
    "not finite": (DomainError, "weights", "lora", [1, np.nan], {"combination_type": "cat"}),
    "mean": (DomainError, r"must have the sum 1 .*; got \[1.0, 1.0\]", "so", [1, 1],
             {"combination_type": "geodesic_mean"}),
    "rank of so": (UnsupportedError, "additive, hadamard, gl; got so on", "so", [1, 1], {"combination_type": "svd"}),
    "rank of a vector": (UnsupportedError, "got scaling on scaling", "scale", [1, 1],
                         {"combination_type": "svd", "svd_rank": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    kind, words, name, weights, more = BAD[case]
    adapters = some(get_method(name, **smallest(METHODS[name])), (6, 8), 1)
    with pytest.raises(kind, match=words):
        combine_adapters(adapters, weights, (6, 8), 1, **more)


def test_elements_without_a_logarithm_are_refused() -> None:
    """A rotation by pi has two logarithms; a truncated map may leave the positive numbers."""
    half_turn = np.array([[0.0, -np.pi], [np.pi, 0.0]])
    turn = get_method("dense+so+exp+out"), {"xi": np.kron(np.diag([1.0, 0.5]), half_turn)}
    with pytest.raises(DomainError, match="negative eigenvalue"):
        combine_adapters([turn, turn], [0.25, 0.75], (4, 3), 1, "product") and combine_adapters(
            [turn, turn], [0.5, 0.5], (4, 3), 1, "product"
        )
    out = get_method("liera-taylor1", r=1), {"lora_a": np.ones((1, 3)), "lora_b": -2 * np.ones((4, 1))}
    with pytest.raises(DomainError):
        combine_adapters([out], [1.0], (4, 3), 1, "product")


def test_float32_is_rounded_once() -> None:
    for name in COMBINATION_TYPES:
        adapters = some(get_method("elra", r=2), (16, 8), 1)
        narrow = [(m, {n: f.astype(np.float32) for n, f in p.items()}) for m, p in adapters]
        wide = [(m, {n: f.astype(np.float64) for n, f in p.items()}) for m, p in narrow]
        more = options(name, adapters[0][0]) | ({"svd_rank": 2} if COMBINATION_TYPES[name].cuts else {})
        (_, found), (_, exact) = (combine_adapters(a, [0.5, 0.5], (16, 8), 1, name, **more) for a in (narrow, wide))
        assert {f.dtype for f in found.values()} == {np.dtype(np.float32)}
        assert all(np.array_equal(found[key], exact[key].astype(np.float32)) for key in exact)
