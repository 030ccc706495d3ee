"""LieRA, LoRA, FLoRA, filter atoms and a matrix group on convolutions, as one would write them in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, attrs: dict[str, Any]) -> Tensor:
    """Return a convolution with ONNX's attributes; pads may differ at the two ends."""
    rank = weight.ndim - 2
    pads = attrs["pads"]
    both_ends = [pads[axis + end * rank] for axis in reversed(range(rank)) for end in (0, 1)]
    return CONVOLUTIONS[rank](
        functional.pad(x, both_ends), weight, bias, attrs["strides"], 0, attrs["dilations"], attrs.get("groups", 1)
    )


class LowRank(nn.Module):
    """delta = scaling B A, laid into a kernel; the factors of all conv groups are stacked."""

    def __init__(self, lora_a: Tensor, lora_b: Tensor, shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
        super().__init__()
        self.lora_a, self.lora_b = nn.Parameter(lora_a), nn.Parameter(lora_b)
        self.shape, self.scaling, self.groups = tuple(shape), attrs["scaling"], attrs.get("groups", 1)
        self.matricisation = attrs["matricisation"]

    def forward(self) -> Tensor:
        a = self.lora_a.unflatten(0, (self.groups, -1))
        b = self.lora_b.unflatten(0, (self.groups, -1))
        product = b @ a
        if self.matricisation == "structured":
            o, i, *kernel = self.shape
            half = len(kernel) // 2
            product = product.reshape(o, *kernel[:half], i, *kernel[half:]).movedim(1 + half, 1)
        return self.scaling * product.reshape(self.shape)


class Tucker(nn.Module):
    """delta = scaling core x_0 U_0 x_1 U_1 and so on (FLoRA)."""

    def __init__(self, core: Tensor, factors: list[Tensor], attrs: dict[str, Any]) -> None:
        super().__init__()
        self.core = nn.Parameter(core)
        self.factors = nn.ParameterList(factors)
        self.scaling = attrs["scaling"]

    def forward(self) -> Tensor:
        delta = self.core
        for mode, factor in enumerate(self.factors):
            delta = torch.tensordot(factor, delta, dims=([1], [mode])).movedim(0, mode)
        return self.scaling * delta


class FilterAtoms(nn.Module):
    """delta[o, i] = sum over a of coefficients[o, i, a] atoms[a]; only the atoms are trained."""

    def __init__(self, coefficients: Tensor, atoms: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("coefficients", coefficients)
        self.atoms = nn.Parameter(atoms)
        self.shape = tuple(shape)

    def forward(self) -> Tensor:
        return (self.coefficients @ self.atoms).reshape(self.shape)


def update(base_weight: Tensor, delta: Tensor, attrs: dict[str, Any]) -> Tensor:
    """Return the adapted weight: W + delta, W exp(delta) or W (1 + delta)."""
    if attrs["group"] == "additive":
        return base_weight + delta
    if attrs["map"] == "exp":
        return base_weight * torch.exp(delta)
    return base_weight * (1.0 + delta)


class AdaptedConv(nn.Module):
    """A frozen convolution whose weight is moved by a parameterisation."""

    def __init__(self, base_weight: Tensor, bias: Tensor | None, delta: nn.Module, attrs: dict[str, Any]) -> None:
        super().__init__()
        self.register_buffer("base_weight", base_weight)
        self.register_buffer("bias", bias)
        self.delta, self.attrs = delta, attrs

    def weight(self) -> Tensor:
        return update(self.base_weight, self.delta(), self.attrs)

    def forward(self, x: Tensor) -> Tensor:
        return conv(x, self.weight(), self.bias, self.attrs)


class MatrixGroupConv(nn.Module):
    """A frozen convolution whose output channels are mixed by exp(B A), an element of GL+(n)."""

    def __init__(self, base_weight: Tensor, lora_a: Tensor, lora_b: Tensor, attrs: dict[str, Any]) -> None:
        super().__init__()
        self.register_buffer("base_weight", base_weight)
        self.lora_a, self.lora_b, self.attrs = nn.Parameter(lora_a), nn.Parameter(lora_b), attrs

    def group_element(self) -> Tensor:
        return torch.linalg.matrix_exp(self.lora_b @ self.lora_a)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.tensordot(self.group_element(), self.base_weight, dims=1)
        return conv(x, weight, None, self.attrs)
