"""Samples on their way into a network: checked, and brought into its layout; every function that takes samples asks.

Where the channels are cannot be seen in an array. What decides is its shape beside the shape that the model declares:
samples that fit as they are stay as they are, others fit with the channels moved or with the axis of a single channel
added. Where both ends would fit, the caller has to name the layout; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lieref._check import check_choice, check_finite
from lieref._types import Array, FloatArray, Shape
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.model.graph import TensorInfo
from lieref.model.lazy_samples import lazy

Samples = Array | Mapping[str, Array]
"""Of one input, or by the name of the input."""

LAYOUTS = ("NCHW", "NHWC")
"""Channels first or last; the names are used for any number of spatial axes."""

IMAGE_CHANNELS = (1, 3)
"""Grey and RGB."""


APART = 1e-3
"""Relative distance from which on a sample has given two things: more than the order of a sum makes."""


def check_samples(function: str, x: Any, name: str = "x") -> Array:
    """Return samples as an array, their dtype as it came; `name` is what messages call them.

    Raises
    ------
    DTypeError
        If they are not numbers; booleans are 0 and 1.
    ShapeError
        If there is no axis of samples, or no value in a sample.
    DomainError
        If the set is empty, or a value is NaN or infinite.
    """
    unread = lazy(x)
    if unread is not None:  # finite numbers by their making
        return unread.as_array_type()
    try:
        samples = np.asarray(x)
    except ValueError as error:
        raise ShapeError(
            f"{function}: `{name}` must hold samples of one shape; got lists of several lengths"
        ) from error
    if samples.dtype.kind not in "iufb":
        raise DTypeError(f"{function}: `{name}` must be integers or floats; got {samples.dtype}")
    if samples.ndim < 2:
        raise ShapeError(f"{function}: `{name}` must have shape (N, ...); got {samples.shape}")
    if len(samples) == 0:
        raise DomainError(f"{function}: `{name}` must hold at least one sample; got shape {samples.shape}")
    if samples.size == 0:
        raise ShapeError(f"{function}: `{name}` must hold at least one value a sample; got shape {samples.shape}")
    if samples.dtype.kind == "f":
        check_finite(function, name, samples)
    return samples


def arrange(
    x: Array, input_shape: tuple[int | None, ...], layout: str | None = None, *, function: str, name: str = "x"
) -> Array:
    """Return samples in the model's layout, as a view.

    Parameters
    ----------
    x : (N, ...) array
        Shaped as the model's input; with the channels at the other end; or without the axis of a single channel.
    input_shape : tuple of int or None
        The model's; the first axis is the batch, None is a free axis.
    layout : {"NCHW", "NHWC"}, optional
        Where the channels of `x` are. Needed only where both fit.
    function, name : str
        Name of the caller and of the samples, for the message.

    Returns
    -------
    (N, ...) array

    Raises
    ------
    ShapeError
        If the samples fit the model in no layout.
    DomainError
        If they fit in both and none is given, or the layout is unknown.
    """
    if layout is not None:
        check_choice(function, "layout", layout, LAYOUTS)
    if lazy(x) is not None:  # made for the layout of a model
        if _fits(x.shape, input_shape):
            return x
        raise ShapeError(f"{function}: `{name}` must fit the model's input {readable(input_shape)}; got {x.shape}")
    if layout is None and x.shape[1:] == input_shape[1:] and input_shape[1] not in x.shape[2:]:
        # The usual case at once: after a move another axis would stand where the channels belong.
        return x
    fitting = [way for way in _ways(x.ndim, input_shape, layout) if _fits(_moved(x.shape, way), input_shape)]
    if not fitting:
        given = "" if layout is None else f" as {layout}"
        raise ShapeError(
            f"{function}: `{name}` must fit the model's input {readable(input_shape)}; got {x.shape}{given}"
        )
    if len(fitting) > 1 and layout is None and x.ndim == len(input_shape) and not _is_free(input_shape):
        raise DomainError(
            f"{function}: `layout` must be given where both fit; {x.shape} fits the model as NCHW and as NHWC"
        )
    match fitting[0]:
        case "to first":
            return np.moveaxis(x, -1, 1)
        case "to last":
            return np.moveaxis(x, 1, -1)
        case "new first":
            return x[:, np.newaxis]
        case "new last":
            return x[..., np.newaxis]
    return x


class TakesSamples(Protocol):
    """A model of one input. One of several has a method `arranged` as `lieref.model.network.Network` has it."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, the batch first; None where an axis is free."""


def arranged(function: str, model: TakesSamples, x: Samples, layout: str | None = None) -> Array:
    """Return samples checked and in a model's layout, those of several inputs as one array.

    Raises as `check_samples` and `arrange` do.
    """
    own = getattr(model, "arranged", None)
    if own is not None:
        found: Array = own(function, x, layout)
        return found
    return arrange(check_samples(function, x), model.input_shape, layout, function=function)


def batches(x: Array, batch_size: int) -> Iterator[Array]:
    """Return the samples in order, at most `batch_size` at a time."""
    return (x[i : i + batch_size] for i in range(0, len(x), batch_size))


def has_channels_last(input_shape: tuple[int | None, ...]) -> bool:
    """Return whether a model takes its channels last: only its last axis has a number of channels that images have.

    ONNX puts channels first, but a converted model may begin with a Transpose.
    """
    return len(input_shape) > 2 and input_shape[-1] in IMAGE_CHANNELS and input_shape[1] not in IMAGE_CHANNELS


def own_layout(input_shape: tuple[int | None, ...]) -> str:
    """Return the name of a model's own layout: samples that were arranged for it have it."""
    return "NHWC" if has_channels_last(input_shape) else "NCHW"


def readable(input_shape: tuple[int | None, ...]) -> str:
    """Return the shape of an input in words: ``(N, 3, any, any)``."""
    return "(" + ", ".join("N" if axis == 0 else str(d or "any") for axis, d in enumerate(input_shape)) + ")"


def _ways(rank: int, input_shape: tuple[int | None, ...], layout: str | None) -> tuple[str, ...]:
    """Return the ways to read samples of this rank as the model's input, the likelier first."""
    wanted = len(input_shape)
    if rank == wanted - 1 and wanted > 2:
        return ("new first", "new last")
    if rank != wanted or wanted == 2:
        return ("as it is",)
    if layout is None:
        # With one spatial axis the two moves are the same.
        return ("as it is", "to first", "to last") if rank > 3 else ("as it is", "to first")
    if layout == own_layout(input_shape):
        # The move is for a signal or a feature map whose last axis only looks like channels.
        return ("as it is", "to first") if layout == "NHWC" else ("as it is",)
    return ("to last", "as it is") if layout == "NCHW" else ("to first",)


def _moved(shape: Shape, way: str) -> Shape:
    """Return the shape after a move; shapes are compared first, for a view costs more than they do."""
    match way:
        case "to first":
            return (shape[0], shape[-1], *shape[1:-1])
        case "to last":
            return (shape[0], *shape[2:], shape[1])
        case "new first":
            return (shape[0], 1, *shape[1:])
        case "new last":
            return (*shape, 1)
    return shape


def _fits(shape: Shape, input_shape: tuple[int | None, ...]) -> bool:
    """Return whether all axes but the batch agree."""
    if len(shape) != len(input_shape):
        return False
    return all(want is None or have == want for have, want in zip(shape[1:], input_shape[1:], strict=True))


def _is_free(input_shape: tuple[int | None, ...]) -> bool:
    """Return whether the model declares no number of channels: then nothing speaks against the layout it has."""
    return input_shape[1] is None and input_shape[-1] is None


def as_numbers(x: Array, info: TensorInfo, dtype: np.dtype[Any]) -> FloatArray:
    """Return arranged samples in the type that a network reads.

    Parameters
    ----------
    x : (N, ...) array
    info : TensorInfo
        Of the network's input.
    dtype : dtype
        Of its weights, and of its input where that is floats.

    Raises
    ------
    DomainError
        If a number does not fit the type.
    """
    wanted = np.dtype(info.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.ascontiguousarray(x, dtype=dtype if wanted.kind == "f" else wanted)
    if x.dtype.kind == found.dtype.kind == "f" and found.itemsize < x.dtype.itemsize:
        check_finite("predict", f"x as {found.dtype}", found)
    if wanted.kind != "f" and x.dtype != wanted and not np.array_equal(found, x):
        raise DomainError(f"predict: `x` must hold numbers of the model's input type, {wanted}; "
                          f"got {x.dtype} from {x.min():.4g} to {x.max():.4g}")  # fmt: skip
    return found


def for_backend(x: Array, info: TensorInfo, dtype: np.dtype[Any]) -> Array:
    """Return arranged samples as a backend takes them: uint8, or as `as_numbers` returns them.

    Raises
    ------
    ShapeError
        If the network is made for another number of samples.
    DomainError
        As `as_numbers` does.
    """
    batch = info.shape[0] if info.shape else None
    if batch is not None and len(x) != batch:
        raise wrong_batch(batch, len(x))
    return x if x.dtype == np.uint8 else as_numbers(x, info, dtype)


def wrong_batch(batch: int, samples: int) -> ShapeError:
    """Return the error for a number of samples that a network made for `batch` of them cannot take."""
    return ShapeError(
        f"predict: the batch must be of {batch} samples, which the network is made for; got {samples} "
        "(export it with a free batch axis)"
    )


def check_apart(parts: Sequence[FloatArray], pair: FloatArray, batch_size: int, samples: int) -> None:
    """Raise `DomainError` if what a sample gives depends on the others of its batch.

    Parameters
    ----------
    parts : sequence of (n, ...) array
        What the batches of `batch_size` samples gave.
    pair : (2, ...) array
        What the first samples of the first two of them give as a batch of their own.
    batch_size, samples : int
        Of a batch, and of all.
    """
    before, largest = np.stack([part[0] for part in parts[:2]]), max(np.abs(part).max() for part in parts[:2])
    if before.shape != pair.shape or np.abs(before - pair).max() > APART * largest:
        raise DomainError(
            f"predict: `batch_size` must be at least {samples}, the number of samples, for a network that mixes the "
            f"samples of a batch: what one gives depends on the others; got {batch_size}"
        )
