"""The JAX port as a backend of the golden runner.

lieref golden check --backend validation.against_jax.backend:run
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from validation.against_jax import layers

jax.config.update("jax_enable_x64", True)

Arrays = dict[str, Array]
Attrs = dict[str, Any]
FACTORS = ("lora_a", "lora_b", "core", "atoms")


def factors(x: Arrays) -> Arrays:
    """Return the trained factors among the inputs."""
    return {
        name: x[name] for name in x if name in FACTORS or (name.startswith("factor_") and not name.endswith("_bar"))
    }


def delta_of(params: Arrays, x: Arrays, attrs: Attrs) -> Array:
    shape = tuple(attrs["shape"]) if "shape" in attrs else x["base_weight"].shape if "base_weight" in x else ()
    whole = {**x, **params}
    make = layers.tucker if "core" in x else layers.atoms if "atoms" in x else layers.low_rank
    return make(whole, shape, attrs)


def weight_of(params: Arrays, x: Arrays, attrs: Attrs) -> Array:
    return layers.update(x["base_weight"], delta_of(params, x, attrs), attrs)


def output_of(params: Arrays, x: Arrays, attrs: Attrs) -> Array:
    return layers.conv(x["x"], weight_of(params, x, attrs), x["bias"], attrs)


def loss_of(params: Arrays, x: Arrays, attrs: Attrs) -> Array:
    return 0.5 * jnp.mean(jnp.square(output_of(params, x, attrs) - x["target"]))


def named_bars(bars: Arrays) -> Arrays:
    return {f"{name}_bar": bar for name, bar in bars.items()}


def pulled_back(function: Callable[[Arrays], Array], params: Arrays, bar: Array) -> Arrays:
    return named_bars(jax.vjp(function, params)[1](bar)[0])


def conv_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    bias = jnp.zeros(len(x["weight"]), x["weight"].dtype)
    primals = {"x": x["x"], "weight": x["weight"], "bias": bias}
    return pulled_back(lambda p: layers.conv(p["x"], p["weight"], p["bias"], attrs), primals, x["y_bar"])


def hadamard(map_name: str) -> Callable[[Arrays, Attrs], Arrays]:
    return lambda x, attrs: {
        "weight": layers.update(x["base_weight"], x["delta"], {"group": "hadamard", "map": map_name})
    }


def hadamard_vjp(map_name: str) -> Callable[[Arrays, Attrs], Arrays]:
    forward = hadamard(map_name)

    def backward(x: Arrays, attrs: Attrs) -> Arrays:
        return pulled_back(lambda p: forward({**x, **p}, attrs)["weight"], {"delta": x["delta"]}, x["weight_bar"])

    return backward


def expm_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    return pulled_back(lambda p: jax.scipy.linalg.expm(p["a"]), {"a": x["a"]}, x["g_bar"])


def expm_frechet(x: Arrays, attrs: Attrs) -> Arrays:
    if x["a"].ndim != 2:
        raise NotImplementedError
    return {"g_dot": jax.scipy.linalg.expm_frechet(x["a"], x["a_dot"], compute_expm=False)}


def product(x: Arrays) -> Array:
    return jnp.matmul(x["lora_b"], x["lora_a"], precision="highest")


def low_rank_expm_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    return pulled_back(lambda p: jax.scipy.linalg.expm(product(p)), factors(x), x["g_bar"])


def training(x: Arrays, attrs: Attrs) -> Arrays:
    params = factors(x)
    velocity = {name: jnp.zeros_like(value) for name, value in params.items()}
    losses = []
    for _ in range(attrs["steps"]):
        loss, grads = jax.value_and_grad(loss_of)(params, x, attrs)
        velocity = {name: attrs["momentum"] * velocity[name] + grads[name] for name in params}
        params = {name: params[name] - attrs["learning_rate"] * velocity[name] for name in params}
        losses.append(loss)
    return {"losses": jnp.stack(losses), **params}


def delta_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    return pulled_back(lambda p: delta_of(p, x, attrs), factors(x), x["delta_bar"])


OPERATIONS: dict[str, Callable[[Arrays, Attrs], Arrays]] = {
    "conv": lambda x, attrs: {"y": layers.conv(x["x"], x["weight"], x["bias"], attrs)},
    "conv_vjp": conv_vjp,
    "hadamard": hadamard("exp"),
    "hadamard_vjp": hadamard_vjp("exp"),
    "hadamard_delta": lambda x, attrs: {"weight_delta": x["base_weight"] * jnp.expm1(x["delta"])},
    "taylor1": hadamard("taylor1"),
    "taylor1_vjp": hadamard_vjp("taylor1"),
    "expm": lambda x, attrs: {"g": jax.scipy.linalg.expm(x["a"])},
    "expm_vjp": expm_vjp,
    "expm_frechet": expm_frechet,
    "low_rank_expm": lambda x, attrs: {"g": jax.scipy.linalg.expm(product(x))},
    "low_rank_expm_vjp": low_rank_expm_vjp,
    **dict.fromkeys(("low_rank", "tucker", "atoms"), lambda x, attrs: {"delta": delta_of({}, x, attrs)}),
    **dict.fromkeys(("low_rank_vjp", "tucker_vjp", "atoms_vjp"), delta_vjp),
    "adapted_weight": lambda x, attrs: {"weight": weight_of({}, x, attrs)},
    "adapted_weight_vjp": lambda x, attrs: pulled_back(lambda p: weight_of(p, x, attrs), factors(x), x["weight_bar"]),
    "adapted_conv": lambda x, attrs: {"y": output_of({}, x, attrs), "loss": loss_of({}, x, attrs)},
    "adapted_conv_vjp": lambda x, attrs: named_bars(jax.grad(loss_of)(factors(x), x, attrs)),
    "training": training,
}


def run(op: str, inputs: dict[str, Any], attrs: Attrs) -> dict[str, Any]:
    """Compute one operation: NumPy arrays in, NumPy arrays out, on JAX's default device."""
    if op not in OPERATIONS:
        raise NotImplementedError(op)
    arrays = {name: jnp.asarray(array) for name, array in inputs.items()}
    return {name: np.asarray(value) for name, value in OPERATIONS[op](arrays, attrs).items()}
