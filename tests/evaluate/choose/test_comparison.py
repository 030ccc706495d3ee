"""The evidence that one plan is better than another, on numbers worked out by hand, and how often it errs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref.evaluate.choose.comparison import Evidence, Held, bar, compare, held_of
from lieref.evaluate.judge import pack_bits, pack_floats


def held(right: list[float], loss: list[float]) -> Held:
    return Held(np.array(right), np.array(loss))


def test_a_difference_is_told_in_standard_errors_of_its_samples() -> None:
    one, other = held([1, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]), held([0, 1, 0, 1], [2.0, 2.0, 4.0, 4.0])
    # Right answers differ by 1, 0, 0, 0: mean 1/4, sd 1/2, four samples. Losses by 1, 0, 1, 0: mean 1/2, sd sqrt(1/3).
    found = compare(one, other)
    assert (found.right, found.loss) == pytest.approx((1.0, 0.5 / (math.sqrt(1 / 3) / 2)))
    # Each by its sd, added: 2 + r, 0, r, 0 with r = sqrt(3).
    added = np.array([2 + math.sqrt(3), 0, math.sqrt(3), 0])
    assert found.joint == pytest.approx(added.mean() / (added.std(ddof=1) / 2))


def test_only_samples_that_both_were_judged_on_count() -> None:
    one = held([1, 1, 0, math.nan], [0, 0, 1, math.nan])
    other = held([0, 1, math.nan, 0], [2, 1, math.nan, 0])
    found = compare(one, other)
    assert (found.right, found.loss) == pytest.approx((1.0, 3.0))  # of two samples: 1, 0 and 2, 1
    # By their sds of sqrt(1/2) and added: 3 sqrt(2) and sqrt(2), the mean two of their standard errors.
    assert found.joint == pytest.approx(2.0)


def test_no_difference_is_none_and_a_constant_one_is_certain() -> None:
    same = held([1, 0, 1], [1, 2, 3])
    assert compare(same, same) == Evidence(0.0, 0.0, 0.0)
    assert compare(held([1, 1, 1], [0, 1, 2]), held([0, 0, 0], [1, 2, 3])).joint == math.inf
    assert compare(held([1, 1, 1], [1, 2, 3]), held([0, 0, 0], [0, 1, 2])).joint == 0.0  # they say the opposite


def test_what_one_measure_says_and_the_other_denies_is_no_evidence() -> None:
    spread = np.tile([-1.0, 0.0, 1.0, 2.0], 25)
    zeros = np.zeros(100)
    assert abs(compare(Held(spread, spread), Held(zeros, zeros)).joint) < 1e-9
    agreed = compare(Held(spread, -spread), Held(zeros, zeros))
    assert agreed.joint == pytest.approx(agreed.right) == pytest.approx(agreed.loss)


@pytest.mark.parametrize(
    ("right", "loss", "expected"),
    [([1, 1, 0, 1], [1, 1, 1, 1], True), ([0, 1, 0, 0], [0, 0, 0, 1], False), ([0, 1, 0, 1], [1, 2, 1, 2], True)],
)
def test_fewer_right_answers_are_never_favoured(right: list[float], loss: list[float], expected: bool) -> None:
    assert compare(held(right, loss), held([0, 1, 0, 1], [2, 2, 2, 3])).favours is expected


def test_the_bar_by_hand() -> None:
    # Student's t of 59 degrees of freedom: 2.3912 at 1 %; variance times 1 + 3 / 2.
    assert bar(60, 5, 3, 3) == pytest.approx(2.3912 * math.sqrt(2.5), abs=1e-3)
    assert bar(10**6, 1, 1, 5) == pytest.approx(1.6449 * math.sqrt(1.25), abs=1e-3)
    assert bar(60, 6, 3, 3) > bar(60, 5, 3, 3) > bar(300, 5, 3, 3)


@pytest.mark.parametrize("samples", [12, 60, 300])
def test_the_best_of_six_equals_seldom_clears_the_bar(samples: int) -> None:
    """Candidates as good as the default, alike among themselves; what trainings share is not simulated."""
    rng = np.random.default_rng(samples)
    errors, runs = 0, 100
    for _ in range(runs):
        skill = rng.normal(size=samples)
        scores = skill + 0.7 * rng.normal(size=(7, samples))
        found = [Held((score > -1).astype(float), np.logaddexp(0, -2 * score - 2)) for score in scores]
        errors += any(
            evidence.favours and evidence.joint > bar(samples, 6, 3, 3)
            for evidence in (compare(other, found[0]) for other in found[1:])
        )
    assert errors <= 0.05 * runs


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
    assert compare(found, worse).favours
    assert not compare(worse, found).favours
