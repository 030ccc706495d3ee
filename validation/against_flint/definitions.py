"""The operations of the golden cases a second time, from their formulas, in balls of 600 bits and plain loops.

Each definition takes inputs as object arrays of balls and returns outputs as such. Gradients of factors come from their
linearity: the entry of a cotangent is what the delta of a unit vector gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from lieref._types import Array
from validation.against_flint import exact

BITS: Final = 600
Values = dict[str, Any]


def evaluate(op: str, inputs: dict[str, Array], attrs: dict[str, Any], bits: int = BITS) -> Values:
    """Return the outputs of an operation, object arrays of balls."""
    with flint.ctx.workprec(bits):
        return DEFINITIONS[op]({name: exact.ball_array(value) for name, value in inputs.items()}, attrs)


def each(function: Callable[[Any], Any], x: Any) -> Any:
    return np.array([function(v) for v in x.flat], dtype=object).reshape(x.shape)


def conv(x: Values, attrs: dict[str, Any]) -> Values:
    y_shape = output_shape(x["x"].shape, x["weight"].shape, attrs)
    y = convolve(x["x"], x["weight"], np.full(y_shape, flint.arb(0)), attrs)[0]
    return {"y": y + x["bias"].reshape(-1, *(1,) * (y.ndim - 2)) if "bias" in x else y}


def conv_vjp(x: Values, attrs: dict[str, Any]) -> Values:
    _, x_bar, weight_bar = convolve(x["x"], x["weight"], x["y_bar"], attrs)
    bias_bar = x["y_bar"].sum(axis=(0, *range(2, x["y_bar"].ndim)))
    return {"x_bar": x_bar, "weight_bar": weight_bar, "bias_bar": bias_bar}


def convolve(x: Any, weight: Any, y_bar: Any, attrs: dict[str, Any]) -> tuple[Any, Any, Any]:
    return exact.conv(x, weight, y_bar, attrs["strides"], attrs["pads"], attrs["dilations"], attrs.get("groups", 1))


def output_shape(x: tuple[int, ...], weight: tuple[int, ...], attrs: dict[str, Any]) -> tuple[int, ...]:
    strides, pads, dilations = attrs["strides"], attrs["pads"], attrs["dilations"]
    rank = len(strides)
    spatial = (
        (x[2 + i] + pads[i] + pads[rank + i] - dilations[i] * (weight[2 + i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    )
    return (x[0], weight[0], *spatial)


# Update of a base weight by delta, and its derivative by delta, entry by entry.
def updated(base: Any, delta: Any, attrs: dict[str, Any]) -> tuple[Any, Any]:
    if attrs["group"] == "additive":
        return base + delta, each(lambda v: flint.arb(1), base)
    if attrs["map"] == "exp":
        weight = base * each(lambda v: v.exp(), delta)
        return weight, weight
    return base * (1 + delta), base


EXP: Final = {"group": "hadamard", "map": "exp"}
TAYLOR: Final = {"group": "hadamard", "map": "taylor1"}


def low_rank_delta(x: Values, attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """Return scaling B A in a kernel's shape, entry by entry from the index formulas of the docstring of LowRank."""
    groups = attrs.get("groups", 1)
    b, a = np.split(x["lora_b"], groups), np.split(x["lora_a"], groups)
    product = np.stack([p @ q for p, q in zip(b, a, strict=True)])
    out = np.empty(shape, dtype=object)
    o_group = shape[0] // groups
    kernel = shape[2:]
    half = len(kernel) // 2
    for index in np.ndindex(*shape):
        o, i, *k = index
        g, o = divmod(o, o_group)
        if attrs["matricisation"] == "structured":
            row = int(np.ravel_multi_index((o, *k[:half]), (o_group, *kernel[:half])))
            column = int(np.ravel_multi_index((i, *k[half:]), (shape[1], *kernel[half:])))
            out[index] = product[g, row, column]
        else:
            flat = int(np.ravel_multi_index((o, i, *k), (o_group, *shape[1:])))
            out[index] = product[g].reshape(-1)[flat]
    return out * flint.arb(attrs["scaling"])


def tucker_delta(x: Values, attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    delta = x["core"]
    for mode in range(delta.ndim):
        delta = np.moveaxis(np.tensordot(x[f"factor_{mode}"], delta, axes=([1], [mode])), 0, mode)
    return delta * flint.arb(attrs["scaling"])


def atoms_delta(x: Values, attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    return np.tensordot(x["coefficients"], x["atoms"], axes=1).reshape(shape)


DELTAS: Final = {"low-rank": low_rank_delta, "tucker": tucker_delta, "filter-atoms": atoms_delta}


def trained(x: Values) -> list[str]:
    """Return the names of the factors that are trained: of filter atoms only the atoms."""
    return [name for name in x if name in ("lora_a", "lora_b", "core", "atoms") or name.startswith("factor_")]


def factor_bars(name: str, x: Values, attrs: dict[str, Any], delta_bar: Any) -> Values:
    """Return the gradients of <delta_bar, delta>, linear in each factor alone: one unit vector after another."""
    bars = {}
    for factor in trained(x):
        bar = np.empty(x[factor].shape, dtype=object)
        for index in np.ndindex(*bar.shape):
            unit = x[factor] * 0
            unit[index] = flint.arb(1)
            bar[index] = (delta_bar * DELTAS[name]({**x, factor: unit}, attrs, delta_bar.shape)).sum()
        bars[f"{factor}_bar"] = bar
    return bars


def delta_of(name: str) -> tuple[Callable[..., Values], Callable[..., Values]]:
    """Return the definitions of a parameterisation and of its gradient."""

    def forward(x: Values, attrs: dict[str, Any]) -> Values:
        return {"delta": DELTAS[name](x, attrs, tuple(attrs.get("shape", ())))}

    def backward(x: Values, attrs: dict[str, Any]) -> Values:
        return factor_bars(name, x, attrs, x["delta_bar"])

    return forward, backward


def adapted(x: Values, attrs: dict[str, Any]) -> tuple[Any, Any]:
    base = x["base_weight"]
    return updated(base, DELTAS[attrs["parameterisation"]](x, attrs, base.shape), attrs)


def adapted_weight(x: Values, attrs: dict[str, Any]) -> Values:
    return {"weight": adapted(x, attrs)[0]}


def adapted_weight_vjp(x: Values, attrs: dict[str, Any]) -> Values:
    slope = adapted(x, attrs)[1]
    return factor_bars(attrs["parameterisation"], x, attrs, x["weight_bar"] * slope)


def residual(x: Values, attrs: dict[str, Any]) -> tuple[Any, Any]:
    y = conv({"x": x["x"], "weight": adapted(x, attrs)[0], "bias": x["bias"]}, attrs)["y"]
    return y, y - x["target"]


def adapted_conv(x: Values, attrs: dict[str, Any]) -> Values:
    y, gap = residual(x, attrs)
    return {"y": y, "loss": np.array((gap * gap).sum() / (2 * gap.size), dtype=object)}


def adapted_conv_vjp(x: Values, attrs: dict[str, Any]) -> Values:
    weight, _ = adapted(x, attrs)
    gap = residual(x, attrs)[1]
    weight_bar = convolve(x["x"], weight, gap / gap.size, attrs)[2]
    return adapted_weight_vjp({**x, "weight_bar": weight_bar}, attrs)


def matrix(a: Any) -> flint.arb_mat:
    return flint.arb_mat(a.tolist())


def array(a: flint.arb_mat) -> Any:
    return np.array([[a[i, j] for j in range(a.ncols())] for i in range(a.nrows())], dtype=object)


def exp_of(a: Any) -> Any:
    return array(matrix(a).exp())


def derivative_of(a: Any, e: Any) -> Any:
    """Return the Frechet derivative of exp, a block of exp([[a, e], [0, a]])."""
    n = len(a)
    return exp_of(np.block([[a, e], [0 * a, a]]))[:n, n:]


def slices(function: Callable[..., Any], *operands: Any) -> Any:
    """Apply a function of square matrices to one, or to each of a batch."""
    if operands[0].ndim == 2:
        return function(*operands)
    return np.stack([function(*parts) for parts in zip(*operands, strict=True)])


def identity(n: int) -> Any:
    return np.array([[flint.arb(int(i == j)) for j in range(n)] for i in range(n)], dtype=object)


def low_rank_expm_vjp(x: Values, attrs: dict[str, Any]) -> Values:
    bar = derivative_of((x["lora_b"] @ x["lora_a"]).T, x["g_bar"])
    return {"lora_b_bar": bar @ x["lora_a"].T, "lora_a_bar": x["lora_b"].T @ bar}


def optimizer_step(x: Values, attrs: dict[str, Any]) -> Values:
    rate, decay = flint.arb(attrs["learning_rate"]), flint.arb(attrs.get("weight_decay", 0.0))
    param, grad = x["param"], x["grad"]
    if attrs["optimizer"] == "sgd":
        momentum, slope = flint.arb(attrs["momentum"]), grad + param * decay
        velocity = x["velocity"] * momentum + slope
        step = slope + velocity * momentum if attrs.get("nesterov", False) else velocity
        return {"param": param - step * rate, "velocity": velocity}
    b1, b2 = flint.arb(attrs["beta1"]), flint.arb(attrs["beta2"])
    mean = x["mean"] * b1 + grad * (1 - b1)
    square = x["square"] * b2 + grad * grad * (1 - b2)
    spread = each(lambda v: v.sqrt(), square / (1 - b2 ** attrs["step"])) + flint.arb(attrs["epsilon"])
    step = mean / (1 - b1 ** attrs["step"]) / spread
    return {"param": param * (1 - rate * decay) - step * rate, "mean": mean, "square": square}


def training(x: Values, attrs: dict[str, Any]) -> Values:
    """Return the losses of SGD steps with momentum on the adapted convolution, and the factors after them."""
    state, losses = dict(x), []
    velocity = {name: 0 * x[name] for name in ("lora_a", "lora_b")}
    for _ in range(attrs["steps"]):
        losses.append(adapted_conv(state, attrs)["loss"].item())
        bars = adapted_conv_vjp(state, attrs)
        for name in velocity:
            velocity[name] = flint.arb(attrs["momentum"]) * velocity[name] + bars[f"{name}_bar"]
            state[name] = state[name] - flint.arb(attrs["learning_rate"]) * velocity[name]
    return {"losses": np.array(losses, dtype=object), **{name: state[name] for name in velocity}}


LOW_RANK, TUCKER, ATOMS = (delta_of(name) for name in DELTAS)

DEFINITIONS: Final[dict[str, Callable[[Values, dict[str, Any]], Values]]] = {
    "conv": conv,
    "conv_vjp": conv_vjp,
    "hadamard": lambda x, _: {"weight": updated(x["base_weight"], x["delta"], EXP)[0]},
    "hadamard_vjp": lambda x, _: {"delta_bar": x["weight_bar"] * updated(x["base_weight"], x["delta"], EXP)[1]},
    "hadamard_delta": lambda x, _: {"weight_delta": x["base_weight"] * each(lambda v: v.expm1(), x["delta"])},
    "taylor1": lambda x, _: {"weight": updated(x["base_weight"], x["delta"], TAYLOR)[0]},
    "taylor1_vjp": lambda x, _: {"delta_bar": x["weight_bar"] * x["base_weight"]},
    "expm": lambda x, _: {"g": slices(exp_of, x["a"])},
    "expm_delta": lambda x, _: {"g_minus_identity": slices(exp_of, x["a"]) - identity(x["a"].shape[-1])},
    "expm_frechet": lambda x, _: {"g_dot": slices(derivative_of, x["a"], x["a_dot"])},
    "expm_vjp": lambda x, _: {"a_bar": slices(derivative_of, np.swapaxes(x["a"], -1, -2), x["g_bar"])},
    "low_rank_expm": lambda x, _: {"g": exp_of(x["lora_b"] @ x["lora_a"])},
    "low_rank_expm_vjp": low_rank_expm_vjp,
    "low_rank": LOW_RANK[0],
    "low_rank_vjp": LOW_RANK[1],
    "tucker": TUCKER[0],
    "tucker_vjp": TUCKER[1],
    "atoms": ATOMS[0],
    "atoms_vjp": ATOMS[1],
    "adapted_weight": adapted_weight,
    "adapted_weight_vjp": adapted_weight_vjp,
    "adapted_conv": adapted_conv,
    "adapted_conv_vjp": adapted_conv_vjp,
    "optimizer_step": optimizer_step,
    "training": training,
}
"""Operation -> its definition."""
