"""The operations that have a definition: arrays in, certified arrays out.

The value of an output is the 64-digit number rounded once to float64. Its radius is half a unit in the last place of
that float64, and never below the smallest positive number; it is zero where the rounding is exact. What 64 digits lose
themselves stays below 2^-200 of the error bound of an implementation, and a value below 2^-100 of that bound is taken
as the zero it is up to those digits, with a radius that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from lieref.conformance.definitions import actions, groups, layers, maps, matrix, training
from lieref.conformance.definitions.methods import adapt
from lieref.conformance.definitions.number import DIGITS, Number, Numbers, each, gradient, mpmath, numbers
from lieref.conformance.definitions.parameterisations import FROZEN
from lieref.numerics.bound import enlarge
from lieref.numerics.certified_array import Certified

Values: TypeAlias = Mapping[str, Numbers]
Attrs: TypeAlias = Mapping[str, Any]
Results: TypeAlias = dict[str, Numbers]
Forward: TypeAlias = Callable[[Values, Attrs], Results]

_BIAS: Final = ("base_weight", "bias", "weight_bar", "bias_bar")
_UNDERFLOW: Final = 2.0**-1074


def merge(values: Values, attrs: Attrs) -> Results:
    """Return weight, and bias where there is one, of base_weight, bias and the factors of ``method``."""
    factors = {name: value for name, value in values.items() if name not in _BIAS}
    bias = values.get("bias")
    adapted = adapt(attrs["method"], values["base_weight"], bias, factors, attrs["groups"], attrs["options"])
    return adapted if bias is None else {"bias": bias, **adapted}


def retract(values: Values, attrs: Attrs) -> Results:
    """Return g = map(xi) in a group."""
    return {"g": groups.by_parts(attrs, lambda group, x: maps.retract(group, attrs["map"], x), values["xi"])}


def group_log(values: Values, attrs: Attrs) -> Results:
    """Return xi = log(g)."""
    return {"xi": groups.by_parts(attrs, groups.logarithm, values["g"])}


def group_compose(values: Values, attrs: Attrs) -> Results:
    """Return gh = g h."""
    return {"gh": groups.by_parts(attrs, groups.compose, values["g"], values["h"])}


def group_inverse(values: Values, attrs: Attrs) -> Results:
    """Return g_inverse."""
    return {"g_inverse": groups.by_parts(attrs, groups.inverse, values["g"])}


def group_adjoint(values: Values, attrs: Attrs) -> Results:
    """Return eta = g xi g^-1."""
    return {"eta": groups.by_parts(attrs, groups.adjoint, values["g"], values["xi"])}


def group_bracket(values: Values, attrs: Attrs) -> Results:
    """Return zeta = [xi, eta]."""
    return {"zeta": groups.by_parts(attrs, groups.bracket, values["xi"], values["eta"])}


def act(values: Values, attrs: Attrs) -> Results:
    """Return weight, and bias where there is one, after the action of g."""
    adds, conv_groups = attrs["group"] == "additive", attrs["groups"]
    moved = {"weight": actions.act(attrs["action"], adds, values["g"], values["base_weight"], conv_groups)}
    if "bias" in values:
        moved["bias"] = actions.act_on_bias(attrs["action"], values["g"], values["bias"], conv_groups)
    return moved


def low_rank_retract(values: Values, attrs: Attrs) -> Results:
    """Return g = map(xi) with xi the projection of lora_b lora_a on the algebra."""
    product = matrix.matmul(values["lora_b"], values["lora_a"])
    return {"g": maps.retract(attrs["group"], attrs["map"], product)}


def logm(values: Values, attrs: Attrs) -> Results:
    """Return the principal logarithm x of a."""
    return {"x": matrix.logarithm(values["a"])}


def phi(values: Values, attrs: Attrs) -> Results:
    """Return phi_k of every entry of x."""
    return {"y": each(lambda entry: matrix.phi(entry, attrs["k"]), values["x"])}


def matrix_phi(values: Values, attrs: Attrs) -> Results:
    """Return phi_k of a square matrix a."""
    return {"y": matrix.power_series(values["a"], attrs["k"])}


def loss(values: Values, attrs: Attrs) -> Results:
    """Return the loss of logits."""
    return {"loss": np.array(training.loss(values["logits"], values.get("targets"), attrs), dtype=object)}


def clip_gradients(values: Values, attrs: Attrs) -> Results:
    """Return the gradients, each under its own name, scaled to the norm allowed."""
    return training.clip(values, attrs["max_norm"])


def learning_rate(values: Values, attrs: Attrs) -> Results:
    """Return the learning rate of every step."""
    return {"rates": training.learning_rates(values["rate"][()], attrs)}


def optimizer_step(values: Values, attrs: Attrs) -> Results:
    """Return param and the state after one step."""
    return training.OPTIMIZERS[attrs["optimizer"]](values, attrs)


def fold_batch_normalization(values: Values, attrs: Attrs) -> Results:
    """Return weight and bias of the folded layer."""
    return layers.fold_batch_normalization(values, attrs["epsilon"])


def gemm(values: Values, attrs: Attrs) -> Results:
    """Return y of a, b and, if there is one, c."""
    return {"y": layers.gemm(values, attrs)}


def pool(values: Values, attrs: Attrs) -> Results:
    """Return y of x."""
    return {"y": layers.pool(values["x"], attrs)}


FORWARD: Final[dict[str, Forward]] = {
    function.__name__: function
    for function in (
        merge, retract, group_log, group_compose, group_inverse, group_adjoint, group_bracket, act, low_rank_retract,
        logm, phi, matrix_phi, loss, clip_gradients, learning_rate, optimizer_step, fold_batch_normalization, gemm,
        pool,
    )
}  # fmt: skip
"""Operation -> its definition."""

CONSTANT: Final[dict[str, frozenset[str]]] = {
    "merge": FROZEN | {"base_weight", "bias"},
    "retract": frozenset(),
    "act": frozenset({"base_weight", "bias"}),
    "low_rank_retract": frozenset(),
    "matrix_phi": frozenset(),
    "loss": frozenset({"targets"}),
    "fold_batch_normalization": frozenset(),
    "gemm": frozenset(),
    "pool": frozenset(),
}
"""Operations that have a VJP, named with ``_vjp``, and the inputs that have no cotangent."""


def evaluate(op: str, inputs: Mapping[str, Certified], attrs: Attrs) -> dict[str, Certified]:
    """Return the outputs of an operation of `FORWARD`, or of its VJP.

    Raises
    ------
    MissingExtraError
        If mpmath is not installed.
    """
    with mpmath().workdps(DIGITS):
        if op in FORWARD:
            values = {name: numbers(value.hi) for name, value in inputs.items()}
            return {name: certified(result) for name, result in FORWARD[op](values, attrs).items()}
        return {name: certified(result) for name, result in _vjp(op.removesuffix("_vjp"), inputs, attrs).items()}


def _vjp(op: str, inputs: Mapping[str, Certified], attrs: Attrs) -> Results:
    """Return ``<input>_bar`` for every input that varies, of the inputs and ``<output>_bar``."""
    given = {name: value for name, value in inputs.items() if not name.endswith("_bar")}
    values = {name: numbers(value.hi, varies=name not in CONSTANT[op]) for name, value in given.items()}
    results = FORWARD[op](values, attrs)
    outputs = np.concatenate([result.reshape(-1) for result in results.values()])
    # The cotangent of a loss is 1.
    given_bars = [inputs[f"{name}_bar"].hi if op != "loss" else np.ones(()) for name in results]
    bars = np.concatenate([numbers(bar).reshape(-1) for bar in given_bars])
    varying = [name for name in values if name not in CONSTANT[op]]
    entries = np.concatenate([values[name].reshape(-1) for name in varying])
    found, start = gradient(outputs, bars, entries), 0
    cotangents: Results = {}
    for name in varying:
        size = values[name].size
        cotangents[f"{name}_bar"] = found[start : start + size].reshape(values[name].shape)
        start += size
    return cotangents


def certified(result: Numbers) -> Certified:
    """Return numbers rounded to float64 with what is known about them; see the module."""
    hi, radius, rounding, conversion = (np.zeros(result.shape) for _ in range(4))
    for index in np.ndindex(result.shape):
        entry: Number = result[index]
        rounding[index], conversion[index] = entry.rounding, entry.conversion
        if abs(entry.value) < 2.0**-100 * entry.rounding:
            radius[index] = 2.0**-99 * entry.rounding
            continue
        nearest = float(entry.value)
        hi[index] = nearest
        if entry.value != nearest:
            radius[index] = max(0.5 * float(np.spacing(abs(nearest))), _UNDERFLOW)
    return Certified(hi, np.zeros(result.shape), radius, enlarge(rounding), enlarge(conversion))
