"""The architectures: a name, a module with random weights, the shape of one sample of each of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from validation.exporters.vision import VISION

Entry = tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]
CLASSES = 7


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


class UNet(nn.Module):
    """Two steps down, two up, and the wires across: a score for each pixel."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.up = up
        self.a, self.b, self.c = self.block(3, 8), self.block(8, 12), self.block(12, 16)
        self.lift = nn.ConvTranspose2d(16, 12, 2, stride=2) if up == "transposed" else nn.Conv2d(16, 12, 1)
        self.lift2 = nn.ConvTranspose2d(12, 8, 2, stride=2) if up == "transposed" else nn.Conv2d(12, 8, 1)
        self.d, self.e, self.end = self.block(24, 12), self.block(16, 8), nn.Conv2d(8, 4, 1)

    @staticmethod
    def block(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

    def raised(self, x: Any) -> Any:
        if self.up == "transposed":
            return x
        options = {} if self.up == "nearest" else {"align_corners": False}
        return F.interpolate(x, scale_factor=2, mode=self.up, **options)

    def forward(self, x: Any) -> Any:
        one = self.a(x)
        two = self.b(F.max_pool2d(one, 2))
        low = self.c(F.max_pool2d(two, 2))
        mid = self.d(torch.cat([two, self.raised(self.lift(low))], 1))
        return self.end(self.e(torch.cat([one, self.raised(self.lift2(mid))], 1)))


class Tagger(nn.Module):
    """Scores of each token of a sentence."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.recurrent = getattr(nn, kind)(6, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.end = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        return self.end(self.recurrent(x)[0])


class CRNN(nn.Module):
    """Text lines: convolutions, a bidirectional LSTM over the columns, log-probabilities for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        self.recurrent, self.end = nn.LSTM(48, 10, bidirectional=True, batch_first=True), nn.Linear(20, 9)

    def forward(self, x: Any) -> Any:
        return self.end(self.recurrent(self.conv(x).permute(0, 3, 1, 2).flatten(2))[0])


class Encoder(nn.Module):
    """A transformer encoder whose mask is a part of it, or a second input."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.masked, self.end = masked, nn.Linear(16, CLASSES)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(10))

    def forward(self, x: Any, padding: Any = None) -> Any:
        if self.masked:
            return self.end(self.layers(x, src_key_padding_mask=padding > 0.5).mean(1))
        return self.end(self.layers(x, mask=self.mask, is_causal=False).mean(1))


class TextClassifier(nn.Module):
    """Vectors of tokens and of their places, a transformer encoder of norms first, the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(12, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, dropout=0.0, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.first, self.end = nn.Linear(8, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(self.layers(self.first(x) + self.places).mean(1))


class Residual(nn.Module):
    """A branch added to its input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return x + self.branch(x)


class SqueezeExcite(nn.Module):
    """Channels weighted by what they hold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.less, self.more = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Any) -> Any:
        return x * torch.sigmoid(self.more(F.relu(self.less(F.adaptive_avg_pool2d(x, 1)))))


class Siamese(nn.Module):
    """One branch on two inputs, and the difference of its results."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), *head(8))
        self.end = nn.Linear(CLASSES, 2)

    def forward(self, a: Any, b: Any) -> Any:
        return self.end(torch.abs(self.branch(a) - self.branch(b)))


class TwoOutputs(nn.Module):
    """Classes, and a box."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classes, self.box = nn.Linear(8, CLASSES), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        return self.classes(y), self.box(y)


class WaveNet(nn.Module):
    """Dilated causal convolutions with gates."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.end = nn.Conv1d(4, 8, 1), nn.Linear(8, CLASSES)
        self.gates = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**i) for i in range(4))

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        for i, gate in enumerate(self.gates):
            a, b = gate(F.pad(x, (2**i, 0))).chunk(2, 1)
            x = x + torch.tanh(a) * torch.sigmoid(b)
        return self.end(x.mean(2))


class LastState(nn.Module):
    """A GRU whose last state is classified, with attention over its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.score, self.end = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 1), nn.Linear(16, CLASSES)

    def forward(self, x: Any) -> Any:
        y, h = self.recurrent(x)
        weights = torch.softmax(self.score(y), 1)
        return self.end(torch.cat([(weights * y).sum(1), h[-1]], 1))


def normed(norm: Callable[[int], nn.Module], act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), norm(8), act(), nn.Conv2d(8, 12, 3, stride=2, padding=1), norm(12), act(),
        *head(12),
    )  # fmt: skip


def activated(*acts: nn.Module) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(11, 16)]
    for act in acts:
        layers += [act, nn.Linear(16, 16)]
    return nn.Sequential(*layers, nn.Linear(16, CLASSES))


IMAGE = ((3, 16, 16),)
SMALL: dict[str, Entry] = {
    "MLP with LayerNorm and GELU": (
        lambda: nn.Sequential(nn.Linear(11, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, CLASSES)), ((11,),)),
    "MLP of many activations": (
        lambda: activated(nn.Tanh(), nn.ELU(), nn.SELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Hardswish()),
        ((11,),)),
    "1-D CNN": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 12, 3),
            nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, CLASSES)), ((4, 32),)),
    "temporal convolutions with dilation": (WaveNet, ((4, 32),)),
    "GroupNorm net": (lambda: normed(lambda n: nn.GroupNorm(4, n), nn.SiLU), IMAGE),
    "InstanceNorm net": (lambda: normed(lambda n: nn.InstanceNorm2d(n, affine=True)), IMAGE),
    "InstanceNorm net without scale": (lambda: normed(nn.InstanceNorm2d), IMAGE),
    "PReLU net": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 12, 3, stride=2), nn.PReLU(), *head(12)), IMAGE),
    "PReLU MLP": (lambda: nn.Sequential(nn.Linear(11, 24), nn.PReLU(24), nn.Linear(24, CLASSES)), ((11,),)),
    "squeeze-excite net": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), SqueezeExcite(16), *head(16)), IMAGE),
    "residual net of pre-activations": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            Residual(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)), nn.LeakyReLU(0.1), *head(8)), IMAGE),
    "super-resolution with PixelShuffle": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2), nn.Tanh(), nn.Conv2d(12, 8, 3, padding=1), nn.Tanh(),
            nn.Conv2d(8, 9, 3, padding=1), nn.PixelShuffle(3)), ((1, 12, 12),)),
    "autoencoder of images": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 2, stride=2), nn.Sigmoid()), IMAGE),
    "U-Net with ConvTranspose": (lambda: UNet("transposed"), IMAGE),
    "U-Net with Resize": (lambda: UNet("bilinear"), IMAGE),
    "U-Net with nearest Resize": (lambda: UNet("nearest"), IMAGE),
    "LSTM tagger": (lambda: Tagger("LSTM"), ((9, 6),)),
    "GRU tagger": (lambda: Tagger("GRU"), ((9, 6),)),
    "GRU with attention": (LastState, ((9, 6),)),
    "CRNN for CTC": (CRNN, ((1, 16, 24),)),
    "TransformerEncoder, causal": (lambda: Encoder(False), ((10, 16),)),
    "TransformerEncoder, mask as input": (lambda: Encoder(True), ((10, 16), (10,))),
    "transformer of norms first": (TextClassifier, ((12, 8),)),
    "siamese net": (Siamese, (IMAGE[0], IMAGE[0])),
    "net of two outputs": (TwoOutputs, IMAGE),
}  # fmt: skip

NETWORKS: dict[str, Entry] = SMALL | {name: (make, (shape,)) for name, (make, shape) in VISION.items()}
