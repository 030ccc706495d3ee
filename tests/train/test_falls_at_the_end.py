"""A run whose loss still falls says so, in one line, of the samples that it was judged on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from toy_model import SoftmaxRegression, blobs

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


def test_a_run_of_noise_or_of_few_epochs_says_nothing() -> None:
    x, y = blobs()
    assert said(x, y, epochs=4) == []
    # The same sample with every label as often: the zeros that it begins with are the best there is.
    assert said(np.ones_like(x), np.arange(60) % 3, epochs=20, schedule="constant") == []
