"""How good a classifier is: accuracy, confusion matrix, negative log-likelihood, calibration, and each class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int
from lieref._table import html_table
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, LierefWarning
from lieref.model.samples import Samples, arranged, own_layout
from lieref.train.data import Dataset
from lieref.train.loss import check_labels, check_logits, check_same_length, log_softmax

CALIBRATION_BINS = 15
"""The number of bins the literature on calibration reports [Guo17]."""


class Classifier(Protocol):
    """A model with logits."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, the batch first; None where an axis is free."""

    def logits(self, x: Array, *, layout: str | None = None) -> FloatArray:
        """Return the (N, C) outputs before a final Softmax."""


@dataclass(frozen=True)
class Evaluation:
    """What a classifier does on a set: what `evaluate_model` returns. A notebook shows it as a table.

    Attributes
    ----------
    samples : int
    accuracy : float
        Share of right answers, 0 to 1.
    standard_error : float
        Of the accuracy, from the binomial distribution.
    nll : float
        Mean negative log-likelihood in nats.
    calibration_error : float
        Expected calibration error, 0 to 1.
    class_accuracy : tuple of float or None
        Share of right answers in each class; None for a class without samples.
    confusion : tuple of tuples of int
        Row: true class; column: predicted class.

    References
    ----------
    [Guo17] eq. 3 for the calibration error, over 15 bins.
    """

    samples: int
    accuracy: float
    standard_error: float
    nll: float
    calibration_error: float
    class_accuracy: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    def _repr_html_(self) -> str:
        """Return the numbers of the whole set, and of each class, for a notebook."""
        rows = [("class", "samples", "right", "taken for it")]
        for number, (right, row) in enumerate(zip(self.class_accuracy, self.confusion, strict=True)):
            share = "-" if right is None else f"{100 * right:.2f} %"
            rows.append((str(number), f"{sum(row):,}", share, f"{sum(each[number] for each in self.confusion):,}"))
        return html_table(rows, title=str(self))

    def __str__(self) -> str:
        """Return the numbers of the whole set in one line."""
        return (
            f"{self.samples:,} samples: accuracy {100 * self.accuracy:.2f} % ({100 * self.standard_error:.2f} standard "
            f"error), nll {self.nll:.4g} nats, calibration error {100 * self.calibration_error:.2f} %"
        )


def evaluate_model(
    model: Classifier, x: Samples | Dataset, y: Array | None = None, *, layout: str | None = None, batch_size: int = 256
) -> Evaluation:
    """Return how good a classifier is on labelled samples: accuracy, likelihood, calibration, each class.

    Parameters
    ----------
    model : Model
        With (N, C) scores.
    x : (N, ...) array of integers or floats, or dict of them, or a `Dataset` alone
        In the model's layout, or with the channels at the other end; by the names of `model.inputs` where those are
        several.
    y : (N,) integers
        Labels from 0 to C - 1.
    layout : {"NCHW", "NHWC"}, optional
        Of `x`; needed only where both fit the model.
    batch_size : int
        At least 1.

    Returns
    -------
    Evaluation

    Raises
    ------
    DTypeError, ShapeError, DomainError
        If the data are of the wrong kind, do not fit the model, are empty or not finite, or a label is outside the
        classes.
    """
    check_int("evaluate_model", "batch_size", batch_size, low=1)
    if isinstance(x, Dataset):
        if y is not None:
            raise DomainError("evaluate_model: `y` must be left out with a Dataset, which has labels of its own")
        data = x
        x, y, layout = data.x, data.y, layout or data.layout
    if y is None:
        raise DomainError("evaluate_model: `y` must be given; got none")
    samples = arranged("evaluate_model", model, x, layout)
    own = own_layout(model.input_shape)
    labels = check_labels("evaluate_model", y, model.logits(samples[:1], layout=own).shape[-1])
    check_same_length("evaluate_model", samples, labels)
    starts = range(0, len(samples), batch_size)
    parts = [model.logits(samples[start : start + batch_size], layout=own) for start in starts]
    outputs = np.concatenate(parts)
    node = getattr(model, "probability_node", None)
    if node is not None:
        warnings.warn(
            f"evaluate_model: node {node} makes probabilities of the scores; nll and calibration_error are computed of "
            "their logarithms",
            LierefWarning,
            stacklevel=2,
        )
        outputs = np.log(np.maximum(outputs, np.finfo(outputs.dtype).tiny))
    return evaluate_logits(outputs, labels)


def evaluate_logits(logits: FloatArray, y: Array) -> Evaluation:
    """Return all metrics of (N, C) logits and (N,) labels."""
    logits, labels = _checked("evaluate_logits", logits, y)
    matrix = confusion_matrix(logits, labels)
    totals = matrix.sum(axis=1)
    right = accuracy(logits, labels)
    return Evaluation(
        samples=len(labels),
        accuracy=right,
        standard_error=float(np.sqrt(right * (1.0 - right) / len(labels))),
        nll=negative_log_likelihood(logits, labels),
        calibration_error=expected_calibration_error(logits, labels),
        class_accuracy=tuple(float(matrix[c, c] / total) if total else None for c, total in enumerate(totals.tolist())),
        confusion=tuple(tuple(row) for row in matrix.tolist()),
    )


def accuracy(logits: FloatArray, y: Array) -> float:
    """Return the share of samples whose largest logit is at the label; of equal logits the first counts.

    Parameters
    ----------
    logits : (N, C) float32 or float64
    y : (N,) integer labels

    Raises
    ------
    DTypeError, ShapeError, DomainError
        As in `evaluate_model`.
    """
    logits, labels = _checked("accuracy", logits, y)
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def confusion_matrix(logits: FloatArray, y: Array) -> NDArray[np.int64]:
    """Return how often each class (row) was taken for each class (column).

    Returns
    -------
    (C, C) int64
    """
    logits, labels = _checked("confusion_matrix", logits, y)
    classes = logits.shape[1]
    pairs = labels * classes + np.argmax(logits, axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def negative_log_likelihood(logits: FloatArray, y: Array) -> float:
    """Return the mean of -log p(label), in nats."""
    logits, labels = _checked("negative_log_likelihood", logits, y)
    return float(-np.mean(log_softmax(logits)[np.arange(len(labels)), labels]))


def expected_calibration_error(logits: FloatArray, y: Array, *, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width.

    ECE = sum_b (n_b / N) |accuracy_b - confidence_b|, where bin b holds the samples whose largest probability lies in
    ((b - 1) / B, b / B].

    Parameters
    ----------
    logits : (N, C) float32 or float64
    y : (N,) integer labels
    bins : int
        B, at least 1.

    Returns
    -------
    float
        0 to 1.

    References
    ----------
    [Guo17] eq. 3.
    """
    check_int("expected_calibration_error", "bins", bins, low=1)
    logits, labels = _checked("expected_calibration_error", logits, y)
    confidence = np.exp(np.max(log_softmax(logits), axis=1))
    right = np.argmax(logits, axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # The counts cancel: (n_b / N) |sum_right / n_b - sum_confidence / n_b|.
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.sum(np.abs(gaps)) / len(labels))


def _checked(function: str, logits: Any, y: Any) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return logits and labels, checked."""
    array = check_logits(function, logits)
    labels = check_labels(function, y, array.shape[1])
    check_same_length(function, array, labels)
    return array, labels
