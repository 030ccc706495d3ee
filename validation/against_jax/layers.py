"""LieRA, LoRA, FLoRA and filter atoms on convolutions as pure JAX functions; gradients are JAX's own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]
LAYOUTS = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")}


def conv(x: Array, weight: Array, bias: Array | None, attrs: dict[str, Any]) -> Array:
    """Return a convolution with ONNX's attributes, at full precision on every device."""
    rank = weight.ndim - 2
    pads = attrs["pads"]
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        attrs["strides"],
        list(zip(pads[:rank], pads[rank:], strict=True)),
        rhs_dilation=attrs["dilations"],
        dimension_numbers=LAYOUTS[rank],
        feature_group_count=attrs.get("groups", 1),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)


def low_rank(params: Params, shape: tuple[int, ...], attrs: dict[str, Any]) -> Array:
    """Return scaling B A, laid into a kernel; the factors of all conv groups are stacked."""
    groups = attrs.get("groups", 1)
    a, b = (params[name].reshape(groups, -1, params[name].shape[1]) for name in ("lora_a", "lora_b"))
    product = jnp.matmul(b, a, precision="highest")
    if attrs["matricisation"] == "structured":
        half = (len(shape) - 2) // 2
        product = product.reshape(shape[0], *shape[2 : 2 + half], shape[1], *shape[2 + half :])
        product = jnp.moveaxis(product, 1 + half, 1)
    return attrs["scaling"] * product.reshape(shape)


def tucker(params: Params, shape: tuple[int, ...], attrs: dict[str, Any]) -> Array:
    """Return scaling core x_0 U_0 x_1 U_1 and so on."""
    delta = params["core"]
    for mode in range(delta.ndim):
        delta = jnp.moveaxis(
            jnp.tensordot(params[f"factor_{mode}"], delta, ([1], [mode]), precision="highest"), 0, mode
        )
    return attrs["scaling"] * delta


def atoms(params: Params, shape: tuple[int, ...], attrs: dict[str, Any]) -> Array:
    """Return the filters that fixed coefficients mix from the atoms."""
    coefficients = jax.lax.stop_gradient(params["coefficients"])
    return jnp.matmul(coefficients, params["atoms"], precision="highest").reshape(shape)


def update(base_weight: Array, delta: Array, attrs: dict[str, Any]) -> Array:
    """Return W + delta, W exp(delta) or W (1 + delta)."""
    if attrs["group"] == "additive":
        return base_weight + delta
    return base_weight * (jnp.exp(delta) if attrs["map"] == "exp" else 1.0 + delta)


def matrix_group_weight(base_weight: Array, lora_b: Array, lora_a: Array) -> Array:
    """Return exp(B A) acting on the output channels of a kernel."""
    g = jax.scipy.linalg.expm(jnp.matmul(lora_b, lora_a, precision="highest"))
    return jnp.tensordot(g, base_weight, 1, precision="highest")
