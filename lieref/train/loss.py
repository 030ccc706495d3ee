"""Losses of the network's outputs, each a mean over the batch with its derivative beside it.

A loss of probabilities takes logits; the model hands over the tensor before a final Softmax or Sigmoid. Values are
computed in float64 whatever the dtype of the logits; the cotangent has the dtype of the logits. A batch of which every
target is ignored has the loss 0 and a gradient of zeros.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_finite, check_float, check_int, check_real
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError

LARGEST_LOGIT = 1e300
"""Differences of logits up to this size do not overflow in float64."""

BLOCK = 2**20
"""Logits that are worked on in float64 at once: what is larger, as images of classes are, costs no memory in float64.
A batch of class scores is smaller, and its sums keep one order."""


class Loss(ABC):
    """A scalar function of outputs and targets.

    Attributes
    ----------
    name : str
        Key in `lieref.train.loss_registry.LOSSES`.
    classifies : bool
        Whether targets are class labels.
    takes_scores : bool
        Whether it makes probabilities of the logits itself, so that those of the network would be wrong.
    """

    name: ClassVar[str]
    classifies: ClassVar[bool]
    takes_scores: ClassVar[bool] = True

    @abstractmethod
    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return the targets in the form `value_and_grad` takes, or raise one clear error.

        Parameters
        ----------
        function : str
            Name of the caller, for the message.
        y : (N, ...) array
        shape : tuple of int
            Of what the network gives for one sample.

        Raises
        ------
        DTypeError, ShapeError, DomainError
            If the targets are of the wrong kind, shape or range.
        """

    @abstractmethod
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss of a batch and its cotangent.

        Parameters
        ----------
        logits : (N, C, ...) float32 or float64, finite
        y : (N, ...) array
            Labels or targets, as the loss wants them.

        Returns
        -------
        value : float
        logits_bar : (N, C, ...), dtype of the logits

        Raises
        ------
        DTypeError, ShapeError, DomainError
            If an argument is of the wrong kind, shape or range, or the loss is not finite.
        """

    def weight(self, y: Array) -> float:
        """Return what the sum of the loss over a batch was divided by, so that means of batches make one mean."""
        return float(len(y))

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array] | None:
        """Return the loss as the training engine evaluates it inside its compiled step, or None if it cannot.

        Parameters
        ----------
        y : (N, ...) array
            Targets, as in `value_and_grad`.
        shape : tuple of int
            Of what the network gives for one sample.

        Returns
        -------
        name : str
            "cross_entropy" is - sum_nc r_nc log softmax(z)_nc with the rows r that follow, the classes being the first
            axis of a sample, or the last of "cross_entropy_last"; "mean_squared_error" is the mean of (z - r)^2 over
            all entries, and "binary_cross_entropy" sum_nc |r_nc| log(1 + exp(-sign(r_nc) z_nc)).
        rows : (N, C) array
            C numbers for the outputs of one sample, in order.
        """
        return None

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings, plain JSON values."""


def log_softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Return the logarithm of the class probabilities, log p_c = z_c - log sum_k exp(z_k).

    Parameters
    ----------
    logits : (N, C) float32 or float64
        Finite, at most 1e300 in absolute value.

    Returns
    -------
    (N, C) float64, each at most 0
        The largest logit is subtracted first, so nothing overflows.
    """
    logits = logits.astype(np.float64)
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_p: NDArray[np.float64] = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return log_p


def check_logits(function: str, logits: Any, ndim: int | None = None) -> FloatArray:
    """Return logits as a finite, non-empty (N, C, ...) float array, of `ndim` axes where that is given.

    Raises
    ------
    DTypeError, ShapeError, DomainError
        If they are not float, have other axes, are empty, not finite or above `LARGEST_LOGIT`.
    """
    array = check_float(function, "logits", logits, ndim=ndim)
    if array.ndim < 2:
        raise ShapeError(f"{function}: `logits` must have 2 axes or more; got shape {array.shape}")
    if array.size == 0:
        raise DomainError(f"{function}: `logits` must hold at least one sample and one class; got shape {array.shape}")
    largest = float(np.max(np.abs(array)))
    if largest > LARGEST_LOGIT:
        raise DomainError(f"{function}: `logits` must be at most {LARGEST_LOGIT} in absolute value; got {largest}")
    return array


def check_labels(
    function: str, y: Any, classes: int, positions: tuple[int, ...] = (), ignore_index: int | None = None
) -> NDArray[np.int64]:
    """Return labels as (N, *positions) int64 inside 0 .. classes - 1, or `ignore_index`.

    Raises
    ------
    DTypeError
        If they are not integers.
    ShapeError
        If they have another shape.
    DomainError
        If one lies outside the classes.
    """
    labels = as_targets(function, y)
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"{function}: `y` must be integer class labels; got {labels.dtype} (y.astype(int) makes whole numbers so)"
        )
    if labels.ndim == 0 or labels.shape[1:] != positions:
        hint = " (y.argmax(axis=1) for one-hot rows)" if labels.shape[1:] == (classes, *positions) else ""
        raise ShapeError(f"{function}: `y` must have shape {batch_shape(positions)}; got {labels.shape}{hint}")
    outside = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        outside &= labels != ignore_index
    if outside.any():
        where = np.argwhere(outside)[0]
        place = int(where[0]) if len(where) == 1 else tuple(map(int, where))
        hint = " (labels count from 0)" if labels.min() == 1 and labels.max() == classes else ""
        also = "" if ignore_index is None else f", or {ignore_index} where it is ignored"
        got = labels[tuple(where)]
        raise DomainError(f"{function}: `y` must be 0 to {classes - 1}{also}; got {got} at index {place}{hint}")
    return labels.astype(np.int64, copy=False)


def batch_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of a batch in words: ``(N,)`` or ``(N, 4, 5)``."""
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N,)"


def as_targets(function: str, y: Any) -> Array:
    """Return targets as an array; raise `ShapeError` where they have several lengths."""
    try:
        return np.asarray(y)
    except ValueError as error:
        raise ShapeError(f"{function}: `y` must hold targets of one shape; got lists of several lengths") from error


def check_same_length(function: str, logits: FloatArray, y: Array) -> None:
    """Raise `ShapeError` unless there is one target a sample."""
    if len(y) != len(logits):
        raise ShapeError(f"{function}: `y` must have one entry for each of {len(logits)} samples; got {len(y)}")


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of class labels, with label smoothing, class weights and an ignored label as in PyTorch.

    L = - sum_nc t_nc log p_nc / sum_n w(y_n),  t_nc = w_c ((1 - s) [c = y_n] + s / C)

    The classes are the second axis of the logits; n counts the samples and all positions behind it, without those whose
    label is ignored. Logits are (N, C, ...), float32 or float64, labels (N, ...) integers from 0 to C - 1; the value is
    in nats. For `Model.loss_and_grad`; `fit` takes it as the task ``"classes"``.

    Attributes
    ----------
    label_smoothing : float
        s, 0 to 1.
    class_weights : tuple of C floats, each above 0, or None
        w; None is all ones.
    ignore_index : int or None
        Label of positions that are left out.

    Raises
    ------
    DomainError
        If a setting is out of range.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None

    name: ClassVar[str] = "cross_entropy"
    classifies: ClassVar[bool] = True
    class_axis: ClassVar[int] = 1

    def __post_init__(self) -> None:
        smoothing = check_real("CrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        object.__setattr__(self, "label_smoothing", smoothing)
        if self.class_weights is not None:
            weights = tuple(check_real("CrossEntropy", "class_weights", w, above=0.0) for w in self.class_weights)
            object.__setattr__(self, "class_weights", weights)
        if self.ignore_index is not None:
            check_int("CrossEntropy", "ignore_index", self.ignore_index)

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return the labels as (N, ...) int64; see `Loss.check_targets`."""
        classes, positions = self._split(shape)
        if classes < 2:
            raise DomainError(
                f"{function}: the network must give a score to each of 2 classes or more; got {classes} (its answer is "
                "one number: the task may be numbers, or multilabel for yes and no)"
            )
        self._weights(function, classes)
        labels = check_labels(function, y, classes, positions, self.ignore_index)
        check_not_all_ignored(function, labels, self.ignore_index)
        return labels

    # Derivation.  Let T_n = sum_c t_nc and S = sum_n w(y_n), both free of z, and log p_nc = z_nc - log sum_k exp(z_nk).
    #   L  = - (1/S) sum_nc t_nc log p_nc
    #   dL = - (1/S) sum_nc t_nc (dz_nc - sum_k p_nk dz_nk) = (1/S) sum_nc (T_n p_nc - t_nc) dz_nc
    # Hence z_bar = (T_n p - t) / S, and the code works with the rows t / S, zero where a label is ignored.  Without
    # smoothing and weights this is (p - onehot(y)) / N.  Derived here.
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits("CrossEntropy", logits)
        classes, positions = self._split(logits.shape[1:])
        labels = check_labels("CrossEntropy", y, classes, positions, self.ignore_index)
        check_same_length("CrossEntropy", logits, labels)
        last = np.moveaxis(logits, self.class_axis, -1)
        scores, flat, whole = last.reshape(-1, classes), labels.ravel(), self.weight(labels)
        bars = np.empty(scores.shape, logits.dtype)
        value, step = 0.0, max(1, BLOCK // classes)
        for start in range(0, len(scores), step):
            block = slice(start, start + step)
            rows = self._rows(flat[block], classes, whole)
            log_p = log_softmax(scores[block])
            value -= float(np.sum(rows * log_p))
            bars[block] = np.sum(rows, axis=1, keepdims=True) * np.exp(log_p) - rows
        return value, np.ascontiguousarray(np.moveaxis(bars.reshape(last.shape), -1, self.class_axis))

    def weight(self, y: Array) -> float:
        """Return S, the sum of the weights of the labels that count."""
        kept = y if self.ignore_index is None else y[y != self.ignore_index]
        return float(kept.size if self.class_weights is None else np.sum(np.array(self.class_weights)[kept]))

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array] | None:
        """Return the rows t_nc / S, the weights of -log p_nc; see `Loss.compiled_form`."""
        classes, positions = self._split(shape)
        labels = check_labels("CrossEntropy", y, classes, positions, self.ignore_index)
        rows = self._rows(labels.ravel(), classes, self.weight(labels))
        if self.class_axis == -1:
            return "cross_entropy_last", rows.reshape(len(labels), -1)
        apart = rows.reshape(len(labels), -1, classes)
        return "cross_entropy", np.ascontiguousarray(apart.swapaxes(1, 2)).reshape(len(labels), -1)

    def _split(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Return the number of classes and the positions in the shape of one sample."""
        axis = self.class_axis - 1 if self.class_axis > 0 else len(shape) + self.class_axis
        return shape[axis], shape[:axis] + shape[axis + 1 :]

    def _rows(self, labels: NDArray[np.int64], classes: int, whole: float) -> NDArray[np.float64]:
        """Return t_nc / S, (M, C), for M labels."""
        weights, share = self._weights("CrossEntropy", classes), self.label_smoothing / classes
        others, own = (each * weights / (whole or 1.0) for each in (share, share + (1.0 - self.label_smoothing)))
        # Of many classes this is large: zeros that are never written take no memory.
        rows = np.tile(others, (len(labels), 1)) if share else np.zeros((len(labels), classes))
        left = np.zeros(len(labels), bool) if self.ignore_index is None else labels == self.ignore_index
        labels = np.where(left, 0, labels)
        rows[np.arange(len(labels)), labels] = own[labels]
        rows[left] = 0.0
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        weights = None if self.class_weights is None else list(self.class_weights)
        settings = {"label_smoothing": self.label_smoothing, "class_weights": weights}
        return {"name": self.name, **settings, "ignore_index": self.ignore_index}

    def _weights(self, function: str, classes: int) -> NDArray[np.float64]:
        """Return the (C,) class weights."""
        if self.class_weights is None:
            return np.ones(classes)
        if len(self.class_weights) != classes:
            raise ShapeError(
                f"{function}: `class_weights` must have one entry for each of {classes} classes; "
                f"got {len(self.class_weights)}"
            )
        return np.array(self.class_weights)


def check_not_all_ignored(function: str, targets: Array, ignore_index: int | None) -> None:
    """Raise `DomainError` if there is nothing to learn from."""
    if ignore_index is not None and targets.size and bool(np.all(targets == ignore_index)):
        raise DomainError(f"{function}: `y` must hold a target that is not ignored; all are {ignore_index}")


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean over all entries of the squared difference, L = sum_nc (z_nc - y_nc)^2 / (N C).

    Outputs z and targets y are (N, ...) of one shape, finite; axes of one entry may be left out of y. For
    `Model.loss_and_grad`; `fit` takes it as the task ``"numbers"``.
    """

    name: ClassVar[str] = "mean_squared_error"
    classifies: ClassVar[bool] = False
    takes_scores: ClassVar[bool] = False

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return the targets as (N, *shape); axes of one entry may be left out; see `Loss.check_targets`."""
        targets = as_targets(function, y)
        if targets.dtype.kind not in "iuf":
            raise DTypeError(f"{function}: `y` must be numbers; got {targets.dtype}")
        if targets.ndim == 0 or [n for n in targets.shape[1:] if n != 1] != [n for n in shape if n != 1]:
            raise ShapeError(f"{function}: `y` must have shape {batch_shape(shape)}; got {np.shape(y)}")
        check_finite(function, "y", targets)
        return targets.reshape(len(targets), *shape)

    # Derivation.  dL = (2 / (N C)) sum_nc (z_nc - y_nc) dz_nc, hence z_bar = 2 (z - y) / (N C).
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits("MeanSquaredError", logits)
        targets = self.check_targets("MeanSquaredError", y, logits.shape[1:])
        check_same_length("MeanSquaredError", logits, targets)
        with np.errstate(over="ignore"):
            difference = logits.astype(np.float64) - targets
            value = float(np.sum(np.square(difference)) / difference.size)
        if not np.isfinite(value):
            raise DomainError(f"MeanSquaredError: `logits` must give a finite loss; got {value}")
        return value, (2.0 / difference.size * difference).astype(logits.dtype)

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array]:
        """Return the targets in rows; see `Loss.compiled_form`."""
        targets = self.check_targets("MeanSquaredError", y, shape)
        return self.name, targets.reshape(len(targets), -1)

    def to_dict(self) -> dict[str, Any]:
        """Return the name."""
        return {"name": self.name}
