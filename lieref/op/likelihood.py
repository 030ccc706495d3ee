"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: what a loss in the network gives for class numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.softmax import log_softmax, log_softmax_vjp
from lieref.op.spec import TensorSpec, check_channels, check_dtypes, differ, need_float, specs, text

REDUCTIONS = ("none", "mean", "sum")
NEGATIVE_LOG_LIKELIHOOD, CROSS_ENTROPY = "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"


class _Chosen(NamedTuple):
    """Which class counts at each position, and how much: 0 where it is ignored."""

    classes: Array
    share: FloatArray


def negative_log_likelihood(
    x: FloatArray, target: Array, weight: FloatArray | None = None, *,
    ignore_index: int | None = None, reduction: str = "mean",
) -> FloatArray:  # fmt: skip
    """Return the negative log-probabilities of the targets: -w_t x_t, their mean or their sum.

    Parameters
    ----------
    x
        Logarithms of probabilities, (N, C, *positions).
    target
        Class numbers, (N, *positions), 0 to C - 1.
    weight
        w, one for each class; one by default.
    ignore_index
        A number of targets that count nothing.
    reduction
        "none": (N, *positions); "sum": their sum; "mean": the sum over the sum of the weights of the targets.

    Raises
    ------
    DomainError
        If a target is no class, or the targets weigh nothing together where the mean is asked for.
    """
    name = NEGATIVE_LOG_LIKELIHOOD
    loss_shape(name, *specs(x, target, weight), reduction=reduction)
    chosen = _chosen(name, x, target, weight, ignore_index, reduction)
    each = -chosen.share * np.take_along_axis(x, chosen.classes[:, None], 1)[:, 0]
    return each if reduction == "none" else np.asarray(each.sum(), x.dtype)


# L = -sum_p s_p x[t_p, p] with s the weights, over their sum for the mean, is linear in x: x_bar[t_p, p] = -s_p L_bar.
def negative_log_likelihood_vjp(
    x: FloatArray, target: Array, weight: FloatArray | None = None, *, y: FloatArray, y_bar: FloatArray,
    ignore_index: int | None = None, reduction: str = "mean",
) -> tuple[FloatArray, None, None]:  # fmt: skip
    """Return (x_bar, None, None): the weights are constants."""
    chosen = _chosen(NEGATIVE_LOG_LIKELIHOOD, x, target, weight, ignore_index, reduction)
    x_bar = np.zeros(x.shape, x.dtype)
    np.put_along_axis(x_bar, chosen.classes[:, None], (-chosen.share * y_bar)[:, None], 1)
    return x_bar, None, None


def cross_entropy(
    x: FloatArray, target: Array, weight: FloatArray | None = None, *,
    ignore_index: int | None = None, output: int = 0, reduction: str = "mean",
) -> FloatArray:  # fmt: skip
    """Return `negative_log_likelihood` of the log-softmax of scores (N, C, *positions); for `output` 1 the latter."""
    loss_shape(CROSS_ENTROPY, *specs(x, target, weight), reduction=reduction)
    logarithms = log_softmax(x, axis=1)
    if output:
        return logarithms
    weight = None if weight is None else weight.astype(logarithms.dtype)  # it may come in another byte order
    return negative_log_likelihood(logarithms, target, weight, ignore_index=ignore_index, reduction=reduction)


# A chain: the cotangent of the log-probabilities, then that of the scores.
def cross_entropy_vjp(
    x: FloatArray, target: Array, weight: FloatArray | None = None, *, y: FloatArray, y_bar: FloatArray,
    ignore_index: int | None = None, output: int = 0, reduction: str = "mean",
) -> tuple[FloatArray, None, None]:  # fmt: skip
    """Return (x_bar, None, None): the weights are constants."""
    logarithms = log_softmax(x, axis=1)
    if not output:
        y_bar, _, _ = negative_log_likelihood_vjp(
            logarithms, target, weight, y=y, y_bar=y_bar, ignore_index=ignore_index, reduction=reduction
        )
    return *log_softmax_vjp(x, y=logarithms, y_bar=y_bar, axis=1), None, None


def negative_log_likelihood_shape(
    x: TensorSpec, target: TensorSpec, weight: TensorSpec | None = None, *,
    ignore_index: int | None = None, reduction: str = "mean",
) -> TensorSpec:  # fmt: skip
    """Return one number, or one for each target."""
    return loss_shape(NEGATIVE_LOG_LIKELIHOOD, x, target, weight, reduction=reduction)


def cross_entropy_shape(
    x: TensorSpec, target: TensorSpec, weight: TensorSpec | None = None, *,
    ignore_index: int | None = None, output: int = 0, reduction: str = "mean",
) -> TensorSpec:  # fmt: skip
    """Return one number, or one for each target; the shape of the scores for `output` 1."""
    loss = loss_shape(CROSS_ENTROPY, x, target, weight, reduction=reduction)
    return TensorSpec(x.shape, x.dtype) if output else loss


def loss_shape(
    function: str, x: TensorSpec, target: TensorSpec, weight: TensorSpec | None = None, *, reduction: str
) -> TensorSpec:
    """Return one number, or one for each target, after the checks of both operators."""
    need_float(function, x)
    if target.dtype.kind not in "iu":
        raise DTypeError(f"{function}: `target` must be integers; got {target.dtype}")
    wanted = (x.shape[:1] + x.shape[2:]) if x.ndim > 1 else None
    if wanted is None or target.ndim != len(wanted) or any(map(differ, target.shape, wanted)):
        raise ShapeError(
            f"{function}: scores (N, C, *positions) must have a target (N, *positions); "
            f"got {text(x.shape)} and {text(target.shape)}"
        )
    if weight is not None:
        check_dtypes(function, x, weight)
        check_channels(function, "weight", weight, x.shape[1])
    if reduction != "none":
        return TensorSpec((), x.dtype)
    return TensorSpec(tuple(a if b is None else b for a, b in zip(wanted, target.shape, strict=True)), x.dtype)


def _chosen(
    function: str, x: FloatArray, target: Array, weight: FloatArray | None, ignore_index: int | None, reduction: str
) -> _Chosen:
    """Return the classes, 0 where a target is ignored, and the weight of each target."""
    count = x.shape[1]
    ignored = np.zeros(target.shape, bool) if ignore_index is None else target == ignore_index
    classes = np.where(ignored, 0, target).astype(np.int64)
    wrong = (classes < 0) | (classes >= count)
    if wrong.any():
        raise DomainError(f"{function}: `target` must be 0 to {count - 1}; got {int(classes[wrong][0])}")
    share = np.ones(target.shape, x.dtype) if weight is None else weight[classes]
    share = np.where(ignored, np.zeros((), x.dtype), share)
    if reduction == "mean":
        whole = share.sum()
        if whole == 0:
            raise DomainError(f"{function}: `target` must have entries that count; all are ignored or weigh nothing")
        share = share / whole
    return _Chosen(classes, share)
