"""Binary cross-entropy: every output is a question of its own, answered by yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, check_real
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.loss import (
    Loss,
    as_targets,
    batch_shape,
    check_logits,
    check_not_all_ignored,
    check_same_length,
)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of logits, with weights of the positive answers as in PyTorch.

    L = (1 / M) sum_nc w_c [ p_c y_nc log(1 + exp(-z_nc)) + (1 - y_nc) log(1 + exp(z_nc)) ]

    over the M entries whose answer is not ignored.

    Attributes
    ----------
    positive_weights : tuple of C floats, each above 0, or None
        p, such as the number of negative answers over that of positive ones; None is all ones.
    class_weights : tuple of C floats, each above 0, or None
        w, how much an output counts; None is all ones. As in PyTorch the mean stays one over M.
    ignore_index : int or None
        Value of answers that nobody knows.
    """

    positive_weights: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    name: ClassVar[str] = "binary_cross_entropy"
    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("positive_weights", "class_weights"):
            if getattr(self, name) is not None:
                weights = tuple(check_real(_NAME, name, w, above=0.0) for w in getattr(self, name))
                object.__setattr__(self, name, weights)
        if self.ignore_index is not None and check_int(_NAME, "ignore_index", self.ignore_index) in (0, 1):
            raise DomainError(f"{_NAME}: `ignore_index` must be neither 0 nor 1; got {self.ignore_index}")

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the answers as (N, C) int64; booleans and floats that are 0 or 1 too; see `Loss.check_targets`."""
        answers = self._checked(function, y, shape)
        check_not_all_ignored(function, answers, self.ignore_index)
        return answers

    # Derivation.  With s(z) = 1 / (1 + exp(-z)), d/dz log(1 + exp(z)) = s(z) and d/dz log(1 + exp(-z)) = -s(-z), so
    #   dL = (1/M) sum_nc w_c [ (1 - y_nc) s(z_nc) - p_c y_nc s(-z_nc) ] dz_nc,
    # hence z_bar = w ((1 - y) s(z) - p y s(-z)) / M.  Derived here.
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits(_NAME, logits)
        answers = self._checked(_NAME, y, logits.shape[1:])
        check_same_length(_NAME, logits, answers)
        z, whole = logits.astype(np.float64), max(self.weight(answers), 1.0)
        yes, no = self._weights(answers)
        value = float(np.sum(yes * np.logaddexp(0.0, -z) + no * np.logaddexp(0.0, z)) / whole)
        return value, ((no * _sigmoid(z) - yes * _sigmoid(-z)) / whole).astype(logits.dtype)

    def weight(self, y: Array) -> float:
        """Return M, the number of answers that count."""
        return float(y.size if self.ignore_index is None else np.count_nonzero(y != self.ignore_index))

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array]:
        """Return the signed weights: w p / M for yes, -w / M for no, 0 where ignored; see `Loss.compiled_form`."""
        answers = self._checked(_NAME, y, shape)
        yes, no = self._weights(answers)
        rows = yes - no
        return self.name, (rows / max(self.weight(answers), 1.0)).reshape(len(answers), -1)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        lists = {"positive_weights": self.positive_weights, "class_weights": self.class_weights}
        weights = {name: None if each is None else list(each) for name, each in lists.items()}
        return {"name": self.name, **weights, "ignore_index": self.ignore_index}

    def _weights(self, answers: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return w p where the answer is yes, and w where it is no, 0 elsewhere."""
        p, w = (1.0 if each is None else np.array(each) for each in (self.positive_weights, self.class_weights))
        return (answers == 1) * (p * w), (answers == 0) * (w * 1.0)

    def _checked(self, function: str, y: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
        answers = as_targets(function, y)
        if answers.dtype.kind not in "iubf":
            raise DTypeError(f"{function}: `y` must be 0 or 1; got {answers.dtype}")
        if answers.ndim == 0 or answers.shape[1:] != shape:
            raise ShapeError(f"{function}: `y` must have shape {batch_shape(shape)}; got {answers.shape}")
        for name in ("positive_weights", "class_weights"):
            weights = getattr(self, name)
            if weights is not None and len(weights) != shape[-1]:
                raise ShapeError(
                    f"{function}: `{name}` must have one entry for each of {shape[-1]} outputs; got {len(weights)}"
                )
        other = (answers != 0) & (answers != 1)
        if self.ignore_index is not None:
            other &= answers != self.ignore_index
        if other.any():
            where = tuple(map(int, np.argwhere(other)[0]))
            also = "" if self.ignore_index is None else f", or {self.ignore_index} where it is ignored"
            raise DomainError(f"{function}: `y` must be 0 or 1{also}; got {answers[where]} at index {where}")
        return answers.astype(np.int64)


_NAME = "BinaryCrossEntropy"


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-z)) without an overflow; relatively exact where it is small."""
    e = np.exp(-np.abs(z))
    result: NDArray[np.float64] = np.where(z >= 0, 1.0, e) / (1.0 + e)
    return result
