"""A run whose loss still falls says so, in one line, of the samples that it was judged on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, blobs

from lieref.train.epoch import Progress
from lieref.train.loop import StillFallingWarning, fit


def said(*data: Any, **settings: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(SoftmaxRegression(), *data, batch_size=16, learning_rate=1e-3, **settings)
    return [str(warning.message) for warning in caught if warning.category is StillFallingWarning]


def test_a_run_that_is_too_short_says_so_of_its_training_samples() -> None:
    [line] = said(*blobs(), epochs=20)
    assert line.startswith("fit: the loss was still falling at the end: ")
    assert line.endswith("(of the training samples, which need not help on others)")


def test_a_validation_set_is_what_counts() -> None:
    x, y = blobs()
    [line] = said(x, y, epochs=20, validation=blobs(30, seed=4))
    assert line.endswith("(of the validation set)")
    # Its labels are all wrong: what falls on the training samples rises there.
    assert said(x, y, epochs=20, validation=(x, (y + 1) % 3)) == []


def alike(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return samples that are all the same: the loss falls without any noise."""
    return np.ones((n, 6), np.float32), np.zeros(n, np.int64)


def test_a_run_of_few_epochs_says_so_of_its_steps() -> None:
    for epochs, steps in ((2, "steps 1 to 7"), (3, "steps 3 to 12"), (4, "steps 5 to 14")):
        [line] = said(*alike(), epochs=epochs)
        assert f"of its fall came in {steps} (p = 0.00" in line
        assert line.endswith("(of the training samples, which need not help on others)")
    # A validation set is looked at after each epoch: too few times, and the steps are not what counts.
    assert said(*alike(), epochs=3, validation=alike(30)) == []


def test_steps_before_an_interruption_are_not_known(tmp_path: Path) -> None:
    x, y = alike()

    def stop(state: Progress) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        said(x, y, epochs=3, checkpoint=tmp_path / "run", progress=stop)
    assert said(x, y, epochs=3, checkpoint=tmp_path / "run", resume=True) == []


def test_a_run_of_noise_or_of_few_steps_says_nothing() -> None:
    x, _ = blobs()
    assert said(*alike(16), epochs=4) == []
    # The same sample with every label as often: the zeros that it begins with are the best there is.
    for epochs in (3, 20):
        assert said(np.ones_like(x), np.arange(60) % 3, epochs=epochs, schedule="constant") == []
