"""How an image file becomes the numbers that a network takes: resized, cropped, scaled, normalised, in its layout.

One line of text says it, ``resize=256,crop=224x224,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,channels=rgb,
layout=nchw``. A name may stand first and the rest change it: ``imagenet,channels=bgr``. What the network's input says
already may be left out; `Preprocess.fitted` fills it in, and refuses what contradicts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.errors import DomainError, FormatError, ShapeError
from lieref.model.samples import IMAGE_CHANNELS, has_channels_last, readable

CHANNELS = ("rgb", "bgr", "grey")
LAYOUTS = ("nchw", "nhwc")
COVER, KEEP = "cover", "none"
"""To the smallest size that covers the crop; not at all, which every image must then be of."""

MOST_PIXELS = 2**14
"""Largest height and width of a crop, and largest short side."""

LARGEST = 1e6
"""Of the numbers, and one by the least of those above 0: whatever they are, the result is finite in float32."""

_INTEGER, _SIZE, _RATIO = re.compile(r"[1-9][0-9]{0,4}"), re.compile(r"([0-9]+)x([0-9]+)"), re.compile(r"[1-9]/[1-9]")

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Preprocess:
    """What is done to an image, in this order; pixels are bytes, 0 to 255, turned as their EXIF says.

    1. `background`: transparent pixels are laid over this grey; without it they are refused.
    2. `channels`: as grey, 0.299 R + 0.587 G + 0.114 B, or as RGB; ``"bgr"`` has them the other way round.
    3. `resize`: by bilinear interpolation, antialiased where it becomes smaller, as Pillow has it, to bytes again.
    4. `crop`: the middle.
    5. y = (pixel / scale - mean) / std, in float32.

    Attributes
    ----------
    resize : int, (int, int) or str
        Length of the short side; height and width, whatever becomes of the proportions; ``"cover"``, the smallest size
        that covers the crop; a ratio such as ``"8/7"``, the short side by the crop's longer one; or ``"none"``.
    crop : (int, int) or None
        Height and width of what the network takes; None where its input says it.
    scale : float
        Above 0.
    mean, std : tuple of float
        One number, or one for each channel in the order of `channels`; `std` above 0.
    channels : {"rgb", "bgr", "grey"} or None
        None where the network's input says it: grey for one channel, else RGB.
    layout : {"nchw", "nhwc"} or None
    background : int or None
        0 to 255.

    Raises
    ------
    DomainError
        If a value is none of these.
    """

    resize: int | Size | str = COVER
    crop: Size | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str | None = None
    layout: str | None = None
    background: int | None = None

    def __post_init__(self) -> None:
        sizes = self.resize if isinstance(self.resize, tuple) else (self.resize,) if _is_int(self.resize) else ()
        named = isinstance(self.resize, str) and (self.resize in (COVER, KEEP) or _RATIO.fullmatch(self.resize))
        if not (named or sizes) or not _are_sizes(sizes, (1, 2)):
            _refuse("resize", f"be N, HxW, {COVER}, {KEEP} or a ratio such as 8/7, up to {MOST_PIXELS}", self.resize)
        if self.crop is not None and not _are_sizes(self.crop, (2,)):
            _refuse("crop", f"be N or HxW, up to {MOST_PIXELS}", self.crop)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or len(values) not in IMAGE_CHANNELS or not all(map(_is_real, values)):
                _refuse(name, f"be one number, or one for each of three channels, up to {LARGEST:g}", values)
        if not _is_real(self.scale) or self.scale < 1 / LARGEST:
            _refuse("scale", f"be a number from {1 / LARGEST:g} to {LARGEST:g}", self.scale)
        if min(self.std) < 1 / LARGEST:
            _refuse("std", f"be from {1 / LARGEST:g} to {LARGEST:g}", self.std)
        for name, choices in (("channels", CHANNELS), ("layout", LAYOUTS)):
            if getattr(self, name) not in (None, *choices):
                _refuse(name, f"be {' or '.join(choices)}", getattr(self, name))
        if self.background is not None and not (_is_int(self.background) and 0 <= self.background <= 255):
            _refuse("background", "be a grey from 0 to 255", self.background)

    @classmethod
    def from_text(cls, text: str) -> Preprocess:
        """Return what a line of text says.

        Raises
        ------
        DomainError
            If a key or a name is unknown, a key stands twice, or a value is none it can have.
        """
        given = cls()
        seen: set[str] = set()
        for number, part in enumerate(text.split(",")):
            key, equals, value = (each.strip().lower() for each in part.partition("="))
            if not equals and number == 0 and key in PRESETS:
                given = PRESETS[key]
                continue
            if key not in _READ or not equals or key in seen:
                raise DomainError(
                    f"preprocess: `--preprocess` must be {', '.join(PRESETS)}, or key=value of {', '.join(_READ)}, "
                    f"each once, with commas between; got {part.strip()!r:.60}"
                )
            seen.add(key)
            given = replace(given, **{key: _READ[key](key, value)})
        return given

    def to_text(self) -> str:
        """Return the line that says it, without what is left open."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return ",".join(f"{key}={_written(key, value)}" for key, value in values.items() if value is not None)

    __str__ = to_text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "the configuration") -> Preprocess:
        """Return what `to_dict` returned; `source` is named in messages.

        Raises
        ------
        FormatError
            If it is none such.
        """
        known = {each.name for each in fields(cls)}
        try:
            if not isinstance(values, Mapping) or values.keys() - known:
                raise DomainError(f"it must be an object of {', '.join(known)}")
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**given)
        except (DomainError, TypeError, OverflowError) as error:
            raise FormatError(f"preprocess: the preprocessing in {source} must be readable; {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, plain JSON values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def name(self) -> str:
        """``imagenet``, ``unit`` or ``raw`` where it has their arithmetic and no channels swapped, else the text."""
        arithmetic = (self.scale, self.mean, self.std)
        same = (key for key, each in PRESETS.items() if (each.scale, each.mean, each.std) == arithmetic)
        return self.to_text() if self.channels == "bgr" else next(same, self.to_text())

    @property
    def is_raw(self) -> bool:
        """Whether the numbers are the pixels, 0 to 255, which stay bytes then."""
        return self.scale == 1 and not any(self.mean) and set(self.std) == {1.0}

    def fitted(self, input_shape: tuple[int | None, ...]) -> Preprocess:
        """Return it complete, for a network whose input has this shape, None where an axis is free.

        Raises
        ------
        ShapeError
            If the network takes no images of one or three channels.
        DomainError
            If something contradicts the input, or has to be given because the input does not say it.
        """
        if len(input_shape) != 4:
            raise ShapeError(f"preprocess: the model must take images; its input is {readable(input_shape)}")
        layout = "nhwc" if has_channels_last(input_shape) else "nchw"
        if self.layout is not None and (input_shape[1] in IMAGE_CHANNELS) == (input_shape[3] in IMAGE_CHANNELS):
            layout = self.layout  # the shape does not tell
        count, size = (input_shape[3], input_shape[1:3]) if layout == "nhwc" else (input_shape[1], input_shape[2:])
        shown = readable(input_shape)
        if count not in (None, *IMAGE_CHANNELS):
            raise ShapeError(f"preprocess: the model must take images of 1 or 3 channels; its input is {shown}")
        channels = self.channels or {1: "grey", 3: "rgb"}.get(count or 0)
        if channels is None:
            _refuse("channels", f"be given, {', '.join(CHANNELS)}, for the input {shown} does not say it", None)
        number = 1 if channels == "grey" else 3
        if self.layout not in (None, layout) or count not in (None, number):
            said = f"layout={self.layout}" if self.layout not in (None, layout) else f"channels={channels}"
            raise DomainError(f"preprocess: `--preprocess` must fit the model's input {shown}; got {said}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) > number:
                _refuse(name, f"be one number for the single channel of the input {shown}", getattr(self, name))
        high, wide = (
            want if have is None else have for want, have in zip(self.crop or (None, None), size, strict=True)
        )
        if high is None or wide is None:
            _refuse("crop", f"be given, for the model takes images of any size, {shown}", None)
        crop = high, wide
        if self.crop not in (None, crop):
            _refuse("crop", f"be {_written('crop', crop)}, the size of the model's input {shown}", self.crop)
        whole = replace(self, crop=crop, channels=channels, layout=layout)
        resize = self.resize
        if isinstance(resize, str) and resize not in (COVER, KEEP):
            above, below = map(int, resize.split("/"))
            resize = round(max(crop) * above / below)
        least = resize if isinstance(resize, tuple) else (resize, resize)
        if any(isinstance(have, int) and have < want for have, want in zip(least, crop, strict=True)):
            _refuse("resize", f"be no less than the crop, {_written('crop', crop)}", resize)
        return replace(whole, resize=resize)

    def size_of(self, height: int, width: int) -> Size:
        """Return the height and width that an image of this size is resized to; of a fitted one."""
        assert self.crop is not None
        if self.resize == KEEP:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        if isinstance(self.resize, int):
            short = min(height, width)
            return self.resize * height // short, self.resize * width // short
        high, wide = self.crop
        if high * width >= wide * height:  # the height needs the larger factor
            return high, max(wide, round(width * high / height))
        return max(high, round(height * wide / width)), wide

    def numbers(self, pixels: NDArray[np.uint8]) -> Array:
        """Return images in the network's numbers and layout.

        Parameters
        ----------
        pixels : (B, H, W, C) uint8
            Grey, or red, green, blue.

        Returns
        -------
        (B, ...) float32, or uint8 where `is_raw`
        """
        found: Array = pixels[..., ::-1] if self.channels == "bgr" else pixels
        if not self.is_raw:
            scale, mean, std = (np.asarray(value, np.float32) for value in (self.scale, self.mean, self.std))
            found = (found.astype(np.float32) / scale - mean) / std
        return np.ascontiguousarray(found if self.layout == "nhwc" else np.moveaxis(found, -1, 1))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _are_sizes(values: Any, lengths: tuple[int, ...]) -> bool:
    if not isinstance(values, tuple) or (values and len(values) not in lengths):
        return False
    return all(_is_int(value) and 0 < value <= MOST_PIXELS for value in values)


def _refuse(key: str, rule: str, value: Any) -> NoReturn:
    got = "nothing" if value is None else f"{_written(key, value)!s:.60}"
    raise DomainError(f"preprocess: `{key}` must {rule}; got {got}")


def _read_size(key: str, value: str) -> int | Size | str:
    if _INTEGER.fullmatch(value):
        return int(value)
    match = _SIZE.fullmatch(value)
    return value if match is None else (int(match[1][:9]), int(match[2][:9]))


def _read_crop(key: str, value: str) -> Any:
    found = _read_size(key, value)
    return (found, found) if isinstance(found, int) else found


def _read_numbers(key: str, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in value.split(":"))
    except ValueError:
        raise DomainError(f"preprocess: `{key}` must be numbers with colons between; got {value!r:.60}") from None


def _read_number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DomainError(f"preprocess: `{key}` must be a number; got {value!r:.60}") from None


def _read_text(key: str, value: str) -> str:
    return value


def _read_byte(key: str, value: str) -> int:
    return int(value) if value.isdecimal() and len(value) < 4 else -1


_READ: dict[str, Any] = {
    "resize": _read_size, "crop": _read_crop, "scale": _read_number, "mean": _read_numbers, "std": _read_numbers,
    "channels": _read_text, "layout": _read_text, "background": _read_byte,
}  # fmt: skip


def _written(key: str, value: Any) -> str:
    if isinstance(value, tuple):
        return ("x" if key in ("resize", "crop") else ":").join(map(_number, value))
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


PRESETS = {
    "imagenet": Preprocess(
        resize="8/7", scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels="rgb"
    ),
    "unit": Preprocess(scale=255.0),
    "raw": Preprocess(),
}
"""By name: as torchvision's classifiers are trained on ImageNet; pixels from 0 to 1; pixels from 0 to 255."""

CHOICES = (
    "imagenet (0 to 1, less the mean and by the deviation of ImageNet's channels), unit (0 to 1), raw (0 to 255), or "
    "such as scale=127.5,mean=1 (-1 to 1)"
)
"""What there is to choose from, for messages."""
