"""Images as a network's samples that are made of their pixels when they are indexed: a folder may exceed the memory.

Decoded pixels, resized and cropped, are kept while they take at most `KEPT_BYTES` together, or what the caller allows;
images behind those are decoded each time. As bytes they take a quarter of the numbers that a batch is made of.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import need
from lieref._types import Array
from lieref.errors import DTypeError, FormatError, ShapeError
from lieref.model.lazy_samples import LazySamples
from lieref.train.cap import memory_cap
from lieref.train.images import FORMATS, BoundedFile, Decoder, PartlyReadWarning, webp_size
from lieref.train.preprocess import KEEP, MOST_PIXELS, Preprocess, Size

KEPT_BYTES = 2**30
"""What decoded pixels may take by default, 1 GiB: 7,000 colour images of 224 x 224."""

ORIENTATION, LAST_UPRIGHT = 0x0112, 4
"""EXIF's tag, and the last of its values that does not turn an image by a quarter."""

_AT_ONCE = 256
"""Images that are held at a time where all are read."""


class PixelArray(LazySamples):
    """Pixels that are an array already, as the numbers of a network.

    Parameters
    ----------
    pixels : (N, H, W, C) uint8
        Grey, or red, green, blue, of the size that the network takes.
    preprocess : Preprocess
        Fitted to the network.
    """

    def __init__(self, pixels: NDArray[np.uint8], preprocess: Preprocess) -> None:
        self.preprocess, self._pixels = preprocess, pixels
        one = preprocess.numbers(np.zeros((1, *pixels.shape[1:]), np.uint8))
        self.shape, self.dtype = (len(pixels), *one.shape[1:]), one.dtype

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Array:
        return self.preprocess.numbers(self._chosen(np.arange(len(self))[index]))

    def _chosen(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._pixels[positions]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of how they are made and of their pixels."""
        found = hashlib.sha256(f"{self.preprocess.to_text()} {self.shape}".encode())
        for start in range(0, len(self), _AT_ONCE):
            found.update(self._chosen(np.arange(start, min(start + _AT_ONCE, len(self)))).tobytes())
        return found.hexdigest()

    @property
    def described(self) -> str:
        """How they are made."""
        return f"pixels by {self.preprocess.to_text()}"


class ImageArray(PixelArray):
    """Image files, decoded when they are indexed.

    Parameters
    ----------
    files : sequence of Path
        At least one.
    preprocess : Preprocess
        Fitted to the network.
    source : str
        Of the folder, for messages.
    max_bytes : int, optional
        What kept pixels may take, and one image while it is decoded; None keeps `KEPT_BYTES`, and takes what
        `memory_cap` allows for an image.

    Raises
    ------
    MissingExtraError
        If Pillow is not installed.
    FormatError
        If an image is damaged, too large, or has changed since: where it is indexed, and by `digest` for all of them.
    UnsupportedError
        So, if one cannot be read without a guess; see `lieref.train.images.read_image_folder`.
    """

    def __init__(
        self, files: Sequence[Path], preprocess: Preprocess, *, source: str, max_bytes: int | None = None
    ) -> None:
        need("PIL.Image", "app", "reading images")
        assert preprocess.crop is not None
        self.files, self._stats = tuple(files), [_stat(file) for file in files]
        cap = memory_cap(sum(size for size, _ in self._stats), max_bytes)
        channels = 1 if preprocess.channels == "grey" else 3
        size = preprocess.crop if preprocess.resize == KEEP else (None, None)
        self._decoder = _Resizing(channels, size, 1, cap, source, preprocess.background, preprocess)
        shape = (*preprocess.crop, channels)
        # A page of it takes memory when it is written.
        kept = min(len(files), (KEPT_BYTES if max_bytes is None else max_bytes) // int(np.prod(shape)))
        super().__init__(np.broadcast_to(np.uint8(0), (len(files), *shape)), preprocess)
        self._kept, self._known = np.empty((kept, *shape), np.uint8), np.zeros(kept, bool)
        self._said: set[str] = set()

    def _chosen(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = np.empty((len(positions), *self._kept.shape[1:]), np.uint8)
        for to, position in zip(found, positions.tolist(), strict=True):
            if position < len(self._known) and self._known[position]:
                to[...] = self._kept[position]
                continue
            to[...] = self._decode(position)
            if position < len(self._known):
                self._kept[position] = to
                self._known[position] = True
        return found

    def _decode(self, position: int) -> NDArray[np.uint8]:
        file, decoder = self.files[position], self._decoder
        if _stat(file) != self._stats[position]:
            raise FormatError(f"read_image_folder: {file} must stay as it is while it is read; it has changed")
        pixels = decoder.decode(file)
        for held, words in ((decoder.deep, "16 bits, read as 8 bits in proportion"),
                            (decoder.framed, "several frames, of which the first is read")):  # fmt: skip
            if held and words not in self._said:
                self._said.add(words)
                text = f"read_image_folder: {decoder.folder} holds images of {words}; one is {held[0].name}"
                warnings.warn(text, PartlyReadWarning, stacklevel=2)
            held.clear()
        return pixels


@dataclass
class _Resizing(Decoder):
    """Decodes images to one size."""

    preprocess: Preprocess = field(default_factory=Preprocess)

    def decode(self, file: Path) -> NDArray[np.uint8]:
        """Return the middle of the resized image, (H, W, channels)."""
        from PIL import Image

        pixels = super().decode(file)
        height, width = self.preprocess.size_of(*pixels.shape[:2])
        if (height, width) != pixels.shape[:2]:
            self._check_pixels(height * width)
            plain = Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels)
            resized = plain.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(resized).reshape(height, width, self.channels)
        high, wide = self.preprocess.crop or (height, width)
        top, left = round((height - high) / 2), round((width - wide) / 2)
        return pixels[top : top + high, left : left + wide]

    def _another_size(self, file: Path, height: int, width: int) -> FormatError:
        return self._wrong_size(file, height, width, f"for resize={KEEP}")


def array_of_pixels(function: str, x: Any, preprocess: Preprocess, source: str) -> PixelArray:
    """Return images in memory as the numbers of a network.

    Raises
    ------
    DTypeError
        If they are no bytes.
    ShapeError
        If they are not of the size and the channels that the network takes.
    """
    assert preprocess.crop is not None
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8:
        raise DTypeError(
            f"{function}: images in {source} must be bytes (uint8) to be preprocessed; got "
            f"{getattr(x, 'dtype', 'several inputs')} (other numbers are taken as they are: leave out --preprocess)"
        )
    channels = 1 if preprocess.channels == "grey" else 3
    wanted = (*preprocess.crop, channels)
    if channels == 1 and x.shape[1:] == wanted[:2]:
        x = x[..., np.newaxis]
    elif x.shape[1:] == (channels, *preprocess.crop) and x.shape[1:] != wanted:
        x = np.moveaxis(x, 1, -1)
    if x.shape[1:] != wanted or not len(x):
        raise ShapeError(f"{function}: images in {source} must be of shape (N, {', '.join(map(str, wanted))}), for "
                         f"arrays are not resized; got {x.shape}")  # fmt: skip
    return PixelArray(x, preprocess)


def misfit(files: Sequence[Path], size: tuple[int | None, int | None]) -> tuple[Path, Size, Size | None] | None:
    """Return the first image that has not the size of the model, or where that is free of the first, by its header.

    Returns
    -------
    file : Path
    found : (int, int)
    first : (int, int) or None
        Size of the first image, None where that of the model is missed. All of it is None where all images fit; what
        cannot be read counts so: who reads it says what is wrong.
    """
    need("PIL.Image", "app", "reading images")
    first = None
    for file in files:
        found = size_of(file)
        if found is None:
            continue
        if any(w not in (None, have) for w, have in zip(size, found, strict=True)):
            return file, found, None
        first = first or found
        if found != first:
            return file, found, first
    return None


def size_of(file: Path) -> Size | None:
    """Return height and width of an image, turned as its EXIF says, by its header; None where that cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), BoundedFile(file) as data:
            warnings.simplefilter("ignore")
            if (webp_size(data.peek(30)) or (0, 0)) > (MOST_PIXELS, MOST_PIXELS):
                return None
            with Image.open(data, formats=FORMATS) as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION, 1) > LAST_UPRIGHT
    except Exception:  # whatever a decoder raises on a damaged file
        return None
    return (width, height) if turned else (height, width)


def _stat(file: Path) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns
