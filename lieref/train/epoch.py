"""One pass over the data: training, and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._flat import FlatParams
from lieref._types import Array, FloatArray
from lieref.errors import DomainError
from lieref.model.samples import own_layout
from lieref.train._protocol import Trainable
from lieref.train.algebra_decay import add_algebra_decay
from lieref.train.augment import apply, draw, image_axes
from lieref.train.clip import clip_by_global_norm
from lieref.train.dropout import dropped, dropped_vjp
from lieref.train.mixup import MixedLoss, draw_shares, mix
from lieref.train.moving_average import MovingAverage
from lieref.train.optimizer import Optimizer
from lieref.train.recipe import Recipe, steps_per_epoch
from lieref.train.schedule import learning_rate_factor
from lieref.train.task import Counts, Task, add_counts
from lieref.train.trust_region import TrustRegion

EVALUATION_BATCH = 256
"""Samples that are evaluated at once, at most."""

EVALUATION_NUMBERS = 2**21
"""Fewer where that many outputs are reached before: 16 MiB of images or of scores of tokens."""

EVALUATION_TEXTS = 32
"""Fewer of ids of tokens: such a network runs operator by operator, which holds every tensor. Measured on an encoder of
128 places: 16 MB a sample, 2.2 GB for 128 of them, at 12.7 ms a sample, and 0.7 GB for 32, at 11.3 ms."""


TRAINING = "training"
"""The phase of the run itself."""


@dataclass(frozen=True)
class Part:
    """Some samples of a set, without a copy of it.

    Attributes
    ----------
    x : (M, ...) array
        In the model's layout.
    y : (M, ...) array
    indices : (N,) int64
        The samples of this part.
    outputs : int
        Numbers that the model gives for a sample.
    """

    x: Array
    y: Array
    indices: NDArray[np.int64]
    outputs: int = 1

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, positions: NDArray[np.int64] | slice) -> tuple[Array, Array]:
        """Return x and y of some positions in this part."""
        chosen = self.indices[positions]
        return self.x[chosen], self.y[chosen]


@dataclass(frozen=True)
class Score:
    """Mean loss over a part, the metrics of the task, and of one of them how good it is: more is better."""

    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    merit: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """The share of right answers, None where the task has none."""
        return self.metrics.get("accuracy")

    def is_better_than(self, other: Score) -> bool:
        """Return whether the merit is higher or, where it is equal, the loss lower; a tie is not better."""
        return (self.merit, -self.loss) > (other.merit, -other.loss)


@dataclass(frozen=True)
class Progress:
    """State after one update, for a progress bar.

    Attributes
    ----------
    epoch, step : int
        From 1; 0 where machine code is about to be compiled, before everything else.
    epochs, total_steps : int
        At least 1.
    loss : float
        Of the batch; NaN at step 0.
    learning_rate : float
        Of the step.
    phase : str
        ``"training"``, or which trial of the learning-rate search this is; each has steps of its own. At
        step 0 ``"compiling (once after installation)"``.
    samples : int
        In the batch; 0 at step 0.
    score : callable or None
        Gives the mean over the epoch so far; metrics of ranks take their time. None at step 0.
    """

    epoch: int
    epochs: int
    step: int
    total_steps: int
    loss: float
    learning_rate: float
    phase: str = TRAINING
    samples: int = 0
    score: Callable[[], Score] | None = field(default=None, compare=False)


def train_epoch(
    model: Trainable,
    part: Part,
    recipe: Recipe,
    peak: float,
    optimizer: Optimizer,
    epoch: int,
    progress: Callable[[Progress], None] | None = None,
    unmoved: set[str] | None = None,
    see: Callable[[Array, Array], None] | None = None,
    average: MovingAverage | None = None,
    region: TrustRegion | None = None,
) -> tuple[Score, float]:
    """Train on every sample once, in the order of the stream (seed, "order", epoch).

    What a step drops comes from the stream (seed, "dropout", epoch).

    Parameters
    ----------
    model : Trainable
        Its parameters are updated in place.
    part : Part
    recipe : Recipe
    peak : float
        Learning rate that the schedule's factor multiplies.
    optimizer : Optimizer
        Its state is updated.
    epoch : int
        From 0.
    progress : callable, optional
        Called after each update.
    unmoved : set of str, optional
        Names of parameters; those that a gradient reaches are taken out.
    see : callable, optional
        Called with the outputs and the targets of each step, before its update.
    average : MovingAverage, optional
        Shown the parameters after each update.
    region : TrustRegion, optional
        Holds them after each update.

    Returns
    -------
    score : Score
        Mean over the samples as they were trained on.
    learning_rate : float
        Of the first step.

    Raises
    ------
    DomainError
        If the loss, a gradient or a parameter is no longer finite. The parameters are left as they were then.
    """
    steps, total = steps_per_epoch(len(part), recipe.batch_size), recipe.total_steps(len(part))
    order = rng.stream(recipe.seed, "order", epoch).permutation(len(part))
    drops = rng.stream(recipe.seed, "dropout", epoch)
    draws = draw(recipe.augmentation, len(part), recipe.seed, epoch)
    shares = draw_shares(recipe.mixup, steps, recipe.seed, epoch)
    axes, layout = image_axes(model.input_shape), own_layout(model.input_shape)
    params, loss_of = model.parameters(), recipe.task.loss
    target_axes = None if axes is None else recipe.task.image_axes(part.y, axes)
    total_of = _Total(recipe.task)
    rate = 0.0
    for batch in range(steps):
        step = epoch * steps + batch
        rate = peak * learning_rate_factor(recipe.schedule, step, total, recipe.warmup_steps)
        positions = order[batch * recipe.batch_size : (batch + 1) * recipe.batch_size]
        x, y = part.take(positions)
        if recipe.augmentation and axes is not None:
            x = apply(x, positions, draws, axes)
            y = y if target_axes is None else apply(y, positions, draws, target_axes)
        targets, wanted = y, loss_of
        if recipe.mixup:
            wanted = MixedLoss(loss_of, float(shares[batch]))
            x, targets = mix(x, y, wanted.share)
        with reporting_divergence(f"in epoch {epoch + 1}, step {step + 1}, at a learning rate of {rate:.3g}"):
            masks = model.dropout_masks(drops)
            with dropped(params, masks):
                loss, logits, grads = model.loss_and_grad(x, targets, wanted, layout=layout)
            dropped_vjp(grads, masks)
            if recipe.algebra_decay is not None:
                add_algebra_decay(grads, model, recipe.algebra_decay)
            if see is not None:
                see(logits, y)
            if recipe.clip_norm is not None:
                grads = clip_by_global_norm(grads, recipe.clip_norm)
            optimizer.step(params, grads, rate, model.rate_factors)
            _check_finite_run(loss, params)
            if region is not None:
                region.hold(params)
            if average is not None:
                average.add(params)
            total_of.add(loss, logits, y)
        if unmoved:
            unmoved.difference_update([name for name in unmoved if grads[name].any()])
        if progress is not None:
            state = Progress(epoch + 1, recipe.epochs, step + 1, total, loss, rate)
            progress(replace(state, samples=len(positions), score=total_of.score))
    first = peak * learning_rate_factor(recipe.schedule, epoch * steps, total, recipe.warmup_steps)
    return total_of.score(), first


class _Total:
    """Loss and counts of some batches."""

    def __init__(self, task: Task) -> None:
        self._task, self._loss = task, task.loss
        self._values: list[tuple[float, float]] = []
        self._counts: Counts = {}

    def add(self, value: float, logits: FloatArray, y: Array) -> None:
        """Add a batch."""
        self._values.append((value, self._loss.weight(y)))
        self._counts = add_counts(self._counts, self._task.counts(logits, y))

    def score(self) -> Score:
        """Return the mean loss, each target once, and the metrics."""
        whole = sum(weight for _, weight in self._values)
        mean = sum(value * weight for value, weight in self._values) / whole if whole else 0.0
        metrics = self._task.metrics(self._counts)
        return Score(self._values[0][0] if len(self._values) == 1 else mean, metrics, self._task.merit(metrics))


def evaluate(model: Trainable, part: Part, task: Task, see: Callable[[FloatArray, Array], None] | None = None) -> Score:
    """Return the loss and the metrics over a part; `see` is called with the outputs and the targets of each batch.

    Raises
    ------
    DomainError
        If a logit is not finite.
    """
    layout, loss, total = own_layout(model.input_shape), task.loss, _Total(task)
    most = EVALUATION_BATCH if model.vocabulary is None else EVALUATION_TEXTS
    step = min(most, max(1, EVALUATION_NUMBERS // part.outputs))
    for start in range(0, len(part), step):
        x, y = part.take(slice(start, start + step))
        logits = model.logits(x, layout=layout)
        total.add(loss.value_and_grad(logits, y)[0], logits, y)
        if see is not None:
            see(logits, y)
    return total.score()


@contextmanager
def reporting_divergence(place: str) -> Iterator[None]:
    """Turn a number that is not finite into one error that says where, without warnings on the way there."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except DomainError as error:
        raise DomainError(
            f"fit: training must stay finite; it diverged {place} (try a smaller one): {error}"
        ) from error


def _check_finite_run(loss: float, params: dict[str, Array]) -> None:
    """Raise `DomainError` if the loss or a parameter is not finite."""
    if not np.isfinite(loss):
        raise DomainError(f"the loss is {loss}")
    if isinstance(params, FlatParams) and np.isfinite(params.flat).all():
        return
    for name, parameter in params.items():
        if not np.isfinite(parameter).all():
            raise DomainError(f"parameter {name} is not finite")
