"""Whether a file is a quantised network, seen with the standard library alone: a device has no reader of networks."""

from __future__ import annotations

import mmap
from pathlib import Path

from lieref._wire import BYTES, fields
from lieref.errors import FormatError

TFLITE_MARK = b"TFL3"
"""Bytes 4 to 8 of a .tflite file."""
_QUANTISED = (b"QuantizeLinear", b"QLinear", b"QGemm", b"MatMulInteger", b"ConvInteger")


def is_tflite_file(path: str | Path) -> bool:
    """Tell whether a file, which is there, is a .tflite by what it holds."""
    with Path(path).open("rb") as file:
        return file.read(8)[4:8] == TFLITE_MARK


def is_integer_file(path: str | Path) -> bool:
    """Tell whether a file is a .tflite, or an ONNX file with operators of a quantised network."""
    path = Path(path)
    if not path.is_file():
        return path.suffix == ".tflite"
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:8] == TFLITE_MARK or path.suffix == ".tflite":
            return True
        if len(head) < 8:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as seen:
            if all(seen.find(word) < 0 for word in _QUANTISED):
                return False
            data = bytes(seen)
    return any(word.decode() in op for op in operators_of(data) for word in _QUANTISED)


def operators_of(data: bytes) -> set[str]:
    """Return the operators that the nodes of a file's graph are; empty where it is no ONNX file."""
    found: set[str] = set()
    try:
        for number, kind, graph in fields(memoryview(data), "model"):
            if number != 7 or kind != BYTES or not isinstance(graph, memoryview):
                continue
            for number_in, kind_in, node in fields(graph, "model"):
                if number_in == 1 and kind_in == BYTES and isinstance(node, memoryview):
                    found.update(bytes(v).decode(errors="replace") for n, k, v in fields(node, "model")
                                 if n == 4 and k == BYTES and isinstance(v, memoryview))  # fmt: skip
    except FormatError:
        return set()
    return found
