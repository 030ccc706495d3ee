"""Tensors in the arena, and where kernels meet them: places and tables of offsets.

A tensor is one sample's, NHWC with a permanent halo of zeros, so that a padded convolution needs no boundary case. It
is made of symbols first: its readers widen the halo, a concatenation widens its pixels. What follows from these
(steps, sizes, offsets) may be asked for once all instructions are there, when the program is assembled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from lieref.kernel.simd.kernels import most_slack

RUN_SPARE = most_slack("finite")
"""Zeros behind a tensor: what kernels read there they multiply by zero."""


@dataclass(eq=False)
class Tensor:
    """One sample's activation, or the gradient of one.

    Attributes
    ----------
    channels, height, width : int
    pixel : int
        Elements of one pixel: the channels, padded to whole vectors.
    halo : list of int
        Zero pixels above, left, below and right.
    offset : int
        Element of the arena where pixel (0, 0) starts; -1 until it is placed.
    pitch : int
        Elements from one sample's copy to the next, 0 where the samples of a group take turns in one place.
    scratch : bool
        Whether its rows read no element that they have not written for this sample.
    name : str
        What it is, in words of the network.
    whole : Tensor or None
        What this is a slice of: some channels, from `start` on, of the same pixels. It has no memory of its own, and
        the halo is shared.
    start : int
    repeated : bool
        Whether all rows are the same, and so one in memory. It has no halo.
    """

    channels: int
    height: int
    width: int
    pixel: int
    halo: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    offset: int = -1
    pitch: int = 0
    scratch: bool = False
    name: str = ""
    whole: Tensor | None = None
    start: int = 0
    repeated: bool = False

    def slice(self, channels: int, start: int, name: str) -> Tensor:
        """Return some channels, from one on; both must be whole vectors."""
        whole = self.whole or self
        found = Tensor(channels, self.height, self.width, channels, name=name, whole=whole, start=self.start + start)
        found.halo = whole.halo
        return found

    def meets(self, other: Tensor) -> bool:
        """Return whether both share memory."""
        apart = max(self.start, other.start) >= min(self.start + self.pixel, other.start + other.pixel)
        return (self.whole or self) is (other.whole or other) and not apart

    def need_halo(self, top: int, left: int, bottom: int, right: int) -> None:
        """Widen the halo to hold this many zero pixels on each side."""
        self.halo[:] = [max(have, need) for have, need in zip(self.halo, (top, left, bottom, right), strict=True)]

    @property
    def step(self) -> int:
        """Elements from one pixel to the next."""
        return self.whole.pixel if self.whole else self.pixel

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return 0 if self.repeated else (self.width + self.halo[1] + self.halo[3]) * self.step

    @property
    def size(self) -> int:
        """Elements of the tensor and its halo."""
        if self.repeated:
            return self.width * self.step
        return (self.height + self.halo[0] + self.halo[2]) * self.row

    @property
    def shift(self) -> int:
        """Elements before pixel (0, 0)."""
        return self.halo[0] * self.row + self.halo[1] * self.step


@dataclass(frozen=True)
class Place:
    """Where a kernel meets a tensor: a first pixel, a channel, and steps between rows and pixels.

    Where `turned`, the kernel takes the tensor's columns for rows.
    """

    tensor: Tensor
    y: int = 0
    x: int = 0
    step_y: int = 1
    step_x: int = 1
    channel: int = 0
    turned: bool = False

    def in_whole(self) -> Place:
        """Return the same place in the tensor that this one's is a slice of."""
        t = self.tensor
        return replace(self, tensor=t.whole, channel=self.channel + t.start) if t.whole else self

    def fields(self, name: str) -> dict[str, int]:
        """Return the fields `name`, `name`_row, `name`_pixel and `name`_pitch."""
        t = self.tensor
        start = t.offset + self.y * t.row + self.x * t.step + self.channel
        row, pixel = self.step_y * t.row, self.step_x * t.step
        if self.turned:
            row, pixel = pixel, row
        return {name: start, f"{name}_row": row, f"{name}_pixel": pixel, f"{name}_pitch": t.pitch}


class Table(Protocol):
    """Offsets that a kernel reads; made when a program is assembled."""

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""


@dataclass(frozen=True)
class Taps:
    """Offsets of pixels relative to the first, as a table the kernel reads.

    Each stands for a run of `chunks` times `step` elements and is followed by the offsets of its further chunks: what
    a kernel calls a run is one chunk.
    """

    tensor: Tensor
    pixels: tuple[tuple[int, int], ...]
    chunks: int = 1
    step: int = 0

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""
        starts = [dy * self.tensor.row + dx * self.tensor.step for dy, dx in self.pixels]
        return [start + i * self.step for start in starts for i in range(self.chunks)]


@dataclass(frozen=True)
class Places:
    """Offsets that are known from the start, as a table the kernel reads."""

    places: tuple[int, ...]

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""
        return list(self.places)
