"""Metrics against hand calculations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.evaluate.metric import (
    accuracy,
    confusion_matrix,
    evaluate_logits,
    evaluate_model,
    expected_calibration_error,
    negative_log_likelihood,
)

# Probabilities (6, 3, 1) / 10, (2, 2, 6) / 10, (5, 5, 0...) is avoided: ties have their own test.
LOGITS = np.log(np.array([[6.0, 3.0, 1.0], [2.0, 2.0, 6.0], [1.0, 8.0, 1.0], [1.0, 1.0, 8.0], [7.0, 1.0, 2.0]]) / 10.0)
LABELS = np.array([0, 0, 1, 2, 2])


def test_accuracy_and_confusion_by_hand() -> None:
    assert accuracy(LOGITS, LABELS) == 3 / 5
    np.testing.assert_array_equal(confusion_matrix(LOGITS, LABELS), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


def test_of_equal_logits_the_first_counts() -> None:
    assert accuracy(np.array([[1.0, 1.0, 0.0]]), np.array([0])) == 1.0
    assert accuracy(np.array([[1.0, 1.0, 0.0]]), np.array([1])) == 0.0


def test_negative_log_likelihood_by_hand() -> None:
    expected = -sum(math.log(p) for p in (0.6, 0.2, 0.8, 0.8, 0.2)) / 5
    assert negative_log_likelihood(LOGITS, LABELS) == pytest.approx(expected, rel=1e-14)


def test_calibration_error_by_hand() -> None:
    # Two bins of width one half: all five in the upper one, confidence (0.6 + 0.6 + 0.8 + 0.8 + 0.7) / 5 = 0.7.
    assert expected_calibration_error(LOGITS, LABELS, bins=2) == pytest.approx(0.1, abs=1e-15)
    # Ten bins: (0.5, 0.6] has 1 of 2 right at 0.6, (0.6, 0.7] 0 of 1 at 0.7, (0.7, 0.8] 2 of 2 at 0.8. The exact edges
    # carry rounding, so the confidences are moved off them by a temperature just below one.
    sharper = LOGITS * 0.999
    gaps = 2 * abs(0.5 - 0.6) + 0.7 + 2 * abs(1.0 - 0.8)
    assert expected_calibration_error(sharper, LABELS, bins=10) == pytest.approx(gaps / 5, abs=1e-3)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    # One half is right with confidence 1/2, the other wrong with 0.9: apart the gaps are 1/2 and 0.9, together 0.4.
    logits = np.log(np.array([[0.5, 0.5], [0.1, 0.9]]))
    assert expected_calibration_error(logits, np.array([0, 0]), bins=2) == pytest.approx((0.5 + 0.9) / 2, abs=1e-15)
    assert expected_calibration_error(logits, np.array([0, 0]), bins=1) == pytest.approx((0.9 - 0.5) / 2, abs=1e-15)


def test_certain_and_right_is_calibrated() -> None:
    logits = 800.0 * np.eye(3)
    assert expected_calibration_error(logits, np.arange(3)) == 0.0
    assert expected_calibration_error(logits, (np.arange(3) + 1) % 3) == 1.0


def test_evaluation_holds_all_of_it() -> None:
    result = evaluate_logits(LOGITS.astype(np.float32), LABELS)
    assert (result.samples, result.accuracy) == (5, 0.6)
    assert result.standard_error == pytest.approx(math.sqrt(0.6 * 0.4 / 5), rel=1e-15)
    assert result.class_accuracy == (0.5, 1.0, 0.5)
    assert result.confusion == ((1, 0, 1), (0, 1, 0), (1, 0, 1))
    assert result.nll == pytest.approx(negative_log_likelihood(LOGITS, LABELS), rel=1e-6)


def test_class_without_samples_has_no_accuracy() -> None:
    assert evaluate_logits(LOGITS[:3], LABELS[:3]).class_accuracy == (0.5, 1.0, None)


class Linear:
    """Logits are the first three channels' means; records the batches it was given."""

    input_shape = (None, 3, 2, 5)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def logits(self, x: np.ndarray, *, layout: str | None = None) -> np.ndarray:
        self.batches.append(len(x))
        return x.astype(np.float64).mean(axis=(2, 3))


def test_evaluate_model_takes_channels_last_in_batches() -> None:
    y = np.arange(7) % 3
    x = np.zeros((7, 2, 5, 3), np.uint8)
    x[np.arange(7), :, :, y] = 9
    model = Linear()
    result = evaluate_model(model, x, y, batch_size=3)
    assert result.accuracy == 1.0
    assert model.batches == [1, 3, 3, 1]


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (np.zeros((0, 3, 2, 5)), np.zeros(0, int), DomainError),
        (np.zeros((2, 4, 2, 5)), np.zeros(2, int), ShapeError),
        (np.full((2, 3, 2, 5), np.nan), np.zeros(2, int), DomainError),
        (np.zeros((2, 3, 2, 5)), np.array([0, 3]), DomainError),
        (np.zeros((2, 3, 2, 5)), np.array([0.5, 1.0]), DTypeError),
        (np.zeros((2, 3, 2, 5)), np.zeros(3, int), ShapeError),
    ],
)
def test_evaluate_model_refuses_bad_data(x: Any, y: Any, error: type[LierefError]) -> None:
    with pytest.raises(error, match="must"):
        evaluate_model(Linear(), x, y)


@pytest.mark.parametrize(
    "metric", [accuracy, confusion_matrix, negative_log_likelihood, expected_calibration_error, evaluate_logits]
)
def test_metrics_refuse_nan_and_foreign_labels(metric: Any) -> None:
    with pytest.raises(DomainError, match="`logits` must be finite"):
        metric(np.full((1, 3), np.nan), np.array([0]))
    with pytest.raises(DomainError, match="`y` must be 0 to 2; got 3"):
        metric(LOGITS, LABELS + 1)
    with pytest.raises(ShapeError, match="each of 5 samples; got 4"):
        metric(LOGITS, LABELS[:4])


def test_a_number_of_bins_below_one_is_refused() -> None:
    with pytest.raises(DomainError, match=r"expected_calibration_error: `bins` must"):
        expected_calibration_error(LOGITS, LABELS, bins=0)
