"""What is listed as legal makes a method that works, and what is not is refused, on other weights than it was asked on.

Every combination that is listed is made; of those that are not, so many that every two of their parts meet.
"""

from __future__ import annotations

import itertools
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from lieref.errors import LierefError, LierefWarning
from lieref.group.registry import GROUPS, MAPS
from lieref.param.legal import WEIGHTS, candidates, couplings, legal_entries
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method
from tests.pairs import EVERYTHING, pairs

Combination = tuple[str, str, str, str]

# Of each kind of weight one, all of its sizes others than those that were asked about; two of each stay two.
OTHER_WEIGHTS: dict[str, tuple[tuple[int, ...], int]] = {
    "linear": ((12, 4), 1), "conv 1-D": ((4, 10, 7), 1), "conv 2-D": ((10, 4, 5, 7), 1),
    "conv 3-D": ((4, 10, 7, 3, 2), 1), "grouped": ((12, 4, 5, 7), 3), "depthwise": ((8, 1, 5, 7), 8),
    "square linear": ((10, 10), 1), "square conv 2-D": ((4, 4, 8, 6), 1), "linear of twos": ((2, 2), 1),
    "conv 1-D of twos": ((2, 2, 2), 1), "conv 2-D of twos": ((2, 2, 2, 2), 1),
}  # fmt: skip


@cache
def legal() -> dict[Combination, tuple[str, ...]]:
    """The weights of every combination that is listed."""
    return {
        (entry.parameterisation, entry.group, map_, action): entry.weights
        for entry in legal_entries()
        for map_ in entry.maps
        for action in entry.actions
    }


@cache
def unlisted() -> list[Combination]:
    parts = list(PARAMETERISATIONS), list(GROUPS), *candidates()
    return pairs(*parts, legal=lambda *one: one not in legal())  # type: ignore[return-value]


def name_of(combination: Combination) -> str:
    return "+".join(combination)


def started(combination: Combination, shape: tuple[int, ...], groups: int) -> tuple[Any, Any, np.ndarray]:
    """A method, its factors at the start and a weight; raises what the method does."""
    method = get_method(name_of(combination))
    rng = np.random.default_rng(3)
    base = rng.standard_normal(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        return method, method.init(shape, groups, rng, base_weight=base), base


def test_there_is_another_weight_of_every_kind() -> None:
    assert OTHER_WEIGHTS.keys() == WEIGHTS.keys()
    for name, (shape, groups) in WEIGHTS.items():
        other, other_groups = OTHER_WEIGHTS[name]
        assert (len(other), other_groups > 1, other[:1] == (other_groups,)) == (
            len(shape), groups > 1, shape[:1] == (groups,),
        )  # fmt: skip


@pytest.mark.parametrize("kind", PARAMETERISATIONS)
def test_what_is_listed_starts_at_the_base_and_can_be_trained(kind: str) -> None:
    mine = {one: weights for one, weights in legal().items() if one[0] == kind}
    assert mine
    for number, (one, weights) in enumerate(mine.items()):
        chosen = weights if EVERYTHING else (weights[number % len(weights)],)
        for at, weight in enumerate(chosen):
            shape, groups = (WEIGHTS, OTHER_WEIGHTS)[(number + at) % 2][weight]
            if (shape, groups) not in WEIGHTS.values() and get_method(name_of(one)).supports(shape, groups) is not None:
                assert {"sp", "sl"} & {one[1]} or "/" in one[3], (one, shape)  # these ask for even sizes, and for twos
                continue
            method, params, base = started(one, shape, groups)
            assert np.array_equal(method.adapted_weight(params, base, groups), base), (one, shape)
            bars = method.adapted_weight_vjp(params, base, groups, np.ones(shape))
            assert {n: bar.shape for n, bar in bars.items()} == {n: params[n].shape for n in method.trainable(params)}


def refused(one: Combination, shape: tuple[int, ...], groups: int) -> bool:
    try:
        started(one, shape, groups)
    except LierefError:
        return True
    return False


@pytest.mark.parametrize("kind", PARAMETERISATIONS)
def test_what_is_not_listed_is_refused(kind: str) -> None:
    mine = [one for one in unlisted() if one[0] == kind]
    assert mine
    for one in mine:
        for shape, groups in (*WEIGHTS.values(), *OTHER_WEIGHTS.values()):
            assert refused(one, shape, groups), (one, shape)


def test_weights_that_are_not_listed_are_refused() -> None:
    tried = pairs(list(legal()), list(WEIGHTS), legal=lambda one, weight: weight not in legal()[one])
    for one, weight in tried if EVERYTHING else tried[::7]:
        assert refused(one, *WEIGHTS[weight]), (one, weight)


def test_what_everybody_knows() -> None:
    listed = legal()
    assert ("low-rank", "hadamard", "exp", "element-wise") in listed
    assert ("low-rank", "so", "cayley", "out") in listed
    assert ("low-rank", "so", "taylor", "out") not in listed, "a polynomial of a skew matrix is no rotation"
    assert ("low-rank", "scaling", "exp", "scaling") not in listed, "a vector has no rank"
    assert ("principal", "gl", "exp", "out") not in listed, "it is made from the weight"
    assert all("of twos" in one for one in listed["dense", "sl", "cayley", "out"]), "Cayley leaves SL(n) for n above 2"
    assert "depthwise" not in listed["dense", "so", "exp", "in"]
    assert all("linear" not in listed["dense", "so", "exp", mode] for mode in ("rows", "columns", "kernel"))
    assert {group for _, group, _, _ in listed} == set(GROUPS) - {"product"}
    assert {one[2] for one in listed} == set(MAPS)
    assert {one[3] for one in listed} == set(candidates()[1])


def test_every_row_of_the_table_is_listed() -> None:
    for row in METHODS.values():
        if row.parameterisation is not None and not row.wrapper:
            map_ = row.map.rstrip("0123456789")
            assert (row.parameterisation, row.group, map_, row.action) in legal(), row.name


def test_entries_are_disjoint() -> None:
    count = sum(len(entry.maps) * len(entry.actions) for entry in legal_entries())
    assert count == len(legal())


MATRICES = ("gl", "sl", "so", "sp", "unipotent")


@pytest.mark.parametrize(("one", "other"), list(itertools.product(MATRICES, repeat=2)))
def test_a_product_is_legal_where_its_groups_are(one: str, other: str) -> None:
    shape = (8, 6, 4, 6)
    for map_, action in itertools.product(MAPS, ("out*in", "rows*columns")):
        each = [get_method(f"dense+{group}+{map_}+{action}").supports(shape) is None for group in (one, other)]
        assert refused(("dense", f"{one}*{other}", map_, action), shape, 1) == (not all(each)), (map_, action)


@pytest.mark.parametrize("kind", PARAMETERISATIONS)
def test_what_moves_nothing_is_named(kind: str) -> None:
    """Whatever the factors are, the weight stays what it is, if and only if it is said."""
    for group in dict.fromkeys(one[1] for one in legal() if one[0] == kind):
        combination = next(one for one in legal() if one[:3] == (kind, group, "exp"))
        shape, groups = WEIGHTS[legal()[combination][0]]
        method, params, base = started(combination, shape, groups)
        rng, trained = np.random.default_rng(4), method.trainable(params)
        moved = {n: p + 0.3 * rng.standard_normal(p.shape) * (n in trained) for n, p in params.items()}
        stays = np.array_equal(method.adapted_weight(moved, base, groups), base)
        assert couplings(kind, group)["still"] == stays, combination
    assert couplings("diagonal", "so")["still"], "a skew matrix has no diagonal"


def test_couplings_make_methods() -> None:
    wrapped = set()
    for kind, group in {one[:2] for one in legal()}:
        row, name = couplings(kind, group), f"{kind}+{group}+exp"
        for wrapper, names in row["wrappers"].items():
            wrapped |= set(names)
            assert all(METHODS[one].wrapper == wrapper for one in names)
        for start in (True, False, "gaussian", "pissa", "pissa_niter_N", "olora", "orthogonal", "corda"):
            given = start.replace("_N", "_2") if isinstance(start, str) else start
            if start in row["starts"]:
                get_method(name, init_lora_weights=given)
            else:
                with pytest.raises(LierefError):
                    get_method(name, init_lora_weights=given)
        for setting, value in (("strict", True), ("lora_dropout", 0.5)):
            if setting in row["settings"]:
                get_method(name, **{setting: value})
            else:
                with pytest.raises(LierefError):
                    get_method(name, **{setting: value})
        assert row["norm-stats+"]
        assert get_method(f"norm-stats+{name}").recipe.statistics_first
    assert wrapped == {row.name for row in METHODS.values() if row.wrapper}
