"""Search of the learning rate: a short ladder around the method's default, on a held-out slice of the training set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from lieref.errors import DomainError
from lieref.train._protocol import Trainable
from lieref.train.data import split
from lieref.train.epoch import Part, Progress, Score, evaluate, reporting_divergence, train_epoch
from lieref.train.history import Trial
from lieref.train.moving_average import inside, moving_average
from lieref.train.recipe import Recipe, steps_per_epoch
from lieref.train.trust_region import make_trust_region

LADDER = (1 / 10, 1 / 3, 1.0, 3.0, 10.0)
"""Factors on the default. The three in the middle are tried always, an end only if its neighbour won, and the lower end
also if all three diverged."""

HELD_OUT = 0.2
"""Share of the training set, the 2,000 of 10,000 images that found the defaults."""

TRIAL_STEPS = 60
"""A trial is one epoch, or as many as make this many steps: the shortest schedule that found the defaults."""


RATED_STEPS = 395
"""Steps of the runs that methods' default rates were found on: 10,000 images, 5 epochs, batches of 128.

On 500 images and 80 steps, a held-out part of the training set preferred a half to a third of the rate for LieRA, LoRA,
scaling and full fine-tuning alike; the square root gives 0.45.
"""


RATED_BATCH = 128
"""Samples of a batch in those runs.

A smaller batch has a noisier gradient, whose noise Adam turns into steps of full length: to keep what it adds up to,
the rate goes with the root of the batch [Malladi22]. Tried where the defaults had failed: LieRA on a language encoder
with 35 adapted matrices, SST-2, batches of 32 (validation/sst2_rates.py: training loss, 200 of 626 steps, one seed; ln
2 is 0.69). At the full rates, 0.02 and 0.1 for a new head, the loss was 0.70 after 200 steps, the gradient of the
factors had grown twentyfold and the outputs of all sentences had become nearly the same. It is the rate of the
factors: with 0.02 for the head too the loss first fell to 0.64, and after 100 steps the same happened, so a warm-up,
which delays the full rate, was not tried. Half of both rates, which the root gives: 0.61. A third for the factors
alone: 0.70, because of the head, but the outputs differ. The full rate with gradients clipped to a norm of 0.1: 0.67,
and they differ too.
"""


def default_learning_rate(rate: float, steps: int, batch_size: int = RATED_BATCH) -> float:
    """Return a method's default learning rate for a run of so many steps.

    A method's rate is the one for runs of `RATED_STEPS` steps or more in batches of `RATED_BATCH` or more. Shorter ones
    see less data, fit it sooner and want less, and smaller batches are noisier:
    rate * sqrt(steps / RATED_STEPS) * sqrt(batch_size / RATED_BATCH), neither root above 1.

    Parameters
    ----------
    rate : float
        Of the method.
    steps : int
        At least 1.
    batch_size : int
        As asked for, at least 1: a set that fits into one batch has no noise from batch to batch.
    """
    return rate * math.sqrt(min(1.0, steps / RATED_STEPS) * min(1.0, batch_size / RATED_BATCH))


def search_learning_rate(
    model: Trainable, part: Part, recipe: Recipe, progress: Callable[[Progress], None] | None = None
) -> tuple[float, tuple[Trial, ...]]:
    """Return the learning rate that does best on a held-out slice of `part`, by the task's metric and then by loss.

    Parameters
    ----------
    model : Trainable
        Has its parameters back afterwards, whatever happens.
    part : Part
        Training samples; a fifth of them, the same share of every class, is held out.
    recipe : Recipe
        Its learning rate is not read.
    progress : callable, optional
        Called after each update; the phase names the learning rate.

    Returns
    -------
    learning_rate : float
    trials : tuple of Trial
        In the order they were made.

    Raises
    ------
    DomainError
        If the set is too small to hold out a slice, or training diverges at every learning rate.
    """
    kept, held = split(part.y[part.indices], HELD_OUT, recipe.seed, "learning-rate", stratified=recipe.task.has_labels)
    training = replace(part, indices=part.indices[kept])
    held_out = replace(part, indices=part.indices[held])
    steps = steps_per_epoch(len(training), recipe.batch_size)
    epochs = min(recipe.epochs, -(-TRIAL_STEPS // steps))
    trial_recipe = replace(recipe, epochs=epochs, warmup_steps=min(recipe.warmup_steps, epochs * steps // 2))

    steps = recipe.total_steps(len(part))
    centre = default_learning_rate(model.default_learning_rate, steps, recipe.batch_size)
    scores: dict[int, Score | None] = {}
    best: tuple[int, Score] | None = None
    rungs = [1, 2, 3]
    while rungs:
        for rung in rungs:
            rate = LADDER[rung] * centre
            score = _score(model, training, held_out, trial_recipe, rate, progress)
            scores[rung] = score
            if score is not None and (best is None or score.is_better_than(best[1])):
                best = rung, score
        # A winner at the end of what was tried has a neighbour to compare with; where all diverged, less may not.
        neighbours = (0,) if best is None else (best[0] - 1, best[0] + 1)
        rungs = [rung for rung in neighbours if rung not in scores and 0 <= rung < len(LADDER)]
    rates = {rung: LADDER[rung] * centre for rung in scores}
    if best is None:
        tried = ", ".join(f"{rate:.3g}" for rate in rates.values())
        raise DomainError(f"fit: `learning_rate` must be given; training diverged at all of {tried}")
    trials = (
        Trial(rates[rung], None, None) if score is None else Trial(rates[rung], score.metrics, score.loss)
        for rung, score in scores.items()
    )
    return rates[best[0]], tuple(trials)


def _score(
    model: Trainable,
    training: Part,
    held_out: Part,
    recipe: Recipe,
    rate: float,
    progress: Callable[[Progress], None] | None,
) -> Score | None:
    """Return the score of one learning rate, None if training diverges; the parameters are put back."""
    params = model.parameters()
    before = {name: parameter.copy() for name, parameter in params.items()}
    optimizer = recipe.optimizer.fresh()
    optimizer.plan(params, recipe.total_steps(len(training)))

    def report(event: Progress) -> None:
        if progress is not None:
            progress(replace(event, phase=f"trying learning rate {rate:.3g}"))

    average, region = moving_average(params, recipe, len(training)), make_trust_region(model, recipe)
    try:
        for epoch in range(recipe.epochs):
            train_epoch(model, training, recipe, rate, optimizer, epoch, report, average=average, region=region)
        with reporting_divergence(f"at a learning rate of {rate:.3g}"), inside(average, params):
            return evaluate(model, held_out, recipe.task)
    except DomainError:
        return None
    finally:
        for name, parameter in params.items():
            parameter[...] = before[name]
