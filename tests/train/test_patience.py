"""Runs that end early, and how many epochs a run makes where nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, bits, blobs

from lieref.errors import DomainError
from lieref.train.epoch import Progress
from lieref.train.epochs import DEFAULT_STEPS, LEAST_EPOCHS, MOST_EPOCHS, default_epochs
from lieref.train.loop import fit


def test_a_run_ends_after_so_many_epochs_without_a_better_one() -> None:
    x, y = blobs()
    # Labels of the validation set are all wrong: the first epoch is the best, and every later one worse.
    against = (x, (y + 1) % 3)
    model, first = SoftmaxRegression(), SoftmaxRegression()
    history = fit(model, x, y, epochs=30, batch_size=16, validation=against, patience=3)
    assert history.best_epoch == 1
    assert len(history.epochs) == 4
    assert history.recipe["epochs"] == 30
    fit(first, x, y, epochs=30, batch_size=16, validation=against, patience=1)
    assert bits(model) == bits(first)


class StopError(Exception):
    pass


@pytest.mark.parametrize("average", [False, 0.5])
def test_a_run_stopped_while_it_waits_ends_with_the_same_bits(average: bool | float, tmp_path: Path) -> None:
    x, y = blobs()
    how: dict[str, Any] = {"epochs": 30, "batch_size": 16, "validation": (x, (y + 1) % 3), "patience": 3}
    how["average"] = average

    def stop(event: Progress) -> None:
        if event.epoch == 3:
            raise StopError

    whole, model = SoftmaxRegression(), SoftmaxRegression()
    expected = fit(whole, x, y, **how)
    with pytest.raises(StopError):
        fit(SoftmaxRegression(), x, y, **how, checkpoint=tmp_path, progress=stop)
    history = fit(model, x, y, **how, checkpoint=tmp_path, resume=True)
    assert bits(model) == bits(whole)
    assert len(history.epochs) == len(expected.epochs) == 4
    # A run that has ended stays ended.
    assert len(fit(SoftmaxRegression(), x, y, **how, checkpoint=tmp_path, resume=True).epochs) == 4


def test_a_run_that_gets_better_makes_all_its_epochs() -> None:
    x, y = blobs()
    history = fit(SoftmaxRegression(), x, y, epochs=6, batch_size=16, validation=(x, y), patience=5)
    assert len(history.epochs) == 6


def test_patience_needs_something_to_judge_by() -> None:
    with pytest.raises(DomainError, match="`patience` must have a validation set to judge by; got 2 without one"):
        fit(SoftmaxRegression(), *blobs(), patience=2)
    with pytest.raises(DomainError, match="`patience` must be at least 1"):
        fit(SoftmaxRegression(), *blobs(), patience=0, validation=0.2)


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (60, 16), (300, 128), (500, 128), (10_000, 128), (67_000, 32)])
def test_default_epochs_make_a_number_of_steps(samples: int, batch: int) -> None:
    epochs, steps = default_epochs(samples, batch), int(np.ceil(samples / batch))
    assert LEAST_EPOCHS <= epochs <= MOST_EPOCHS
    assert epochs == MOST_EPOCHS or epochs * steps >= DEFAULT_STEPS
    assert epochs == LEAST_EPOCHS or (epochs - 1) * steps < DEFAULT_STEPS


def test_a_run_records_the_epochs_that_it_chose_for_the_samples_it_trains_on() -> None:
    history = fit(SoftmaxRegression(), *blobs(60), batch_size=16, validation=0.5)
    assert history.recipe["epochs"] == len(history.epochs) == default_epochs(30, 16)
