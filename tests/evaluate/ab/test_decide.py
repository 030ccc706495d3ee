from __future__ import annotations

import math

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.ab.betting import interval_at_all_times, log_capital
from lieref.evaluate.ab.decide import NOT_WORTH, NOT_YET, SHIP, WORDS, WORSE, first_verdicts, looks_at, verdicts


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ((60, 900, 20), "ship"),
        ((20, 900, 60), "worse"),
        ((60, 9000, 60), "no difference worth it"),
        ((6, 100, 5), "not yet"),
        ((600, 90_000, 450), "no difference worth it"),  # better, but by less than is worth it
    ],
)
def test_words_follow_from_the_interval(counts: tuple[int, int, int], word: str) -> None:
    (look,) = looks_at([counts], worth=0.01)
    assert look.word == word
    assert (look.low, look.high) == interval_at_all_times(*counts)
    by_interval = ("worse" if look.high < 0 else "no difference worth it" if look.high < 0.01 else
                   "ship" if look.low > 0 else "not yet")  # fmt: skip
    assert by_interval == word
    assert (look.p <= 0.05) == (look.low > 0 or look.high < 0)
    assert WORDS[int(verdicts(*counts, worth=0.01))] == word
    assert look.difference == pytest.approx((counts[0] - counts[2]) / sum(counts))
    assert look.to_dict()["word"] == word


def test_without_a_smallest_gain_equals_have_no_end() -> None:
    (look,) = looks_at([(600, 9000, 600)], worth=0.0)
    assert look.word == "not yet"
    (look,) = looks_at([(20, 900, 60)], worth=0.0)
    assert look.word == "worse"


def test_looks_add_up_and_the_first_verdict_stands() -> None:
    days = [(10, 180, 3), (20, 180, 2), (0, 150, 40), (0, 100, 40)]
    looks = looks_at(days, worth=0.01)
    assert [look.images for look in looks] == [193, 395, 585, 725]
    assert [look.word for look in looks] == ["not yet", "ship", "ship", "ship"]
    assert (looks[-1].won, looks[-1].lost) == (30, 85)
    assert looks[-1].low > looks[-1].high  # the days contradict one another
    lows, highs = [look.low for look in looks], [look.high for look in looks]
    assert lows == sorted(lows)
    assert highs == sorted(highs, reverse=True)
    p = [look.p for look in looks]
    assert p == sorted(p, reverse=True)
    best = max(float(log_capital(30, 360, 5)), float(log_capital(5, 360, 30)))
    assert p[1] == pytest.approx(2 * math.exp(-best))


def test_many_at_once_are_each_by_itself() -> None:
    generator = np.random.default_rng(1)
    won, tied, lost = generator.integers(0, 80, (3, 40))
    said = verdicts(won, tied * 20, lost, worth=0.02, level=0.1)
    assert len(set(said.tolist())) == 4
    for each, *counts in zip(said, won, tied * 20, lost, strict=True):
        (look,) = looks_at([tuple(map(int, counts))], worth=0.02, level=0.1)
        assert WORDS[each] == look.word


def test_the_first_of_a_row() -> None:
    rows = np.array([[NOT_YET, SHIP, WORSE], [NOT_YET] * 3, [NOT_WORTH, NOT_YET, SHIP]])
    word, column = first_verdicts(rows)
    assert word.tolist() == [SHIP, NOT_YET, NOT_WORTH]
    assert column.tolist() == [1, -1, 0]


def test_false_verdicts_are_as_rare_as_they_should_be() -> None:
    tests = 2000
    generator = np.random.default_rng(4)
    allowed = 0.025 + 3 * math.sqrt(0.025 * 0.975 / tests)

    def first(won: float, lost: float) -> np.ndarray:
        counts = generator.multinomial(150, [won, 1 - won - lost, lost], (tests, 30)).cumsum(axis=1)
        return first_verdicts(verdicts(counts[..., 0], counts[..., 1], counts[..., 2], worth=0.02))[0]

    equal, good = first(0.03, 0.03), first(0.045, 0.025)
    assert (equal == SHIP).mean() <= allowed
    assert (equal == WORSE).mean() <= allowed
    assert np.isin(good, (NOT_WORTH, WORSE)).mean() <= allowed
    assert (good == SHIP).mean() > 0.8


def test_bad_looks_are_refused() -> None:
    with pytest.raises(DomainError, match="at least one look"):
        looks_at([], worth=0.01)
    with pytest.raises(DomainError, match=r"not all 0; got \(0, 0, 0\)"):
        looks_at([(1, 2, 3), (0, 0, 0)], worth=0.01)
    with pytest.raises(DomainError, match="`counts` must be at least 0"):
        looks_at([(1, -2, 3)], worth=0.01)
    with pytest.raises(DTypeError, match="`counts` must be an integer"):
        looks_at([(1, 2.0, 3)], worth=0.01)  # type: ignore[list-item]
    for worth in (-0.01, 1.0, float("nan")):
        with pytest.raises(DomainError, match="`worth` must be"):
            looks_at([(1, 2, 3)], worth=worth)
    with pytest.raises(DomainError, match="`level` must lie between"):
        looks_at([(1, 2, 3)], worth=0.01, level=0.0)
