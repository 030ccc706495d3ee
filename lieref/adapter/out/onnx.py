"""The merged network as an ordinary ONNX file: what ``lieref merge`` writes, byte for byte."""

from __future__ import annotations

from dataclasses import asdict

from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Source
from lieref.model.onnx_writer import encode_onnx


def export_onnx(source: Source) -> Exported:
    """Return the file with the adapted weights in place of the base's, everything else as it was."""
    data = encode_onnx(source.proto)
    rounding = source.merged.rounding
    facts = {"changed_tensors": [change.name for change in source.changes]}
    return Exported(data, facts if rounding is None else {**facts, "rounding": asdict(rounding)})
