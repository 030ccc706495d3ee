"""Protobuf's wire format, read strictly with the standard library: fields of a message, and packed numbers.

A message is a sequence of fields: a varint ``number << 3 | kind``, then by kind a varint (0), eight bytes (1), a length
and so many bytes (2), or four bytes (5). The groups of kinds 3 and 4 went out of use before ONNX began and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
MAX_FIELD = 2**29 - 1
"""Largest number of a field that protobuf allows."""
_SIZES = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
_CHUNK = 2**16


def fields(message: memoryview, what: str) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (number, kind, value) of each field: an unsigned integer for a varint, else the bytes, not copied.

    Raises
    ------
    FormatError
        If the bytes are no message; `what` is named.
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position, what)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= MAX_FIELD:
            raise _broken(what, f"a field of number {number}")
        if kind == VARINT:
            value, position = _varint(message, position, what)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, position = _varint(message, position, what)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise _broken(what, f"a field of kind {kind}")
        if size > end - position:
            raise _broken(what, f"a field of {size} bytes where {end - position} are left (truncated?)")
        yield number, kind, message[position : position + size]
        position += size


def packed_varints(data: memoryview, most: int, what: str) -> Array:
    """Return the varints that fill `data`, as uint64.

    Parameters
    ----------
    data : memoryview
    most : int
        So many numbers are expected; more are refused before they take memory.
    what : str
        How error messages call it.

    Raises
    ------
    FormatError
        If they do not end where the data does, one is longer than 64 bits, or there are more than `most`.
    """
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if len(ends) > most or (len(raw) and (not len(ends) or ends[-1] != len(raw) - 1)):
        raise _broken(what, f"packed numbers that are no {most} varints")
    starts = np.concatenate([np.zeros(min(len(ends), 1), ends.dtype), ends[:-1] + 1])
    sizes = ends - starts + 1
    if (sizes > 10).any() or (raw[ends[sizes == 10]] > 1).any():
        raise _broken(what, "a varint of more than 64 bits")
    values = np.zeros(len(ends), np.uint64)
    for byte in range(int(sizes.max(initial=0))):
        having = np.flatnonzero(sizes > byte)
        for part in np.split(having, range(_CHUNK, len(having), _CHUNK)):
            bits = (raw[starts[part] + byte] & 0x7F).astype(np.uint64)
            values[part] |= bits << np.uint64(7 * byte)
    return values


def _varint(message: memoryview, position: int, what: str) -> tuple[int, int]:
    value = shift = 0
    for at in range(position, min(position + 10, len(message))):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, at + 1
        shift += 7
    raise _broken(what, "a varint that ends nowhere or has more than 64 bits")


def _broken(what: str, got: str) -> FormatError:
    return FormatError(f"load: `{what}` must be an ONNX file; got {got}")
