"""Formats on a real depthwise network: the bits of the base without an adapter, and those of the merged weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from lieref.adapter.out.delta_file import apply_delta
from lieref.adapter.out.registry import export
from tests.adapter.out.adapters import adapter_of
from tests.adapter.out.test_ort_adapter import Session, as_written

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


def test_mobilenet(data_dir: Path, tmp_path: Path) -> None:
    net = onnx.load(data_dir / "mlperf_tiny" / "mobilenet_v1_025_vww.onnx")
    source = adapter_of(tmp_path, "liera", net=net, r=2, scale=0.05)
    (tmp_path / "delta").mkdir()
    files = export(source, "delta").data
    assert not isinstance(files, bytes)
    for name, data in files.items():
        (tmp_path / "delta" / name).write_bytes(data)
    base = {each.name: numpy_helper.to_array(each) for each in net.graph.initializer}
    merged = {each.name: numpy_helper.to_array(each) for each in source.proto.graph.initializer}
    for name, value in apply_delta(tmp_path / "delta", base).items():
        assert value.tobytes() == merged[name].tobytes()
    exported = export(source, "ort-adapter")
    assert not exported.facts["whole_tensors"]
    session = Session(exported, tmp_path, optimised=False)
    feed = {net.graph.input[0].name: np.random.default_rng(0).random((1, 3, 96, 96), np.float32)}
    output = net.graph.output[0].name
    runs = [
        onnxruntime.InferenceSession(proto.SerializeToString(), as_written(), ["CPUExecutionProvider"]).run(None, feed)
        for proto in (net, source.proto)
    ]
    assert session.run(feed)[output].tobytes() == runs[0][0].tobytes()
    off = np.abs(session.run(feed, exported)[output] - runs[1][0]).max()
    assert off < 1e-5 * np.abs(runs[1][0] - runs[0][0]).max() + 1e-6
