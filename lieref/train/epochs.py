"""How many epochs a run makes where nobody says: as many as make a number of steps."""

from __future__ import annotations

import math

from lieref.train.learning_rate import RATED_STEPS
from lieref.train.recipe import steps_per_epoch

RATED_SAMPLES = 10_000
"""Samples of the runs that methods' default rates were found on; they made `RATED_STEPS` steps."""

POWER = 1 / 3
"""Of the number of samples, that the number of steps grows with.

Found on held-out training data (validation/default_steps.py). What counts is the way: the steps times the share of the
method's rate. On 60 windows of sensors LieRA did best with ways of 23 to 32; with 60 to 90 it was 1 to 3 points below
that, and 150 steps at the full rate were below the base. On 500 JPEG images 24 to 40 were best, 64 lost 1 point and 160
lost 3. On 300 digits turned by 30 degrees, which the base reads at 54 %, 30 gave 72 %, 80 gave 81, 150 gave 85; noise
under which it reads 15 % wanted more. No number of steps suits all: how far the samples are from the base's own
decides, and is not known before. With `default_learning_rate` this power makes ways of 31, 68, 88 and 395 for 60, 300,
500 and 10,000 samples: a compromise that loses 1 to 2 points where the shift is small, and wins 10 where it is large,
over the 10 epochs that were the default before. A validation set with `patience` decides better.
"""

LEAST_EPOCHS, MOST_EPOCHS = 3, 100
"""Large sets are seen as often at least, small ones at most: chosen, not measured."""


def default_epochs(samples: int, batch_size: int) -> int:
    """Return the epochs of a run on so many samples where none were asked for.

    As many as make RATED_STEPS (samples / RATED_SAMPLES)^POWER steps, to the nearest, but `LEAST_EPOCHS` to
    `MOST_EPOCHS`: 72 for 60 samples in one batch, 41 for 300, 36 for 500 and 5 for 10,000 in batches of 128.

    Parameters
    ----------
    samples : int
        To train on, without those held out; at least 1.
    batch_size : int
        At least 1.
    """
    steps = RATED_STEPS * math.pow(samples / RATED_SAMPLES, POWER)
    return min(max(round(steps / steps_per_epoch(samples, batch_size)), LEAST_EPOCHS), MOST_EPOCHS)
