"""PyTorch's side of the ordinary networks: torchvision's architectures, their ONNX files, LieRA on their weights."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.parametrize import register_parametrization

from validation.benchmarks._models import RANK

OPERATORS = torch.library.Library("torchvision", "DEF")
"""torchvision registers shapes for operators of its C++ library, which does not load beside a torch for the CPU alone:
they are declared here, and never called."""

for _name in ("nms", "qnms"):
    OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision import models  # noqa: E402

ARCHITECTURES: dict[str, Callable[[], torch.nn.Module]] = {
    "ResNet-18": models.resnet18, "MobileNetV2": models.mobilenet_v2, "MobileNetV3-small": models.mobilenet_v3_small,
    "MNASNet 0.5": models.mnasnet0_5, "SqueezeNet 1.1": models.squeezenet1_1,
    "ShuffleNetV2 x0.5": models.shufflenet_v2_x0_5, "EfficientNet-B0": models.efficientnet_b0,
    "RegNetY-400MF": models.regnet_y_400mf,
}  # fmt: skip

EXPORTERS = ("dynamo", "TorchScript")

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def network(name: str, size: int) -> torch.nn.Module:
    """An architecture with random weights, its normalisations with the statistics of random images, for inference."""
    torch.manual_seed(0)
    module = ARCHITECTURES[name]()
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(8, 3, size, size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module.eval()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep exporters from talking."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def export(module: torch.nn.Module, path: Path, exporter: str, size: int) -> None:
    """Write the network as ONNX, for any number of images."""
    x = torch.randn(2, 3, size, size)
    free: dict[str, Any] = {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("N")},), "external_data": False}
    if exporter == "TorchScript":
        free = {"dynamo": False, "dynamic_axes": {"x": {0: "N"}, "y": {0: "N"}}}
    with silence():
        torch.onnx.export(module, (x,), str(path), input_names=["x"], output_names=["y"], **free)


class LieRA(torch.nn.Module):
    """W' = W exp(B A), group by group; the rank is what a group has room for."""

    def __init__(self, weight: torch.Tensor, groups: int) -> None:
        super().__init__()
        out, inner = weight.shape[0] // groups, math.prod(weight.shape[1:])
        rank = min(RANK, out, inner)
        shape = () if groups == 1 else (groups,)
        self.lora_a = torch.nn.Parameter(0.1 * torch.randn(*shape, rank, inner))
        self.lora_b = torch.nn.Parameter(0.1 * torch.randn(*shape, out, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * torch.exp((self.lora_b @ self.lora_a).reshape(weight.shape))


def with_liera(module: torch.nn.Module, layout: str) -> tuple[torch.nn.Module, list[torch.nn.Parameter]]:
    """A copy with its normalisations folded into the convolutions and LieRA on every weight; and the factors."""
    copy = fuse(module).to(memory_format=LAYOUTS[layout]).requires_grad_(False)
    factors: list[torch.nn.Parameter] = []
    for layer in list(copy.modules()):
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            adapter = LieRA(layer.weight, getattr(layer, "groups", 1))
            register_parametrization(layer, "weight", adapter)
            factors += [adapter.lora_a, adapter.lora_b]
    return copy, factors


def steps(module: torch.nn.Module, layout: str, batches: list[tuple[Any, Any]], compiled: bool) -> Callable[[], None]:
    """A step of AdamW on each batch."""
    twin, factors = with_liera(module, layout)
    run = torch.compile(twin) if compiled else twin
    data = [(torch.from_numpy(x).to(memory_format=LAYOUTS[layout]), torch.from_numpy(y)) for x, y in batches]
    optimizer = torch.optim.AdamW(factors, lr=1e-3, weight_decay=0.01, fused=True)

    def train() -> None:
        for x, y in data:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(run(x), y).backward()
            optimizer.step()

    return train


def has_cpp_compiler() -> bool:
    """Tell whether torch.compile can work."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))
