"""Losses of the network's outputs, each a mean over the batch with its derivative beside it.

A classification loss takes logits, never probabilities; the model hands over the tensor before a final Softmax.
Values are computed in float64 whatever the dtype of the logits; the cotangent has the dtype of the logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_choice, check_finite, check_float, check_real
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError

LARGEST_LOGIT = 1e300
"""Differences of logits up to this size do not overflow in float64."""


class Loss(ABC):
    """A scalar function of outputs and targets.

    Attributes
    ----------
    name : str
        Key in `LOSSES`.
    classifies : bool
        Whether targets are class labels, so that an accuracy exists.
    """

    name: ClassVar[str]
    classifies: ClassVar[bool]

    @abstractmethod
    def check_targets(self, function: str, y: Array, outputs: int) -> Array:
        """Return the targets in the form `value_and_grad` takes, or raise one clear error.

        Parameters
        ----------
        function : str
            Name of the caller, for the message.
        y : (N, ...) array
        outputs : int
            Number of values the network gives for one sample.

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
        logits : (N, C) float32 or float64, finite
        y : (N,) labels or (N, C) targets

        Returns
        -------
        value : float
        logits_bar : (N, C), dtype of the logits

        Raises
        ------
        DTypeError, ShapeError, DomainError
            If an argument is of the wrong kind, shape or range, or the loss is not finite.
        """

    def compiled_form(self, y: Array, outputs: int) -> tuple[str, Array] | None:
        """Return the loss as the training engine evaluates it inside its compiled step, or None if it cannot.

        Parameters
        ----------
        y : (N, ...) array
            Targets, as in `value_and_grad`.
        outputs : int
            Number of values the network gives for one sample.

        Returns
        -------
        kind : "cross_entropy" or "mse"
            - sum_nc r_nc log softmax(z)_nc with the rows r that follow, or the mean of (z - r)^2 over all entries.
        rows : (N, C) array
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


def check_logits(function: str, logits: Any) -> FloatArray:
    """Return logits as a finite, non-empty (N, C) float array.

    Raises
    ------
    DTypeError, ShapeError, DomainError
        If they are not float, not two axes, empty, not finite or above `LARGEST_LOGIT`.
    """
    array = check_float(function, "logits", logits, ndim=2)
    if array.size == 0:
        raise DomainError(f"{function}: `logits` must hold at least one sample and one class; got shape {array.shape}")
    largest = float(np.max(np.abs(array)))
    if largest > LARGEST_LOGIT:
        raise DomainError(f"{function}: `logits` must be at most {LARGEST_LOGIT} in absolute value; got {largest}")
    return array


def check_labels(function: str, y: Any, classes: int) -> NDArray[np.int64]:
    """Return labels as (N,) int64 inside 0 .. classes - 1.

    Raises
    ------
    DTypeError
        If they are not integers.
    ShapeError
        If they have more than one axis.
    DomainError
        If one lies outside the classes.
    """
    labels = as_targets(function, y)
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"{function}: `y` must be integer class labels; got {labels.dtype} (y.astype(int) makes whole numbers so)"
        )
    if labels.ndim != 1:
        hint = " (y.argmax(axis=1) for one-hot rows)" if labels.ndim == 2 and labels.shape[1] == classes else ""
        raise ShapeError(f"{function}: `y` must have shape (N,); got {labels.shape}{hint}")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        where = int(np.argmax(outside))
        hint = " (labels count from 0)" if labels.min() == 1 and labels.max() == classes else ""
        raise DomainError(f"{function}: `y` must be 0 to {classes - 1}; got {labels[where]} at index {where}{hint}")
    return labels.astype(np.int64, copy=False)


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
    """Cross-entropy of class labels, with label smoothing and class weights as in PyTorch.

    L = - sum_nc t_nc log p_nc / sum_n w(y_n),  t_nc = w_c ((1 - s) [c = y_n] + s / C)

    Attributes
    ----------
    label_smoothing : float
        s, 0 to 1.
    class_weights : tuple of C floats, each above 0, or None
        w; None is all ones.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    name: ClassVar[str] = "cross_entropy"
    classifies: ClassVar[bool] = True

    def __post_init__(self) -> None:
        smoothing = check_real("CrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        object.__setattr__(self, "label_smoothing", smoothing)
        if self.class_weights is not None:
            weights = tuple(check_real("CrossEntropy", "class_weights", w, above=0.0) for w in self.class_weights)
            object.__setattr__(self, "class_weights", weights)

    def check_targets(self, function: str, y: Array, outputs: int) -> Array:
        """Return the labels as int64; see `Loss.check_targets`."""
        self._weights(function, outputs)
        return check_labels(function, y, outputs)

    # Derivation.  Let T_n = sum_c t_nc and S = sum_n w(y_n), both free of z, and log p_nc = z_nc - log sum_k exp(z_nk).
    #   L  = - (1/S) sum_nc t_nc log p_nc
    #   dL = - (1/S) sum_nc t_nc (dz_nc - sum_k p_nk dz_nk) = (1/S) sum_nc (T_n p_nc - t_nc) dz_nc
    # Hence z_bar = (T_n p - t) / S, and the code works with the rows t / S.  Without smoothing and weights this is
    # (p - onehot(y)) / N.  Derived here.
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits("CrossEntropy", logits)
        classes = logits.shape[1]
        labels = check_labels("CrossEntropy", y, classes)
        check_same_length("CrossEntropy", logits, labels)
        rows = self._rows(labels, classes)
        log_p = log_softmax(logits)
        value = -np.sum(rows * log_p)
        logits_bar = np.sum(rows, axis=1, keepdims=True) * np.exp(log_p) - rows
        return float(value), logits_bar.astype(logits.dtype)

    def compiled_form(self, y: Array, outputs: int) -> tuple[str, Array]:
        """Return the rows t_nc / S, the weights of -log p_nc; see `Loss.compiled_form`."""
        return "cross_entropy", self._rows(check_labels("CrossEntropy", y, outputs), outputs)

    def _rows(self, labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
        """Return t_nc / S, (N, C)."""
        rows = np.full((len(labels), classes), self.label_smoothing / classes)
        rows[np.arange(len(labels)), labels] += 1.0 - self.label_smoothing
        if self.class_weights is None:
            return rows / len(labels)
        weights = self._weights("CrossEntropy", classes)
        return rows * weights / np.sum(weights[labels])

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        weights = None if self.class_weights is None else list(self.class_weights)
        return {"name": self.name, "label_smoothing": self.label_smoothing, "class_weights": weights}

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


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean over all entries of the squared difference, L = sum_nc (z_nc - y_nc)^2 / (N C)."""

    name: ClassVar[str] = "mean_squared_error"
    classifies: ClassVar[bool] = False

    def check_targets(self, function: str, y: Array, outputs: int) -> Array:
        """Return the targets as (N, C); (N,) is taken as (N, 1); see `Loss.check_targets`."""
        targets = as_targets(function, y)
        if targets.dtype.kind not in "iuf":
            raise DTypeError(f"{function}: `y` must be numbers; got {targets.dtype}")
        if targets.ndim == 1:
            targets = targets[:, np.newaxis]
        if targets.ndim != 2 or targets.shape[1] != outputs:
            raise ShapeError(f"{function}: `y` must have shape (N, {outputs}); got {np.shape(y)}")
        check_finite(function, "y", targets)
        return targets

    # Derivation.  dL = (2 / (N C)) sum_nc (z_nc - y_nc) dz_nc, hence z_bar = 2 (z - y) / (N C).
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`."""
        logits = check_logits("MeanSquaredError", logits)
        targets = self.check_targets("MeanSquaredError", y, logits.shape[1])
        check_same_length("MeanSquaredError", logits, targets)
        with np.errstate(over="ignore"):
            difference = logits.astype(np.float64) - targets
            value = float(np.sum(np.square(difference)) / difference.size)
        if not np.isfinite(value):
            raise DomainError(f"MeanSquaredError: `logits` must give a finite loss; got {value}")
        return value, (2.0 / difference.size * difference).astype(logits.dtype)

    def compiled_form(self, y: Array, outputs: int) -> tuple[str, Array]:
        """Return the targets; see `Loss.compiled_form`."""
        return "mse", self.check_targets("MeanSquaredError", y, outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the name."""
        return {"name": self.name}


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (CrossEntropy, MeanSquaredError)}


def make_loss(loss: str | Loss, label_smoothing: float = 0.0) -> Loss:
    """Return a loss from its name, or the loss itself.

    Parameters
    ----------
    loss : str or Loss
        Key of `LOSSES`, or an instance that carries its own settings.
    label_smoothing : float
        0 to 1; only for cross-entropy given by name.

    Raises
    ------
    DomainError
        If the name is unknown, or smoothing is asked for where it has no meaning.
    """
    if loss == CrossEntropy.name:
        return CrossEntropy(label_smoothing)
    if label_smoothing != 0.0:
        raise DomainError(f"fit: `label_smoothing` must be 0 unless the loss is 'cross_entropy'; got {label_smoothing}")
    if isinstance(loss, Loss):
        return loss
    return LOSSES[check_choice("fit", "loss", loss, tuple(LOSSES))]()
