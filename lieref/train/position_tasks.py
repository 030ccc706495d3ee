"""Tasks with an answer for each position of a sample: pixels, tokens, frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from lieref._check import check_int
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.ctc import PADDING, ConnectionistTemporalClassification, edit_distance, greedy_labels
from lieref.train.loss import CrossEntropy, Loss, as_targets, batch_shape, log_softmax
from lieref.train.sample_tasks import Classes
from lieref.train.task import Counts, Task

IGNORED = -1
"""The label of a next token that is not learnt: behind the last one, and padding."""


class LastAxisCrossEntropy(CrossEntropy):
    """Cross-entropy of scores (N, ..., C), the classes last."""

    class_axis: ClassVar[int] = -1


@dataclass(frozen=True)
class Dense(Classes):
    """A class of each pixel: cross-entropy; targets (N, H, W) integers for scores (N, C, H, W) or (N, H, W, C).

    Attributes
    ----------
    class_axis : {1, -1} or None
        Where the classes stand in the scores; None is the axis that the targets leave over, `fitted` says which.
    """

    class_axis: int | None = None

    name: ClassVar[str] = "dense"
    gives: ClassVar[str] = "(N, C, H, W) or (N, H, W, C)"
    has_labels: ClassVar[bool] = False
    best: ClassVar[str] = "mean_iou"

    def __post_init__(self) -> None:
        if self.class_axis not in (None, 1, -1) or isinstance(self.class_axis, (bool, float)):
            raise DomainError(f"make_task: `class_axis` must be 1, -1 or None; got {self.class_axis!r:.60}")
        super().__post_init__()

    @property
    def loss(self) -> Loss:
        """Cross-entropy with these settings, over this axis."""
        kind = LastAxisCrossEntropy if self.class_axis == -1 else CrossEntropy
        return kind(self.label_smoothing, self.class_weights, self.ignore_index)

    def image_axes(self, y: Array, images: tuple[int, int]) -> tuple[int, int]:
        """Return the axes of height and width of the labels."""
        return 1, 2

    def fitted(self, y: Any, shape: tuple[int, ...]) -> Dense:
        """Return the task with the axis of the classes: the last where the labels have the shape of the first two."""
        labels = as_targets("fit", y).shape[1:]
        last = len(shape) == 3 and labels == shape[:2] and labels != shape[1:]
        return self if self.class_axis is not None else replace(self, class_axis=-1 if last else 1)

    def targets(self, function: str, x: Array, y: Any, shape: tuple[int, ...]) -> Array:
        """Return the labels; see `Task.targets`."""
        y = None if y is None else as_targets(function, y)
        if y is not None and y.ndim == len(shape) + 1 and y.dtype.kind == "f":
            raise DTypeError(
                f"{function}: `y` must be a class of each pixel; got numbers: the task 'numbers' is for those"
            )
        if self.class_axis is None:
            first, last = batch_shape(shape[1:]), batch_shape(shape[:2])
            if len(shape) == 3 and np.ndim(y) == 3 and np.shape(y)[1:] not in (shape[1:], shape[:2]):
                raise ShapeError(
                    f"{function}: `y` must have shape {first}, or {last} if the classes are the last axis, for scores "
                    f"{batch_shape(shape)}; got {np.shape(y)}"
                )
            return self.fitted(y, shape).targets(function, x, y, shape)
        labels = super().targets(function, x, y, shape)
        return labels.astype(y.dtype, copy=False)  # masks of bytes stay bytes

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return by class how many pixels have it, were taken for it, and both."""
        axis = self.class_axis or 1
        classes, predicted = logits.shape[axis], np.argmax(logits, axis=axis)
        kept = np.ones(y.shape, bool) if self.ignore_index is None else y != self.ignore_index
        truth, said = y[kept], predicted[kept]
        return {"pixels": np.bincount(truth, minlength=classes), "said": np.bincount(said, minlength=classes),
                "right": np.bincount(truth[truth == said], minlength=classes)}  # fmt: skip

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return pixel_accuracy, and mean_iou: intersection over union, mean of the classes that occur in either."""
        whole = int(np.sum(counts["pixels"]))
        if not whole:
            return {}
        union = counts["pixels"] + counts["said"] - counts["right"]
        iou = counts["right"][union > 0] / union[union > 0]
        return {"mean_iou": float(np.mean(iou)), "pixel_accuracy": float(np.sum(counts["right"]) / whole)}


@dataclass(frozen=True)
class Tokens(Task):
    """The next token: cross-entropy; the targets of ids (N, T) are those ids, one place on, for scores (N, T, V).

    Attributes
    ----------
    label_smoothing : float
    ignore_index : int or None
        Id of padding, which is not learnt.
    """

    label_smoothing: float = 0.0
    ignore_index: int | None = None

    name: ClassVar[str] = "tokens"
    gives: ClassVar[str] = "(N, T, V)"
    from_input: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.loss  # noqa: B018 - it checks the settings
        if self.ignore_index is not None:
            check_int("Tokens", "ignore_index", self.ignore_index)

    @property
    def loss(self) -> Loss:
        """Cross-entropy over the places whose next token counts."""
        return LastAxisCrossEntropy(self.label_smoothing, None, IGNORED)

    def targets(self, function: str, x: Array, y: Any, shape: tuple[int, ...]) -> Array:
        """Return next tokens (N, T), -1 where none is learnt: `y`, or the ids of `x` one place on."""
        self.check_output(function, shape)
        name = "x" if y is None else "y"
        ids = as_targets(function, x if y is None else y)
        if ids.dtype.kind not in "iu":
            raise DTypeError(f"{function}: `{name}` must be integer ids of tokens; got {ids.dtype}")
        if ids.ndim == 0 or ids.shape[1:] != shape[:1]:
            raise ShapeError(f"{function}: `{name}` must have shape {batch_shape(shape[:1])}; got {ids.shape}")
        ids = ids.astype(np.int64)
        outside = (ids < 0) | (ids >= shape[1])
        if y is not None:
            outside &= ids != IGNORED
        if self.ignore_index is not None:
            outside &= ids != self.ignore_index
        if outside.any():
            where = tuple(map(int, np.argwhere(outside)[0]))
            raise DomainError(
                f"{function}: `{name}` must be ids of the vocabulary, 0 to {shape[1] - 1}; got {ids[where]} at {where}"
            )
        if self.ignore_index is not None:
            ids = np.where(ids == self.ignore_index, IGNORED, ids)
        if y is None:
            ids = np.concatenate([ids[:, 1:], np.full((len(ids), 1), IGNORED)], axis=1)
        if (ids == IGNORED).all():
            raise DomainError(f"{function}: `{name}` must hold a next token to learn; all are ignored")
        return ids

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return the number of tokens, of right ones, and the sum of -log p."""
        kept = y != IGNORED
        scores, labels = logits[kept], y[kept]
        if not len(labels):
            return {"labels": 0, "right": 0, "nll": 0.0}
        nll = -float(np.sum(log_softmax(scores)[np.arange(len(labels)), labels]))
        return {"labels": len(labels), "right": int(np.count_nonzero(np.argmax(scores, 1) == labels)), "nll": nll}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return perplexity, exp of the mean of -log p, and accuracy."""
        if not counts["labels"]:
            return {}
        with np.errstate(over="ignore"):
            perplexity = float(np.exp(min(counts["nll"] / counts["labels"], MOST_NATS)))
        return {"perplexity": perplexity, "accuracy": counts["right"] / counts["labels"]}


MOST_NATS = 700.0
"""More than that is said as exp(700), 1e304: the largest float is exp(709.8), and a report holds no infinity."""


@dataclass(frozen=True)
class Sequence(Task):
    """A sequence without an alignment: CTC; targets (N, S) integers, padded with -1, for scores (N, T, K) of T frames.

    Attributes
    ----------
    blank : int
        The class that stands for no label.
    """

    blank: int = 0

    name: ClassVar[str] = "sequence"
    gives: ClassVar[str] = "(N, T, K) or (T, N, K)"
    best: ClassVar[str] = "edit_distance_rate"
    falls: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.loss  # noqa: B018 - it checks the settings

    @property
    def loss(self) -> Loss:
        """Connectionist temporal classification with this blank."""
        return ConnectionistTemporalClassification(self.blank)

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return the numbers of labels, edits, sequences and right ones, by greedy decoding."""
        wanted = [[int(label) for label in row if label != PADDING] for row in y]
        edits = [edit_distance(a, b) for a, b in zip(greedy_labels(logits, self.blank), wanted, strict=True)]
        return {"labels": sum(map(len, wanted)), "edits": sum(edits), "sequences": len(y), "right": edits.count(0)}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return edit_distance_rate, edits over labels (the character error rate of text), and exact_match."""
        found = {"exact_match": counts["right"] / counts["sequences"]}
        return {"edit_distance_rate": counts["edits"] / counts["labels"], **found} if counts["labels"] else found
