"""The rule by which one plan is better than another, on numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref.evaluate.choose.comparison import Held, held_of, is_better, z_scores
from lieref.evaluate.judge import pack_bits, pack_floats


def held(right: list[float], loss: list[float]) -> Held:
    return Held(np.array(right), np.array(loss))


def test_a_difference_is_told_in_standard_errors_of_its_samples() -> None:
    one, other = held([1, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]), held([0, 1, 0, 1], [2.0, 2.0, 4.0, 4.0])
    # Right answers differ by 1, 0, 0, 0: mean 1/4, sd 1/2, four samples. Losses by 1, 0, 1, 0: mean 1/2, sd sqrt(1/3).
    assert z_scores(one, other) == pytest.approx((1.0, 0.5 / (math.sqrt(1 / 3) / 2)))


def test_only_samples_that_both_were_judged_on_count() -> None:
    one = held([1, 1, 0, math.nan], [0, 0, 1, math.nan])
    other = held([0, 1, math.nan, 0], [2, 1, math.nan, 0])
    assert z_scores(one, other) == pytest.approx((1.0, 3.0))  # of two samples: 1, 0 and 2, 1


def test_no_difference_is_none_and_a_constant_one_is_certain() -> None:
    same = held([1, 0, 1], [1, 2, 3])
    assert z_scores(same, same) == (0.0, 0.0)
    assert z_scores(held([1, 1, 1], [0, 1, 2]), held([0, 0, 0], [1, 2, 3])) == (math.inf, math.inf)


def with_scores(right: float, loss: float) -> tuple[Held, Held]:
    """Return two whose difference is so many standard errors: over 100 samples, half at m - 1 and half at m + 1."""
    spread = np.tile([-1.0, 1.0], 50)
    error = np.std(spread, ddof=1) / 10
    zeros = np.zeros(100)
    return Held(spread + right * error, -(spread + loss * error)), Held(zeros, zeros)


@pytest.mark.parametrize(
    ("right", "loss", "expected"),
    [
        (1.6, 1.6, False),
        (1.7, 0.0, True),
        (0.0, 1.7, True),
        (1.7, -1.1, False),
        (-1.1, 5.0, False),
        (2.4, -9.0, True),
        (1.7, -0.9, True),
    ],
)
def test_one_measure_must_say_so_and_the_other_not_deny_it(right: float, loss: float, expected: bool) -> None:
    one, other = with_scores(right, loss)
    assert z_scores(one, other) == pytest.approx((right, loss))
    assert is_better(one, other) is expected


def test_a_single_answer_more_is_noise() -> None:
    right = np.zeros(60)
    more = right.copy()
    more[7] = 1.0
    assert not is_better(Held(more, right), Held(right, right))


def record(fold: int, right: list[bool] | None, losses: list[float] | None, loss: float) -> dict[str, Any]:
    return {
        "trial": {"fold": fold}, "loss": loss, "right": pack_bits(None if right is None else np.array(right)),
        "losses": pack_floats(None if losses is None else np.array(losses, np.float32)),
    }  # fmt: skip


def test_every_sample_gets_what_the_trial_of_its_fold_found() -> None:
    folds = np.array([0, 1, 2, 0, 1])
    found = held_of([record(1, [True, False], [0.5, 1.5], 1.0), record(0, [False, True], None, 2.0)], folds)
    np.testing.assert_array_equal(found.right, [0, 1, math.nan, 1, 0])
    np.testing.assert_array_equal(found.loss, [2, 0.5, math.nan, 2, 1.5])
    assert (found.accuracy, found.mean_loss, found.judged) == (0.5, 1.5, 4)


def test_a_task_without_right_answers_is_judged_by_loss() -> None:
    found = held_of([record(0, None, [1.0, 3.0], 2.0)], np.array([0, 0]))
    assert found.accuracy is None
    worse = held_of([record(0, None, [2.0, 4.5], 3.25)], np.array([0, 0]))
    assert is_better(found, worse)
    assert not is_better(worse, found)
