"""One task for several outputs of a network at once: the weighted sum of their losses.

The network gives the scores of all of them in one row a sample, and the targets stand in one row a sample too, in the
same order: so a set of samples is one array of each, as with one output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, ShapeError
from lieref.train._protocol import Trainable
from lieref.train.loss import Loss
from lieref.train.task import Counts, Task, add_counts


def task_for(model: Trainable, task: Task, sample: tuple[int, ...]) -> Task:
    """Return the task for all outputs that a model was loaded for: itself where that is one.

    Parameters
    ----------
    model : Trainable
    task : Task
    sample : tuple of int
        Shape of one sample, in the model's layout.
    """
    if len(model.output_weights) < 2 or isinstance(task, SeveralOutputs):
        return task
    shapes = model.output_shapes(sample)
    return SeveralOutputs(task, tuple(model.output_weights.items()), shapes, ())


@dataclass(frozen=True)
class SeveralOutputs(Task):
    """The same task for several outputs.

    Attributes
    ----------
    task : Task
    weights : tuple of (str, float)
        Outputs, and the factors of their losses.
    shapes : tuple of tuple of int
        Of one sample of each output's scores.
    target_shapes : tuple of tuple of int
        Of one sample of each output's targets; empty until `with_targets`.
    """

    task: Task
    weights: tuple[tuple[str, float], ...]
    shapes: tuple[tuple[int, ...], ...]
    target_shapes: tuple[tuple[int, ...], ...]

    name: ClassVar[str] = "several outputs"

    @property
    def reads(self) -> str:  # type: ignore[override]
        """What the task reads, of every output."""
        return self.task.reads

    @property
    def best(self) -> str:  # type: ignore[override]
        """Metric of the first output that chooses the best epoch."""
        return f"{self.weights[0][0]}.{self.task.best}" if self.task.best else ""

    @property
    def falls(self) -> bool:  # type: ignore[override]
        """Whether less of it is better."""
        return self.task.falls

    @property
    def loss(self) -> Loss:
        """The weighted sum of the losses."""
        return SumOfLosses(self)

    def with_targets(self, function: str, x: Array, y: Any) -> tuple[SeveralOutputs, Array]:
        """Return the task that knows the shapes of its targets, and the targets in rows, float64.

        Parameters
        ----------
        function : str
            Name of the caller, for the message.
        x : (N, ...) array
        y : mapping of str to array
            Targets of each output, by name.

        Raises
        ------
        DomainError, ShapeError, DTypeError
            If an output has no targets, there are others, or they do not fit.
        """
        names = [name for name, _ in self.weights]
        if not isinstance(y, Mapping) or set(y) != set(names):
            got = f"those of {', '.join(map(str, y))}" if isinstance(y, Mapping) else type(y).__name__
            raise DomainError(f"{function}: `y` must be targets by output, of {', '.join(names)}; got {got}")
        task, found = self.task.fitted(y[names[0]], self.shapes[0]), []
        for name, shape in zip(names, self.shapes, strict=True):
            targets = task.targets(function, x, y[name], shape)
            if len(targets) != len(x):
                raise ShapeError(
                    f"{function}: `y` of {name} must have one entry for each of {len(x)} samples; got {len(targets)}"
                )
            found.append(targets)
        rows = np.concatenate([t.reshape(len(t), -1).astype(np.float64) for t in found], axis=1)
        return SeveralOutputs(task, self.weights, self.shapes, tuple(t.shape[1:] for t in found)), rows

    def parts(self, logits: FloatArray, y: Array) -> list[tuple[str, float, FloatArray, Array]]:
        """Return name, weight, scores and targets of each output, from rows of all."""
        kind = np.float64 if self.task.loss.name == "mean_squared_error" else np.int64
        result, here, there = [], 0, 0
        for (name, weight), shape, target in zip(self.weights, self.shapes, self.target_shapes, strict=True):
            wide, long = math.prod(shape), math.prod(target)
            scores = logits[:, here : here + wide].reshape(-1, *shape)
            targets = y[:, there : there + long].reshape(-1, *target).astype(kind)
            result.append((name, weight, np.ascontiguousarray(scores), targets))
            here, there = here + wide, there + long
        return result

    def targets(self, function: str, x: Array, y: Any, shape: tuple[int, ...]) -> Array:
        """Return the targets in rows; see `with_targets`, which finds their shapes."""
        return self.with_targets(function, x, y)[1]

    @property
    def has_images(self) -> bool:
        """Whether targets lie on the image as it does, so that what moves it would have to move them."""
        return any(len(shape) > 1 for shape in self.target_shapes)

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return the counts of each output by name."""
        return {name: _Nested(self.task.counts(z, t)) for name, _, z, t in self.parts(logits, y)}

    def kept_bytes(self, numbers: int) -> int:
        """Return what the task keeps of so many numbers, those of all outputs."""
        return self.task.kept_bytes(numbers)

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return the metrics of each output, ``<output>.<metric>``."""
        found = {name: self.task.metrics(nested.counts) for name, nested in counts.items()}
        return {f"{name}.{metric}": value for name, each in found.items() for metric, value in each.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the task, and the outputs with their weights."""
        return {**self.task.to_dict(), "outputs": dict(self.weights)}


@dataclass(frozen=True)
class _Nested:
    """Counts of one output; they add up."""

    counts: Counts

    def __add__(self, other: _Nested) -> _Nested:
        return _Nested(add_counts(self.counts, other.counts))


@dataclass(frozen=True)
class SumOfLosses(Loss):
    """Weighted sum of the losses of several outputs, L = sum_o w_o L_o(z_o)."""

    several: SeveralOutputs

    name: ClassVar[str] = "sum"
    classifies: ClassVar[bool] = False

    @property
    def takes_scores(self) -> bool:  # type: ignore[override]
        """Whether the loss of each output does."""
        return self.several.task.loss.takes_scores

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return targets that `SeveralOutputs.with_targets` has made rows of."""
        return y

    # Derivation.  The outputs are blocks z_o of a row, so dL = sum_o w_o <z_bar_o, dz_o>: cotangents side by side.
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the sum and its cotangent; see `Loss.value_and_grad`."""
        loss, value, bars = self.several.task.loss, 0.0, []
        for _, weight, scores, targets in self.several.parts(logits, y):
            part, bar = loss.value_and_grad(scores, targets)
            value += weight * part
            bars.append(np.asarray(weight * bar, logits.dtype).reshape(len(logits), -1))
        return value, np.concatenate(bars, axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return the loss of an output, and the weights."""
        return {"name": self.name, "loss": self.several.task.loss.to_dict(), "outputs": dict(self.several.weights)}
