"""Single methods against their published formulas, written out here with plain NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from lieref.errors import DomainError, DTypeError, NotInGroupError, ShapeError, UnsupportedError
from lieref.numerics.gradcheck import adjoint_gap
from lieref.param._base import ManyTrainablesWarning, RankLoweredWarning
from lieref.param.kronecker import split
from lieref.param.registry import METHODS, get_method

SHAPE = (6, 4, 2, 3)

# ResNet-8 of MLPerf Tiny: nine convolutions and the head.
RESNET8 = [
    (16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (32, 16, 1, 1), (64, 32, 3, 3),
    (64, 64, 3, 3), (64, 32, 1, 1), (10, 64),
]  # fmt: skip


def trained(name: str, rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, **config: Any) -> Any:
    """A method, its factors away from the start, and a base weight."""
    method = get_method(name, **config)
    base = rng.standard_normal(shape)
    params = method.init(shape, 1, rng, base_weight=base)
    moving = method.trainable(params)
    return method, {n: p + 0.2 * rng.standard_normal(p.shape) * (n in moving) for n, p in params.items()}, base


@pytest.mark.parametrize(("name", "config", "count"), [
    ("lora", {"r": 1}, 2069), ("lora", {"r": 2}, 4138), ("lora", {"r": 4}, 8276), ("liera", {"r": 4}, 8276),
    ("scale", {}, 346), ("full", {}, 77360),
])  # fmt: skip
def test_trainables_on_resnet8_are_those_of_pytorch(name: str, config: dict[str, Any], count: int) -> None:
    assert sum(get_method(name, **config).num_params(shape) for shape in RESNET8) == count


@pytest.mark.parametrize(("r", "count"), [(2, 1486), (5, 4002), (8, 6993)])
def test_flora_trainables_on_resnet8_are_those_of_pytorch(r: int, count: int) -> None:
    assert sum(get_method("flora", r=r).num_params(shape) for shape in RESNET8) == count


def test_liera_multiplies_by_the_exponential_of_a_low_rank_matrix(rng: np.random.Generator) -> None:
    method, params, base = trained("liera", rng, r=2, lora_alpha=3.0)
    xi = 1.5 * (params["lora_b"] @ params["lora_a"]).reshape(SHAPE)
    np.testing.assert_allclose(method.adapted_weight(params, base), base * np.exp(xi), rtol=1e-15)
    np.testing.assert_allclose(method.weight_delta(params, base), base * np.expm1(xi), rtol=1e-14)


def test_exact_and_first_order_gradients_are_different_functions(rng: np.random.Generator) -> None:
    """Exact: A_bar = s B^T (G W'), first order: A_bar = s B^T (G W0), with entry-wise products in brackets."""
    exact, params, base = trained("liera", rng, r=2)
    first = get_method("liera-taylor1", r=2)
    g = rng.standard_normal(SHAPE)
    weight = exact.adapted_weight(params, base)
    by_exact = exact.adapted_weight_vjp(params, base, 1, g)["lora_a"]
    by_first = first.adapted_weight_vjp(params, base, 1, g)["lora_a"]
    np.testing.assert_allclose(by_exact, params["lora_b"].T @ (g * weight).reshape(6, -1), rtol=1e-13)
    np.testing.assert_allclose(by_first, params["lora_b"].T @ (g * base).reshape(6, -1), rtol=1e-13)
    assert np.abs(by_exact - by_first).max() > 0.01 * np.abs(by_exact).max()


def test_hira_is_liera_to_first_order(rng: np.random.Generator) -> None:
    hira, params, base = trained("hira", rng, r=2)
    first = get_method("liera-taylor1", r=2)
    assert np.array_equal(hira.adapted_weight(params, base), first.adapted_weight(params, base))


@pytest.mark.parametrize("name", ["liera", "liera-taylor1", "liera-taylor2", "liera-bounded", "hira", "liera-tucker"])
def test_zero_weights_stay_zero_and_get_no_gradient(name: str, rng: np.random.Generator) -> None:
    method, params, base = trained(name, rng, r=2)
    base[0] = 0.0
    weight = method.adapted_weight(params, base)
    assert not weight[0].any()
    assert method.fixed_points(base) == base[0].size
    only_zeros = np.zeros(SHAPE)
    only_zeros[0] = rng.standard_normal(SHAPE[1:])
    bars = method.adapted_weight_vjp(params, base, 1, only_zeros)
    assert not any(bar.any() for bar in bars.values())


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.group == "hadamard"])
def test_strict_refuses_a_zero_weight(name: str, rng: np.random.Generator) -> None:
    config = {"r": 2} if hasattr(get_method(name), "rank") and get_method(name).rank else {}
    method, params, base = trained(name, rng, strict=True, **config)
    method.adapted_weight(params, base)
    base[0, 0, 0, 0] = 0.0
    with pytest.raises(NotInGroupError, match="must have no zero"):
        method.adapted_weight(params, base)
    with pytest.raises(NotInGroupError, match="must have no zero"):
        method.init(SHAPE, 1, rng, base_weight=base)


def test_overflow_of_the_exponential_is_an_error(rng: np.random.Generator) -> None:
    method = get_method("liera", r=1)
    base = rng.standard_normal(SHAPE).astype(np.float32)
    params = method.init(SHAPE, 1, rng, base_weight=base)
    params = {name: np.full_like(factor, 10.0) for name, factor in params.items()}
    with pytest.raises(DomainError, match="overflow threshold"):
        method.adapted_weight(params, base)


@pytest.mark.parametrize("name", ["lora", "liera", "liera-taylor2", "scale", "elra", "affine", "dora", "dora-liera"])
def test_adapted_weight_that_overflows_is_an_error(name: str, rng: np.random.Generator) -> None:
    method = get_method(name, **({} if name == "scale" else {"r": 1}))
    base = (1.7e38 * (1 + rng.uniform(size=(6, 4)))).astype(np.float32)
    if METHODS[name].wrapper == "dora":
        base /= np.float32(8)  # the lengths of the filters fit
    params = method.init(base.shape, 1, rng, base_weight=base)
    step = {"lora": 3e19, "dora": 3e19}.get(name, 1.5)
    params = {n: np.abs(p) + np.float32(2e38 if n == "magnitude" else step) for n, p in params.items()}
    for call in (method.adapted_weight, method.weight_delta):
        with pytest.raises(DomainError, match=r"finite|fits"):
            call(params, base)


def test_adapted_bias_that_overflows_is_an_error(rng: np.random.Generator) -> None:
    method = get_method("elra", r=1, action="out+bias")
    params = {n: p + np.float32(1.0) for n, p in method.init((6, 4), 1, rng, dtype=np.float32).items()}
    with pytest.raises(DomainError, match="finite"):
        method.adapted_bias(params, np.full(6, 3e38, np.float32), (6, 4))


def test_bounded_liera_stays_within_a_factor_of_e(rng: np.random.Generator) -> None:
    method, params, base = trained("liera-bounded", rng, r=2)
    ratio = method.adapted_weight({n: 100 * p for n, p in params.items()}, base) / base
    assert math.exp(-1) * (1 - 1e-15) <= ratio.min()
    assert ratio.max() <= math.e * (1 + 1e-15)
    assert get_method("liera-bounded", map="bounded(0.5)").config()["map"] == "bounded(0.5)"


def test_lora_c_adds_twice_the_product_in_memory_order(rng: np.random.Generator) -> None:
    method, params, base = trained("lora-c", rng, r=4)
    assert [get_method("lora-c", r=r).scaling for r in (1, 4, 16)] == [2.0, 2.0, 2.0]
    assert get_method("lora-c", r=4, lora_alpha=2.0).scaling == 0.5
    assert params["lora_a"].shape == (4, 4 * 3)
    xi = 2.0 * (params["lora_b"] @ params["lora_a"]).reshape(SHAPE)
    np.testing.assert_allclose(method.adapted_weight(params, base), base + xi, rtol=1e-13)


def test_tucker_is_the_sum_over_the_core(rng: np.random.Generator) -> None:
    method, params, _ = trained("flora", rng, r=3)
    core, *factors = (params[name] for name in ("core", "factor_0", "factor_1", "factor_2", "factor_3"))
    by_sum = 4.0 * np.einsum("abcd,oa,ib,uc,vd->oiuv", core, *factors)
    np.testing.assert_allclose(method.delta(params, SHAPE), by_sum, rtol=1e-12)


def test_locon_tucker_keeps_the_kernel_whole(rng: np.random.Generator) -> None:
    method, params, _ = trained("locon-tucker", rng, r=3)
    assert params["core"].shape == (3, 3, 2, 3)
    by_sum = np.einsum("abuv,oa,ib->oiuv", params["core"], params["factor_0"], params["factor_1"])
    np.testing.assert_allclose(method.delta(params, SHAPE), by_sum, rtol=1e-12)


def test_explicit_tucker_ranks_are_checked() -> None:
    assert get_method("flora", ranks=[2, 3, 1, 2]).num_params(SHAPE) == 2 * 3 * 2 + 6 * 2 + 4 * 3 + 2 + 3 * 2
    lowered = get_method("flora", ranks=(2, 5, 1, 9))
    assert lowered.num_params(SHAPE) == get_method("flora", ranks=(2, 4, 1, 3)).num_params(SHAPE)
    assert lowered.adjusted(SHAPE) == "ranks (2, 4, 1, 3)"
    with pytest.raises(ShapeError, match="one rank for each axis"):
        get_method("flora", ranks=(2, 2)).num_params(SHAPE)


@pytest.mark.parametrize(("size", "factor", "pair"), [
    (360, 16, (15, 24)), (360, None, (18, 20)), (360, 12, (12, 30)), (360, 7, (6, 60)), (360, 500, (18, 20)),
    (64, None, (8, 8)), (64, 5, (4, 16)), (64, 16, (16, 4)), (7, None, (1, 7)), (7, 4, (1, 7)), (1, None, (1, 1)),
    (12, None, (3, 4)), (127, 16, (1, 127)), (250, 16, (10, 25)),
])  # fmt: skip
def test_lokr_splits_sizes_as_published(size: int, factor: int | None, pair: tuple[int, int]) -> None:
    """The factor where it divides, else the largest divisor up to it and up to the square root; found by hand."""
    assert split(size, factor) == pair
    params = get_method("lokr", r=64, factor=factor).init((size, 360), 1, np.random.default_rng(0))
    assert (params["w1"].shape[0], params["w2"].shape[0]) == pair


def test_lokr_is_a_kronecker_product(rng: np.random.Generator) -> None:
    method, params, _ = trained("lokr", rng, (6, 8), r=4)
    np.testing.assert_allclose(method.delta(params, (6, 8)), np.kron(params["w1"], params["w2"]), rtol=1e-15)
    method, params, _ = trained("lokr", rng, (35, 8), r=1, factor=7)
    product = np.kron(params["w1"], params["w2_a"] @ params["w2_b"])
    np.testing.assert_allclose(method.delta(params, (35, 8)), product, rtol=1e-14)


def test_loha_is_a_product_of_two_low_rank_matrices(rng: np.random.Generator) -> None:
    method, params, _ = trained("loha", rng, r=2, lora_alpha=6.0)
    p = params["hada_w1_a"] @ params["hada_w1_b"]
    q = params["hada_w2_a"] @ params["hada_w2_b"]
    np.testing.assert_allclose(method.delta(params, SHAPE).reshape(6, -1), 3.0 * p * q, rtol=1e-14)
    assert np.linalg.matrix_rank(p * q) == 4


def test_convolutional_low_rank_adaptation_is_a_pointwise_after_a_depthwise_kernel(rng: np.random.Generator) -> None:
    method, params, _ = trained("convolutional-low-rank-adaptation", rng)
    by_sum = np.einsum("oi,ouv->oiuv", params["pointwise"], params["depthwise"])
    np.testing.assert_allclose(method.delta(params, SHAPE), by_sum, rtol=1e-15)


def test_lora_edge_spans_the_leading_input_directions_of_the_kernel(rng: np.random.Generator) -> None:
    method = get_method("lora-edge", r=2)
    base = rng.standard_normal((6, 5))
    params = method.init((6, 5), 1, rng, base_weight=base)
    _, s, vt = np.linalg.svd(base)
    np.testing.assert_allclose(np.abs(params["suffix"]), np.abs(s[:2, None] * vt[:2]), rtol=1e-12)
    assert method.num_params((6, 5)) == 6 * 2


def test_lora_edge_with_full_ranks_reproduces_the_kernel(rng: np.random.Generator) -> None:
    """With no rank cut the train is exact: the left singular vectors times the suffix give W0 back."""
    base = rng.standard_normal((6, 4, 2, 3))
    params = get_method("lora-edge", r=6).init(base.shape, 1, rng, base_weight=base)
    u = np.linalg.svd(base.reshape(6, -1))[0]
    np.testing.assert_allclose(u @ params["suffix"], base.reshape(6, -1), atol=1e-13)


def test_pissa_trains_the_leading_part_of_the_weight(rng: np.random.Generator) -> None:
    method, params, base = trained("pissa", rng, r=2)
    u, s, vt = np.linalg.svd(base.reshape(6, -1), full_matrices=False)
    leading = (u[:, :2] * s[:2]) @ vt[:2]
    np.testing.assert_allclose(params["start_b"] @ params["start_a"], leading, atol=1e-13)
    published = base.reshape(6, -1) - leading + params["lora_b"] @ params["lora_a"]
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(6, -1), published, atol=1e-13)


def test_pissa_liera_is_pissa_of_the_logarithm(rng: np.random.Generator) -> None:
    method, params, base = trained("pissa-liera", rng, r=2)
    u, s, vt = np.linalg.svd(np.log(np.abs(base)).reshape(6, -1), full_matrices=False)
    rest = np.log(np.abs(base)).reshape(6, -1) - (u[:, :2] * s[:2]) @ vt[:2]
    moved = np.sign(base) * np.exp(rest + params["lora_b"] @ params["lora_a"]).reshape(SHAPE)
    np.testing.assert_allclose(method.adapted_weight(params, base), moved, rtol=1e-12)


@pytest.mark.parametrize("name", ["dora", "dora-liera"])
def test_dora_sets_the_length_of_every_filter(name: str, rng: np.random.Generator) -> None:
    method, params, base = trained(name, rng, r=2)
    weight = method.adapted_weight(params, base)
    np.testing.assert_allclose(np.linalg.norm(weight.reshape(6, -1), axis=1), params["magnitude"], rtol=1e-14)


@pytest.mark.parametrize("name", ["dora", "dora-liera"])
def test_dora_with_the_norm_held_constant(name: str, rng: np.random.Generator) -> None:
    """Forward it is DoRA; the gradient is that of m V / n for the n of this point, as PEFT's detached norm gives."""
    exact, params, base = trained(name, rng, r=2)
    held = get_method(name, r=2, detach_norm=True)
    assert np.array_equal(held.adapted_weight(params, base), exact.adapted_weight(params, base))
    assert held.config() == {"name": name, "r": 2, "detach_norm": True}
    g, direction = rng.standard_normal(SHAPE), exact.direction
    inner = {n: p for n, p in params.items() if n != "magnitude"}
    norms = np.linalg.norm(direction.adapted_weight(inner, base).reshape(6, -1), axis=1)

    def by_constant(p: Any) -> np.ndarray:
        v = direction.adapted_weight({n: q for n, q in p.items() if n != "magnitude"}, base)
        return v * (p["magnitude"] / norms).reshape(6, 1, 1, 1)

    bars = held.adapted_weight_vjp(params, base, 1, g)
    gap = adjoint_gap(by_constant, lambda p, bar: held.adapted_weight_vjp(p, base, 1, bar), params, rng)
    assert gap <= 1e-9
    others = exact.adapted_weight_vjp(params, base, 1, g)
    assert np.abs(bars["lora_b"] - others["lora_b"]).max() > 0.01 * np.abs(others["lora_b"]).max()
    np.testing.assert_array_equal(bars["magnitude"], others["magnitude"])
    with pytest.raises(DTypeError, match="`detach_norm` must be True or False"):
        get_method(name, detach_norm=1)
    with pytest.raises(DomainError, match="must be among"):
        get_method("lora", detach_norm=True)


@pytest.mark.parametrize("name", ["dora", "dora-liera"])
def test_dora_refuses_a_zero_filter_and_a_missing_weight(name: str, rng: np.random.Generator) -> None:
    method, _, base = trained(name, rng, r=1)
    base[2] = 0.0
    with pytest.raises(UnsupportedError, match="a direction in each filter; filter 2 is zero"):
        method.init(SHAPE, 1, rng, base_weight=base)
    with pytest.raises(DomainError, match="filter 2 is zero"):
        method.adapted_weight({**method.start(SHAPE, 1, rng, base_weight=base + 1.0)}, base)
    with pytest.raises(DomainError, match="`base_weight` must be given"):
        method.init(SHAPE, 1, rng)


def test_filter_atoms_move_every_filter_inside_the_span_of_the_atoms(rng: np.random.Generator) -> None:
    method, params, base = trained("atoms", rng, m=2)
    change = method.weight_delta(params, base).reshape(24, 6)
    assert np.linalg.matrix_rank(change) == 2
    by_sum = np.einsum("oia,ak->oik", params["coefficients"], params["atoms"])
    np.testing.assert_allclose(change, by_sum.reshape(24, 6), atol=1e-15)


def test_filter_atoms_code_the_kernel_over_their_dictionary(rng: np.random.Generator) -> None:
    """A kernel made of two patterns is coded so that some two atoms give it back almost."""
    patterns = rng.standard_normal((2, 6))
    mixture = rng.standard_normal((24, 2))
    base = (mixture @ patterns).reshape(SHAPE)
    codes = get_method("atoms", m=2).init(SHAPE, 1, rng, base_weight=base)["coefficients"].reshape(24, 2)
    atoms = np.linalg.lstsq(codes, base.reshape(24, 6), rcond=None)[0]
    assert np.linalg.norm(codes @ atoms - base.reshape(24, 6)) < 0.05 * np.linalg.norm(base)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1, 1)])
def test_filter_atoms_of_a_weight_without_a_kernel_are_its_blocks(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    method, params, base = trained("atoms", rng, shape, m=2, block=3)
    assert params["atoms"].shape == (2, 2 * 3)
    change = method.weight_delta(params, base).reshape(8, 6)
    for i, j in np.ndindex(4, 2):
        block = (params["coefficients"][i, j] @ params["atoms"]).reshape(2, 3)
        np.testing.assert_allclose(change[2 * i : 2 * i + 2, 3 * j : 3 * j + 3], block, atol=1e-15)


def test_scale_multiplies_output_channels(rng: np.random.Generator) -> None:
    method, params, base = trained("scale", rng)
    np.testing.assert_allclose(
        method.adapted_weight(params, base), base * np.exp(params["xi"])[:, None, None, None], rtol=1e-15
    )
    inward = get_method("scale", action="scaling(in)")
    assert inward.num_params(SHAPE) == 4


def test_ia3_scales_the_outputs_of_the_layer(rng: np.random.Generator) -> None:
    """l * (W x + b) with l = 1 + xi; on the in mode, the input: W (l * x)."""
    method, params, base = trained("ia3", rng, (6, 4))
    x, bias, factor = rng.standard_normal(4), rng.standard_normal(6), 1 + params["xi"]
    moved = method.adapted_weight(params, base) @ x + method.adapted_bias(params, bias, (6, 4))
    np.testing.assert_allclose(moved, factor * (base @ x + bias), rtol=1e-13)
    method, params, base = trained("ia3", rng, (6, 4), action="scaling(in)")
    np.testing.assert_allclose(
        method.adapted_weight(params, base) @ x, base @ ((1 + params["xi"]) * x), rtol=1e-12, atol=1e-14
    )
    assert not method.moves_bias


def test_renamed_method_is_refused_with_its_new_name() -> None:
    with pytest.raises(DomainError, match="must be 'convolutional-low-rank-adaptation' for what was 'colora'"):
        get_method("colora")


def test_bias_method_serves_vectors(rng: np.random.Generator) -> None:
    method = get_method("bias")
    bias = rng.standard_normal(5).astype(np.float32)
    params = method.init(bias.shape, 1, rng, base_weight=bias)
    params["xi"] += np.float32(0.5)
    assert np.array_equal(method.adapted_weight(params, bias), bias + np.float32(0.5))
    assert np.array_equal(method.adapted_weight_vjp(params, bias, 1, bias)["xi"].reshape(-1), bias)


def test_statistics_train_nothing(rng: np.random.Generator) -> None:
    method = get_method("norm-stats")
    base = rng.standard_normal(SHAPE)
    assert method.scope == "statistics"
    assert method.init(SHAPE, 1, rng) == {}
    assert method.num_params(SHAPE) == 0
    assert np.array_equal(method.adapted_weight({}, base), base)
    assert method.adapted_weight_vjp({}, base, 1, base) == {}


def test_more_trainables_than_weights_give_a_warning(rng: np.random.Generator) -> None:
    with pytest.warns(ManyTrainablesWarning, match="60 trainable numbers for a tensor"):
        get_method("lora", r=1, share_groups=False).init((6, 1, 3, 3), 6, rng)
    with (
        pytest.warns(RankLoweredWarning, match="shape \\(4, 6\\) has room for less than asked for: rank 4"),
        pytest.warns(ManyTrainablesWarning),
    ):
        assert get_method("lora", r=5, lora_alpha=2.5).init((4, 6), 1, rng)["lora_b"].shape == (4, 4)


def test_any_legal_combination_needs_no_row(rng: np.random.Generator) -> None:
    method, params, base = trained("tucker+hadamard+taylor2", rng, r=2)
    xi = method.delta(params, SHAPE)
    np.testing.assert_allclose(method.adapted_weight(params, base), base * (1 + xi + xi**2 / 2), rtol=1e-14)
    assert get_method("dense+scaling+exp+scaling(in)").num_params(SHAPE) == 4
    for bad in ("tucker+hadamard", "nothing+hadamard+exp", "tucker+nothing+exp", "tucker+hadamard+nothing", "lorra"):
        with pytest.raises(DomainError):
            get_method(bad)
    with pytest.raises(UnsupportedError, match="must be one of the group"):
        get_method("dense+additive+exp+scaling").num_params(SHAPE)


def test_supports_says_why_not() -> None:
    assert get_method("lora", r=4).supports((10, 64)) is None
    assert "must have room for rank 1" in str(get_method("lora-view", r=4).supports((2, 1, 3, 2), 1))
    assert "square matrix" in str(get_method("diagonal+additive+exp").supports((10, 64)))


@pytest.mark.parametrize("group", ["gl", "so", "sl"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("action", ["out", "in", "kernel"])
def test_low_rank_form_is_the_dense_exponential(group: str, groups: int, action: str, rng: np.random.Generator) -> None:
    """The r x r form and the n x n exponential of the same algebra element: two ways to one adapted weight."""
    shape = (8, 4, 3, 2)
    low = get_method(f"low-rank+{group}+exp+{action}", r=2, lora_alpha=3.0)
    dense = get_method(f"dense+{group}+exp+{action}")
    params = {n: 0.3 * rng.standard_normal(p.shape) for n, p in low.init(shape, groups, rng).items()}
    xi = low.delta(params, shape, groups)
    base, g = rng.standard_normal(shape), rng.standard_normal(shape)
    full = {"xi": xi.reshape(-1, xi.shape[-1])}
    for ours, theirs in (
        (low.adapted_weight(params, base, groups), dense.adapted_weight(full, base, groups)),
        (low.weight_delta(params, base, groups), dense.weight_delta(full, base, groups)),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)
    xi_bar = dense.adapted_weight_vjp(full, base, groups, g)["xi"]
    by_chain = low.parameterisation.delta_vjp(params, xi_bar.shape, len(xi_bar) // xi_bar.shape[1], xi_bar)
    for name, bar in low.adapted_weight_vjp(params, base, groups, g).items():
        np.testing.assert_allclose(bar, by_chain[name], atol=1e-12)


def test_elra_mixes_outputs_by_the_exponential(rng: np.random.Generator) -> None:
    method, params, base = trained("elra", rng, r=2)
    g = scipy.linalg.expm(params["lora_b"] @ params["lora_a"])
    np.testing.assert_allclose(method.adapted_weight(params, base), np.einsum("po,oiuv->piuv", g, base), atol=1e-13)
    assert not method.moves_bias
    assert get_method("elra", action="out+bias").moves_bias


def test_affine_maps_the_outputs_of_the_layer(rng: np.random.Generator) -> None:
    """W' x + b' = A (W x + b) + t for any input x."""
    method, params, base = trained("affine", rng, r=2)
    xi = params["lora_b"] @ params["lora_a"]
    xi[-1] = 0.0
    g = scipy.linalg.expm(xi)
    x, bias = rng.standard_normal((4, 2, 3)), rng.standard_normal(6)
    y = np.tensordot(base, x, 3) + bias
    adapted = np.tensordot(method.adapted_weight(params, base), x, 3) + method.adapted_bias(params, bias, SHAPE)
    np.testing.assert_allclose(adapted, g[:6, :6] @ y + g[:6, 6], atol=1e-12)


def test_symplectic_needs_an_even_number_of_outputs() -> None:
    assert get_method("sp", r=2).supports((6, 4)) is None
    assert "even" in str(get_method("sp", r=2).supports((5, 4)))


def test_matrices_need_two_indices() -> None:
    for name in ("elra", "so", "sl", "sp", "affine"):
        assert get_method(name, r=1).supports((6, 1, 3, 3), 6) is not None


def test_map_that_leaves_the_group_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="`map` must be legal for the group sl"):
        get_method("sl", r=1, map="cayley").num_params((5, 4))
    with pytest.raises(UnsupportedError, match="`map` must be legal for the group so"):
        get_method("so", r=1, map="taylor1").num_params((5, 4))
    with pytest.raises(UnsupportedError, match="`action` must be element-wise"):
        get_method("principal+gl+exp").num_params((5, 4))


def test_matrices_on_several_modes_need_no_row(rng: np.random.Generator) -> None:
    method, params, base = trained("dense+so*gl+exp+out*in", rng)
    assert method.num_params(SHAPE) == 6 * 6 + 4 * 4
    by_parts = get_method("dense+so+exp+out").adapted_weight({"xi": params["xi"][:36].reshape(6, 6)}, base)
    by_parts = get_method("dense+gl+exp+in").adapted_weight({"xi": params["xi"][36:].reshape(4, 4)}, by_parts)
    np.testing.assert_allclose(method.adapted_weight(params, base), by_parts, atol=1e-13)
