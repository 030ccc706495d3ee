"""Which kind of quantised file lies at a path, and the network in it."""

from __future__ import annotations

import mmap
from pathlib import Path

from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.graph import IntegerGraph

TFLITE_MARK = b"TFL3"
"""Bytes 4 to 8 of a .tflite file."""
_QUANTISED = (b"QuantizeLinear", b"QLinear", b"QGemm", b"MatMulInteger", b"ConvInteger")


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
    from lieref.model.integer.onnx_source import operators_of

    return any(word.decode() in op for op in operators_of(data) for word in _QUANTISED)


def read_integer(path: str | Path) -> IntegerGraph:
    """Read a quantised network: .tflite, or ONNX in the QDQ or the QOperator form.

    Raises
    ------
    FormatError
        If the file is missing or broken, or a scale is not positive and finite.
    UnsupportedError
        If it is not quantised, or holds something that lieref has no integers for.
    MissingExtraError
        If the library that reads the format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        got = "it is a folder" if path.is_dir() else "there is no such file"
        raise FormatError(f"load: {path} must be a quantised network; {got}")
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == TFLITE_MARK or path.suffix == ".tflite":
        from lieref.model.integer.tflite_reader import load_tflite

        return load_tflite(path)
    from lieref.model.integer.onnx_qdq_reader import read_qdq
    from lieref.model.integer.onnx_qoperator_reader import read_qoperator
    from lieref.model.integer.onnx_source import open_onnx

    source = open_onnx(path)
    ops = {node.op.rpartition(".")[2] for node in source.nodes}
    if any(op.startswith("QLinear") or op == "QGemm" for op in ops):
        return read_qoperator(source)
    if "DequantizeLinear" in ops:
        return read_qdq(source)
    raise UnsupportedError(f"load: {path} must be a quantised network; it computes in floats")
