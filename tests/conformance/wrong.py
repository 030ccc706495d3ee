"""Wrong ports, each with the name of what is wrong: the runner's diagnoses must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.conformance import honest, ports
from tests.conformance.honest import Arrays

Backend = Callable[[str, Arrays, dict[str, Any]], Arrays]
CONV = ("conv", "conv_vjp", "depthwise", "depthwise_vjp")
EXPM = ("expm", "expm_delta", "expm_frechet", "expm_vjp")
UPDATE = ("hadamard", "hadamard_delta", "hadamard_vjp")


@dataclass(frozen=True)
class Wrong:
    """A wrong port.

    Parameters
    ----------
    cause : str
    names : tuple of str
        Parts of the diagnoses that are right.
    families : tuple of str
    run : callable
    """

    cause: str
    names: tuple[str, ...]
    families: tuple[str, ...]
    run: Backend


def reads(change: Callable[[str, str, np.ndarray], np.ndarray]) -> Backend:
    """Return a port that reads inputs changed: (op, name, value) -> value."""

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        changed = {n: np.ascontiguousarray(change(op, n, v)) for n, v in inputs.items()}
        return ports.right(op, changed, attrs)

    return run


def writes(change: Callable[[str, str, np.ndarray], np.ndarray]) -> Backend:
    """Return a port that writes outputs changed: (op, name, value) -> value."""

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        outputs = ports.right(op, inputs, attrs)
        return {n: np.asarray(change(op, n, v), order="C") for n, v in outputs.items()}

    return run


def attrs_of(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Backend:
    return lambda op, inputs, attrs: honest.PORTS[0](op, inputs, {**attrs, **change(attrs)})


def _swap(x: np.ndarray, axis: int) -> np.ndarray:
    if x.ndim <= axis or x.shape[axis] < 2:
        return x
    order = np.arange(x.shape[axis])
    order[:2] = 1, 0
    return np.take(x, order, axis=axis)


def _pads_swapped(attrs: dict[str, Any]) -> dict[str, Any]:
    half = len(attrs["pads"]) // 2
    return {"pads": attrs["pads"][half:] + attrs["pads"][:half]}


def _groups_swapped(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    g = attrs["groups"]
    x = inputs["x"]
    moved = np.roll(x.reshape(x.shape[0], g, -1, *x.shape[2:]), 1, axis=1).reshape(x.shape)
    return ports.right(op, {**inputs, "x": np.ascontiguousarray(moved)}, attrs)


def _transposed(w: np.ndarray) -> np.ndarray:
    return np.swapaxes(w, -1, -2).reshape(w.shape)


def _flip(w: np.ndarray) -> np.ndarray:
    return np.flip(w, tuple(range(2, w.ndim)))


def _gradient_kernel(change: Callable[[np.ndarray], np.ndarray]) -> Backend:
    """Return a port whose input gradient, and only that, uses a changed kernel."""

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        outputs = ports.right(op, inputs, attrs)
        if op == "conv_vjp":
            other = {**inputs, "weight": np.ascontiguousarray(change(inputs["weight"]))}
            outputs["x_bar"] = ports.right(op, other, attrs)["x_bar"]
        return outputs

    return run


def _without(input_name: str, axis: int) -> Backend:
    """Return a port whose gradients leave out the last slice of an input."""

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        if not op.endswith("_vjp") or input_name not in inputs:
            return ports.right(op, inputs, attrs)
        changed = inputs[input_name].copy()
        np.moveaxis(changed, axis, 0)[-1] = 0
        return ports.right(op, {**inputs, input_name: changed}, attrs)

    return run


def _channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x.reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1).reshape(x.shape)


def _nhwc(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    """Read and write data, and kernels (O, ..., I), with channels last."""
    changed = {n: np.ascontiguousarray(_channels_first(v)) if v.ndim > 2 else v for n, v in inputs.items()}
    outputs = ports.right(op, changed, attrs)
    return {n: np.ascontiguousarray(_channels_last(v)) if v.ndim > 2 else v for n, v in outputs.items()}


def _one_nan(op: str, name: str, value: np.ndarray) -> np.ndarray:
    value = np.array(value)
    value.reshape(-1)[value.size // 2] = np.nan
    return value


def _difference(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    if op == "hadamard_delta":
        return {"weight_delta": inputs["base_weight"] * (np.exp(inputs["delta"]) - 1)}
    if op == "expm_delta":
        g = ports.right("expm", inputs, attrs)["g"]
        return {"g_minus_identity": g - np.eye(g.shape[-1], dtype=g.dtype)}
    return ports.right(op, inputs, attrs)


def _taylor(degree: int) -> Backend:
    def exp(x: np.ndarray, start: int = 0) -> np.ndarray:
        term = total = np.ones_like(x)
        total = total * (start == 0)
        for k in range(1, degree + 1):
            term = term * x / x.dtype.type(k)
            total = total + term
        return total

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        base, delta = inputs["base_weight"], inputs["delta"]
        if op == "hadamard":
            return {"weight": base * exp(delta)}
        if op == "hadamard_vjp":
            return {"delta_bar": inputs["weight_bar"] * (base * exp(delta))}
        return {"weight_delta": base * exp(delta, 1)}

    return run


def _matrix_taylor(degree: int) -> Backend:
    def series(a: np.ndarray) -> np.ndarray:
        term, total = np.eye(a.shape[-1]), np.zeros(a.shape)
        for k in range(1, degree + 1):
            term = term @ a / k
            total = total + term
        return total

    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        a = inputs["a"].astype(np.float64)
        if op in ("expm", "expm_delta"):
            value = series(a) + (np.eye(a.shape[-1]) if op == "expm" else 0)
            return {("g" if op == "expm" else "g_minus_identity"): value.astype(inputs["a"].dtype)}
        n = a.shape[-1]
        e = inputs["a_dot" if op == "expm_frechet" else "g_bar"].astype(np.float64)
        a = np.swapaxes(a, -1, -2) if op == "expm_vjp" else a
        block = np.concatenate([np.concatenate([a, e], -1), np.concatenate([0 * a, a], -1)], -2)
        value = series(block)[..., :n, n:].astype(inputs["a"].dtype)
        return {("g_dot" if op == "expm_frechet" else "a_bar"): value}

    return run


def _half_sums(kind: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1], np.float32)
        for k in range(a.shape[-1]):
            total = kind(total + kind(a[..., k] * b[..., k]))
        return total

    return dot


def _only_f32(port: Backend) -> Backend:
    def run(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        if next(iter(inputs.values())).dtype != np.float32:
            return ports.right(op, inputs, attrs)
        return port(op, inputs, attrs)

    return run


def _flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, 0, x).astype(x.dtype)


def _commuting(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    if op not in ("expm_frechet", "expm_vjp"):
        return ports.right(op, inputs, attrs)
    g = ports.right("expm", {"a": inputs["a"]}, {})["g"]
    if op == "expm_vjp":
        return {"a_bar": np.swapaxes(g, -1, -2) @ inputs["g_bar"]}
    return {"g_dot": g @ inputs["a_dot"]}


def _without_factor(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    if op.endswith("_vjp") and "base_weight" in inputs and (op == "hadamard_vjp" or attrs.get("group") == "hadamard"):
        return ports.right(op, {**inputs, "base_weight": np.ones_like(inputs["base_weight"])}, attrs)
    return ports.right(op, inputs, attrs)


def _cayley(op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
    a = inputs["a"].astype(np.float64)
    eye = np.eye(a.shape[-1])
    g = np.linalg.solve(eye - a / 2, eye + a / 2).astype(inputs["a"].dtype)
    return {"g": g} if op == "expm" else {"g_minus_identity": (g - eye).astype(g.dtype)}


_TF32 = replace(honest.PORTS[0], operand=honest.narrow(ports.tf32))
_FP16 = next(port for port in honest.PORTS if port.name == "float16 throughout, float32 sums")
_BF16 = next(port for port in honest.PORTS if port.name == "bfloat16 throughout, float32 sums")

WRONG = (
    Wrong("flipped kernel", ("flipped",), CONV, ports.flipped_kernel),
    Wrong("pads swapped", ("pads swapped",), CONV, attrs_of(_pads_swapped)),
    Wrong(
        "bias left out",
        ("bias",),
        ("conv", "depthwise", "adapted_conv"),
        reads(lambda op, n, v: 0 * v if n == "bias" else v),
    ),
    Wrong(
        "kernel transposed",
        ("transposed kernel",),
        CONV,
        reads(lambda op, n, v: _transposed(v) if n == "weight" else v),
    ),
    Wrong(
        "two input channels swapped",
        ("channels in another", "groups in another"),
        CONV,
        reads(lambda op, n, v: _swap(v, 1) if n == "x" else v),
    ),
    Wrong(
        "input channels reversed",
        ("channels in another", "groups in another"),
        CONV,
        reads(lambda op, n, v: v[:, ::-1] if n == "x" else v),
    ),
    Wrong(
        "two kernels swapped",
        ("channels in another", "groups in another"),
        CONV,
        reads(lambda op, n, v: _swap(v, 0) if n == "weight" else v),
    ),
    Wrong(
        "two output channels swapped",
        ("channels in another", "groups in another"),
        CONV,
        writes(lambda op, n, v: _swap(v, 1) if n in ("y", "x_bar") else v),
    ),
    Wrong("groups rotated", ("groups in another", "channels in another"), CONV, _groups_swapped),
    Wrong(
        "kernel transposed in the input gradient",
        ("transposed kernel",),
        ("conv_vjp", "depthwise_vjp"),
        _gradient_kernel(_transposed),
    ),
    Wrong("kernel flipped in the input gradient", ("flipped",), ("conv_vjp", "depthwise_vjp"), _gradient_kernel(_flip)),
    Wrong(
        "weight gradient transposed",
        ("transposed kernel",),
        ("conv_vjp", "depthwise_vjp"),
        writes(lambda op, n, v: _transposed(v) if n == "weight_bar" else v),
    ),
    Wrong("gradient without the last sample", ("without its first or last", "all zeros"), CONV, _without("x", 0)),
    Wrong("gradient without the last channel", ("without its first or last",), CONV, _without("y_bar", 1)),
    Wrong("gradient without the last row", ("without its first or last",), CONV, _without("y_bar", 2)),
    Wrong("gradient without the last tap", ("without its first or last",), CONV, _without("weight", -1)),
    Wrong(
        "gradient without a term of the rank",
        ("without its first or last",),
        ("low_rank", "tucker", "atoms", "adapted_weight"),
        lambda op, i, a: (
            _without("lora_a", 0)(op, i, a)
            if "lora_a" in i
            else _without("core", 0)(op, i, a)
            if "core" in i
            else _without("atoms", 0)(op, i, a)
        ),
    ),
    Wrong(
        "gradient without the base weight",
        ("without one of its factors",),
        ("hadamard_vjp", "adapted_weight", "adapted_conv"),
        _without_factor,
    ),
    Wrong("channels last throughout", ("channels last",), CONV, _nhwc),
    Wrong(
        "data read channels last",
        ("channels last",),
        CONV,
        reads(lambda op, n, v: _channels_first(v) if n in ("x", "y_bar") else v),
    ),
    Wrong(
        "results written channels last",
        ("channels last",),
        CONV,
        writes(lambda op, n, v: _channels_last(v) if n in ("y", "x_bar") else v),
    ),
    Wrong("one NaN", ("NaN",), ("conv", "hadamard", "expm", "tucker"), writes(_one_nan)),
    Wrong("nothing written", ("all zeros",), ("conv", "expm", "tucker"), writes(lambda op, n, v: 0 * v)),
    Wrong("wrong sign", ("wrong sign",), ("conv_vjp", "hadamard_vjp", "expm_vjp"), writes(lambda op, n, v: -v)),
    Wrong(
        "gradient divided by its size",
        ("times a number",),
        ("conv_vjp", "hadamard_vjp", "expm_vjp"),
        writes(lambda op, n, v: v / v.dtype.type(7)),
    ),
    Wrong("exp - 1 for expm1", ("digits cancel",), ("hadamard_delta", "expm_delta"), _difference),
    Wrong("series of degree 3", ("ends too early", "first-order"), UPDATE, _taylor(3)),
    Wrong("series of degree 6", ("ends too early",), UPDATE, _taylor(6)),
    Wrong("matrix series of degree 4", ("ends too early",), EXPM, _matrix_taylor(4)),
    Wrong("matrix series of degree 2", ("ends too early",), EXPM, _matrix_taylor(2)),
    Wrong("Cayley map", ("Cayley",), ("expm", "expm_delta"), _cayley),
    Wrong("commuting gradient", ("commuted",), ("expm_frechet", "expm_vjp"), _commuting),
    Wrong("first-order gradient", ("first-order",), ("hadamard_vjp", "adapted_weight"), ports.first_order_gradient),
    Wrong(
        "transposed matrix",
        ("transposed matrix",),
        ("expm", "expm_delta", "expm_frechet"),
        reads(lambda op, n, v: np.swapaxes(v, -1, -2) if n == "a" else v),
    ),
    Wrong("TF32", ("TF32",), CONV, _only_f32(_TF32)),
    Wrong("float16 storage", ("float16 storage", "NaN"), CONV, _only_f32(_FP16)),
    Wrong("bfloat16 storage", ("bfloat16 storage",), CONV, _only_f32(_BF16)),
    Wrong(
        "float16 sums", ("accumulated in float16", "NaN"), CONV, _only_f32(replace(_FP16, dot=_half_sums(honest.half)))
    ),
    Wrong(
        "float16 sums of float32 products",
        ("accumulated in float16", "NaN"),
        CONV,
        _only_f32(replace(honest.PORTS[0], dot=_half_sums(honest.half))),
    ),
    Wrong(
        "bfloat16 sums", ("accumulated in bfloat16",), CONV, _only_f32(replace(_BF16, dot=_half_sums(ports.bfloat16)))
    ),
    Wrong("flush to zero", ("flushed to zero",), (*CONV, *UPDATE), writes(lambda op, n, v: _flushed(v))),
    Wrong(
        "structured for view",
        ("layout",),
        ("low_rank", "adapted_weight", "adapted_conv"),
        attrs_of(lambda a: {"matricisation": "structured"} if a.get("matricisation") == "view" else {}),
    ),
    Wrong(
        "scaling left out",
        ("scaling",),
        ("low_rank", "tucker"),
        attrs_of(lambda a: {"scaling": 1.0} if "scaling" in a else {}),
    ),
    Wrong(
        "no momentum",
        ("momentum",),
        ("optimizer_step", "training"),
        attrs_of(lambda a: {"momentum": 0.0} if "momentum" in a else {}),
    ),
    Wrong(
        "step number off by one",
        ("bias correction",),
        ("optimizer_step",),
        attrs_of(lambda a: {"step": a["step"] + 1} if "step" in a else {}),
    ),
    Wrong(
        "results in float16 arrays",
        ("another dtype",),
        ("conv", "hadamard", "expm"),
        writes(lambda op, n, v: v.astype(np.float16)),
    ),
)
