"""Bases that are trained here in PyTorch, with BatchNormalization as usual, and written as ONNX layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lieref._atomic import write_file


def train(net: nn.Sequential, x: np.ndarray, y: np.ndarray, *, epochs: int, rate: float = 1e-3, seed: int = 0) -> None:
    """Train with Adam, batches of 64 and a cosine that falls to 0, on one thread; leaves the net in evaluation."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    samples, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    batches = -(-len(x) // 64)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for k in range(batches):
            chosen = order[64 * k : 64 * (k + 1)]
            if len(chosen) < 2:
                continue
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(samples[chosen]), labels[chosen]).backward()
            optimizer.step()
            falling.step()
    net.eval()


def write_onnx(net: nn.Sequential, shape: tuple[int, ...], path: Path) -> None:
    """Write a chain of layers; input ``x`` (N, *shape), output ``logits``, BatchNormalization kept apart."""
    nodes: list[Any] = []
    tensors: dict[str, np.ndarray] = {}
    at = "x"
    for number, layer in enumerate(net):
        kind, names, attributes = _operator(layer, f"layer{number}", tensors)
        out = "logits" if number == len(net) - 1 else f"t{number}"
        nodes.append(helper.make_node(kind, [at, *names], [out], name=f"layer{number}", **attributes))
        at = out
    classes = next(layer.out_features for layer in reversed(net) if isinstance(layer, nn.Linear))
    graph = helper.make_graph(
        nodes, "base",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    write_file(path, model.SerializeToString())


def _operator(layer: nn.Module, name: str, tensors: dict[str, np.ndarray]) -> tuple[str, list[str], dict[str, Any]]:
    """Return operator, names of its tensors, which are added, and attributes."""

    def put(**values: torch.Tensor | None) -> list[str]:
        found = {f"{name}.{part}": value for part, value in values.items() if value is not None}
        tensors.update({key: value.detach().numpy() for key, value in found.items()})
        return list(found)

    if isinstance(layer, nn.Conv2d):
        pad = int(layer.padding[0])
        return "Conv", put(weight=layer.weight, bias=layer.bias), {"pads": [pad] * 4, "strides": list(layer.stride)}
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        parts = {"scale": layer.weight, "shift": layer.bias, "mean": layer.running_mean, "var": layer.running_var}
        return "BatchNormalization", put(**parts), {"epsilon": layer.eps}
    if isinstance(layer, nn.Linear):
        return "Gemm", put(weight=layer.weight, bias=layer.bias), {"transB": 1}
    plain: dict[type[nn.Module], tuple[str, dict[str, Any]]] = {
        nn.ReLU: ("Relu", {}), nn.Flatten: ("Flatten", {"axis": 1}), nn.AdaptiveAvgPool2d: ("GlobalAveragePool", {}),
        nn.MaxPool2d: ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    }  # fmt: skip
    kind, attributes = plain[type(layer)]
    return kind, [], attributes
