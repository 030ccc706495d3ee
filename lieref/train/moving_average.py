"""Exponential moving average of the trainable factors over the steps of a run.

What is averaged are the factors, hence the element xi of the algebra, never the adapted weights and never elements of
the group: the group is reached from the averaged xi, so a rotation stays a rotation and a sign stays a sign.

How good that is.  Write theta = m + d for the factors of a step, m their mean over the steps with the weights of the
average, so that the mean of d is 0.  The mean of xi is

    mean xi(m + d) = xi(m) + 1/2 mean xi''(m)[d, d] + ...

so xi of the averaged factors is the averaged xi to first order in the spread d.  Where xi is linear in the factors
(dense, diagonal, filter atoms of one level, and the core of a tensor train or of a Tucker form alone) it is exact.  For
xi = B A the difference is the covariance of the steps, mean (B - B_m)(A - A_m), and it is second order for every other
parameterisation, which is a product or a smooth function of its factors.  This holds along one run, whose factors move
little from step to step and keep their signs and their order.  It does not for the factors of two runs: B A and
(B Q)(Q^-1 A) are one xi, and the mean of their factors is neither; those have to be averaged as xi.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lieref._flat import FlatParams, gather
from lieref._types import Params
from lieref.train.recipe import Recipe

AVERAGED_SHARE = 0.2
"""Share of a run's steps that the average looks back on where no decay is given."""


def default_decay(steps: int) -> float:
    """Return the decay of an average over the last `AVERAGED_SHARE` of so many steps: 1 - 1 / (share * steps)."""
    return 1.0 - 1.0 / max(1.0, AVERAGED_SHARE * steps)


class MovingAverage:
    """The average of the parameters that it has been shown.

    average_t = average_{t-1} + w_t (theta_t - average_{t-1}),  w_t = max(1 - decay, 1 / t)

    Until 1 / (1 - decay) steps are done it is their plain mean; the start of the run has no part in it.

    Parameters
    ----------
    params : dict of str to float array
        Live parameters, for names and shapes; there is at least one.
    decay : float
        At least 0, below 1.

    Attributes
    ----------
    steps : int
        t, the updates it has seen.
    values : dict of str to float array
        The average; zeros before the first update.
    """

    def __init__(self, params: Params, decay: float) -> None:
        self.steps = 0
        self._rest = 1.0 - decay
        gathered = gather(params)
        gathered.flat[...] = 0.0
        self.values: Params = gathered
        self._flat = gathered.flat

    def add(self, params: Params) -> None:
        """Take the parameters after an update."""
        self.steps += 1
        weight = max(self._rest, 1.0 / self.steps)
        same = isinstance(params, FlatParams) and params.whole() and list(params) == list(self.values)
        flat = params.flat if same and isinstance(params, FlatParams) else gather(params).flat
        difference = flat - self._flat
        difference *= np.asarray(weight, difference.dtype)
        self._flat += difference

    def load(self, values: Params, steps: int) -> None:
        """Go on from the average after so many updates."""
        for name, value in values.items():
            self.values[name][...] = value
        self.steps = steps


def moving_average(params: Params, recipe: Recipe, samples: int) -> MovingAverage | None:
    """Return the average that a run on so many samples begins with, None where the recipe asks for none."""
    if not recipe.average:
        return None
    decay = default_decay(recipe.total_steps(samples)) if recipe.average is True else float(recipe.average)
    return MovingAverage(params, decay)


@contextmanager
def inside(average: MovingAverage | None, params: Params) -> Iterator[None]:
    """Let the live parameters be the average, if there is one, while the block runs; afterwards they are as before."""
    if average is None:
        yield
        return
    kept = {name: parameter.copy() for name, parameter in params.items()}
    try:
        for name, value in average.values.items():
            params[name][...] = value
        yield
    finally:
        for name, parameter in kept.items():
            params[name][...] = parameter
