"""ReverseSequence: the beginnings of sequences, each of its own length, from back to front."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.spec import TensorSpec, differ, text


def reverse_sequence(x: Array, lengths: Array, *, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """Return x with the first `lengths[i]` steps of sequence i in reverse order, the others where they are.

    Parameters
    ----------
    x
        At least two axes; the first two are sequences and steps, in the order that the attributes say.
    lengths
        Shape (sequences,), 0 to the number of steps.
    batch_axis, time_axis
        0 and 1, or 1 and 0.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If these do not hold.
    """
    reverse_sequence_shape(TensorSpec.of(x), TensorSpec.of(lengths), batch_axis=batch_axis, time_axis=time_axis)
    return _reversed(x, lengths, time_axis)


# A reversal is its own inverse and its own adjoint.
def reverse_sequence_vjp(
    x: Array, lengths: Array, *, y: Array, y_bar: Array, batch_axis: int = 1, time_axis: int = 0
) -> tuple[Array, None]:
    """Return (y_bar reversed, None)."""
    return _reversed(y_bar, lengths, time_axis), None


def reverse_sequence_shape(
    x: TensorSpec, lengths: TensorSpec, *, batch_axis: int = 1, time_axis: int = 0
) -> TensorSpec:
    """Return the shape of x."""
    function = "ReverseSequence"
    if {batch_axis, time_axis} != {0, 1}:
        raise DomainError(f"{function}: `batch_axis` and `time_axis` must be 0 and 1; got {batch_axis}, {time_axis}")
    if x.ndim < 2:
        raise ShapeError(f"{function}: the input must have two axes or more; got shape {text(x.shape)}")
    if lengths.ndim != 1 or differ(lengths.shape[0], x.shape[batch_axis]):
        raise ShapeError(f"{function}: `sequence_lens` must be ({x.shape[batch_axis]},); got {text(lengths.shape)}")
    if lengths.dtype.kind not in "iu":
        raise DTypeError(f"{function}: `sequence_lens` must be integers; got {lengths.dtype}")
    steps, known = x.shape[time_axis], lengths.value
    if steps is not None and known is not None and known.size and not 0 <= known.min() <= known.max() <= steps:
        raise DomainError(f"{function}: `sequence_lens` must be 0 to {steps}; got {known.min()} to {known.max()}")
    return TensorSpec(x.shape, x.dtype)


def _reversed(x: Array, lengths: Array, time_axis: int) -> Array:
    moved = np.moveaxis(x, time_axis, 0)
    step = np.arange(len(moved))[:, None]
    source = np.where(step < lengths, lengths.astype(np.int64) - 1 - step, step)
    return np.moveaxis(moved[source, np.arange(len(lengths))], 0, time_axis)
