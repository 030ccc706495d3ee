"""Reading a flatbuffer that nobody has checked: every offset is looked at before anything behind it is.

A flatbuffer is a tree of tables. A table starts with the distance back to its vtable, which lists for each field (slot)
where it lies in the table, 0 for a field left out. Strings, vectors and tables in it are reached by unsigned distances
forward, and a vector starts with its length. All numbers are little-endian.

What is wrong raises `FormatError`. A file may point to one vector from many places, so that reading it could take time
and memory without end: the bytes read from vectors are counted, and no more than `_READS` times the file are read. So
are the tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.integer.graph import ByteRange

_READS = 8
LARGEST = (1 << 31) - 1
"""Most bytes of a file: offsets are signed numbers of 32 bits."""
_TABLES = 1 << 18
"""Most tables that are read. A network of a thousand operators has ten thousand; a vector may name one table again and
again, and each time costs microseconds."""


@dataclass
class Bytes:
    """The file, with checked access to its numbers.

    Attributes
    ----------
    content : bytes
    read : int
        Bytes of vectors read so far.
    tables : int
        Tables read so far.
    """

    content: bytes
    read: int = field(default=0)
    tables: int = field(default=0)

    def __post_init__(self) -> None:
        if len(self.content) > LARGEST:
            raise FormatError(f"flatbuffer: the file must be smaller than 2 GiB; got {len(self.content)} bytes")

    def number(self, code: str, at: int) -> Any:
        """Return the number of this `struct` code at a position."""
        size = struct.calcsize("<" + code)
        if at < 0 or at % size or at + size > len(self.content):
            raise FormatError(
                f"flatbuffer: every position must lie in the file; got {at} in one of {len(self.content)} bytes: it is "
                "truncated or damaged"
            )
        return struct.unpack_from("<" + code, self.content, at)[0]

    def vector(self, at: int, size: int) -> ByteRange:
        """Return where the entries lie, each of `size` bytes, of the vector at a position."""
        count = self.number("I", at)
        start = at + 4
        stop = start + count * size
        self.read += stop - start
        if stop > len(self.content) or (size > 4 and start % size):
            raise FormatError(
                f"flatbuffer: every vector must lie in the file; got {count} entries at {at} in one of "
                f"{len(self.content)} bytes: it is truncated or damaged"
            )
        if self.read > _READS * len(self.content):
            raise FormatError("flatbuffer: the file must not repeat itself; got many references to the same bytes")
        return ByteRange(start, stop)

    def root(self) -> Table:
        """Return the table that the file starts with."""
        return Table(self, self.number("I", 0))


@dataclass(frozen=True)
class Table:
    """One table of the file."""

    file: Bytes
    at: int

    def __post_init__(self) -> None:
        self.file.tables += 1
        if self.file.tables > _TABLES:
            raise FormatError(f"flatbuffer: the file must have at most {_TABLES} tables; got more")
        vtable = self._vtable
        size, length = self.file.number("H", vtable), self.file.number("H", vtable + 2)
        if size < 4 or size % 2 or length < 4:
            raise FormatError(f"flatbuffer: every table must have a vtable; got sizes {size} and {length} at {self.at}")
        if vtable + size > len(self.file.content) or self.at + length > len(self.file.content):
            raise FormatError(f"flatbuffer: every table must lie in the file; got one at {self.at}: it is truncated")

    @property
    def _vtable(self) -> int:
        return int(self.at - self.file.number("i", self.at))

    def place(self, slot: int, size: int) -> int | None:
        """Return where a field of `size` bytes lies, or None where it is left out."""
        vtable = self._vtable
        if 4 + 2 * slot + 2 > self.file.number("H", vtable):
            return None
        offset = self.file.number("H", vtable + 4 + 2 * slot)
        if not offset:
            return None
        if offset < 4 or offset + size > self.file.number("H", vtable + 2):
            raise FormatError(f"flatbuffer: every field must lie in its table; got offset {offset} at {self.at}")
        return int(self.at + offset)

    def scalar(self, slot: int, code: str, default: Any) -> Any:
        """Return a number, or its default where it is left out."""
        at = self.place(slot, struct.calcsize("<" + code))
        return default if at is None else self.file.number(code, at)

    def _target(self, slot: int) -> int | None:
        at = self.place(slot, 4)
        return None if at is None else at + self.file.number("I", at)

    def table(self, slot: int) -> Table | None:
        """Return a table, or None where it is left out."""
        at = self._target(slot)
        return None if at is None else Table(self.file, at)

    def vector(self, slot: int, dtype: str) -> tuple[Array, ByteRange | None]:
        """Return the entries of a vector of numbers, read-only, and where they lie; empty where it is left out."""
        at = self._target(slot)
        kind = np.dtype(dtype).newbyteorder("<")
        if at is None:
            return np.zeros(0, dtype), None
        place = self.file.vector(at, kind.itemsize)
        values = np.frombuffer(self.file.content, kind, len(place) // kind.itemsize, place.start)
        return values.astype(np.dtype(dtype), copy=False), place

    def text(self, slot: int) -> str:
        """Return a string; what is no UTF-8 in it is replaced."""
        return self.vector(slot, "uint8")[0].tobytes().decode("utf-8", "replace")

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector of tables."""
        at = self._target(slot)
        if at is None:
            return
        place = self.file.vector(at, 4)
        for start in range(place.start, place.stop, 4):
            yield Table(self.file, start + self.file.number("I", start))
