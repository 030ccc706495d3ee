"""Small networks of the shapes that are usually quantised, written by PyTorch and quantised by ONNX Runtime.

Their weights are random: what is compared is what runtimes compute, not what the networks know.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Way:
    """How a network is quantised.

    Attributes
    ----------
    form : {"qdq", "qoperator"}
    activations, weights : {"int8", "uint8"}
    per_channel : bool
    """

    form: str
    activations: str = "int8"
    weights: str = "int8"
    per_channel: bool = True

    def __str__(self) -> str:
        scales = "per channel" if self.per_channel else "per tensor"
        return f"{self.form}, {self.activations} activations, {self.weights} weights, {scales}"


WAYS = (
    Way("qdq"),
    Way("qoperator"),
    Way("qdq", "uint8"),
    Way("qoperator", "uint8"),
    Way("qoperator", "uint8", "uint8", False),
    Way("qdq", "uint8", "uint8", False),
    Way("qoperator", per_channel=False),
)
"""Those of `quantize_static` that are usual: QInt8 throughout is its advice for most, uint8 its default of old."""


def quantise(source: Path, target: Path, way: Way, batches: Iterator[dict[str, Any]]) -> None:
    """Write the quantised network of a float one, ranges found on `batches`."""
    import onnxruntime.quantization as tools
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> Any:
            return next(batches, None)

    kinds = {"int8": tools.QuantType.QInt8, "uint8": tools.QuantType.QUInt8}
    form = tools.QuantFormat.QDQ if way.form == "qdq" else tools.QuantFormat.QOperator
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    plain = target.with_suffix(".plain.onnx")
    try:
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        tools.quantize_static(
            plain,
            target,
            Reader(),
            quant_format=form,
            per_channel=way.per_channel,
            activation_type=kinds[way.activations],
            weight_type=kinds[way.weights],
        )
    finally:
        logging.getLogger().setLevel(level)


def export(network: Any, shape: tuple[int, ...], target: Path, seed: int = 0) -> None:
    """Write a PyTorch network as ONNX, its weights and statistics drawn anew, the batch free."""
    import torch

    torch.manual_seed(seed)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.2)
        elif isinstance(part, torch.nn.Conv2d | torch.nn.Linear | torch.nn.ConvTranspose2d):
            torch.nn.init.kaiming_normal_(part.weight)
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, *shape),), str(target), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip


def separable(c: int, out: int, stride: int, act: Callable[[], Any]) -> Any:
    """Return a depthwise convolution and a pointwise one, each with BatchNorm and activation."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c), act(),
        nn.Conv2d(c, out, 1, bias=False), nn.BatchNorm2d(out), act(),
    )  # fmt: skip


def stem(c: int, out: int, act: Callable[[], Any], stride: int = 2) -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(c, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), act())


def mobilenet_v1(act: Callable[[], Any] | None = None, channels: int = 3, classes: int = 10, width: int = 8) -> Any:
    """Return depthwise separable blocks, a global mean and a dense layer."""
    from torch import nn

    act, w = act or nn.ReLU, width
    return nn.Sequential(
        stem(channels, w, act), separable(w, 2 * w, 1, act), separable(2 * w, 4 * w, 2, act),
        separable(4 * w, 4 * w, 1, act), separable(4 * w, 8 * w, 2, act),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * w, classes),
    )  # fmt: skip


def ds_cnn(channels: int = 1, classes: int = 12, width: int = 16) -> Any:
    """Return the network of keyword spotting: a wide first kernel, depthwise separable blocks, a pool, softmax."""
    from torch import nn

    w = width
    return nn.Sequential(
        nn.Conv2d(channels, w, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(w), nn.ReLU(),
        *(separable(w, w, 1, nn.ReLU) for _ in range(3)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w, classes), nn.Softmax(1),
    )  # fmt: skip


def _inverted(c: int, wide: int, out: int, stride: int, act: Callable[[], Any], squeeze: Any = None) -> Any:
    from torch import nn

    gate = [] if squeeze is None else [squeeze]
    body = nn.Sequential(
        nn.Conv2d(c, wide, 1, bias=False), nn.BatchNorm2d(wide), act(),
        nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), act(), *gate,
        nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out),
    )  # fmt: skip

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if stride == 1 and c == out else self.body(x)

    return Residual()


def _squeeze(c: int, act: Callable[[], Any], gate: Callable[[], Any], mean: str = "pool") -> Any:
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(c, max(c // 4, 2), 1), nn.Conv2d(max(c // 4, 2), c, 1)
            self.act, self.gate, self.pool = act(), gate(), nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Any) -> Any:
            seen = self.pool(x) if mean == "pool" else x.mean((2, 3), keepdim=True)
            return x * self.gate(self.up(self.act(self.down(seen))))

    return Squeeze()


def mobilenet_v2() -> Any:
    """Return inverted residuals with ReLU6."""
    from torch import nn

    act = nn.ReLU6
    return nn.Sequential(
        stem(3, 8, act), _inverted(8, 24, 8, 1, act), _inverted(8, 24, 12, 2, act), _inverted(12, 36, 12, 1, act),
        nn.Conv2d(12, 32, 1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(32, 10),
    )  # fmt: skip


def mobilenet_v3() -> Any:
    """Return inverted residuals with hard-swish, and squeeze-excite with hard-sigmoid."""
    from torch import nn

    act = nn.Hardswish
    return nn.Sequential(
        stem(3, 8, act),
        _inverted(8, 16, 8, 1, nn.ReLU, _squeeze(16, nn.ReLU, nn.Hardsigmoid)),
        _inverted(8, 24, 12, 2, act), _inverted(12, 36, 12, 1, act, _squeeze(36, nn.ReLU, nn.Hardsigmoid)),
        nn.Conv2d(12, 32, 1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 40), act(), nn.Linear(40, 10),
    )  # fmt: skip


def efficientnet() -> Any:
    """Return inverted residuals with SiLU, and squeeze-excite with a mean over axes and a sigmoid."""
    from torch import nn

    act = nn.SiLU
    return nn.Sequential(
        stem(3, 8, act),
        _inverted(8, 16, 8, 1, act, _squeeze(16, act, nn.Sigmoid, "mean")),
        _inverted(8, 24, 12, 2, act, _squeeze(24, act, nn.Sigmoid, "mean")),
        nn.Conv2d(12, 32, 1), act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def unet(up: str = "nearest") -> Any:
    """Return an encoder and a decoder whose levels are joined by concatenation; an image comes out."""
    import torch
    from torch import nn

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three = stem(3, 8, nn.ReLU, 1), stem(8, 12, nn.ReLU, 1), stem(12, 16, nn.ReLU, 1)
            self.pool = nn.MaxPool2d(2)
            half = {} if up == "nearest" else {"align_corners": False}
            self.up = nn.Upsample(scale_factor=2, mode=up, **half)
            self.back_two, self.back_one = stem(28, 12, nn.ReLU, 1), stem(20, 8, lambda: nn.LeakyReLU(0.1), 1)
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x: Any) -> Any:
            one = self.one(x)
            two = self.two(self.pool(one))
            three = self.three(self.pool(two))
            two = self.back_two(torch.cat([two, self.up(three)], 1))
            return self.head(self.back_one(torch.cat([one, self.up(two)], 1)))

    return UNet()


def detector() -> Any:
    """Return a head of boxes on two levels, as SSD has it: transposed, reshaped and joined."""
    import torch
    from torch import nn

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = stem(3, 8, nn.ReLU6), separable(8, 16, 2, nn.ReLU6)
            self.heads = nn.ModuleList([nn.Conv2d(c, 3 * 7, 3, padding=1) for c in (8, 16)])

        def forward(self, x: Any) -> Any:
            one = self.first(x)
            two = self.second(one)
            found = [head(y).permute(0, 2, 3, 1).flatten(1) for head, y in zip(self.heads, (one, two), strict=True)]
            return torch.cat([y.reshape(y.shape[0], -1, 7) for y in found], 1)

    return Detector()


def shapes() -> Any:
    """Return what moves and joins numbers: padding, a product with computed factors, splits, maxima, tanh."""
    import torch
    from torch import nn

    class Shapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pad, self.conv, self.act = nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2)
            self.pool, self.mean = nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, count_include_pad=False)
            self.dense, self.out = nn.Linear(8, 8), nn.Linear(8, 6)

        def forward(self, x: Any) -> Any:
            y = self.mean(self.pool(self.act(self.conv(self.pad(x)))))
            rows = y.flatten(2).transpose(1, 2)
            a = torch.relu(self.dense(rows))
            scores = torch.softmax(a @ rows.transpose(1, 2), -1)
            return self.out((scores @ a).mean(1) * 0.5)

    return Shapes()


NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "MobileNetV1": (mobilenet_v1, (3, 32, 32)),
    "MobileNetV2": (mobilenet_v2, (3, 32, 32)),
    "MobileNetV3": (mobilenet_v3, (3, 32, 32)),
    "DS-CNN": (ds_cnn, (1, 49, 10)),
    "EfficientNet": (efficientnet, (3, 32, 32)),
    "U-Net": (unet, (3, 16, 16)),
    "U-Net, bilinear": (lambda: unet("bilinear"), (3, 16, 16)),
    "detector": (detector, (3, 24, 24)),
    "shapes": (shapes, (3, 15, 14)),
}
"""A network and the shape of a sample, by name."""


def made(name: str, way: Way, folder: Path, seed: int = 0) -> Path:
    """Return the file of a network, quantised; float files are kept in `folder` for the next way."""
    network, shape = NETWORKS[name]
    plain = folder / f"{name}.onnx"
    if not plain.exists():
        export(network(), shape, plain, seed)
    rng = np.random.default_rng(seed)
    batches = ({"x": rng.standard_normal((8, *shape)).astype(np.float32)} for _ in range(2))
    target = folder / f"{name}, {way}.onnx"
    quantise(plain, target, way, batches)
    return target
