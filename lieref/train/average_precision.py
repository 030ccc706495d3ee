"""Average precision: how well the scores of one output put its yes before its no, over all thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array, FloatArray

BYTES_OF_AN_ANSWER = 5
"""Of a score in float32 and the answer, in `RankedAnswers`."""


# AP = sum_k (R_k - R_k-1) P_k over the distinct scores from the highest down, R_k and P_k recall and precision of
# saying yes to all that have at least the k-th: samples of equal scores come in together, so that their order does not
# matter. No interpolation. It is what scikit-learn's average_precision_score computes.
def average_precision(scores: FloatArray, yes: Array) -> float | None:
    """Return the average precision of (N,) scores for (N,) answers; None where none is yes."""
    positives = int(np.count_nonzero(yes))
    if not positives:
        return None
    order = np.argsort(-scores)
    ranked, found = scores[order], np.cumsum(yes[order], dtype=np.int64)
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of each distinct score
    right = found[last]
    return float(np.sum(np.diff(right, prepend=0) / positives * (right / (last + 1))))


@dataclass(frozen=True)
class RankedAnswers:
    """Scores and answers of samples, kept: a rank among all cannot be counted batch by batch. Sums are joined.

    Attributes
    ----------
    scores : tuple of (N, K) arrays of floats
    answers : tuple of (N, K) arrays of int8
        1 for yes, 0 for no, -1 for what nobody knows.
    """

    scores: tuple[FloatArray, ...]
    answers: tuple[Array, ...]

    def __add__(self, other: RankedAnswers) -> RankedAnswers:
        return RankedAnswers(self.scores + other.scores, self.answers + other.answers)

    def mean_average_precision(self) -> float | None:
        """Return the mean over the outputs that have a yes; None where none has."""
        scores, answers = np.concatenate(self.scores), np.concatenate(self.answers)
        known = answers >= 0
        each = [
            average_precision(scores[known[:, k], k], answers[known[:, k], k] == 1) for k in range(answers.shape[1])
        ]
        having = [value for value in each if value is not None]
        return float(np.mean(having)) if having else None
