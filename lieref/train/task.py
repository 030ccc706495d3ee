"""What a network learns: the form of the targets, the loss, and the numbers that say how well it does.

A task has one name from the command line to the adapter's file. Its metrics are computed from counts that add up over
batches, so that no set's outputs are held together, unless a metric is of their ranks.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.loss import Loss, batch_shape

Counts: TypeAlias = dict[str, Any]
"""Numbers and arrays that add up over batches, by name."""

FITS = {1: "'classes', 'multilabel' and 'numbers'", 2: "'tokens', 'sequence' and 'numbers'", 3: "'dense' and 'numbers'"}
"""Tasks by the axes that a network gives for one sample."""


class Task(ABC):
    """What is learnt.

    Attributes
    ----------
    name : str
        Key in `TASKS`.
    gives : str
        Axes of what the network must give, such as "(N, C)", or several orders of them; "" for any.
    has_labels : bool
        Whether each sample has one class: then sets are cut class by class, and images may be mirrored.
    from_input : bool
        Whether the targets are in the input where none are given.
    reads : {"Softmax", "Sigmoid", ""}
        The final operator whose input the loss reads; of another final operator, and for "", it reads the output.
    best : str
        Metric that chooses the best epoch, then the lower loss; "" for the loss alone.
    falls : bool
        Whether less of it is better.
    """

    name: ClassVar[str]
    gives: ClassVar[str] = ""
    has_labels: ClassVar[bool] = False
    from_input: ClassVar[bool] = False
    reads: ClassVar[str] = "Softmax"
    best: ClassVar[str] = ""
    falls: ClassVar[bool] = False

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """The loss, a mean over the batch."""

    def check_output(self, function: str, shape: tuple[int, ...]) -> None:
        """Raise `ShapeError` unless the task fits a network that gives this shape for one sample."""
        if self.gives and len(shape) != self.gives.partition(" or ")[0].count(","):
            fits = FITS.get(len(shape), "'numbers'")
            raise ShapeError(
                f"{function}: the task {self.name!r} must have a network that gives {self.gives}; "
                f"got {batch_shape(shape)}, which fits {fits}"
            )

    def fitted(self, y: Any, shape: tuple[int, ...]) -> Task:
        """Return the task for these targets and what the network gives for one sample, where they settle a setting."""
        return self

    def targets(self, function: str, x: Array, y: Any, shape: tuple[int, ...]) -> Array:
        """Return the targets of samples as the loss takes them.

        Parameters
        ----------
        function : str
            Name of the caller, for the message.
        x : (N, ...) array
        y : (N, ...) array, or None where `from_input`
        shape : tuple of int
            Of what the network gives for one sample.

        Raises
        ------
        DTypeError, ShapeError, DomainError
            If the task does not fit the network, or the targets do not fit the task: of the wrong kind, shape or range,
            or all ignored.
        """
        self.check_output(function, shape)
        if y is None:
            raise DomainError(f"{function}: `y` must be given for the task {self.name!r}")
        return self.loss.check_targets(function, y, shape)

    @abstractmethod
    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return what the metrics of a batch follow from; counts of several batches add up."""

    @abstractmethod
    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return the metrics by name; one that has no meaning for these samples is left out."""

    def kept_bytes(self, numbers: int) -> int:
        """Return the memory that counts of a whole set take, of whose outputs there are so many numbers."""
        return 0

    def image_axes(self, y: Array, images: tuple[int, int]) -> tuple[int, int] | None:
        """Return the axes of height and width of targets that lie on the image as it does, None for others.

        `images` are those of the samples.
        """
        return None

    def merit(self, metrics: dict[str, float]) -> float:
        """Return the metric `best` so that more is better; 0 where there is none."""
        return metrics.get(self.best, 0.0) * (-1.0 if self.falls else 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings, plain JSON values; `make_task` takes them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"name": self.name, **{n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}}


def add_counts(total: Counts, more: Counts) -> Counts:
    """Return counts of two sets together; an empty dict is none."""
    return {name: total[name] + value for name, value in more.items()} if total else more


def listed_as_tuple(task: Any, name: str) -> None:
    """Make a tuple of a setting that came as a list.

    Raises
    ------
    DTypeError
        If it is no list; its entries are checked by the loss.
    """
    value = getattr(task, name)
    if value is None or isinstance(value, tuple):
        return
    if not isinstance(value, list) and np.ndim(value) != 1:
        raise DTypeError(f"make_task: `{name}` must be a list of numbers; got {value!r:.60}")
    object.__setattr__(task, name, tuple(value))
