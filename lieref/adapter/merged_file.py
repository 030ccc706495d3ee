"""The merged network as the bytes of an ONNX file, made with NumPy and the standard library alone.

The base's file with the numbers of some initializers replaced, everything else as it is, byte by byte. What runs there
is what ONNX Runtime would be given by ``lieref merge``, but for the metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lieref._types import Array
from lieref._wire import BYTES, EIGHT_BYTES, FOUR_BYTES, VARINT, fields
from lieref.adapter.fields import shown
from lieref.errors import FormatError, UnsupportedError

# Fields by number, from onnx.proto; numbers of data types.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
_TYPES = {"float32": 1, "float16": 10, "float64": 11}


def merged_file(data: bytes, changed: Mapping[str, Array], what: str = "base") -> bytes:
    """Return an ONNX file with other numbers in some of its initializers.

    Parameters
    ----------
    data : bytes
        Of the file.
    changed : mapping of str to array
        What `lieref.adapter.merge.merging.merge_weights` returns: float16, float32 or float64 by the names of
        initializers.
    what : str
        How error messages call the file.

    Raises
    ------
    FormatError
        If the file is none.
    UnsupportedError
        If a name is not that of an initializer of the graph: a Constant holds it, or the file computes it.
    """
    left = dict(changed)
    parts: list[bytes] = []
    for number, kind, value in fields(memoryview(data), what):
        if number == _GRAPH and kind == BYTES and isinstance(value, memoryview):
            value = memoryview(b"".join(_graph(value, left, what)))
        parts += _field(number, kind, value)
    if left:
        raise UnsupportedError(
            f"merged_file: {shown(min(left))} must be an initializer of {what}; it is none, which takes `lieref merge`"
        )
    return b"".join(parts)


def _graph(graph: memoryview, left: dict[str, Array], what: str) -> list[bytes]:
    """Return the parts of a GraphProto; the tensors that were found are taken out of `left`."""
    parts: list[bytes] = []
    for number, kind, value in fields(graph, what):
        if number == _INITIALIZER and kind == BYTES and isinstance(value, memoryview):
            name = _name(value, what)
            if name in left:
                value = memoryview(_tensor(name, left.pop(name)))
        parts += _field(number, kind, value)
    return parts


def _name(tensor: memoryview, what: str) -> str:
    found = [bytes(value) for number, _, value in fields(tensor, what)
             if number == _NAME and isinstance(value, memoryview)]  # fmt: skip
    try:
        return found[-1].decode() if found else ""
    except UnicodeDecodeError:
        raise FormatError(f"merged_file: `{what}` must name its tensors in UTF-8; it does not") from None


def _tensor(name: str, array: Array) -> bytes:
    """Return a TensorProto."""
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    parts = [part for extent in array.shape for part in _field(_DIMS, VARINT, int(extent))]
    parts += _field(_DATA_TYPE, VARINT, _TYPES[array.dtype.name])
    parts += _field(_NAME, BYTES, memoryview(name.encode()))
    parts += _field(_RAW_DATA, BYTES, memoryview(raw))
    return b"".join(parts)


def _field(number: int, kind: int, value: int | memoryview) -> list[bytes]:
    """Return the bytes of one field, in parts."""
    tag = _varint(number << 3 | kind)
    if isinstance(value, int):
        return [tag, _varint(value)]
    if kind in (EIGHT_BYTES, FOUR_BYTES):
        return [tag, bytes(value)]
    return [tag, _varint(len(value)), bytes(value)]


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
