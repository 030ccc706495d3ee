"""Classes whose targets are probabilities: one sample may be a cat for seven parts in ten, and a dog for the rest.

What a teacher thinks of a sample is such a target: distillation, and training on pseudo-labels that are not certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lieref._check import check_finite
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.loss import Loss, as_targets, check_logits, check_same_length, log_softmax
from lieref.train.task import Counts, Task


@dataclass(frozen=True)
class SoftCrossEntropy(Loss):
    """Cross-entropy of probabilities, L = - sum_nc t_nc log p_nc / sum_nc t_nc.

    A row of t is the weight of its sample times a distribution; the weights are the sums of the rows.
    """

    name: ClassVar[str] = "soft_cross_entropy"
    classifies: ClassVar[bool] = True

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return the rows as (N, C) float64; see `Loss.check_targets`."""
        rows = as_targets(function, y)
        if rows.dtype.kind != "f":
            raise DTypeError(f"{function}: `y` must be probabilities, floats; got {rows.dtype}")
        if rows.ndim != 2 or rows.shape[1:] != shape:
            raise ShapeError(f"{function}: `y` must have shape (N, {', '.join(map(str, shape))}); got {rows.shape}")
        check_finite(function, "y", rows)
        if rows.size and rows.min() < 0:
            raise DomainError(f"{function}: `y` must be probabilities, none below 0; got {rows.min()}")
        if not rows.any():
            raise DomainError(f"{function}: `y` must give a sample some weight; all rows are 0")
        return rows.astype(np.float64, copy=False)

    # Derivation.  As for `CrossEntropy`, with T_n = sum_c t_nc and S = sum_n T_n, both free of z:
    #   dL = (1/S) sum_nc (T_n p_nc - t_nc) dz_nc,  hence  z_bar = (T_n p - t) / S.
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits("SoftCrossEntropy", logits, ndim=2)
        check_same_length("SoftCrossEntropy", logits, y)
        rows = y / (self.weight(y) or 1.0)
        log_p = log_softmax(logits)
        bar = np.sum(rows, axis=1, keepdims=True) * np.exp(log_p) - rows
        return -float(np.sum(rows * log_p)), bar.astype(logits.dtype)

    def weight(self, y: Array) -> float:
        """Return S."""
        return float(np.sum(y))

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array]:
        """Return the rows t / S, the weights of -log p_nc; see `Loss.compiled_form`."""
        return "cross_entropy", np.ascontiguousarray(y / (self.weight(y) or 1.0))

    def to_dict(self) -> dict[str, Any]:
        """Return the name."""
        return {"name": self.name}


@dataclass(frozen=True)
class SoftClasses(Task):
    """Probabilities of the classes of each sample: cross-entropy; targets (N, C) floats for scores (N, C).

    An answer is right where it is the likeliest class, so the accuracy is the agreement with that.
    """

    name: ClassVar[str] = "soft-classes"
    gives: ClassVar[str] = "(N, C)"
    best: ClassVar[str] = "accuracy"

    @property
    def loss(self) -> Loss:
        """Cross-entropy of probabilities."""
        return SoftCrossEntropy()

    def counts(self, logits: FloatArray, y: Array) -> Counts:
        """Return the weights of all samples and of those whose likeliest class is answered; the first counts of two."""
        weights = np.sum(y, axis=1)
        right = np.argmax(logits, axis=1) == np.argmax(y, axis=1)
        return {"labels": float(np.sum(weights)), "right": float(np.sum(weights[right]))}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """Return the accuracy, the share of right answers by weight."""
        return {"accuracy": counts["right"] / counts["labels"]} if counts["labels"] else {}
