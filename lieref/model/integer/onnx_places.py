"""Where the constants of an ONNX file lie in its bytes."""

from __future__ import annotations

import numpy as np

from lieref._wire import BYTES, fields
from lieref.errors import FormatError
from lieref.model.integer.graph import ByteRange

# Fields by number, from onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_FLOAT_DATA, _NAME, _RAW_DATA = 4, 8, 9


def initializer_places(content: bytes, source: str) -> dict[str, ByteRange]:
    """Return the bytes of each initializer whose numbers stand one behind the other, little-endian.

    Those are raw data, and packed float data. Numbers that are stored as varints have no bytes of their own: others
    would take another length. A name that stands twice, or whose numbers come in several pieces, has none either.

    Parameters
    ----------
    content : bytes
        The file.
    source : str
        How error messages call it.

    Raises
    ------
    FormatError
        If the file is none.
    """
    whole = memoryview(content)
    start = _address(whole)
    found: dict[str, ByteRange] = {}
    seen: set[str] = set()
    for graph in _messages(whole, _GRAPH, source):
        for tensor in _messages(graph, _INITIALIZER, source):
            parts = [(number, value) for number, kind, value in fields(tensor, source) if kind == BYTES]
            names = [value for number, value in parts if number == _NAME and isinstance(value, memoryview)]
            data = [value for number, value in parts
                    if number in (_FLOAT_DATA, _RAW_DATA) and isinstance(value, memoryview) and len(value)]  # fmt: skip
            try:
                name = bytes(names[-1]).decode() if names else ""
            except UnicodeDecodeError:
                raise FormatError(f"load: {source} must name its tensors in UTF-8; it does not") from None
            if name in seen:
                found.pop(name, None)
            elif len(data) == 1:
                at = _address(data[0]) - start
                found[name] = ByteRange(at, at + len(data[0]))
            seen.add(name)
    return found


def _messages(message: memoryview, wanted: int, source: str) -> list[memoryview]:
    """Return the fields of a number that hold a message."""
    return [value for number, kind, value in fields(message, source)
            if number == wanted and kind == BYTES and isinstance(value, memoryview)]  # fmt: skip


def _address(view: memoryview) -> int:
    """Return where a view begins in memory."""
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
