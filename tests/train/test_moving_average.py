"""The moving average of the factors: what it is, how far xi of it is from the mean of xi, and runs that end with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, blobs

from lieref._flat import gather
from lieref.errors import DomainError
from lieref.train.epoch import Progress
from lieref.train.loop import fit
from lieref.train.moving_average import MovingAverage, default_decay

RNG = np.random.default_rng(0)
STEPS = 12


def weights(decay: float, steps: int) -> np.ndarray:
    """Return what each of the steps counts in the average after the last, from the recurrence alone."""
    found: list[float] = []
    for step in range(1, steps + 1):
        weight = max(1 - decay, 1 / step)
        found = [old * (1 - weight) for old in found] + [weight]
    return np.array(found)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("flat", [False, True])
def test_it_is_the_weighted_mean_of_the_steps(decay: float, flat: bool) -> None:
    trajectory = [{"a": RNG.normal(size=(2, 3)), "b": RNG.normal(size=5)} for _ in range(STEPS)]
    average = MovingAverage(trajectory[0], decay)
    for params in trajectory:
        average.add(gather(params) if flat else params)
    share = weights(decay, STEPS)
    assert share.sum() == pytest.approx(1)
    for name in ("a", "b"):
        expected = np.tensordot(share, np.stack([params[name] for params in trajectory]), 1)
        # Each step rounds three times numbers of size 1 to 4.
        np.testing.assert_allclose(average.values[name], expected, rtol=0, atol=STEPS * 3 * 4 * 2**-53)


def test_it_is_the_plain_mean_until_the_window_is_full() -> None:
    np.testing.assert_allclose(weights(0.9, 10), 0.1)
    np.testing.assert_allclose(weights(0.0, 10), [0.0] * 9 + [1.0])


def test_the_default_looks_back_on_a_share_of_the_run() -> None:
    assert default_decay(100) == pytest.approx(1 - 1 / 20)
    assert default_decay(1) == 0.0


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3])
def test_xi_of_averaged_low_rank_factors_is_off_by_their_covariance(spread: float) -> None:
    """mean (B A) - mean B mean A = mean (B - B_m)(A - A_m): computed here step by step, and second order."""
    centre_b, centre_a = RNG.normal(size=(6, 2)), RNG.normal(size=(2, 5))
    trajectory = [
        {"b": centre_b + spread * RNG.normal(size=(6, 2)), "a": centre_a + spread * RNG.normal(size=(2, 5))}
        for _ in range(STEPS)
    ]
    average = MovingAverage(trajectory[0], 0.999)
    for params in trajectory:
        average.add(params)
    b, a = average.values["b"], average.values["a"]
    mean_xi = np.mean([params["b"] @ params["a"] for params in trajectory], axis=0)
    covariance = np.mean([(params["b"] - b) @ (params["a"] - a) for params in trajectory], axis=0)
    np.testing.assert_allclose(mean_xi - b @ a, covariance, rtol=0, atol=1e-13)
    assert np.abs(mean_xi - b @ a).max() < 10 * spread**2


def trained(**settings: Any) -> tuple[SoftmaxRegression, Any, list[np.ndarray]]:
    """Return a trained model, the history, and its weights after each step."""
    model, seen = SoftmaxRegression(dtype=np.float64), []

    def see(event: Progress) -> None:
        seen.append(model.weights.copy())

    history = fit(model, *blobs(), batch_size=16, seed=2, progress=see, **settings)
    return model, history, seen


def test_a_run_ends_with_the_average_and_its_steps_are_those_without() -> None:
    plain, _, steps = trained(epochs=3)
    model, history, seen = trained(epochs=3, average=0.6)
    assert [step.tobytes() for step in seen] == [step.tobytes() for step in steps]
    expected = np.tensordot(weights(0.6, len(seen)), np.stack(seen), 1)
    np.testing.assert_allclose(model.weights, expected, rtol=0, atol=1e-14)
    assert not np.array_equal(model.weights, plain.weights)
    assert history.recipe["average"] == 0.6


def test_the_average_is_what_the_validation_set_judges() -> None:
    x, y = blobs(40, seed=7)
    model, history, seen = trained(epochs=3, average=0.6, validation=(x, y), schedule="constant")
    best = history.best_epoch
    steps = len(seen) // 3
    expected = np.tensordot(weights(0.6, steps * best), np.stack(seen[: steps * best]), 1)
    np.testing.assert_allclose(model.weights, expected, rtol=0, atol=1e-14)
    z = x.astype(np.float64) @ model.weights + model.bias
    z -= z.max(axis=1, keepdims=True)
    loss = -np.mean(z[np.arange(40), y] - np.log(np.exp(z).sum(axis=1)))
    assert history.epochs[best - 1].validation_loss == pytest.approx(loss, abs=1e-12)


def test_none_is_the_run_without() -> None:
    plain, without, zero = trained(epochs=2)[0], trained(epochs=2, average=False)[0], trained(epochs=2, average=0.0)[0]
    assert plain.weights.tobytes() == without.weights.tobytes() == zero.weights.tobytes()


@pytest.mark.parametrize("average", [1.0, -0.1, float("nan"), 1])
def test_a_decay_out_of_range_is_refused(average: float) -> None:
    with pytest.raises(DomainError, match="`average` must be"):
        fit(SoftmaxRegression(), *blobs(), average=average)
