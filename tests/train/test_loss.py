"""Losses against hand calculations, central differences and PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.loss import CrossEntropy, Loss, MeanSquaredError, log_softmax

ENTROPIES = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.1),
    CrossEntropy(class_weights=(0.5, 2.0, 1.0, 0.25)),
    CrossEntropy(label_smoothing=0.3, class_weights=(0.5, 2.0, 1.0, 0.25)),
    CrossEntropy(label_smoothing=1.0),
]
SCALES = [0.0, 1e-8, 1.0, 300.0]


def targets_for(loss: Loss, rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    return rng.integers(0, classes, n) if loss.classifies else rng.standard_normal((n, classes))


def test_cross_entropy_of_two_equal_logits_is_log_two() -> None:
    value, bar = CrossEntropy().value_and_grad(np.array([[7.0, 7.0]]), np.array([1]))
    assert value == pytest.approx(math.log(2.0), rel=1e-15)
    np.testing.assert_allclose(bar, [[0.5, -0.5]], rtol=1e-15)


def test_cross_entropy_by_hand() -> None:
    # p = (1, 2, 3) / 6 and (3, 1, 4) / 8; labels 2 and 0: loss = -(log(1/2) + log(3/8)) / 2.
    logits = np.log(np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 4.0]]))
    value, bar = CrossEntropy().value_and_grad(logits, np.array([2, 0]))
    assert value == pytest.approx((math.log(2.0) + math.log(8.0 / 3.0)) / 2.0, rel=1e-15)
    np.testing.assert_allclose(bar, [[1 / 12, 2 / 12, -3 / 12], [-5 / 16, 1 / 16, 4 / 16]], rtol=1e-14)


def test_mean_squared_error_by_hand() -> None:
    value, bar = MeanSquaredError().value_and_grad(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0, 2], [3, 1]]))
    assert value == (1.0 + 0.0 + 0.0 + 16.0) / 4.0
    np.testing.assert_array_equal(bar, [[0.5, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("loss", [*ENTROPIES, MeanSquaredError()], ids=repr)
def test_gradient_matches_central_difference(loss: Loss, scale: float, rng: np.random.Generator) -> None:
    logits = scale * rng.standard_normal((3, 4))
    y = targets_for(loss, rng, 3, 4)
    _, bar = loss.value_and_grad(logits, y)
    direction = rng.standard_normal(logits.shape)
    h = 1e-5
    up, _ = loss.value_and_grad(logits + h * direction, y)
    down, _ = loss.value_and_grad(logits - h * direction, y)
    # Truncation is h^2 times a third derivative of order one; rounding is the loss's own size times eps / h.
    tolerance = 1e-9 + 4 * np.finfo(float).eps * max(abs(up), 1.0) / h
    assert abs((up - down) / (2 * h) - np.sum(bar * direction)) <= tolerance


@pytest.mark.parametrize("loss", ENTROPIES, ids=repr)
def test_cross_entropy_matches_torch(loss: CrossEntropy, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    logits = 3.0 * rng.standard_normal((5, 4))
    y = rng.integers(0, 4, 5)
    z = torch.tensor(logits, requires_grad=True)
    weight = None if loss.class_weights is None else torch.tensor(loss.class_weights, dtype=torch.float64)
    theirs = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=loss.label_smoothing)(z, torch.tensor(y))
    theirs.backward()
    value, bar = loss.value_and_grad(logits, y)
    # About 20 additions of terms no larger than ten.
    assert value == pytest.approx(theirs.item(), abs=20 * 10 * np.finfo(float).eps)
    np.testing.assert_allclose(bar, z.grad.numpy(), rtol=0, atol=20 * np.finfo(float).eps)


@given(shift=st.floats(-1e6, 1e6), seed=st.integers(0, 2**32))
def test_cross_entropy_does_not_see_a_common_shift(shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((2, 5))
    y = rng.integers(0, 5, 2)
    value, bar = CrossEntropy().value_and_grad(logits, y)
    moved, moved_bar = CrossEntropy().value_and_grad(logits + shift, y)
    # Adding the shift rounds each logit by at most half an ulp of the sum; two logits enter each term.
    assert abs(value - moved) <= 2 * np.spacing(abs(shift) + 10.0) + 1e-14
    np.testing.assert_allclose(bar, moved_bar, rtol=0, atol=2 * np.spacing(abs(shift) + 10.0) + 1e-14)


def test_log_softmax_survives_logits_that_overflow_exp() -> None:
    out = log_softmax(np.array([[1e300, -1e300, 0.0]]))
    np.testing.assert_array_equal(out, [[0.0, -2e300, -1e300]])


@pytest.mark.parametrize("loss", [CrossEntropy(0.1), MeanSquaredError()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_keeps_the_dtype(loss: Loss, dtype: type, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((3, 4)).astype(dtype)
    value, bar = loss.value_and_grad(logits, targets_for(loss, rng, 3, 4))
    assert isinstance(value, float)
    assert bar.dtype == dtype


@pytest.mark.parametrize("loss", ENTROPIES, ids=repr)
def test_compiled_form_of_cross_entropy_is_the_same_loss(loss: CrossEntropy, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((3, 4))
    y = np.array([3, 0, 3])
    kind, rows = loss.compiled_form(y, (4,))
    assert kind == "cross_entropy"
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert loss.value_and_grad(logits, y)[0] == pytest.approx(-np.sum(rows * log_p), rel=1e-13)


def test_compiled_form_of_mean_squared_error_is_its_targets() -> None:
    kind, rows = MeanSquaredError().compiled_form(np.array([1.0, 2.0]), (1,))
    assert kind == "mean_squared_error"
    np.testing.assert_array_equal(rows, [[1.0], [2.0]])


@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=repr)
def test_compiled_form_refuses_what_the_loss_refuses(loss: Loss) -> None:
    with pytest.raises((DTypeError, ShapeError)):
        loss.compiled_form(np.array([[0.5, 1.0]]), (3,))


GOOD = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("logits", "y", "error", "message"),
    [
        (GOOD, np.array([0, 3]), DomainError, r"`y` must be 0 to 2; got 3 at index 1"),
        (GOOD, np.array([-1, 0]), DomainError, r"`y` must be 0 to 2; got -1 at index 0"),
        (GOOD, np.array([1, 3]), DomainError, r"got 3 at index 1 \(labels count from 0\)"),
        (GOOD, np.eye(3, dtype=int)[[0, 1]], ShapeError, r"got \(2, 3\) \(y.argmax\(axis=1\) for one-hot rows\)"),
        (GOOD, [[0], [1, 2]], ShapeError, r"`y` must hold targets of one shape"),
        (GOOD, np.array([True, False]), DTypeError, r"got bool"),
        (GOOD, np.array(["a", "b"]), DTypeError, r"got <U1"),
        (GOOD, np.array([0.0, 1.0]), DTypeError, r"`y` must be integer class labels; got float64"),
        (GOOD, np.array([[0], [1]]), ShapeError, r"`y` must have shape \(N,\); got \(2, 1\)"),
        (GOOD, np.array([0]), ShapeError, r"one entry for each of 2 samples; got 1"),
        (GOOD * np.nan, np.array([0, 1]), DomainError, r"`logits` must be finite; got nan"),
        (GOOD + np.inf, np.array([0, 1]), DomainError, r"`logits` must be finite; got inf"),
        (GOOD + 1e301, np.array([0, 1]), DomainError, r"at most 1e\+300"),
        (GOOD.astype(int), np.array([0, 1]), DTypeError, r"`logits` must be float32 or float64"),
        (GOOD[:0], np.array([], dtype=int), DomainError, r"at least one sample"),
        (GOOD[0], np.array([0]), ShapeError, r"must have 2 axes or more"),
    ],
)
def test_cross_entropy_refuses(logits: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CrossEntropy().value_and_grad(logits, y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros((2, 4)), ShapeError, r"shape \(N, 3\); got \(2, 4\)"),
        (np.zeros((1, 3)), ShapeError, r"each of 2 samples; got 1"),
        (np.full((2, 3), np.nan), DomainError, r"`y` must be finite"),
        (np.array([["a", "b", "c"]] * 2), DTypeError, r"`y` must be numbers"),
        (np.full((2, 3), 1e200), DomainError, r"finite loss; got inf"),
    ],
)
def test_mean_squared_error_refuses(y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MeanSquaredError().value_and_grad(GOOD, y)


@pytest.mark.parametrize(
    "arguments",
    [
        {"label_smoothing": -0.1},
        {"label_smoothing": 1.1},
        {"label_smoothing": math.nan},
        {"class_weights": (1.0, 0.0)},
        {"class_weights": (1.0, math.inf)},
    ],
)
def test_cross_entropy_refuses_settings_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(DomainError):
        CrossEntropy(**arguments)


def test_class_weights_must_match_the_classes() -> None:
    with pytest.raises(ShapeError, match="each of 3 classes; got 2"):
        CrossEntropy(class_weights=(1.0, 2.0)).value_and_grad(GOOD, np.array([0, 1]))


def test_one_score_tells_no_classes_apart() -> None:
    """Its softmax is 1 whatever it is: the loss would be 0, every answer right, and nothing learnt."""
    with pytest.raises(DomainError, match="a score to each of 2 classes or more; got 1"):
        CrossEntropy().check_targets("fit", np.zeros(4, np.int64), (1,))
