"""Answers counted by class: how many samples each has, how many are right, and what was taken for what."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFUSION_CLASSES = 32
"""Of more classes the confusion is left out: a matrix of more numbers tells a reader nothing."""

MOST_CLASSES = 1000
"""Of more, classes are not counted one by one."""


def class_counts(answers: NDArray[Any], labels: NDArray[Any], classes: int) -> dict[str, Any] | None:
    """Return answers counted by class, plain JSON values; None of more than `MOST_CLASSES`.

    Parameters
    ----------
    answers, labels : (N,) integers
        0 to `classes` - 1.
    classes : int

    Returns
    -------
    dict or None
        ``samples`` and ``right``, a number a class; ``confusion``, a row a true class, a column an answer, or None of
        more than `CONFUSION_CLASSES`.
    """
    if classes > MOST_CLASSES:
        return None
    right = np.bincount(labels[answers == labels], minlength=classes)
    confusion = None
    if classes <= CONFUSION_CLASSES:
        pairs = labels.astype(np.int64) * classes + answers
        confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).tolist()
    samples = np.bincount(labels, minlength=classes).tolist()
    return {"samples": samples, "right": right.tolist(), "confusion": confusion}
