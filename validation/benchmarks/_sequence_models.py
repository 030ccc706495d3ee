"""PyTorch's side of `sequences`: a transformer, an LSTM and a U-Net, their ONNX files, LieRA on their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from validation.benchmarks._torchvision import LieRA, silence

VOCABULARY, CLASSES = 1000, 5


class Transformer(nn.Module):
    """Two layers of 64 channels and 4 heads over 128 tokens, and a class of their mean."""

    length = 128

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 64)
        self.positions = nn.Parameter(0.1 * torch.randn(1, self.length, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.end = nn.Linear(64, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(self.encoder(self.embedding(x) + self.positions).mean(1))

    @staticmethod
    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randint(VOCABULARY, (count, Transformer.length)), torch.randint(CLASSES, (count,))


class Recurrent(nn.Module):
    """A bidirectional LSTM of 64 units over 64 frames of 32 features, and a class of each frame."""

    length = 64

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 64, batch_first=True, bidirectional=True)
        self.end = nn.Linear(128, CLASSES)
        self.adapters: nn.ModuleDict | None = None

    def forward(self, x: Any) -> Any:
        if self.adapters is None:
            return self.end(self.lstm(x)[0])
        weights = [
            self.adapters[name](weight) if name in self.adapters else weight
            for name, weight in self.lstm.named_parameters()
        ]
        zeros = x.new_zeros(2, len(x), 64)
        return self.end(torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, True, True, True)[0])

    @staticmethod
    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        frames = Recurrent.length
        return torch.randn(count, frames, 32), torch.randint(CLASSES, (count, frames))


class UNet(nn.Module):
    """Two steps down, two up by transposed convolutions, and the wires across: a class of each of 64 x 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = self.block(3, 16), self.block(16, 32), self.block(32, 64)
        self.lift, self.lift2 = nn.ConvTranspose2d(64, 32, 2, stride=2), nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.d, self.e, self.end = self.block(64, 32), self.block(32, 16), nn.Conv2d(16, CLASSES, 1)

    @staticmethod
    def block(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())

    def forward(self, x: Any) -> Any:
        one = self.a(x)
        two = self.b(F.max_pool2d(one, 2))
        low = self.c(F.max_pool2d(two, 2))
        mid = self.d(torch.cat([two, self.lift(low)], 1))
        return self.end(self.e(torch.cat([one, self.lift2(mid)], 1)))

    @staticmethod
    def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(count, 3, 64, 64), torch.randint(CLASSES, (count, 64, 64))


NETWORKS: dict[str, Any] = {"transformer": Transformer, "LSTM": Recurrent, "U-Net": UNet}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def batch_of(name: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return NETWORKS[name].batch(count)


def export(module: nn.Module, name: str, path: Path) -> None:
    """Write the network as ONNX, for any number of samples."""
    x, _ = batch_of(name, 2)
    with silence():
        torch.onnx.export(
            module, (x,), str(path), input_names=["x"], output_names=["y"], dynamo=False,
            dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip


def with_liera(module: nn.Module) -> tuple[nn.Module, list[nn.Parameter]]:
    """The network with LieRA on every matrix and kernel, and the factors."""
    module = module.train().requires_grad_(False)
    adapters: list[nn.Module] = []

    def adapter(weight: torch.Tensor) -> LieRA:
        adapters.append(LieRA(weight, 1))
        return adapters[-1]  # type: ignore[return-value]

    for layer in list(module.modules()):
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            register_parametrization(layer, "weight", adapter(layer.weight))
        if isinstance(layer, nn.MultiheadAttention):
            register_parametrization(layer, "in_proj_weight", adapter(layer.in_proj_weight))
    if isinstance(module, Recurrent):
        named = {key: value for key, value in module.lstm.named_parameters() if key.startswith("weight")}
        module.adapters = nn.ModuleDict({key: adapter(weight) for key, weight in named.items()})
    return module, [factor for one in adapters for factor in one.parameters()]


def step(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One step of AdamW."""
    twin, factors = with_liera(module)
    optimizer = torch.optim.AdamW(factors, lr=1e-3, weight_decay=0.01, fused=True)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        scores = twin(x)
        classes_last = scores.ndim == 3
        F.cross_entropy(scores.flatten(0, 1) if classes_last else scores, y.flatten() if classes_last else y).backward()
        optimizer.step()

    return train
