"""Connectionist temporal classification: sequences without an alignment, such as the letters in a line of text.

A network gives K scores in each of T frames. Frames become a sequence by B: neighbours that are equal are one, then
blanks go. The loss is -log of the probability of all paths that become the target, found by a forward and a backward
pass over the target with blanks between its labels, in log space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.loss import Loss, as_targets, check_logits, check_same_length, log_softmax

PADDING = -1
"""What fills up the targets of a batch behind their ends: no label."""


@dataclass(frozen=True)
class ConnectionistTemporalClassification(Loss):
    """Mean over the samples of -log p(target | frames).

    Attributes
    ----------
    blank : int
        Class that stands for no label, from 0.
    """

    blank: int = 0

    name: ClassVar[str] = "ctc"
    classifies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_int(_NAME, "blank", self.blank, low=0)

    def check_targets(self, function: str, y: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the targets as (N, S) int64, padded with -1; lists of several lengths are filled up.

        Raises
        ------
        DomainError
            If a label is the blank or no class, padding stands before the end, or a target needs more than T frames:
            one for each label, and one between two that are equal.
        """
        if len(shape) != 2:
            raise ShapeError(f"{function}: the network must give (N, T, K), K scores in T frames; got {('N', *shape)}")
        frames, classes = shape
        if self.blank >= classes:
            raise DomainError(f"{function}: `blank` must be 0 to {classes - 1}; got {self.blank}")
        labels = as_targets(function, _filled(y))
        if labels.dtype.kind not in "iu":
            raise DTypeError(f"{function}: `y` must be integer labels; got {labels.dtype}")
        if labels.ndim != 2 or labels.shape[1] == 0:
            raise ShapeError(f"{function}: `y` must have shape (N, S), padded with {PADDING}; got {labels.shape}")
        labels = labels.astype(np.int64)
        wrong = (labels < PADDING) | (labels >= classes) | (labels == self.blank)
        wrong[:, 1:] |= (labels[:, 1:] != PADDING) & (labels[:, :-1] == PADDING)
        if wrong.any():
            where = tuple(map(int, np.argwhere(wrong)[0]))
            raise DomainError(
                f"{function}: `y` must be 0 to {classes - 1} but for the blank, {self.blank}, and {PADDING} behind the "
                f"end; got {labels[where]} at index {where}"
            )
        if (labels == PADDING).all():
            raise DomainError(f"{function}: `y` must hold a label; all targets are empty")
        needed = np.sum(labels != PADDING, axis=1)
        needed += np.sum((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != PADDING), axis=1)
        if needed.max() > frames:
            worst = int(np.argmax(needed))
            raise DomainError(
                f"{function}: `y` must fit into the {frames} frames that the network gives; the target at "
                f"index {worst} needs {needed[worst]}"
            )
        return labels

    # Derivation, after [Graves06].  With log-probabilities log p_tk, the target l of length U, and l', which is l with
    # blanks around and between its labels, of length 2 U + 1,
    #   alpha_t(s) = p_t(l'_s) (alpha_{t-1}(s) + alpha_{t-1}(s-1) [+ alpha_{t-1}(s-2)])             eqs. 6 and 7
    #   beta_t(s)  = p_{t+1}(l'_s) beta_{t+1}(s) + p_{t+1}(l'_{s+1}) beta_{t+1}(s+1) [+ ...(s+2)]   eqs. 10 and 11
    # where the third term is there unless l'_s is a blank or l'_{s-2} = l'_s.  Here beta leaves out the p_t(l'_s) of
    # eq. 10, so that sum_s alpha_t(s) beta_t(s) = p(l) in every frame: eq. 14 without its division.  A path that
    # passes s in frame t has a factor p_t(l'_s), so d p(l) / d log p_tk = sum_{s: l'_s = k} alpha_t(s) beta_t(s), and
    #   d(-log p(l)) / d log p_tk = - sum_{s: l'_s = k} gamma_t(s),   gamma_t(s) = alpha_t(s) beta_t(s) / p(l)   eq. 15
    # Through the softmax, with sum_s gamma_t(s) = 1:  z_bar_tk = p_tk - sum_{s: l'_s = k} gamma_t(s)           eq. 16
    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its cotangent; see `Loss.value_and_grad`.

        Parameters
        ----------
        logits : (N, T, K) float32 or float64, finite
        y : (N, S) int64
            What `check_targets` returned.
        """
        logits = check_logits(_NAME, logits, ndim=3)
        labels = self.check_targets(_NAME, y, logits.shape[1:])
        check_same_length(_NAME, logits, labels)
        count, frames, classes = logits.shape
        log_p = log_softmax(logits.reshape(-1, classes)).reshape(logits.shape)
        extended, skips, ends = self._extended(labels)
        each = np.take_along_axis(log_p, np.broadcast_to(extended[:, None], (count, frames, extended.shape[1])), axis=2)
        log_alpha, log_beta = _forward(each, skips), _backward(each, skips, ends)
        joint = log_alpha + log_beta
        total = np.logaddexp.reduce(joint, axis=2)  # log p(l) in every frame; equal but for rounding
        if not np.isfinite(total).all():
            raise DomainError(f"{_NAME}: `logits` must give a finite loss; they are too far apart")
        gamma = np.exp(joint - total[:, :, None])
        bars = np.exp(log_p)
        samples, times = np.arange(count)[:, None, None], np.arange(frames)[None, :, None]
        np.subtract.at(bars, (samples, times, extended[:, None, :]), gamma)
        return float(-np.sum(total[:, -1]) / count), (bars / count).astype(logits.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        return {"name": self.name, "blank": self.blank}

    def _extended(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return l' (N, 2 S + 1), where a path may come from two before, and where it may end: at the last two."""
        extended = np.full((len(labels), 2 * labels.shape[1] + 1), self.blank)
        extended[:, 1::2] = np.where(labels == PADDING, self.blank, labels)
        skips = np.zeros(extended.shape, bool)
        skips[:, 2:] = (extended[:, 2:] != self.blank) & (extended[:, 2:] != extended[:, :-2])
        last = 2 * np.sum(labels != PADDING, axis=1)
        places = np.arange(extended.shape[1])
        ends = (places == last[:, None]) | (places == last[:, None] - 1)
        return extended, skips, ends


_NAME = "ConnectionistTemporalClassification"


def _forward(each: NDArray[np.float64], skips: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return log alpha (N, T, L) from the log-probabilities of the L places of l' in every frame."""
    alpha = np.full(each.shape, -np.inf)
    alpha[:, 0, :2] = each[:, 0, :2]
    for t in range(1, each.shape[1]):
        before = alpha[:, t - 1]
        arriving = before.copy()
        arriving[:, 1:] = np.logaddexp(arriving[:, 1:], before[:, :-1])
        arriving[:, 2:] = np.where(skips[:, 2:], np.logaddexp(arriving[:, 2:], before[:, :-2]), arriving[:, 2:])
        alpha[:, t] = arriving + each[:, t]
    return alpha


def _backward(each: NDArray[np.float64], skips: NDArray[np.bool_], ends: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return log beta (N, T, L), the paths from each place to an end without the frame itself."""
    beta = np.full(each.shape, -np.inf)
    beta[:, -1][ends] = 0.0
    for t in range(each.shape[1] - 2, -1, -1):
        behind = beta[:, t + 1] + each[:, t + 1]
        leaving = behind.copy()
        leaving[:, :-1] = np.logaddexp(leaving[:, :-1], behind[:, 1:])
        leaving[:, :-2] = np.where(skips[:, 2:], np.logaddexp(leaving[:, :-2], behind[:, 2:]), leaving[:, :-2])
        beta[:, t] = leaving
    return beta


def greedy_labels(logits: FloatArray, blank: int) -> list[list[int]]:
    """Return the labels of the best path of each sample: the largest score of each frame, then B.

    Parameters
    ----------
    logits : (N, T, K) array
    blank : int
    """
    best = np.argmax(logits, axis=2)
    new = np.ones(best.shape, bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    kept = new & (best != blank)
    return [[int(label) for label in row[keep]] for row, keep in zip(best, kept, strict=True)]


# d(i, j) = min(d(i-1, j) + 1, d(i, j-1) + 1, d(i-1, j-1) + [a_i != b_j])  [Levenshtein66], row by row.
def edit_distance(a: list[int], b: list[int]) -> int:
    """Return the fewest insertions, deletions and substitutions that make one sequence of the other."""
    row = list(range(len(b) + 1))
    for i, label in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (label != other))
    return row[-1]


def _filled(y: Any) -> Any:
    """Return lists of several lengths as one padded array; anything else as it came."""
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y
    try:
        rows = [[int(label) for label in row] for row in y]
        if len({len(row) for row in rows}) == 1 or not all(isinstance(n, (int, np.integer)) for row in y for n in row):
            return y
    except (TypeError, ValueError):
        return y
    width = max(len(row) for row in rows)
    return np.array([row + [PADDING] * (width - len(row)) for row in rows], np.int64)
