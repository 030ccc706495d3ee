"""Random changes of training images: horizontal flips and small shifts.

What happens to an image depends on the seed, the epoch and the image's index alone: neither the batch size nor the
order of the samples changes it, and a resumed run sees what the interrupted one would have seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref import rng
from lieref._check import check_int
from lieref._types import Array
from lieref.errors import DomainError, UnsupportedError
from lieref.model.samples import has_channels_last

COLOUR_CHANNELS = 3

_NAME = re.compile(r"flip|shift\(([1-9][0-9]{0,3})\)")


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes
    ----------
    flip : bool
        Mirror left and right with probability one half.
    shift : int
        Largest shift in pixels along each axis, at least 0; the border is repeated where the image moved away.
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        check_int("Augmentation", "shift", self.shift, low=0)

    def __bool__(self) -> bool:
        return self.flip or self.shift > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, plain JSON values."""
        return {"flip": self.flip, "shift": self.shift}


def make_augmentation(
    names: str | Sequence[str], input_shape: tuple[int | None, ...], *, classifies: bool
) -> Augmentation:
    """Return the augmentation asked for.

    Parameters
    ----------
    names : "auto" or sequence of str
        ``"flip"``, ``"shift(2)"``. ``"auto"`` may flip colour photographs that are classified and leaves everything
        else alone: a digit, a signal, a vector, or the target of a regression does not survive a mirror. Whether these
        photographs do, `lieref.train.evidence` asks the base.
    input_shape : tuple of int or None
        Of the model.
    classifies : bool
        Whether the targets are class labels.

    Raises
    ------
    DomainError
        If a name is unknown.
    UnsupportedError
        If something is asked for and the input is not a batch of images.
    """
    axes = image_axes(input_shape)
    if isinstance(names, str):
        if names != "auto":
            raise DomainError(f"fit: `augment` must be 'auto' or a sequence of names; got {names!r}")
        channels = input_shape[-1] if axes == (1, 2) else input_shape[1]
        return Augmentation(flip=classifies and axes is not None and channels == COLOUR_CHANNELS)
    if not isinstance(names, Iterable):
        raise DomainError(f"fit: `augment` must be 'auto' or a sequence of names; got {names!r}")
    flip, shift = False, 0
    for name in names:
        match = _NAME.fullmatch(str(name))
        if match is None:
            raise DomainError(f"fit: `augment` must hold 'flip' or 'shift(pixels)' such as 'shift(2)'; got {name!r}")
        flip = flip or name == "flip"
        shift = max(shift, int(match[1] or 0))
    result = Augmentation(flip, shift)
    if result and axes is None:
        raise UnsupportedError(f"fit: `augment` must be () where the input is not an image; got {tuple(names)}")
    return result


def is_known(name: str) -> bool:
    """Tell whether a name is that of a change."""
    return _NAME.fullmatch(name) is not None


def image_axes(input_shape: tuple[int | None, ...]) -> tuple[int, int] | None:
    """Return the axes of height and width in the model's input, None if it is not an image."""
    if len(input_shape) != 4:
        return None
    return (1, 2) if has_channels_last(input_shape) else (2, 3)


@dataclass(frozen=True)
class Draws:
    """What one epoch does to each image of the training set.

    Attributes
    ----------
    flips : (N,) bool
    shifts : (N, 2) int64
        Pixels down and right.
    """

    flips: NDArray[np.bool_]
    shifts: NDArray[np.int64]


def draw(augmentation: Augmentation, count: int, seed: int, epoch: int) -> Draws:
    """Return the draws of one epoch for `count` images, from the streams (seed, "augment", kind, epoch)."""
    flips = np.zeros(count, dtype=np.bool_)
    shifts = np.zeros((count, 2), dtype=np.int64)
    if augmentation.flip:
        flips = rng.stream(seed, "augment", "flip", epoch).random(count) < 0.5
    if augmentation.shift:
        largest = augmentation.shift
        shifts = rng.stream(seed, "augment", "shift", epoch).integers(-largest, largest + 1, (count, 2))
    return Draws(flips, shifts)


def apply(images: Array, indices: NDArray[np.int64], draws: Draws, axes: tuple[int, int]) -> Array:
    """Return the images of a batch after their draws: flipped first, then shifted.

    Parameters
    ----------
    images : (B, ...) array
        Left as they are; any element type.
    indices : (B,) int64
        Index of each image in the training set.
    draws : Draws
    axes : (int, int)
        Axes of height and width.

    Returns
    -------
    (B, ...) array
    """
    vertical, horizontal = axes
    result = images.copy()
    flips = draws.flips[indices]
    result[flips] = np.flip(images[flips], axis=horizontal)
    for axis, shift in ((vertical, draws.shifts[indices, 0]), (horizontal, draws.shifts[indices, 1])):
        if shift.any():
            size = images.shape[axis]
            # Pixel i comes from i - shift; outside the image the nearest pixel is repeated.
            source = np.clip(np.arange(size) - shift[:, np.newaxis], 0, size - 1)
            shape = [len(images) if a == 0 else size if a == axis else 1 for a in range(images.ndim)]
            result = np.take_along_axis(result, source.reshape(shape), axis)
    return result
