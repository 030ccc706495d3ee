"""A module as each of PyTorch's exporters writes it, and the files that others wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from validation.benchmarks._torchvision import silence
from validation.exporters.networks import NETWORKS

EXPORTERS = ("dynamo", "TorchScript")
SAMPLES = 4
DATA = Path(os.environ.get("LIEREF_DATA_DIR", "data"))
FILES = {
    "ResNet-8 (MLPerf Tiny)": "mlperf_tiny/resnet8.onnx",
    "MobileNetV1 0.25 (MLPerf Tiny)": "mlperf_tiny/mobilenet_v1_025_vww.onnx",
    "autoencoder (MLPerf Tiny)": "mlperf_tiny/autoencoder_ad.onnx",
    "stories260K, encoder": "stories260k/stories260k_encoder.onnx",
    "stories260K, language model": "stories260k/stories260k_lm.onnx",
}


@dataclass(frozen=True)
class Exported:
    """A file, samples for each of its inputs, and what the module gives for them, where there is one."""

    path: Path
    inputs: tuple[np.ndarray, ...]
    given: np.ndarray | None


def module_of(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """Return a network for inference, its normalisations with the statistics of random samples; and samples."""
    make, shapes = NETWORKS[name]
    torch.manual_seed(len(name))
    module = make()
    for norm in (m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)):
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(*(torch.randn(64, *shape) for shape in shapes))
    return module.eval(), tuple(torch.randn(SAMPLES, *shape) for shape in shapes)


def export(name: str, exporter: str, path: Path) -> Exported:
    """Write a network for any number of samples."""
    module, inputs = module_of(name)
    names = [f"x{i}" for i in range(len(inputs))]
    free: dict[str, Any] = {"dynamo": True, "external_data": False}
    if exporter == "TorchScript":
        free = {"dynamo": False, "input_names": names, "dynamic_axes": {n: {0: "N"} for n in names}}
    else:
        free["dynamic_shapes"] = tuple({0: torch.export.Dim("N")} for _ in inputs)
    with silence():
        torch.onnx.export(module, inputs, str(path), **free)
    with torch.no_grad():
        given = module(*inputs)
    return Exported(path, tuple(x.numpy() for x in inputs), (given[0] if isinstance(given, tuple) else given).numpy())


def of_file(path: Path) -> Exported:
    """Return a file that is there, with random samples for it."""
    rng = np.random.default_rng(1)
    inputs = []
    graph = onnx.load(path).graph
    for value in graph.input:
        if value.name in {t.name for t in graph.initializer}:
            continue
        dims = [d.dim_value or SAMPLES for d in value.type.tensor_type.shape.dim]
        whole = value.type.tensor_type.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        inputs.append((rng.integers(0, 100, dims) if whole else rng.standard_normal(dims)).astype(kind))
    return Exported(path, tuple(inputs), None)


def sklearn_perceptron(path: Path) -> Exported:
    """Write scikit-learn's MLPClassifier as skl2onnx does.

    Raises
    ------
    ModuleNotFoundError
        Without skl2onnx.
    """
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 11)).astype(np.float32)
    with silence():
        fitted = MLPClassifier((24, 16), max_iter=20).fit(x, np.arange(60) % 5)
        model = to_onnx(fitted, x[:1], options={"zipmap": False})
    onnx.save(model, path)
    return Exported(path, (x[:SAMPLES],), None)
