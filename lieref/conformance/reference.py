"""lieref itself as a backend of the runner: its kernels, groups and parameterisations, not the certified definitions.

lieref golden check --backend lieref.conformance.reference:run [--semantics NAME]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array, FloatArray, Params, Shape
from lieref.conformance.reference_integer import INTEGER_OPERATIONS, run_integer
from lieref.conformance.reference_registry import REGISTRY_OPERATIONS
from lieref.group.maps import Exp, Map, Taylor
from lieref.group.tensor import Hadamard
from lieref.kernel import conv as kernel
from lieref.numerics import expm as matrix
from lieref.numerics import low_rank as thin
from lieref.param._base import Parameterisation
from lieref.param.atoms import FilterAtoms
from lieref.param.low_rank import LowRank
from lieref.param.tucker import Tucker
from lieref.train.optimizer import SGD, AdamW

Arrays: TypeAlias = dict[str, FloatArray]
Attrs: TypeAlias = dict[str, Any]

_GEOMETRY: Final = ("strides", "pads", "dilations", "groups")


def _geometry(attrs: Attrs) -> dict[str, Any]:
    return {name: attrs[name] for name in _GEOMETRY if name in attrs}


def _conv(x: Arrays, attrs: Attrs) -> Arrays:
    return {"y": kernel.conv(x["x"], x["weight"], x["bias"], **_geometry(attrs))}


def _conv_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    bias = np.zeros(len(x["weight"]), x["weight"].dtype)
    bars = kernel.conv_vjp(x["x"], x["weight"], bias, x["y_bar"], **_geometry(attrs))
    return {name: bar for name, bar in zip(("x_bar", "weight_bar", "bias_bar"), bars, strict=True) if bar is not None}


def _multiplicative(move: Map) -> tuple[Callable[..., Arrays], Callable[..., Arrays]]:
    def forward(x: Arrays, attrs: Attrs) -> Arrays:
        base, delta = x["base_weight"], x["delta"]
        return {"weight": base * move.retract(Hadamard(delta.shape), delta)}

    def backward(x: Arrays, attrs: Attrs) -> Arrays:
        delta = x["delta"]
        group = Hadamard(delta.shape)
        g_bar = x["weight_bar"] * x["base_weight"]
        return {"delta_bar": move.retract_vjp(group, delta, move.retract(group, delta), g_bar)}

    return forward, backward


_hadamard, _hadamard_vjp = _multiplicative(Exp())
_taylor1, _taylor1_vjp = _multiplicative(Taylor(1))


def _hadamard_delta(x: Arrays, attrs: Attrs) -> Arrays:
    delta = x["delta"]
    return {"weight_delta": x["base_weight"] * Exp().retract_minus_identity(Hadamard(delta.shape), delta)}


def _expm(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g": matrix.expm(x["a"])}


def _expm_delta(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g_minus_identity": matrix.expm_minus_identity(x["a"])}


def _expm_frechet(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g_dot": matrix.expm_frechet(x["a"], x["a_dot"])[1]}


def _expm_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    return {"a_bar": matrix.expm_vjp(x["a"], x["g_bar"])}


def _low_rank_expm(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g": thin.exp_low_rank(x["lora_b"], x["lora_a"])}


def _low_rank_expm_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    b_bar, a_bar = thin.exp_low_rank_vjp(x["lora_b"], x["lora_a"], x["g_bar"])
    return {"lora_b_bar": b_bar, "lora_a_bar": a_bar}


def _parameterisation(x: Arrays, attrs: Attrs) -> tuple[Parameterisation, Params, Shape]:
    """Return the parameterisation, its factors and the shape of the kernel."""
    groups = attrs.get("groups", 1)
    if "core" in x:
        factors = {name: x[name] for name in x if name == "core" or (name.startswith("factor_") and "bar" not in name)}
        shape = tuple(len(factors[f"factor_{i}"]) for i in range(len(factors) - 1))
        return Tucker(ranks=x["core"].shape, scale=attrs["scaling"], share_groups=False), factors, shape
    shape = tuple(attrs["shape"]) if "shape" in attrs else x["base_weight"].shape
    if "atoms" in x:
        return FilterAtoms(m=len(x["atoms"])), {name: x[name] for name in ("coefficients", "atoms")}, shape
    rows = 0 if attrs["matricisation"] == "unfold" else (len(shape) - 2) // 2
    r = len(x["lora_a"]) // groups // int(np.prod(shape[2 : 2 + rows]))
    matricisation = attrs["matricisation"]
    recipe = LowRank(r=r, lora_alpha=attrs["scaling"] * r, matricisation=matricisation, share_groups=False)
    return recipe, {name: x[name] for name in ("lora_a", "lora_b")}, shape


def _delta(x: Arrays, attrs: Attrs) -> Arrays:
    recipe, factors, shape = _parameterisation(x, attrs)
    return {"delta": recipe.delta(factors, shape, attrs.get("groups", 1))}


def _delta_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    recipe, factors, shape = _parameterisation(x, attrs)
    bars = recipe.delta_vjp(factors, shape, attrs.get("groups", 1), x["delta_bar"])
    return {f"{name}_bar": bar for name, bar in bars.items()}


def _adapted_weight(x: Arrays, attrs: Attrs) -> Arrays:
    delta = _delta(x, attrs)["delta"]
    if attrs["group"] == "additive":
        return {"weight": x["base_weight"] + delta}
    return (_hadamard if attrs["map"] == "exp" else _taylor1)({**x, "delta": delta}, attrs)


def _adapted_weight_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    if attrs["group"] == "additive":
        return _delta_vjp({**x, "delta_bar": x["weight_bar"]}, attrs)
    backward = _hadamard_vjp if attrs["map"] == "exp" else _taylor1_vjp
    return _delta_vjp({**x, **backward({**x, **_delta(x, attrs)}, attrs)}, attrs)


def _adapted_conv(x: Arrays, attrs: Attrs) -> Arrays:
    y = kernel.conv(x["x"], _adapted_weight(x, attrs)["weight"], x["bias"], **_geometry(attrs))
    return {"y": y, "loss": np.asarray(0.5 * np.mean(np.square(y - x["target"])), dtype=y.dtype)}


def _adapted_conv_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    weight = _adapted_weight(x, attrs)["weight"]
    y = kernel.conv(x["x"], weight, x["bias"], **_geometry(attrs))
    y_bar = (y - x["target"]) / np.asarray(y.size, dtype=y.dtype)
    bars = _conv_vjp({"x": x["x"], "weight": weight, "y_bar": y_bar}, attrs)
    return _adapted_weight_vjp({**x, "weight_bar": bars["weight_bar"]}, attrs)


# Names of the vectors -> names of lieref's optimiser states.
_STATES: Final = {"velocity": "velocity", "mean": "first_moment", "square": "second_moment"}


def _optimizer_step(x: Arrays, attrs: Attrs) -> Arrays:
    optimizer: SGD | AdamW
    if attrs["optimizer"] == "sgd":
        optimizer = SGD(attrs["momentum"], attrs.get("nesterov", False), attrs["weight_decay"])
    else:
        settings = {name: attrs[name] for name in ("beta1", "beta2", "epsilon", "weight_decay")}
        optimizer = AdamW(**settings)
    state: dict[str, Array] = {f"{_STATES[name]}/param": x[name] for name in _STATES if name in x}
    state["steps"] = np.asarray(attrs.get("step", 1) - 1)
    optimizer.load_state(state)
    params = {"param": x["param"].copy()}
    optimizer.step(params, {"param": x["grad"]}, attrs["learning_rate"])
    after = optimizer.state()
    return {**params, **{name: after[f"{slot}/param"] for name, slot in _STATES.items() if name in x}}


def _training(x: Arrays, attrs: Attrs) -> Arrays:
    factors = {name: x[name].copy() for name in ("lora_a", "lora_b")}
    optimizer = SGD(momentum=attrs["momentum"])
    losses = []
    for _ in range(attrs["steps"]):
        now = {**x, **factors}
        losses.append(_adapted_conv(now, attrs)["loss"])
        bars = _adapted_conv_vjp(now, attrs)
        optimizer.step(factors, {name: bars[f"{name}_bar"] for name in factors}, attrs["learning_rate"])
    return {"losses": np.stack(losses), **factors}


_OPERATIONS: Final[dict[str, Callable[[Arrays, Attrs], Arrays]]] = {
    "conv": _conv,
    "conv_vjp": _conv_vjp,
    "hadamard": _hadamard,
    "hadamard_vjp": _hadamard_vjp,
    "hadamard_delta": _hadamard_delta,
    "taylor1": _taylor1,
    "taylor1_vjp": _taylor1_vjp,
    "expm": _expm,
    "expm_delta": _expm_delta,
    "expm_frechet": _expm_frechet,
    "expm_vjp": _expm_vjp,
    "low_rank_expm": _low_rank_expm,
    "low_rank_expm_vjp": _low_rank_expm_vjp,
    **dict.fromkeys(("low_rank", "tucker", "atoms"), _delta),
    **dict.fromkeys(("low_rank_vjp", "tucker_vjp", "atoms_vjp"), _delta_vjp),
    "adapted_weight": _adapted_weight,
    "adapted_weight_vjp": _adapted_weight_vjp,
    "adapted_conv": _adapted_conv,
    "adapted_conv_vjp": _adapted_conv_vjp,
    "optimizer_step": _optimizer_step,
    "training": _training,
    **REGISTRY_OPERATIONS,
}


def run(op: str, inputs: Arrays, attrs: Attrs) -> Arrays:
    """Compute one operation with lieref's own functions.

    Raises
    ------
    NotImplementedError
        If the operation is unknown.
    """
    if op in INTEGER_OPERATIONS:
        return run_integer(op, inputs, attrs)
    if op not in _OPERATIONS:
        raise NotImplementedError(op)
    return _OPERATIONS[op](inputs, attrs)
