"""Mixup: training on convex combinations of samples and of their losses [Zhang18].

    x = s x_i + (1 - s) x_j,  L = s L(f(x), y_i) + (1 - s) L(f(x), y_j),  s = max(l, 1 - l),  l ~ Beta(a, a)

Each step draws one l from the stream (seed, "mixup", epoch), and sample i of its batch is mixed with the next one, the
last with the first: the order of the epoch is random already. l and 1 - l are equally likely and the pairs lie in a
ring, so taking the larger share for the sample itself changes nothing but which label its answer is counted by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._types import Array, FloatArray
from lieref.errors import UnsupportedError
from lieref.train._protocol import Trainable
from lieref.train.loss import Loss
from lieref.train.task import Task


def check_mixup(alpha: float, model: Trainable, x: Array, task: Task) -> None:
    """Raise `UnsupportedError` if samples are to be mixed that cannot be.

    Parameters
    ----------
    alpha : float
        0 for no mixup.
    model : Trainable
    x : (N, ...) array
        Its samples.
    task : Task
        That of all outputs.
    """
    if not alpha:
        return
    if task.name not in ("classes", "soft-classes"):
        raise UnsupportedError(f"fit: `mixup` must be 0 for a task other than 'classes'; got {alpha} for {task.name!r}")
    if model.vocabulary is not None or x.dtype.kind not in "uif":
        kind = "ids of tokens" if model.vocabulary is not None else str(x.dtype)
        raise UnsupportedError(f"fit: `mixup` must be 0 where samples are no numbers to be averaged; got {kind}")


def draw_shares(alpha: float, steps: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return the (steps,) shares s of an epoch, each 1/2 to 1; all 1 where alpha is 0."""
    if not alpha:
        return np.ones(steps)
    drawn = rng.stream(seed, "mixup", epoch).beta(alpha, alpha, steps)
    return np.maximum(drawn, 1.0 - drawn)


def mix(x: Array, y: Array, share: float) -> tuple[FloatArray, Array]:
    """Return a batch mixed with itself, one place on, and the labels of both.

    Parameters
    ----------
    x : (B, ...) array of numbers
        Left as it is.
    y : (B,) int64, or (B, C) probabilities
    share : float

    Returns
    -------
    x : (B, ...) float64 where `x` was, else float32
    y : (B, 2) int64, or (B, 2, C)
    """
    numbers = x if x.dtype == np.float64 else x.astype(np.float32)
    own, other = (np.asarray(s, numbers.dtype) for s in (share, 1.0 - share))
    return own * numbers + other * np.roll(numbers, -1, axis=0), np.stack([y, np.roll(y, -1, axis=0)], axis=1)


@dataclass(frozen=True)
class MixedLoss(Loss):
    """s L(z, y_i) + (1 - s) L(z, y_j), for the labels that `mix` returns.

    Both batches hold the same labels, so a weighted mean divides both by the same sum.

    Attributes
    ----------
    loss : Loss
        L, of class labels.
    share : float
        s.
    """

    loss: Loss
    share: float

    name: ClassVar[str] = "mixed"
    classifies: ClassVar[bool] = True

    def check_targets(self, function: str, y: Array, shape: tuple[int, ...]) -> Array:
        """Return the labels as (N, 2) int64; see `Loss.check_targets`."""
        return np.stack([self.loss.check_targets(function, y[:, column], shape) for column in (0, 1)], axis=1)

    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mixed loss and its cotangent; see `Loss.value_and_grad`."""
        value, bar = self.loss.value_and_grad(logits, y[:, 0])
        other_value, other_bar = self.loss.value_and_grad(logits, y[:, 1])
        own, other = (np.asarray(s, bar.dtype) for s in (self.share, 1.0 - self.share))
        return self.share * value + (1.0 - self.share) * other_value, own * bar + other * other_bar

    def weight(self, y: Array) -> float:
        """Return the weight of the samples, which is that of either column."""
        return self.loss.weight(y[:, 0])

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array] | None:
        """Return the mixed rows; see `Loss.compiled_form`."""
        own, other = (self.loss.compiled_form(y[:, column], shape) for column in (0, 1))
        if own is None or other is None:
            return None
        return own[0], self.share * own[1] + (1.0 - self.share) * other[1]

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        return {"name": self.name, "loss": self.loss.to_dict(), "share": self.share}
