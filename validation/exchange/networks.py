"""Small networks in PyTorch, with every geometry that adapters meet, and their files from both exporters."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Convolutions(nn.Module):
    """Convolutions of two axes: strides, groups, depthwise, dilation, 1x1, with and without BatchNormalization."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1)
        )
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False)
        self.normalised = nn.Conv2d(12, 8, (3, 1), padding=(1, 0), bias=True)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(torch.relu(self.stem(x)))
        x = torch.relu(self.depthwise(torch.relu(self.grouped(x))))
        x = torch.relu(self.norm(self.normalised(x)))
        return self.head(x.mean((2, 3)))


class Sequences(nn.Module):
    """Convolutions of one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 8, 5, stride=2, padding=2)
        self.second = nn.Conv1d(8, 8, 3, padding=2, dilation=2)
        self.point = nn.Conv1d(8, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(torch.relu(self.point(x)).mean(2))


class Volumes(nn.Module):
    """Convolutions of three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 6, 3, padding=1)
        self.point = nn.Conv3d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.point(torch.relu(self.first(x)))).mean((2, 3, 4)))


EPSILON = 2.0**-17
"""A file keeps epsilon, and dynamo the root of the size of a head, in float32: these numbers are the same there."""


class Attention(nn.Module):
    """Self-attention, one Linear for each of query, key, value and output; the key has no bias."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.query, self.value, self.out = (nn.Linear(size, size) for _ in range(3))
        self.key = nn.Linear(size, size, bias=False)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        n, length, size = x.shape
        query, key, value = (
            layer(x).view(n, length, self.heads, size // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / (size // self.heads) ** 0.5, -1)
        return self.out((weights @ value).transpose(1, 2).reshape(n, length, size))


class Layer(nn.Module):
    """One layer of an encoder."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention = Attention(size, 2)
        self.before, self.between = nn.LayerNorm(size, eps=EPSILON), nn.LayerNorm(size, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.between(x))


class Encoder(nn.Module):
    """A small transformer over vectors, so that all of it can be float64."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(6, 8)
        self.layers = nn.ModuleList([Layer(8), Layer(8)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "convolutions": (Convolutions, (4, 3, 12, 12)),
    "sequences": (Sequences, (4, 3, 20)),
    "volumes": (Volumes, (4, 2, 5, 5, 5)),
    "encoder": (Encoder, (4, 7, 6)),
}
"""Network and shape of a batch by name."""

EXPORTERS = ("torchscript", "dynamo", "torchscript-unfolded", "dynamo-unfolded")
"""Both of PyTorch's; unfolded as BatchNormalization is kept then."""


def network(name: str, dtype: torch.dtype, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a network in evaluation mode, its statistics anything, and a batch."""
    torch.manual_seed(seed)
    made, shape = NETWORKS[name]
    net = made()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return net.to(dtype).eval(), torch.randn(shape, dtype=dtype)


def export(net: nn.Module, x: Tensor, path: Path, exporter: str) -> None:
    """Write a network as ONNX."""
    options: dict[str, Any] = {"dynamo": exporter.startswith("dynamo"), "input_names": ["x"]}
    if exporter == "dynamo-unfolded":
        options["optimize"] = False
    if exporter == "torchscript-unfolded":
        options |= {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    if not options["dynamo"]:
        options["dynamic_axes"] = {"x": {0: "n"}}
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), str(path), verbose=False, **options)
