"""OFT, BOFT and HRA against the rotation matrix they never form."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from lieref.group.maps import Exp, Taylor
from lieref.param._base import nearest_divisor
from lieref.param.blocks import BlockDiagonal, Butterfly
from lieref.param.method import Recipe
from lieref.param.registry import get_method
from lieref.param.rotation import BlockRotation

SHAPE = (5, 4, 3, 2)
N = 24


def trained(name: str, rng: np.random.Generator, **config: Any) -> Any:
    method = get_method(name, **config)
    base = rng.standard_normal(SHAPE)
    params = method.init(SHAPE, 1, rng, base_weight=base)
    return method, {n: p + 0.3 * rng.standard_normal(p.shape) for n, p in params.items()}, base


def skew(numbers: np.ndarray, b: int) -> np.ndarray:
    x = np.zeros((b, b))
    x[np.triu_indices(b, 1)] = numbers
    return x - x.T


def test_oft_is_a_block_diagonal_rotation(rng: np.random.Generator) -> None:
    method, params, base = trained("oft", rng, block_size=4)
    r = scipy.linalg.block_diag(*[scipy.linalg.expm(skew(x, 4)) for x in params["blocks"]])
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(5, N), base.reshape(5, N) @ r.T, atol=1e-13)


def test_oft_cayley_is_the_cayley_map_of_the_blocks(rng: np.random.Generator) -> None:
    method, params, base = trained("oft-cayley", rng, block_size=3)
    blocks = [np.linalg.solve(np.eye(3) - skew(x, 3) / 2, np.eye(3) + skew(x, 3) / 2) for x in params["blocks"]]
    r = scipy.linalg.block_diag(*blocks)
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(5, N), base.reshape(5, N) @ r.T, atol=1e-13)


def test_oft_cayley_neumann_is_the_published_sum(rng: np.random.Generator) -> None:
    method, params, base = trained("oft-cayley-neumann", rng, block_size=3)
    powers = [[np.linalg.matrix_power(skew(x, 3) / 2, k) for k in range(5)] for x in params["blocks"]]
    r = scipy.linalg.block_diag(*[p[0] + 2 * p[1] + 2 * p[2] + 2 * p[3] + p[4] for p in powers])
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(5, N), base.reshape(5, N) @ r.T, atol=1e-13)
    assert not method.preserves(SHAPE)


def pairs_of_the_tree(n: int) -> list[tuple[int, int]]:
    """The planes of equation 3 of GOFT, stage after stage, for n a power of two; else those that it has room for."""
    stages = range(1, (n - 1).bit_length() + 1)
    planes = [(2**r * k, 2 ** (r - 1) * (2 * k + 1)) for r in stages for k in range(n)]
    return [plane for plane in planes if plane[1] < n]


@pytest.mark.parametrize("n", [2, 3, 8, 13, 16])
@pytest.mark.parametrize("name", ["goft", "qgoft"])
def test_goft_is_the_published_product(name: str, n: int, rng: np.random.Generator) -> None:
    method, weight = get_method(name), rng.standard_normal((5, n))
    assert method.num_params(weight.shape) == (n - 1) * (1 if name == "goft" else 4)
    params = {key: 0.4 * rng.standard_normal(p.shape) for key, p in method.init(weight.shape, 1, rng).items()}
    rotation = np.eye(n)
    for (i, j), block in zip(pairs_of_the_tree(n), params["blocks"], strict=True):
        g, theta = np.eye(n), -block.flat[0]
        turn = [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]
        g[np.ix_([i, j], [i, j])] = turn if name == "goft" else np.eye(2) + block
        rotation = g @ rotation
    np.testing.assert_allclose(method.adapted_weight(params, weight), weight @ rotation.T, atol=1e-13)


@pytest.mark.parametrize("n", [8, 13])
def test_goft_turns_any_filter_to_the_first_axis(n: int, rng: np.random.Generator) -> None:
    """The theorem behind it: n - 1 angles, each of which clears one entry."""
    method, weight = get_method("goft"), rng.standard_normal((1, n))
    x, angles = weight[0].copy(), []
    for i, j in pairs_of_the_tree(n):
        angles.append(np.arctan2(x[j], x[i]))
        x[i], x[j] = np.hypot(x[i], x[j]), 0.0
    turned = method.adapted_weight({"blocks": np.array(angles)[:, None]}, weight)
    np.testing.assert_allclose(turned[0], np.linalg.norm(weight) * np.eye(n)[0], atol=1e-13)


def test_goft_is_some_of_boft(rng: np.random.Generator) -> None:
    """Blocks of two in as many stages have n/2 angles each; GOFT's are among them."""
    n = 16
    wide = Butterfly(block_size=2, stages=4, skew=True)
    places = {tuple(at): index for index, at in enumerate(wide.positions(n).tolist())}
    weight = rng.standard_normal((3, n))
    angles = 0.5 * rng.standard_normal((n - 1, 1))
    all_angles = np.zeros((len(places), 1))
    for angle, pair in zip(angles, pairs_of_the_tree(n), strict=True):
        all_angles[places[pair]] = angle
    whole = BlockRotation(Recipe("x"), wide, Exp()).adapted_weight({"blocks": all_angles}, weight)
    np.testing.assert_allclose(get_method("goft").adapted_weight({"blocks": angles}, weight), whole, atol=1e-14)


def test_boft_multiplies_stages_at_growing_strides(rng: np.random.Generator) -> None:
    method, params, base = trained("boft", rng, block_size=2, stages=3)
    rows = base.reshape(5, N)
    for stage in range(3):
        angles = params["blocks"].reshape(3, N // 2)[stage]
        r = np.zeros((N, N))
        stride, block = 2**stage, 0
        for start in range(0, N, 2 * stride):
            for offset in range(stride):
                i, j = start + offset, start + offset + stride
                x = skew(angles[block : block + 1], 2)
                r[np.ix_([i, j], [i, j])] = np.linalg.solve(np.eye(2) - x / 2, np.eye(2) + x / 2)
                block += 1
        rows = rows @ r.T
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(5, N), rows, atol=1e-13)


def published_places(n: int, b: int, stage: int) -> np.ndarray:
    """Which block each index is in: the permutation of BOFT's authors, which sorts halves of blocks evens first."""
    halves = np.arange(2 ** (stage + 1)) if stage else np.arange(2)
    order = np.concatenate([halves[::2], halves[1::2]])
    window = np.concatenate([np.arange(b // 2) + (b // 2) * half for half in order])
    permutation = np.concatenate([window + start for start in range(0, n, len(window))])
    place = np.empty(n, int)
    place[np.arange(n)] = permutation  # R = P B P^T with P[i, permutation[i]] = 1: R[i, k] = B[perm(i), perm(k)]
    return place


@pytest.mark.parametrize(("n", "b", "stages"), [(16, 4, 3), (24, 2, 3), (24, 6, 3), (48, 4, 3), (16, 4, 1), (32, 8, 2)])
def test_boft_is_the_published_product(n: int, b: int, stages: int, rng: np.random.Generator) -> None:
    method, weight = get_method("boft", block_size=b, stages=stages), rng.standard_normal((60, n))
    params = method.init(weight.shape, 1, rng, base_weight=weight)
    params = {name: 0.4 * rng.standard_normal(p.shape) for name, p in params.items()}
    blocks = params["blocks"].reshape(stages, n // b, -1)
    rotation = np.eye(n)
    for stage in range(stages):
        diagonal = scipy.linalg.block_diag(
            *[np.linalg.solve(np.eye(b) - skew(x, b) / 2, np.eye(b) + skew(x, b) / 2) for x in blocks[stage]]
        )
        place = published_places(n, b, stage)
        rotation = diagonal[np.ix_(place, place)] @ rotation
    np.testing.assert_allclose(method.adapted_weight(params, weight), weight @ rotation.T, atol=1e-13)
    assert (np.abs(rotation) > 1e-12).sum(axis=1).max() == b * 2 ** (stages - 1)


@pytest.mark.parametrize(("n", "config", "said", "count"), [
    (16, {"block_size": 4, "stages": 3}, "", 3 * 4 * 6),
    (16, {"block_size": 4, "stages": 4}, "3 of 4 stages", 3 * 4 * 6),
    (27, {"block_size": 4, "stages": 2}, "blocks of 3, 1 of 2 stages", 9 * 3), (24, {"block_size": 6}, "", 2 * 4 * 15),
    (12, {"block_size": 4}, "1 of 2 stages", 3 * 6), (9, {"block_size": 3, "stages": 1}, "", 3 * 3),
])  # fmt: skip
def test_butterfly_says_which_stages_do_not_fit(n: int, config: dict[str, Any], said: str, count: int) -> None:
    method = get_method("boft", **config)
    assert method.adjusted((5, n)) == said
    assert method.num_params((5, n)) == count


@pytest.mark.parametrize("name", ["oft", "oft-cayley-neumann", "boft", "goft", "qgoft", "hra"])
def test_channels_of_a_depthwise_kernel_turn_together(name: str, rng: np.random.Generator) -> None:
    method, base = get_method(name), rng.standard_normal((6, 1, 4, 4))
    params = {n: p + 0.3 * rng.standard_normal(p.shape) for n, p in method.init(base.shape, 6, rng).items()}
    np.testing.assert_array_equal(
        method.adapted_weight(params, base, 6), method.adapted_weight(params, base.reshape(6, 16)).reshape(base.shape)
    )
    alone = get_method(name, share_groups=False)
    each = {n: np.concatenate([p] * 6) for n, p in params.items()}
    np.testing.assert_allclose(alone.adapted_weight(each, base, 6), method.adapted_weight(params, base, 6), atol=1e-15)


@pytest.mark.parametrize("name", ["oft", "oft-cayley-neumann", "boft", "hra"])
def test_fixed_points_are_the_zero_filters(name: str, rng: np.random.Generator) -> None:
    method, params, base = trained(name, rng)
    base[3] = 0.0
    base[1, 2, 0] = 0.0
    assert method.fixed_points(base) == np.count_nonzero(method.adapted_weight(params, base) == base) == N


@pytest.mark.parametrize("name", ["oft", "oft-cayley", "boft", "goft", "hra"])
def test_large_rotations_keep_norms_and_angles_of_filters(name: str, rng: np.random.Generator) -> None:
    """However far the blocks turn, V' V'^T = V V^T to the roundings of two products of n terms."""
    method, params, base = trained(name, rng)
    rows = base.reshape(5, N)
    for turn in (1.0, 30.0, 1000.0):
        turned = {n: p if n == "u" else turn * p for n, p in params.items()}
        moved = method.adapted_weight(turned, base).reshape(5, N)
        assert (
            np.abs(moved @ moved.T - rows @ rows.T).max() <= 4 * N * 2.0**-53 * np.linalg.norm(rows, axis=1).max() ** 2
        )


def test_butterfly_stops_where_the_stride_no_longer_divides() -> None:
    assert get_method("boft", block_size=2, stages=9).num_params(SHAPE) == 3 * N // 2
    assert get_method("boft", block_size=5, stages=1).num_params((3, 25)) == 5 * 10


def test_hra_is_a_product_of_reflections(rng: np.random.Generator) -> None:
    method, params, base = trained("hra", rng, r=4)
    r = np.eye(N)
    for u, w in zip(params["u"], params["w"], strict=True):
        for v in (u, u + w):
            r = r @ (np.eye(N) - 2 * np.outer(v, v) / (v @ v))
    np.testing.assert_allclose(r @ r.T, np.eye(N), atol=1e-13)
    np.testing.assert_allclose(method.adapted_weight(params, base).reshape(5, N), base.reshape(5, N) @ r, atol=1e-13)


@pytest.mark.parametrize(("name", "config"), [("oft", {}), ("boft", {"block_size": 2}), ("hra", {"r": 4})])
def test_algebra_element_is_the_rotation_to_first_order(
    name: str, config: dict[str, Any], rng: np.random.Generator
) -> None:
    """V R^T - V = -V xi + O(xi^2) with xi skew, and hra's R^T = I + xi + O(xi^2)."""
    method, params, base = trained(name, rng, **config)
    size = 1e-6
    small = {n: (p if n == "u" else size * p) for n, p in params.items()}
    xi = method.delta(small, SHAPE)[0]
    np.testing.assert_allclose(xi, -xi.T, atol=1e-20)
    change = method.weight_delta(small, base).reshape(5, N)
    expected = base.reshape(5, N) @ (xi if name == "hra" else xi.T)
    assert np.linalg.norm(change - expected) < 20 * size * np.linalg.norm(change)


@pytest.mark.parametrize(("n", "asked", "used"), [(24, 4, 4), (27, 4, 3), (7, 4, 7), (10, 4, 5), (10, 3, 2), (2, 9, 2)])
def test_block_size_is_the_nearest_divisor(n: int, asked: int, used: int) -> None:
    assert BlockDiagonal(block_size=asked).size_for(n) == used


def test_the_nearest_divisor_is_that_of_all_numbers() -> None:
    """Against trying each, ties to the smaller; and a large prime at once."""
    for n, wanted, low in itertools.product(range(2, 130), (1, 4, 9, 60), (1, 2)):
        every = [d for d in range(low, n + 1) if n % d == 0]
        assert nearest_divisor(n, wanted, low) == min(every, key=lambda d: (abs(d - wanted), d))
    assert nearest_divisor(2_147_483_647, 4, 2) == 2_147_483_647


def test_what_is_no_rotation_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DomainError, match="must be even"):
        get_method("hra", r=3)
    with pytest.raises(ShapeError, match="size 2 or more"):
        get_method("oft").num_params((5, 1))
    with pytest.raises(UnsupportedError, match="`map` must stay in SO"):
        BlockRotation(Recipe("x"), Butterfly(2, True, 1), Taylor(1))
    method, params, base = trained("hra", rng, r=2)
    params["u"][...] = 0.0
    with pytest.raises(LierefError, match="must not be zero"):
        method.adapted_weight(params, base)


@pytest.mark.parametrize(
    ("name", "config"), [("hra", {"r": 4}), ("boft", {"stages": 3, "block_size": 2}), ("qgoft", {})]
)
def test_gradient_of_a_product_of_several(name: str, config: dict[str, int], rng: np.random.Generator) -> None:
    """Each factor is moved by itself: what comes after it and what came before it must not be exchanged."""
    method, params, base = trained(name, rng, **config)
    weight_bar = rng.standard_normal(base.shape)
    bars = method.adapted_weight_vjp(params, base, 1, weight_bar)
    for factor in method.trainable(params):
        for index in range(len(params[factor])):
            direction = np.zeros_like(params[factor])
            direction[index] = rng.standard_normal(direction[index].shape)
            ends = [
                np.sum(weight_bar * method.adapted_weight({**params, factor: params[factor] + h * direction}, base))
                for h in (1e-5, -1e-5)
            ]
            slope, wanted = (ends[0] - ends[1]) / 2e-5, np.sum(bars[factor] * direction)
            # h^2 and u / h are both near 1e-10 of sums of order 10
            assert abs(slope - wanted) <= 1e-7 * (1 + abs(wanted)), (factor, index)
