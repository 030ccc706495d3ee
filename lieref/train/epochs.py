"""How many epochs a run makes where nobody says: as many as make a number of steps."""

from __future__ import annotations

from lieref.train.recipe import steps_per_epoch

DEFAULT_STEPS = 150
"""Steps that the epochs make together, about."""

LEAST_EPOCHS, MOST_EPOCHS = 3, 100
"""Large sets are seen as often at least, small ones at most."""


def default_epochs(samples: int, batch_size: int) -> int:
    """Return the epochs of a run on so many samples where none were asked for.

    The least number that makes `DEFAULT_STEPS` steps, but `LEAST_EPOCHS` to `MOST_EPOCHS`.

    Parameters
    ----------
    samples : int
        To train on, without those held out; at least 1.
    batch_size : int
        At least 1.
    """
    return min(max(-(-DEFAULT_STEPS // steps_per_epoch(samples, batch_size)), LEAST_EPOCHS), MOST_EPOCHS)
