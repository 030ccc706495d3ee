"""The choice of combinations: every pair that can meet is in one, and there are few."""

from __future__ import annotations

import itertools

import pytest

from tests.pairs import pairs

AXES = (range(12), "abcd", (True, False), ("x", "y", "z"))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pairs.EVERYTHING", False)


def test_every_pair_is_in_one_and_they_are_few() -> None:
    chosen = pairs(*AXES)
    for (i, first), (j, second) in itertools.combinations(enumerate(AXES), 2):
        met = {(combination[i], combination[j]) for combination in chosen}
        assert met == set(itertools.product(first, second))
    assert 48 <= len(chosen) <= 56
    assert len(set(chosen)) == len(chosen)


def test_what_is_not_legal_is_never_chosen_and_asks_for_nothing() -> None:
    chosen = pairs(range(3), range(3), range(2), legal=lambda a, b, c: a != b)
    assert {(a, b) for a, b, _ in chosen} == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert all(a != b for a, b, _ in chosen)


def test_all_of_them_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pairs.EVERYTHING", True)
    assert pairs(*AXES) == list(itertools.product(*AXES))
