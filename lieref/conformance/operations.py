"""The operations a backend can be asked for, each with its certified evaluation.

An operation takes arrays and attributes by name and returns arrays by name. Most functions here compute with
`Certified` arrays, exact inputs in, certified outputs out, and need numpy alone: a verdict can ask them what a mistake
would give. What comes from a registry of methods, groups, losses or layers is evaluated from its definition in 80
digits (`lieref.conformance.definitions`), which needs mpmath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from lieref.conformance.definitions.evaluate import CONSTANT, FORWARD, evaluate
from lieref.errors import UnsupportedError
from lieref.numerics import certified_conv, certified_exp
from lieref.numerics.certified_array import Certified, certify, matmul, sum_rows
from lieref.numerics.certified_conv import ConvGeometry

Inputs: TypeAlias = Mapping[str, Certified]
Attrs: TypeAlias = Mapping[str, Any]
Outputs: TypeAlias = dict[str, Certified]


def geometry_of(attrs: Attrs) -> ConvGeometry:
    """Return the geometry that ONNX's attributes describe."""
    strides, pads, dilations = (tuple(attrs[name]) for name in ("strides", "pads", "dilations"))
    return ConvGeometry(strides, pads, dilations, attrs.get("groups", 1))


def conv(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return y of x, weight and, if there is one, bias."""
    return {"y": certified_conv.conv(inputs["x"], inputs["weight"], inputs.get("bias"), geometry_of(attrs))}


def conv_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return x_bar, weight_bar and bias_bar of x, weight and y_bar."""
    bars = certified_conv.conv_vjp(inputs["x"], inputs["weight"], inputs["y_bar"], geometry_of(attrs))
    return dict(zip(("x_bar", "weight_bar", "bias_bar"), bars, strict=True))


def hadamard(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return weight = base_weight exp(delta), entry by entry."""
    return {"weight": inputs["base_weight"] * certified_exp.exp(inputs["delta"])}


def hadamard_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return delta_bar = weight_bar weight."""
    return {"delta_bar": inputs["weight_bar"] * hadamard(inputs, attrs)["weight"]}


def hadamard_delta(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return weight_delta = base_weight (exp(delta) - 1) without cancellation."""
    return {"weight_delta": inputs["base_weight"] * certified_exp.expm1(inputs["delta"])}


def taylor1(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return weight = base_weight (1 + delta), rounded in either of its two common forms."""
    base, delta = inputs["base_weight"], inputs["delta"]
    weight = base * (delta + 1.0)
    # base + base delta rounds the product and the sum: the same first-order bound but for the size of the product.
    return {"weight": replace(weight, rounding=weight.rounding + np.abs(base.hi * delta.hi))}


def taylor1_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return delta_bar = weight_bar base_weight."""
    return {"delta_bar": inputs["weight_bar"] * inputs["base_weight"]}


def expm(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return g = exp(a), one matrix or a batch."""
    return {"g": _each(certified_exp.expm, inputs["a"])}


def expm_delta(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return g_minus_identity = exp(a) - I without cancellation."""
    return {"g_minus_identity": _each(certified_exp.expm_minus_identity, inputs["a"])}


def expm_frechet(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return g_dot, the derivative of exp at a in the direction a_dot."""
    return {"g_dot": _each(certified_exp.expm_frechet, inputs["a"], inputs["a_dot"])}


def expm_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return a_bar, the derivative of exp at the transpose of a in the direction g_bar."""
    return {
        "a_bar": _each(lambda a, g_bar: certified_exp.expm_frechet(a.transpose(), g_bar), inputs["a"], inputs["g_bar"])
    }


def _each(function: Callable[..., Certified], *operands: Certified) -> Certified:
    """Apply a function of square matrices to each slice of a batch."""
    shape = operands[0].shape
    if len(shape) == 2:
        return function(*operands)
    results = [function(*(_rows(x, i, i + 1).reshape(shape[1:]) for x in operands)) for i in range(shape[0])]
    hi, lo, radius, rounding, conversion = (np.stack(parts) for parts in zip(*(r.parts for r in results), strict=True))
    return Certified(hi, lo, radius, rounding, conversion)


def low_rank_expm(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return g = exp(lora_b lora_a)."""
    return {"g": certified_exp.expm(matmul(inputs["lora_b"], inputs["lora_a"]))}


# X = B A, <X_bar, dB A + B dA> = <X_bar A^T, dB> + <B^T X_bar, dA> with X_bar = L(X^T, g_bar).
def low_rank_expm_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return lora_b_bar and lora_a_bar of lora_b, lora_a and g_bar."""
    lora_b, lora_a = inputs["lora_b"], inputs["lora_a"]
    x_bar = certified_exp.expm_frechet(matmul(lora_b, lora_a).transpose(), inputs["g_bar"])
    return {"lora_b_bar": matmul(x_bar, lora_a.transpose()), "lora_a_bar": matmul(lora_b.transpose(), x_bar)}


def _low_rank_layout(attrs: Attrs) -> tuple[tuple[int, ...], int, int]:
    """Return (shape of the kernel of one conv group, kernel axes dealt to rows, and to columns)."""
    shape, groups = tuple(attrs["shape"]), attrs.get("groups", 1)
    one = (shape[0] // groups, *shape[1:])
    rows = 0 if attrs["matricisation"] == "unfold" else (len(shape) - 2) // 2
    return one, int(np.prod(shape[2 : 2 + rows])), int(np.prod(shape[2 + rows :]))


def low_rank(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return delta = scaling (lora_b lora_a), laid into a kernel by `matricisation` (see `lieref.param.low_rank`)."""
    one, p, q = _low_rank_layout(attrs)
    groups = attrs.get("groups", 1)
    blocks = []
    for b, a in zip(_split(inputs["lora_b"], groups), _split(inputs["lora_a"], groups), strict=True):
        product = matmul(b, a)
        if attrs["matricisation"] == "structured":
            product = product.reshape((one[0], p, one[1], q)).transpose(0, 2, 1, 3)
        blocks.append(product.reshape(one))
    return {"delta": _concatenate(blocks) * attrs["scaling"]}


# The layout only moves entries, so its adjoint moves them back; then B_bar = s M A^T and A_bar = s B^T M.
def low_rank_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return lora_b_bar and lora_a_bar of lora_b, lora_a and delta_bar."""
    one, p, q = _low_rank_layout(attrs)
    groups = attrs.get("groups", 1)
    b_bars, a_bars = [], []
    scaled = inputs["delta_bar"] * attrs["scaling"]
    for b, a, m in zip(*(_split(x, groups) for x in (inputs["lora_b"], inputs["lora_a"], scaled)), strict=True):
        if attrs["matricisation"] == "structured":
            m = m.reshape((one[0], one[1], p, q)).transpose(0, 2, 1, 3)
        m = m.reshape((one[0] * p, one[1] * q))
        b_bars.append(matmul(m, a.transpose()))
        a_bars.append(matmul(b.transpose(), m))
    return {"lora_b_bar": _concatenate(b_bars), "lora_a_bar": _concatenate(a_bars)}


def _split(x: Certified, groups: int) -> list[Certified]:
    rows = x.shape[0] // groups
    return [_rows(x, i * rows, (i + 1) * rows) for i in range(groups)]


def _rows(x: Certified, start: int, stop: int) -> Certified:
    return x.on_values(lambda part: part[start:stop])


def _concatenate(blocks: list[Certified]) -> Certified:
    hi, lo, radius, rounding, conversion = (
        np.concatenate(parts) for parts in zip(*(block.parts for block in blocks), strict=True)
    )
    return Certified(hi, lo, radius, rounding, conversion, max(block.count for block in blocks))


def _mode_dot(x: Certified, matrix: Certified, mode: int) -> Certified:
    """Return the product of a matrix (m, n) with the mode of size n of a tensor."""
    rest = tuple(np.delete(x.shape, mode))
    product = matmul(matrix, _unfold(x, mode)).reshape((matrix.shape[0], *map(int, rest)))
    return product.on_values(lambda part: np.moveaxis(part, 0, mode))


def _unfold(x: Certified, mode: int) -> Certified:
    return x.on_values(lambda part: np.moveaxis(part, mode, 0).reshape(part.shape[mode], -1))


def _factors(inputs: Inputs) -> list[Certified]:
    count = sum(name.startswith("factor_") for name in inputs)
    return [inputs[f"factor_{mode}"] for mode in range(count)]


def tucker(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return delta = scaling core x_0 factor_0 x_1 factor_1 and so on."""
    delta = inputs["core"]
    for mode, factor in enumerate(_factors(inputs)):
        delta = _mode_dot(delta, factor, mode)
    return {"delta": delta * attrs["scaling"]}


# With P_m the core after all products but the one on mode m: U_m_bar = s delta_bar_(m) P_m(m)^T, and the core's
# cotangent is s delta_bar x_0 U_0^T x_1 U_1^T and so on.
def tucker_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return core_bar and factor_0_bar, factor_1_bar, ... of core, the factors and delta_bar."""
    factors = _factors(inputs)
    scaled = inputs["delta_bar"] * attrs["scaling"]
    core_bar = scaled
    for mode, factor in enumerate(factors):
        core_bar = _mode_dot(core_bar, factor.transpose(), mode)
    outputs = {"core_bar": core_bar}
    for mode in range(len(factors)):
        partial = inputs["core"]
        for other, factor in enumerate(factors):
            if other != mode:
                partial = _mode_dot(partial, factor, other)

        outputs[f"factor_{mode}_bar"] = matmul(_unfold(scaled, mode), _unfold(partial, mode).transpose())
    return outputs


def atoms(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return delta[o, i] = sum over a of coefficients[o, i, a] atoms[a], in the shape of a kernel."""
    coefficients = inputs["coefficients"]
    rows = coefficients.reshape((-1, coefficients.shape[2]))
    return {"delta": matmul(rows, inputs["atoms"]).reshape(tuple(attrs["shape"]))}


def atoms_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return atoms_bar of coefficients and delta_bar."""
    coefficients = inputs["coefficients"]
    rows = coefficients.reshape((-1, coefficients.shape[2]))
    return {"atoms_bar": matmul(rows.transpose(), inputs["delta_bar"].reshape((rows.shape[0], -1)))}


_PARAMETERISATIONS: Final = {
    "low-rank": (low_rank, low_rank_vjp),
    "tucker": (tucker, tucker_vjp),
    "filter-atoms": (atoms, atoms_vjp),
}
_UPDATES: Final = {("hadamard", "exp"): (hadamard, hadamard_vjp), ("hadamard", "taylor1"): (taylor1, taylor1_vjp)}


def _with_shape(inputs: Inputs, attrs: Attrs) -> dict[str, Any]:
    return {**attrs, "shape": inputs["base_weight"].shape}


def adapted_weight(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return weight of base_weight and the factors of `parameterisation`, under `group` and `map`."""
    delta = _PARAMETERISATIONS[attrs["parameterisation"]][0](inputs, _with_shape(inputs, attrs))["delta"]
    if attrs["group"] == "additive":
        return {"weight": inputs["base_weight"] + delta}
    return _UPDATES[attrs["group"], attrs["map"]][0]({**inputs, "delta": delta}, attrs)


def adapted_weight_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return the cotangents of the factors, of base_weight, the factors and weight_bar."""
    forward, backward = _PARAMETERISATIONS[attrs["parameterisation"]]
    attrs = _with_shape(inputs, attrs)
    if attrs["group"] == "additive":
        delta_bar = inputs["weight_bar"]
    else:
        delta = forward(inputs, attrs)["delta"]
        delta_bar = _UPDATES[attrs["group"], attrs["map"]][1]({**inputs, "delta": delta}, attrs)["delta_bar"]
    return backward({**inputs, "delta_bar": delta_bar}, attrs)


def adapted_conv(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return y and loss of x, base_weight, bias, target and the factors; loss = sum((y - target)**2) / (2 size)."""
    y, residual = _residual(inputs, attrs)
    loss = sum_rows((residual * residual).reshape((1, -1))).reshape(()) / (2.0 * residual.hi.size)
    return {"y": y, "loss": loss}


def _residual(inputs: Inputs, attrs: Attrs) -> tuple[Certified, Certified]:
    weight = adapted_weight(inputs, attrs)["weight"]
    y = certified_conv.conv(inputs["x"], weight, inputs["bias"], geometry_of(attrs))
    return y, y - inputs["target"]


def adapted_conv_vjp(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return the gradients of the loss of `adapted_conv` in the factors."""
    residual = _residual(inputs, attrs)[1]
    return _factor_gradients(inputs, attrs, residual)


def _factor_gradients(inputs: Inputs, attrs: Attrs, residual: Certified) -> Outputs:
    y_bar = residual / float(residual.hi.size)
    weight = adapted_weight(inputs, attrs)["weight"]
    weight_bar = certified_conv.conv_vjp(inputs["x"], weight, y_bar, geometry_of(attrs))[1]
    return adapted_weight_vjp({**inputs, "weight_bar": weight_bar}, attrs)


# SGD: v <- mu v + g + wd p, p <- p - lr v, with Nesterov p <- p - lr (g + wd p + mu v). AdamW with the step number t
# from 1: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g**2,
# p <- (1 - lr wd) p - lr m / (1 - b1**t) / (sqrt(v / (1 - b2**t)) + eps).
def optimizer_step(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return param and the state after one step of `optimizer` (``sgd`` or ``adamw``), of param, grad and the state."""
    param, grad, rate = inputs["param"], inputs["grad"], attrs["learning_rate"]
    if attrs["optimizer"] == "sgd":
        decay = param * attrs.get("weight_decay", 0.0)
        gradient = grad + decay
        velocity = inputs["velocity"] * attrs["momentum"] + gradient
        step = gradient + velocity * attrs["momentum"] if attrs.get("nesterov", False) else velocity
        return {"param": param - step * rate, "velocity": velocity}
    if attrs["optimizer"] != "adamw":
        raise UnsupportedError(f"optimizer_step: `optimizer` must be sgd or adamw; got {attrs['optimizer']!r}")
    beta1, beta2, step = attrs["beta1"], attrs["beta2"], attrs["step"]
    mean = inputs["mean"] * beta1 + grad * (1.0 - beta1)
    square = inputs["square"] * beta2 + grad * grad * (1.0 - beta2)
    corrected = mean / (_power(beta1, step) * -1.0 + 1.0)
    spread = (square / (_power(beta2, step) * -1.0 + 1.0)).sqrt() + attrs["epsilon"]
    decayed = param * (1.0 - rate * attrs["weight_decay"])
    return {"param": decayed - corrected / spread * rate, "mean": mean, "square": square}


def _power(base: float, exponent: int) -> Certified:
    value = certify(np.array(base))
    for _ in range(exponent - 1):
        value = value * base
    return value


def training(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Return the losses before each of `steps` SGD steps on the loss of `adapted_conv`, and the factors after them."""
    state = dict(inputs)
    names = ("lora_a", "lora_b")
    velocity = {name: inputs[name] * 0.0 for name in names}
    losses = []
    for _ in range(attrs["steps"]):
        forward = adapted_conv(state, attrs)
        losses.append(forward["loss"].reshape((1,)))
        grads = _factor_gradients(state, attrs, forward["y"] - state["target"])
        for name in names:
            step = {"param": state[name], "grad": grads[f"{name}_bar"], "velocity": velocity[name]}
            new = optimizer_step(step, {**attrs, "optimizer": "sgd"})
            state[name], velocity[name] = new["param"], new["velocity"]
    return {"losses": _concatenate(losses), **{name: state[name] for name in names}}


DEFINED: Final = tuple(
    name for op in FORWARD if op != "optimizer_step" for name in ((op, f"{op}_vjp") if op in CONSTANT else (op,))
)
"""Operations that are evaluated from their definition in 64 digits."""

OPERATIONS: Final[dict[str, Callable[[Inputs, Attrs], Outputs]]] = {
    "conv": conv,
    "conv_vjp": conv_vjp,
    "hadamard": hadamard,
    "hadamard_vjp": hadamard_vjp,
    "hadamard_delta": hadamard_delta,
    "taylor1": taylor1,
    "taylor1_vjp": taylor1_vjp,
    "expm": expm,
    "expm_delta": expm_delta,
    "expm_frechet": expm_frechet,
    "expm_vjp": expm_vjp,
    "low_rank_expm": low_rank_expm,
    "low_rank_expm_vjp": low_rank_expm_vjp,
    "low_rank": low_rank,
    "low_rank_vjp": low_rank_vjp,
    "tucker": tucker,
    "tucker_vjp": tucker_vjp,
    "atoms": atoms,
    "atoms_vjp": atoms_vjp,
    "adapted_weight": adapted_weight,
    "adapted_weight_vjp": adapted_weight_vjp,
    "adapted_conv": adapted_conv,
    "adapted_conv_vjp": adapted_conv_vjp,
    "optimizer_step": optimizer_step,
    "training": training,
    **{op: partial(evaluate, op) for op in DEFINED},
}
