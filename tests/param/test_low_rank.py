"""The three matricisations, entry by entry from their published definitions."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.param.low_rank import LowRank

SHAPE = (5, 4, 3, 2)
RANK = 2


def factors(matricisation: str, rng: np.random.Generator) -> tuple[LowRank, dict[str, np.ndarray]]:
    low_rank = LowRank(r=RANK, matricisation=matricisation)
    params = low_rank.init(SHAPE, 1, rng)
    return low_rank, {name: rng.standard_normal(value.shape) for name, value in params.items()}


def test_unfold_is_one_row_for_each_out_channel(rng: np.random.Generator) -> None:
    low_rank, params = factors("unfold", rng)
    ba = params["lora_b"] @ params["lora_a"]
    xi = low_rank.delta(params, SHAPE)
    for o, i, u, v in np.ndindex(SHAPE):
        assert xi[o, i, u, v] == ba[o, (i * 3 + u) * 2 + v]


def test_structured_keeps_every_index_apart(rng: np.random.Generator) -> None:
    low_rank, params = factors("structured", rng)
    ba = params["lora_b"] @ params["lora_a"]
    xi = low_rank.delta(params, SHAPE)
    for o, i, u, v in np.ndindex(SHAPE):
        assert xi[o, i, u, v] == ba[o * 3 + u, i * 2 + v]


def test_view_is_a_plain_reshape_that_mixes_in_channels_and_kernel_rows(rng: np.random.Generator) -> None:
    low_rank = LowRank(r=RANK, matricisation="view")
    c_out, c_in, k = 5, 4, 3
    params = low_rank.init((c_out, c_in, k, k), 1, rng)
    assert params["lora_a"].shape == (RANK * k, c_in * k)
    assert params["lora_b"].shape == (c_out * k, RANK * k)
    params["lora_b"] = rng.standard_normal(params["lora_b"].shape)
    ba = params["lora_b"] @ params["lora_a"]
    xi = low_rank.delta(params, (c_out, c_in, k, k))
    for o in range(c_out):
        for a, column in np.ndindex(k, c_in * k):
            i, b = divmod(column, k)
            t = a * c_in + i
            assert xi[o, t // k, t % k, b] == ba[o * k + a, i * k + b]


@pytest.mark.parametrize("matricisation", ["unfold", "view", "structured"])
def test_grouped_kernel_is_its_groups_side_by_side(matricisation: str, rng: np.random.Generator) -> None:
    groups, shape, one = 3, (6, 4, 3, 2), (2, 4, 3, 2)
    low_rank = LowRank(r=1, matricisation=matricisation)
    params = {n: rng.standard_normal(p.shape) for n, p in low_rank.init(shape, groups, rng).items()}
    xi = low_rank.delta(params, shape, groups)
    for j in range(groups):
        part = {n: np.split(p, groups)[j] for n, p in params.items()}
        assert np.array_equal(xi[2 * j : 2 * j + 2], low_rank.delta(part, one))


@pytest.mark.parametrize("matricisation", ["unfold", "view", "structured"])
def test_linear_weight_is_plain_lora(matricisation: str, rng: np.random.Generator) -> None:
    low_rank = LowRank(r=3, lora_alpha=6.0, matricisation=matricisation)
    params = {n: rng.standard_normal(p.shape) for n, p in low_rank.init((7, 5), 1, rng).items()}
    assert np.array_equal(low_rank.delta(params, (7, 5)), 2.0 * (params["lora_b"] @ params["lora_a"]))


def test_shared_groups_make_one_pair_of_factors() -> None:
    assert LowRank(r=4, share_groups=True).num_params((32, 2, 3, 3), 16) == 4 * (32 + 18)
    assert LowRank(r=1).num_params((32, 2, 3, 3), 16) == 16 * (2 + 18)


def test_depthwise_kernel_shares_its_factors_by_default() -> None:
    assert LowRank(r=4).num_params((32, 1, 3, 3), 32) == 4 * (32 + 9)
    assert LowRank(r=4, share_groups=False).num_params((32, 1, 3, 3), 32) == 32 * (1 + 9)


def test_initial_a_has_the_spread_of_kaiming_uniform(rng: np.random.Generator) -> None:
    a = LowRank(r=64).init((64, 32, 3, 3), 1, rng)["lora_a"]
    bound = 1 / np.sqrt(32 * 9)
    assert np.abs(a).max() <= bound
    assert abs(a.std() - bound / np.sqrt(3)) < 0.02 * bound


def test_alpha_scales_by_rank_or_its_root() -> None:
    assert LowRank(r=4).scaling == 1.0
    assert LowRank(r=4, lora_alpha=8.0).scaling == 2.0
    assert LowRank(r=4, lora_alpha=8.0, use_rslora=True).scaling == 4.0


def test_default_alpha_is_the_rank_but_constant_under_its_root() -> None:
    assert [LowRank(r=r).scaling for r in (1, 4, 64)] == [1.0, 1.0, 1.0]
    assert [LowRank(r=r, use_rslora=True).scaling for r in (1, 4, 16, 64)] == [4.0, 2.0, 1.0, 0.5]
    assert [LowRank(r=r, use_rslora=True).alpha for r in (1, 64)] == [4.0, 4.0]
    assert LowRank(r=16, lora_alpha=2.0).alpha == 2.0


def test_scaling_is_that_of_the_rank_asked_for() -> None:
    low_rank = LowRank(r=16, lora_alpha=8.0)
    assert low_rank.factor_shapes((3, 20))["lora_b"] == (3, 3)
    assert low_rank.scaling == 0.5


def test_init_draws_the_same_numbers_in_both_dtypes() -> None:
    wide = LowRank().init((8, 8), 1, np.random.default_rng(1), dtype=np.float64)["lora_a"]
    narrow = LowRank().init((8, 8), 1, np.random.default_rng(1), dtype=np.float32)["lora_a"]
    assert np.array_equal(wide.astype(np.float32), narrow)


def test_bad_ranks_and_shapes_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DomainError, match="`r` must be at least 1; got 0"):
        LowRank(r=0)
    with pytest.raises(DTypeError, match="`r` must be an integer"):
        LowRank(r=1.5)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="`shape` must have room for rank 1 as 'view'; got"):
        LowRank(r=1, matricisation="view").init((2, 1, 3, 2), 1, rng)
    with pytest.raises(DomainError, match="`lora_alpha` must be above"):
        LowRank(lora_alpha=0.0)
    with pytest.raises(DomainError, match="`matricisation` must be one of"):
        LowRank(matricisation="flat")
    with pytest.raises(ShapeError, match="the first a multiple of 2"):
        LowRank(r=1).init((5, 4, 3), 2, rng)
    params = LowRank(r=2).init((5, 4), 1, rng)
    with pytest.raises(ShapeError, match="`lora_a` must have shape"):
        LowRank(r=2).delta(params, (5, 3))
    with pytest.raises(ShapeError, match="`params` must hold"):
        LowRank(r=2).delta({"lora_a": params["lora_a"]}, (5, 4))
    with pytest.raises(ShapeError, match="`xi_bar` must have shape"):
        LowRank(r=2).delta_vjp(params, (5, 4), 1, np.zeros((4, 5)))
