"""Backends for tests: a right one in plain NumPy (float64 inside), and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lieref.conformance import reference

Arrays = dict[str, Any]


def right(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    return reference.run(op, inputs, attrs)


def spoiled(change: Callable[[np.ndarray], Any]) -> Callable[..., Arrays]:
    """Return a backend whose outputs are changed."""
    return lambda op, inputs, attrs: {name: change(value) for name, value in right(op, inputs, attrs).items()}


def on_inputs(change: Callable[[str, np.ndarray], np.ndarray]) -> Callable[..., Arrays]:
    """Return a backend whose inputs are changed."""

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        return right(op, {name: change(name, value) for name, value in inputs.items()}, attrs)

    return run


def tf32(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to 11 significant bits, to nearest even."""
    return rounded(x, 13)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to 8 significant bits, to nearest even."""
    return rounded(x, 16)


def rounded(x: np.ndarray, dropped: int) -> np.ndarray:
    """Return float32 numbers without their last `dropped` bits, rounded to nearest even."""
    bits = x.astype(np.float32).view(np.uint32)
    half = np.uint32((1 << (dropped - 1)) - 1)
    even = (bits >> np.uint32(dropped)) & np.uint32(1)
    rounded = (bits + half + even) & np.uint32(0xFFFFFFFF ^ ((1 << dropped) - 1))
    return rounded.view(np.float32).reshape(x.shape).astype(x.dtype)


def tf32_inputs(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    """Convolve with operands rounded to TF32; biases and everything else in float32."""
    if op not in ("conv", "conv_vjp"):
        raise NotImplementedError
    outputs = right(op, {name: value if name == "bias" else tf32(value) for name, value in inputs.items()}, attrs)
    if op == "conv_vjp":
        # A sum has no operands to convert.
        outputs["bias_bar"] = right(op, inputs, attrs)["bias_bar"]
    return outputs


def flipped_kernel(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    """Compute a true convolution."""
    if op not in ("conv", "conv_vjp"):
        raise NotImplementedError
    axes = tuple(range(2, inputs["weight"].ndim))
    outputs = right(op, {**inputs, "weight": np.ascontiguousarray(np.flip(inputs["weight"], axes))}, attrs)
    if "weight_bar" in outputs:
        outputs["weight_bar"] = np.ascontiguousarray(np.flip(outputs["weight_bar"], axes))
    return outputs


def first_order_gradient(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    """Use exp in the forward pass and the gradient of 1 + delta in the backward pass."""
    if op == "hadamard_vjp":
        return right("taylor1_vjp", inputs, attrs)
    if op in ("adapted_weight_vjp", "adapted_conv_vjp") and attrs.get("map") == "exp":
        if op == "adapted_weight_vjp":
            return right(op, inputs, {**attrs, "map": "taylor1"})
        raise NotImplementedError
    if op in ("hadamard", "adapted_weight", "adapted_weight_vjp"):
        return right(op, inputs, attrs)
    raise NotImplementedError
