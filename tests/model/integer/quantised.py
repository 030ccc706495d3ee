"""Small networks quantised by ONNX Runtime, in both forms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest


def quantised(
    proto: onnx.ModelProto, folder: Path, form: str = "qdq", *, per_channel: bool = True, unsigned: bool = False,
    name: str = "x", shape: tuple[int, ...] = (3, 9, 8),
) -> Path:  # fmt: skip
    """Return the path of a network quantised statically on random samples; form is "qdq" or "qoperator"."""
    tools = pytest.importorskip("onnxruntime.quantization")
    logging.getLogger().setLevel(logging.ERROR)  # it advises to preprocess
    rng = np.random.default_rng(3)
    batches = iter([{name: rng.standard_normal((16, *shape)).astype(np.float32)} for _ in range(2)])

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> Any:
            return next(batches, None)

    plain, target = folder / f"plain_{form}.onnx", folder / f"{form}{per_channel}{unsigned}.onnx"
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save(proto, folder / "float.onnx")
    quant_pre_process(folder / "float.onnx", plain, skip_symbolic_shape=True)
    kind = tools.QuantType.QUInt8 if unsigned else tools.QuantType.QInt8
    tools.quantize_static(
        plain,
        target,
        Reader(),
        quant_format=tools.QuantFormat.QDQ if form == "qdq" else tools.QuantFormat.QOperator,
        per_channel=per_channel,
        activation_type=kind,
        weight_type=tools.QuantType.QInt8,
    )
    return target


def run_onnx(content: bytes, x: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime computes, without fusing: the numbers that the operators of the file define."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(content, options)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
