"""Cross-entropy of probabilities: against the labels it contains, the definition and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.train.loss import CrossEntropy
from lieref.train.mixup import MixedLoss, mix
from lieref.train.sample_tasks import Classes
from lieref.train.soft_classes import SoftClasses, SoftCrossEntropy


def logits_of(samples: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (samples, classes))


def rows_of(samples: int, classes: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (samples, classes))


def test_certain_rows_are_labels() -> None:
    logits, y = logits_of(7, 4), np.array([0, 3, 1, 1, 2, 0, 3])
    soft = SoftCrossEntropy().value_and_grad(logits, np.eye(4)[y])
    hard = CrossEntropy().value_and_grad(logits, y)
    # Both are sums of at most 28 products of float64.
    np.testing.assert_allclose(soft[0], hard[0], rtol=28 * 2**-52)
    np.testing.assert_allclose(soft[1], hard[1], rtol=0, atol=28 * 2**-52)


def test_value_is_the_definition() -> None:
    logits, rows = logits_of(3, 5), rows_of(3, 5)
    value, _ = SoftCrossEntropy().value_and_grad(logits, rows)
    expected = 0.0
    for z, t in zip(logits, rows, strict=True):
        for c in range(5):
            expected -= t[c] * (z[c] - np.log(sum(np.exp(z[k]) for k in range(5))))
    np.testing.assert_allclose(value, expected / rows.sum(), rtol=1e-13)


def test_cotangent_is_the_derivative() -> None:
    logits, rows = logits_of(6, 3), rows_of(6, 3)
    value, bar = SoftCrossEntropy().value_and_grad(logits, rows)
    step = np.random.default_rng(2).normal(size=logits.shape)
    for h in (1e-2, 1e-3):
        ahead = SoftCrossEntropy().value_and_grad(logits + h * step, rows)[0]
        behind = SoftCrossEntropy().value_and_grad(logits - h * step, rows)[0]
        # Along a step the third derivative of log sum exp is a third central moment of the step's entries, at most
        # (2 max)^3, and a central difference is off by h^2 / 6 of it.
        assert abs((ahead - behind) / (2 * h) - np.sum(bar * step)) <= h**2 / 6 * (2 * np.abs(step).max()) ** 3
    assert np.isfinite(value)


def test_a_sample_of_twice_the_weight_is_two_samples() -> None:
    logits, rows = logits_of(3, 4), rows_of(3, 4)
    twice = rows * np.array([[1.0], [2.0], [1.0]])
    value, bar = SoftCrossEntropy().value_and_grad(logits, twice)
    several = np.array([0, 1, 1, 2])
    repeated, repeated_bar = SoftCrossEntropy().value_and_grad(logits[several], rows[several])
    np.testing.assert_allclose(value, repeated, rtol=1e-14)
    np.testing.assert_allclose(bar[1], repeated_bar[1] + repeated_bar[2], rtol=1e-13)
    assert SoftCrossEntropy().weight(twice) == pytest.approx(float(twice.sum()), rel=1e-15)


def test_compiled_rows_are_those_of_the_loss() -> None:
    rows = rows_of(4, 3)
    name, found = SoftCrossEntropy().compiled_form(rows, (3,))
    assert name == "cross_entropy"
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-15)
    np.testing.assert_allclose(found * rows.sum(), rows, rtol=1e-15)


def test_accuracy_is_agreement_with_the_likeliest_class_by_weight() -> None:
    task = SoftClasses()
    rows = np.array([[0.9, 0.1], [0.4, 0.6], [1.0, 2.0]])
    counts = task.counts(np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), rows)
    assert task.metrics(counts) == {"accuracy": pytest.approx(4.0 / 5.0)}
    assert Classes.best == task.best == "accuracy"


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (np.array([[1, 0], [0, 1]]), DTypeError, "floats; got int64"),
        (np.array([0.5, 0.5]), ShapeError, r"\(N, 2\); got \(2,\)"),
        (np.full((2, 3), 0.3), ShapeError, r"\(N, 2\); got \(2, 3\)"),
        (np.array([[0.5, np.nan]]), DomainError, "finite"),
        (np.array([[1.5, -0.5]]), DomainError, "none below 0; got -0.5"),
        (np.zeros((2, 2)), DomainError, "some weight"),
    ],
)
def test_other_targets_are_refused(y: np.ndarray, error: type[LierefError], words: str) -> None:
    with pytest.raises(error, match=words):
        SoftClasses().targets("fit", np.zeros((2, 4)), y, (2,))


def test_mixed_rows_are_the_rows_of_mixed_samples() -> None:
    logits, rows = logits_of(4, 3), rows_of(4, 3)
    _, pairs = mix(np.zeros((4, 2)), rows, 0.75)
    loss = MixedLoss(SoftCrossEntropy(), 0.75)
    value, bar = loss.value_and_grad(logits, pairs)
    expected = SoftCrossEntropy().value_and_grad(logits, 0.75 * rows + 0.25 * rows[[1, 2, 3, 0]])
    np.testing.assert_allclose(value, expected[0], rtol=1e-13)
    np.testing.assert_allclose(bar, expected[1], rtol=0, atol=1e-15)
