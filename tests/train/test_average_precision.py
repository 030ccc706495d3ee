"""Average precision beside scikit-learn's, and by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from lieref.train.average_precision import average_precision
from lieref.train.task import add_counts
from lieref.train.task_registry import make_task

SAMPLES, CLASSES = 61, 7


def by_hand(scores: np.ndarray, yes: np.ndarray) -> float:
    """Threshold by threshold, in exact numbers."""
    total, recall_before = Fraction(0), Fraction(0)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        said = [bool(answer) for score, answer in zip(scores, yes, strict=True) if score >= threshold]
        recall = Fraction(sum(said), int(yes.sum()))
        total += (recall - recall_before) * Fraction(sum(said), len(said))
        recall_before = recall
    return float(total)


def drawn(ties: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(SAMPLES, CLASSES))
    y = (rng.random((SAMPLES, CLASSES)) < np.linspace(0.05, 0.9, CLASSES)).astype(np.int64)
    return (np.round(2 * scores) / 2 if ties else scores).astype(np.float32), y


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_the_definition_and_scikit_learns(ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, y = drawn(ties)
    for k in range(CLASSES):
        found = average_precision(scores[:, k], y[:, k] == 1)
        assert found == pytest.approx(by_hand(scores[:, k], y[:, k]), rel=1e-14)
        assert found == pytest.approx(metrics.average_precision_score(y[:, k], scores[:, k]), rel=1e-14)


def test_the_order_of_equal_scores_does_not_matter() -> None:
    scores, y = drawn(True)
    order = np.random.default_rng(1).permutation(SAMPLES)
    assert average_precision(scores[:, 3], y[:, 3]) == average_precision(scores[order, 3], y[order, 3])
    assert average_precision(np.zeros(4), np.array([1, 0, 0, 0])) == 1 / 4
    assert average_precision(np.array([3.0, 2.0, 1.0]), np.array([0, 0, 1])) == 1 / 3
    assert average_precision(np.array([1.0]), np.array([0])) is None


def test_the_mean_over_batches_is_that_over_the_whole() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    (scores, y), task = drawn(True), make_task("multilabel")
    total: Any = {}
    for start in range(0, SAMPLES, 9):
        total = add_counts(total, task.counts(scores[start : start + 9], y[start : start + 9]))
    wanted = metrics.average_precision_score(y, scores, average="macro")
    assert task.metrics(total)["mean_average_precision"] == pytest.approx(wanted, rel=1e-14)


def test_outputs_without_a_yes_and_ignored_answers_are_left_out() -> None:
    scores, y = drawn(False)
    y[:, 2] = 0
    y[5:20, 4] = -1
    task = make_task("multilabel", ignore_index=-1)
    each = [by_hand(scores[y[:, k] >= 0, k], y[y[:, k] >= 0, k]) for k in range(CLASSES) if k != 2]
    assert task.metrics(task.counts(scores, y))["mean_average_precision"] == pytest.approx(np.mean(each), rel=1e-14)
    none = task.metrics(task.counts(scores, 0 * y))
    assert "mean_average_precision" not in none
    assert none["accuracy"] <= 1


def test_counts_keep_scores_of_their_own() -> None:
    scores, y = drawn(False)
    task = make_task("multilabel")
    counts = task.counts(scores, y)
    before = task.metrics(counts)
    scores[...] = 0
    assert task.metrics(counts) == before
