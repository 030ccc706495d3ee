"""Every action with every group and geometry that it can serve: laws, deltas, VJPs, bias, preserved structure."""

from collections.abc import Callable

import numpy as np
import pytest

from lieref.errors import UnsupportedError
from lieref.group.action import PRESERVED, Action
from lieref.group.base import Group
from lieref.group.mode_action import Conjugation, MatrixOnMode
from lieref.group.registry import ACTIONS, GROUPS, make_action, make_group
from lieref.numerics.gradcheck import adjoint_gap
from tests.contracts.lie_cases import REGIMES, actions, algebra_element, gap, name_of, settings

CASES = [(action, *setting) for action in actions() for setting in settings(action)]
every_case = pytest.mark.parametrize(("action", "group", "shape", "conv_groups"), CASES, ids=name_of)


def xi_for(action: Action, group: Group, shape: tuple, conv_groups: int, rng: np.random.Generator, regime: str):
    wanted = action.algebra_shape(shape, conv_groups)
    batch = wanted[: len(wanted) - len(group.element_shape)]
    xi = algebra_element(group.algebra, rng, regime, batch)
    assert xi.shape == wanted
    return xi


@every_case
def test_action_laws(action: Action, group: Group, shape: tuple, conv_groups: int, rng: np.random.Generator) -> None:
    weight = rng.standard_normal(shape)
    before = weight.copy()
    for regime in REGIMES:
        xi, eta = (xi_for(action, group, shape, conv_groups, rng, r) for r in (regime, "generic"))
        g, h = group.exp(xi), group.exp(eta)
        e = group.exp(0 * xi)
        np.testing.assert_array_equal(action.act(e, weight, conv_groups), weight)
        once = action.act(group.compose(g, h), weight, conv_groups)
        assert gap(once, action.act(g, action.act(h, weight, conv_groups), conv_groups)) <= 1e-12
        assert once.shape == shape
        delta = action.act_delta(group.exp_minus_identity(xi), weight, conv_groups)
        assert gap(weight + delta, action.act(g, weight, conv_groups)) <= 1e-12
        if regime == "zero":
            np.testing.assert_array_equal(delta, 0)
        if regime == "tiny":  # linear in xi to the square of it: no digit is lost
            twice = action.act_delta(group.exp_minus_identity(2 * xi), weight, conv_groups)
            assert gap(twice, 2 * delta) <= 1e-7
    np.testing.assert_array_equal(weight, before)
    assert action.act(g.astype(np.float32), weight.astype(np.float32), conv_groups).dtype == np.float32


@every_case
def test_vjp(action: Action, group: Group, shape: tuple, conv_groups: int, rng: np.random.Generator) -> None:
    weight, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
    for regime in REGIMES:
        g = group.exp(xi_for(action, group, shape, conv_groups, rng, regime))
        act = adjoint_gap(
            lambda x: action.act(x, weight, conv_groups),
            lambda x, y_bar: action.act_vjp(x, weight, conv_groups, y_bar),
            g,
            rng,
            step=1e-4,
        )
        assert act <= 1e-8, regime
        on_bias = adjoint_gap(
            lambda x: action.act_bias(x, bias, conv_groups),
            lambda x, y_bar: action.act_bias_vjp(x, bias, conv_groups, y_bar),
            g,
            rng,
        )
        assert on_bias <= 1e-9, regime


@every_case
def test_bias(action: Action, group: Group, shape: tuple, conv_groups: int, rng: np.random.Generator) -> None:
    weight, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
    g, h = (group.exp(xi_for(action, group, shape, conv_groups, rng, "generic")) for _ in range(2))
    moved = action.act_bias(g, bias, conv_groups)
    assert action.moves_bias == (gap(moved, bias) > 1e-6)
    if not action.moves_bias:
        np.testing.assert_array_equal(moved, bias)
        return
    again = action.act_bias(group.compose(g, h), bias, conv_groups)
    assert gap(again, action.act_bias(g, action.act_bias(h, bias, conv_groups), conv_groups)) <= 1e-12
    # The layer's output on one input moves as the bias does: y' = g . (W x + b).
    x = rng.standard_normal(shape)
    per_output = tuple(range(1, len(shape)))
    y = np.sum(weight * x[:1], axis=per_output) + bias if conv_groups == 1 else None
    if y is not None:
        y_moved = np.sum(action.act(g, weight) * x[:1], axis=per_output) + moved
        assert gap(y_moved, action.act_bias(g, y)) <= 1e-12


# What each word of `preserves` means, checked on a weight and its image.
def conv_blocks(weight: np.ndarray, conv_groups: int) -> np.ndarray:
    return weight.reshape(conv_groups, weight.shape[0] // conv_groups, *weight.shape[1:])


def spectra(weight: np.ndarray, conv_groups: int) -> np.ndarray:
    values = []
    for block in conv_blocks(weight, conv_groups):
        for axis in range(block.ndim):
            flat = np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1)
            values.append(np.linalg.svd(flat, compute_uv=False))
    return np.concatenate(values)


def unfoldings(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    return (action if isinstance(action, MatrixOnMode) else MatrixOnMode()).unfoldings(weight, conv_groups)


def gram(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    m = unfoldings(action, weight, conv_groups)
    return m.swapaxes(1, 2) @ m


def form(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    m = unfoldings(action, weight, conv_groups)
    if m.shape[1] % 2:
        return np.zeros(0)
    half = m.shape[1] // 2
    top, bottom = m[:, :half], m[:, half:]
    return top.swapaxes(1, 2) @ bottom - bottom.swapaxes(1, 2) @ top


def norms(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    return np.linalg.norm(weight.reshape(weight.shape[0], -1), axis=1)


def angles(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    filters = conv_blocks(weight, conv_groups).reshape(conv_groups, weight.shape[0] // conv_groups, -1)
    filters = filters / np.linalg.norm(filters, axis=2, keepdims=True)
    return filters @ filters.swapaxes(1, 2)


def determinants(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    m = unfoldings(action, weight, conv_groups)
    return np.linalg.det(m) if m.shape[1] == m.shape[2] else np.zeros(0)


def characteristic(action: Action, weight: np.ndarray, conv_groups: int) -> np.ndarray:
    n = weight.shape[1]
    squares = np.moveaxis(weight.reshape(conv_groups, n, n, -1), 3, 1).reshape(-1, n, n)
    return np.stack([np.poly(square) for square in squares])


INVARIANTS: dict[str, Callable[[Action, np.ndarray, int], np.ndarray]] = {
    "signs": lambda action, weight, conv_groups: np.sign(weight),
    "support": lambda action, weight, conv_groups: weight != 0,
    "singular values": lambda action, weight, conv_groups: spectra(weight, conv_groups),
    "multilinear rank": lambda action, weight, conv_groups: spectra(weight, conv_groups) > 1e-10,
    "gram matrix": gram,
    "symplectic form": form,
    "filter norms": norms,
    "filter angles": angles,
    "determinant": determinants,
    "eigenvalues": characteristic,
}


def low_rank_weight(shape: tuple, conv_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Multilinear rank 1 in each conv group."""
    per_group = (shape[0] // conv_groups, *shape[1:])
    blocks = []
    for _ in range(conv_groups):
        block = np.ones(())
        for size in per_group:
            block = np.multiply.outer(block, rng.uniform(0.5, 2, size) * rng.choice([-1, 1], size))
        blocks.append(block)
    return np.concatenate(blocks)


@every_case
def test_preserved(action: Action, group: Group, shape: tuple, conv_groups: int, rng: np.random.Generator) -> None:
    claims = action.preserves(group)
    assert claims <= set(PRESERVED)
    sparse = rng.standard_normal(shape) * (rng.uniform(size=shape) < 0.7)
    sparse[:, 0] += 1.0  # no zero filter
    for weight in (rng.standard_normal(shape), low_rank_weight(shape, conv_groups, rng), sparse):
        g = group.exp(xi_for(action, group, shape, conv_groups, rng, "generic"))
        image = action.act(g, weight, conv_groups)
        for claim in claims:
            wanted, got = (INVARIANTS[claim](action, w, conv_groups) for w in (weight, image))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-11 * max(1, np.abs(wanted).max(initial=0)) * 10)


def test_claims_are_complete(rng: np.random.Generator) -> None:
    """What an action of a group does not claim to keep is broken by it on some weight, so no claim can be missing."""
    broken: dict[tuple, bool] = {}
    claimed, determinants_seen = set(), 0
    for action, group, shape, conv_groups in CASES:
        claims = action.preserves(group)
        claimed |= claims
        dense = rng.standard_normal(shape)
        dense.reshape(-1)[1] = 0.0
        for weight in (dense, low_rank_weight(shape, conv_groups, rng)):
            image = action.act(
                group.exp(xi_for(action, group, shape, conv_groups, rng, "generic")), weight, conv_groups
            )
            for word, invariant in INVARIANTS.items():
                if not has_meaning(word, action, group) or (word == "filter angles" and shape[0] == conv_groups):
                    continue
                before, after = (invariant(action, w, conv_groups) for w in (weight, image))
                determinants_seen += word == "determinant" and bool(before.size)
                if before.size and word not in claims:
                    key = (action, tuple(_names(group)), word)
                    change = np.abs(before.astype(float) - after).max()
                    broken[key] = broken.get(key, False) or change > 1e-6
    assert claimed == set(PRESERVED) == set(INVARIANTS)
    assert determinants_seen > 10
    assert not [key for key, broke in broken.items() if not broke]


def has_meaning(word: str, action: Action, group: Group) -> bool:
    """Some words are about the one mode that moves, one about square matrices at each position."""
    if word == "eigenvalues":
        return isinstance(action, Conjugation)
    if word == "symplectic form" and getattr(group, "size", 0) == 2:
        return False  # a form in the plane is the area, which a determinant of 1 keeps
    return isinstance(action, MatrixOnMode) or word not in ("gram matrix", "symplectic form", "determinant")


@pytest.mark.parametrize("action", actions(), ids=name_of)
def test_an_action_serves_something_and_refuses_other_groups(action: Action) -> None:
    served = {name for name in GROUPS for case in CASES if case[0] == action and name in _names(case[1])}
    assert served
    shape, conv_groups = next(case[2:] for case in CASES if case[0] == action)
    refused = 0
    for name in set(GROUPS) - served - {"product"}:
        with pytest.raises((UnsupportedError, ValueError)):
            make_group(name, action, shape, conv_groups)
        refused += 1
    assert refused


def _names(group: Group) -> list[str]:
    return [part.name for part in getattr(group, "parts", (group,))]


@pytest.mark.parametrize("action", [a for a in actions() if hasattr(a, "fixed_points")], ids=name_of)
def test_fixed_points_are_the_entries_that_never_move(action: Action, rng: np.random.Generator) -> None:
    group, shape, conv_groups = next(case[1:] for case in CASES if case[0] == action and len(case[2]) == 4)
    weight = rng.standard_normal(shape)
    weight[1] = 0.0
    weight[0, 2] = 0.0
    moved = action.act(group.exp(xi_for(action, group, shape, conv_groups, rng, "generic")), weight, conv_groups)
    assert action.fixed_points(weight) == np.count_nonzero(moved == weight)


@pytest.mark.parametrize("action", actions(), ids=name_of)
def test_spec_round_trips(action: Action) -> None:
    group = "additive" if action == ACTIONS["element-wise"]("add") else "hadamard"
    assert make_action(action.spec, group) == action


def test_unfoldings_are_the_definition(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((4, 6, 2, 3))
    m = MatrixOnMode("in").unfoldings(weight, 2)
    assert m.shape == (2, 6, 12)
    np.testing.assert_array_equal(np.sort(m[1, 5]), np.sort(weight[2:, 5].ravel()))
    half = MatrixOnMode("fan-in", blocks=4).unfoldings(weight)
    np.testing.assert_array_equal(half[1, :, 3], weight[3].ravel()[9:18])


def test_names_are_the_keys() -> None:
    assert all(cls.name == key for key, cls in ACTIONS.items())
