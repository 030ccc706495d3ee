"""A job small enough to be adapted to in a blink."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref.evaluate.problem import Problem
from tests.cli.helpers import CLASSES, small_network


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    return (rng.normal(size=(count, 2, 6, 5)) + y[:, None, None, None]).astype(np.float32), y


def problem(**fields: Any) -> Problem:
    """Return a problem of 30 samples to learn from, 20 to test, and 10 of the original job."""
    (x, y), (x_test, y_test), (x_other, y_other) = samples(30, 0), samples(20, 1), samples(10, 2)
    own = {
        "base": small_network().SerializeToString(),
        "x": x,
        "y": y,
        "x_test": x_test,
        "y_test": y_test,
        "x_other": x_other,
        "y_other": y_other,
    }
    return Problem(**{**own, **fields})
