"""Tasks with one answer, or one row of answers, for each sample: classes, several labels, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lieref._types import Array, FloatArray
from lieref.train.average_precision import BYTES_OF_AN_ANSWER, RankedAnswers
from lieref.train.binary_cross_entropy import BinaryCrossEntropy
from lieref.train.loss import CrossEntropy, Loss, MeanSquaredError
from lieref.train.task import Counts, Task, listed_as_tuple


@dataclass(frozen=True)
class Classes(Task):
    """One class of each sample: cross-entropy; targets (N,) integers for scores (N, C)."""

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    name: ClassVar[str] = "classes"
    gives: ClassVar[str] = "(N, C)"
    has_labels: ClassVar[bool] = True
    best: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        listed_as_tuple(self, "class_weights")
        self.loss  # noqa: B018 - it checks the settings

    @property
    def loss(self) -> Loss:
        """Cross-entropy with these settings."""
        return CrossEntropy(self.label_smoothing, self.class_weights, self.ignore_index)

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return the numbers of labels and of right answers; of equal scores the first counts."""
        right = np.argmax(logits, axis=1) == y
        if self.ignore_index is None:
            return {"labels": y.size, "right": int(np.count_nonzero(right))}
        kept = y != self.ignore_index
        return {"labels": int(np.count_nonzero(kept)), "right": int(np.count_nonzero(right & kept))}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return the accuracy, the share of right answers."""
        return {"accuracy": counts["right"] / counts["labels"]} if counts["labels"] else {}


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of classes of each sample: binary cross-entropy; targets (N, K) of 0 and 1 for scores (N, K)."""

    positive_weights: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    name: ClassVar[str] = "multilabel"
    gives: ClassVar[str] = "(N, K)"
    reads: ClassVar[str] = "Sigmoid"
    best: ClassVar[str] = "f1"

    def __post_init__(self) -> None:
        listed_as_tuple(self, "positive_weights")
        listed_as_tuple(self, "class_weights")
        self.loss  # noqa: B018 - it checks the settings

    @property
    def loss(self) -> Loss:
        """Binary cross-entropy with these settings."""
        return BinaryCrossEntropy(self.positive_weights, self.class_weights, self.ignore_index)

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return how many answers there are of each kind, and their ranks.

        Yes is a score above 0, a probability above one half.
        """
        said, yes, no = logits > 0, y == 1, y == 0
        pairs = {"true_yes": said & yes, "false_yes": said & no, "false_no": ~said & yes, "true_no": ~said & no}
        ranked = RankedAnswers((np.array(logits),), ((yes.astype(np.int8) - ~(yes | no)).astype(np.int8),))
        return {**{name: int(np.count_nonzero(found)) for name, found in pairs.items()}, "ranked": ranked}

    def kept_bytes(self, numbers: int) -> int:
        """Return that of all scores and answers, twice: they are joined before they are ranked."""
        return 2 * BYTES_OF_AN_ANSWER * numbers

    # F1 = 2 TP / (2 TP + FP + FN), all outputs counted together.
    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return f1 over all outputs, the accuracy of all answers, and the mean average precision.

        F1 is the harmonic mean of precision and recall; the last is a mean over the outputs that have a yes.
        """
        twice = 2 * counts["true_yes"]
        wrong = counts["false_yes"] + counts["false_no"]
        whole = counts["true_yes"] + counts["true_no"] + wrong
        found = {"f1": twice / (twice + wrong)} if twice + wrong else {}
        found |= {"accuracy": 1 - wrong / whole} if whole else {}
        precision = counts["ranked"].mean_average_precision()
        return found if precision is None else {**found, "mean_average_precision": precision}


@dataclass(frozen=True)
class Numbers(Task):
    """Numbers: mean squared error; targets of the shape of the output, a number, a row or an image."""

    name: ClassVar[str] = "numbers"
    reads: ClassVar[str] = ""

    def image_axes(self, y: Array, images: tuple[int, int]) -> tuple[int, int] | None:
        """Return the axes of height and width where the targets are images: those of the samples."""
        return images if y.ndim == 4 and max(y.shape[axis] for axis in images) > 1 else None

    @property
    def loss(self) -> Loss:
        """Mean squared error."""
        return MeanSquaredError()

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return sums of errors, and what the spread of the targets of each output follows from."""
        error, target = logits.astype(np.float64) - y, y.astype(np.float64)
        mean = np.mean(target, axis=0)
        spread = _Spread(len(target), mean, np.sum(np.square(target - mean), axis=0))
        return {"numbers": error.size, "squares": float(np.sum(np.square(error))),
                "absolute": float(np.sum(np.abs(error))), "spread": spread}  # fmt: skip

    # R^2 = 1 - sum (z - y)^2 / sum (y - mean y)^2, each output about its own mean.
    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return rmse, mae, and r2, the share of the targets' variance that is explained, where they vary."""
        mean_square = counts["squares"] / counts["numbers"]
        found = {"rmse": float(np.sqrt(mean_square)), "mae": counts["absolute"] / counts["numbers"]}
        total = float(np.sum(counts["spread"].squares))
        return {**found, "r2": 1.0 - counts["squares"] / total} if total > 0 else found


@dataclass(frozen=True)
class _Spread:
    """Number, mean and sum of squares about the mean of each output."""

    count: int
    mean: Array
    squares: Array

    # With d = mean_b - mean_a: mean = mean_a + d n_b / n, squares = squares_a + squares_b + d^2 n_a n_b / n  [Chan83].
    def __add__(self, other: _Spread) -> _Spread:
        whole, gap = self.count + other.count, other.mean - self.mean
        squares = self.squares + other.squares + np.square(gap) * (self.count * other.count / whole)
        return _Spread(whole, self.mean + gap * (other.count / whole), squares)
