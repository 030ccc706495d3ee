"""The network in a quantised file, of whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from lieref._text import near_path
from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.detect import TFLITE_MARK
from lieref.model.integer.detect import is_integer_file as is_integer_file
from lieref.model.integer.graph import IntegerGraph


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
        got = "it is a folder" if path.is_dir() else f"there is no such file{near_path(path)}"
        raise FormatError(f"load: {path} must be a quantised network; {got}")
    with path.open("rb") as file:
        head = file.read(8)
    if head[4:8] == TFLITE_MARK or path.suffix == ".tflite":
        from lieref.model.integer.tflite_reader import load_tflite

        return load_tflite(path)
    from lieref.model.integer.onnx_qoperator_reader import read_nodes
    from lieref.model.integer.onnx_source import open_onnx

    source = open_onnx(path)
    ops = {node.op.rpartition(".")[2] for node in source.nodes}
    if "DequantizeLinear" in ops or any(op.startswith("QLinear") or op == "QGemm" for op in ops):
        return read_nodes(source)
    raise UnsupportedError(f"load: {path} must be a quantised network; it computes in floats")
