"""The default learning rate of a short run, and the search on a held-out slice of the training set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toy_model import SoftmaxRegression, bits, blobs

from lieref.errors import DomainError
from lieref.train.augment import Augmentation
from lieref.train.epoch import Part, Progress
from lieref.train.learning_rate import default_learning_rate, search_learning_rate
from lieref.train.loop import fit
from lieref.train.optimizer import SGD
from lieref.train.recipe import Recipe
from lieref.train.sample_tasks import Classes


@pytest.fixture
def rates_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a method's rate as it is, however short the run and small its batches."""
    monkeypatch.setattr("lieref.train.learning_rate.RATED_STEPS", 1)
    monkeypatch.setattr("lieref.train.learning_rate.RATED_BATCH", 1)


def test_default_rate_falls_with_the_roots_of_few_steps_and_of_a_small_batch() -> None:
    assert default_learning_rate(0.02, 395) == default_learning_rate(0.02, 10_000) == 0.02
    assert default_learning_rate(0.02, 80) == pytest.approx(0.02 * (80 / 395) ** 0.5, rel=1e-15)
    assert default_learning_rate(0.02, 395, 512) == 0.02
    assert default_learning_rate(0.02, 395, 32) == pytest.approx(0.01, rel=1e-15)
    history = fit(SoftmaxRegression(learning_rate=0.03), *blobs(60), epochs=4, batch_size=30)
    assert history.learning_rate == pytest.approx(0.03 * (8 / 395) ** 0.5 * (30 / 128) ** 0.5, rel=1e-15)


@pytest.mark.usefixtures("rates_as_given")
def test_auto_trains_like_the_rate_it_found() -> None:
    auto, given = SoftmaxRegression(learning_rate=0.05), SoftmaxRegression()
    history = fit(auto, *blobs(), epochs=3, batch_size=16, learning_rate="auto")
    fit(given, *blobs(), epochs=3, batch_size=16, learning_rate=history.learning_rate)
    assert bits(auto) == bits(given)
    rates = [trial.learning_rate / 0.05 for trial in history.trials]
    np.testing.assert_allclose(rates[:3], [1 / 3, 1, 3], rtol=1e-14)
    best = max(history.trials, key=lambda trial: (trial.accuracy or 0.0, -(trial.loss or math.inf)))
    assert best.learning_rate == history.learning_rate


@pytest.mark.usefixtures("rates_as_given")
@pytest.mark.parametrize(
    ("default", "tried"), [(1e-4, [1 / 3, 1, 3, 10]), (1e30, [1 / 3, 1, 3, 1 / 10])], ids=["too small", "too large"]
)
def test_the_ladder_goes_one_rung_further_on_the_side_that_wins(default: float, tried: list[float]) -> None:
    # With the small default more is better; with the large one every step overshoots by about the same, so that the
    # smallest loss is at the lowest rung.
    history = fit(
        SoftmaxRegression(learning_rate=default, dtype=np.float64), *blobs(90), epochs=1, learning_rate="auto"
    )
    np.testing.assert_allclose([trial.learning_rate / default for trial in history.trials], tried, rtol=1e-14)


@pytest.mark.usefixtures("rates_as_given")
@pytest.mark.parametrize(
    ("default", "diverged"), [(1e37, [False, False, True, False]), (1e38, [True, True, True, False])]
)
def test_search_survives_rates_that_diverge(default: float, diverged: list[bool]) -> None:
    # Clusters of size ten times a rate of 3e37 leave float32.
    model = SoftmaxRegression(learning_rate=default)
    before = bits(model)
    part = Part(*blobs(), np.arange(60))
    recipe = Recipe(2, 16, "auto", SGD(), "cosine", 0, None, Classes(), Augmentation(), seed=0)
    rate, trials = search_learning_rate(model, part, recipe)
    assert [trial.accuracy is None for trial in trials] == diverged
    assert rate < 2e37
    assert bits(model) == before


def test_search_that_diverges_everywhere_is_an_error_and_restores_the_model() -> None:
    model = SoftmaxRegression(learning_rate=1e39, dtype=np.float32)
    before = bits(model)
    with pytest.raises(DomainError, match="`learning_rate` must be given; training diverged at all of"):
        fit(model, *blobs(), optimizer=SGD(), learning_rate="auto")
    assert bits(model) == before


def test_search_never_sees_the_validation_set() -> None:
    x = np.arange(60, dtype=np.float32)[:, np.newaxis] * np.ones(6, np.float32)
    y = np.arange(60) % 3
    model = SoftmaxRegression(learning_rate=1e-6)
    seen: list[float] = []
    plain = model.logits
    model.logits = lambda rows, **_: (seen.extend(rows[:, 0]), plain(rows))[1]  # type: ignore[method-assign]
    fit(model, x, y, epochs=1, validation=(x + 1000, y), learning_rate="auto")
    # One pass after the epoch.
    assert sum(value >= 1000 for value in seen) == 60


@pytest.mark.usefixtures("rates_as_given")
def test_search_tells_its_progress() -> None:
    events: list[Progress] = []
    fit(SoftmaxRegression(), *blobs(60), epochs=1, batch_size=24, learning_rate="auto", progress=events.append)
    phases = list(dict.fromkeys(event.phase for event in events))
    assert phases[:3] == [f"trying learning rate {rate}" for rate in ("0.0167", "0.05", "0.15")]
    assert phases[-1] == "training"
    assert [event.step for event in events][-3:] == [1, 2, 3]


def test_search_needs_samples_to_hold_out() -> None:
    with pytest.raises(DomainError, match="the learning-rate part must leave samples on both sides"):
        fit(SoftmaxRegression(), *blobs(6), learning_rate="auto")


def test_search_fits_the_warm_up_into_its_short_runs() -> None:
    history = fit(SoftmaxRegression(), *blobs(), epochs=200, batch_size=48, warmup_steps=150, learning_rate="auto")
    assert len(history.trials) >= 3
