"""Honest ports: the definitions in float32 in several orders, with fast convolutions, and with narrow operands.

Written from the formulas alone. Each port of `PORTS` declares a profile and must never fail under it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from tests.conformance import ports

Arrays = dict[str, np.ndarray]


def same(x: np.ndarray) -> np.ndarray:
    return x


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(x.dtype)


def narrow(kind: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a conversion that also takes float64, as a cast in two steps would not."""
    return lambda x: kind(x.astype(np.float32)).astype(x.dtype)


def in_order(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sums of products over the last axis, one after the other."""
    return np.asarray(np.add.accumulate(a * b, axis=-1)[..., -1])


def blocked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sums of products in blocks of eight."""
    terms = a * b
    parts = [in_order(terms[..., i : i + 8], np.ones((), terms.dtype)) for i in range(0, terms.shape[-1], 8)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def fused(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sums by fused multiply-adds (to float64: extended precision stands in for the exact product)."""
    dtype = np.result_type(a, b)
    wide = np.float64 if dtype == np.float32 else np.longdouble
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1], dtype)
    for k in range(a.shape[-1]):
        total = (total + a[..., k].astype(wide) * b[..., k].astype(wide)).astype(dtype)
    return total


# Winograd's minimal filtering F(m, 3): y = A^T [(G g) * (B^T d)].
_WINOGRAD = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
         [0, 4, 0, -5, 0, 1]],
        [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
         [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip


def winograd(tile: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return F(tile x tile, 3 x 3) of padded data (N, C, H, W) and kernels (O, C, 3, 3)."""
    matrices = _WINOGRAD[tile]

    def apply(x: np.ndarray, w: np.ndarray) -> np.ndarray | None:
        if w.shape[2:] != (3, 3):
            return None
        b, g, a = (np.array(m, w.dtype) for m in matrices)
        height, width = x.shape[2] - 2, x.shape[3] - 2
        x = np.pad(x, ((0, 0), (0, 0), (0, -height % tile), (0, -width % tile)))
        size = tile + 2
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::tile, ::tile]
        d = in_order(in_order(windows[..., None, :, :], b[:, None, :])[..., None, :, :], b[:, None, :])
        d = np.swapaxes(d, -1, -2)
        u = in_order(in_order(w[..., None, :, :], g[:, None, :])[..., None, :, :], g[:, None, :])
        u = np.swapaxes(u, -1, -2)
        products = u[None, :, :, None, None] * d[:, None]
        total = products[:, :, 0]
        for c in range(1, products.shape[2]):
            total = total + products[:, :, c]
        y = in_order(in_order(total[..., None, :, :], a[:, None, :])[..., None, :, :], a[:, None, :])
        y = np.swapaxes(y, -1, -2).transpose(0, 1, 2, 4, 3, 5)
        n, o, rows, _, columns, _ = y.shape
        return y.reshape(n, o, rows * tile, columns * tile)[:, :, :height, :width]

    return apply


def by_fft(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the correlation of padded data and kernels by transforms in the precision of the data."""
    shape, axes = x.shape[2:], tuple(range(2, x.ndim))
    spectrum = scipy.fft.rfftn(x, axes=axes)[:, None] * np.conj(scipy.fft.rfftn(w, shape, axes=axes))
    y = scipy.fft.irfftn(spectrum.sum(axis=2), shape, axes=tuple(a + 0 for a in axes))
    return y[(..., *(slice(n - k + 1) for n, k in zip(shape, w.shape[2:], strict=True)))]


@dataclass(frozen=True)
class Port:
    """The definitions, with a way to read inputs, to convert operands of sums, to keep arrays, and to sum."""

    name: str
    profile: str
    read: Callable[[np.ndarray], np.ndarray] = same
    operand: Callable[[np.ndarray], np.ndarray] = same
    keep: Callable[[np.ndarray], np.ndarray] = same
    dot: Callable[[np.ndarray, np.ndarray], np.ndarray] = in_order
    fast: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None = None

    def __call__(self, op: str, inputs: Arrays, attrs: dict[str, Any]) -> Arrays:
        if op not in DEFINITIONS:
            raise NotImplementedError(op)
        with np.errstate(all="ignore"):
            outputs = DEFINITIONS[op](self, {name: self.read(value) for name, value in inputs.items()}, attrs)
            return {name: np.asarray(self.keep(value), order="C") for name, value in outputs.items()}

    def sums(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.keep(self.dot(self.operand(a), self.operand(b)))

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.sums(a[..., :, None, :], np.swapaxes(b, -1, -2)[..., None, :, :])

    def correlate(self, x: np.ndarray, w: np.ndarray, strides: Any, dilations: Any) -> np.ndarray:
        """Return the correlation of padded data (N, C, ...) and kernels (O, C, ...)."""
        if self.fast is not None and set(strides) == set(dilations) == {1}:
            result = self.fast(x, w)
            if result is not None:
                return self.keep(result)
        reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, w.shape[2:], strict=True))
        axes = tuple(range(2, x.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=axes)
        windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in strides))]
        windows = windows[(..., *(slice(None, None, d) for d in dilations))]
        rank = len(axes)
        terms = np.moveaxis(windows, 1, 1 + rank).reshape(windows.shape[0], *windows.shape[2 : 2 + rank], -1)
        kernel = w.reshape(len(w), *(1,) * rank, -1)
        return self.sums(terms[:, None], kernel)


def _pads(attrs: dict[str, Any]) -> list[tuple[int, int]]:
    half_ = len(attrs["pads"]) // 2
    return [(0, 0), (0, 0), *zip(attrs["pads"][:half_], attrs["pads"][half_:], strict=True)]


def _groups(x: np.ndarray, groups: int, axis: int) -> list[np.ndarray]:
    return np.split(x, groups, axis=axis)


def conv(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    groups = attrs.get("groups", 1)
    if x["x"].shape[1] != x["weight"].shape[1] * groups or len(x["weight"]) % groups:
        raise ValueError("channels must fit")
    padded = np.pad(x["x"], _pads(attrs))
    parts = [
        port.correlate(xs, ws, attrs["strides"], attrs["dilations"])
        for xs, ws in zip(_groups(padded, groups, 1), _groups(x["weight"], groups, 0), strict=True)
    ]
    y = np.concatenate(parts, axis=1)
    if "bias" in x:
        y = y + x["bias"].reshape(-1, *(1,) * (y.ndim - 2))
    return {"y": y}


def conv_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    groups, strides, dilations, pads = attrs.get("groups", 1), attrs["strides"], attrs["dilations"], _pads(attrs)
    data, weight, y_bar = x["x"], x["weight"], x["y_bar"]
    rank = data.ndim - 2
    spatial = y_bar.shape[2:]
    up = np.zeros((*y_bar.shape[:2], *((n - 1) * s + 1 for n, s in zip(spatial, strides, strict=True))), y_bar.dtype)
    up[(..., *(slice(None, None, s) for s in strides))] = y_bar
    reach = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
    up = np.pad(up, [(0, 0), (0, 0), *((r, r) for r in reach)])
    flipped = np.flip(weight, tuple(range(2, weight.ndim)))
    x_parts, w_parts = [], []
    padded = np.pad(data, pads)
    for ys, ups, ws, xs in zip(
        _groups(y_bar, groups, 1), _groups(up, groups, 1), _groups(flipped, groups, 0), _groups(padded, groups, 1),
        strict=True,
    ):  # fmt: skip
        full = port.correlate(ups, np.swapaxes(ws, 0, 1), (1,) * rank, dilations)
        whole = np.zeros(xs.shape, full.dtype)
        whole[(..., *(slice(n) for n in full.shape[2:]))] = full
        x_parts.append(whole[(..., *(slice(b, n - e) for (b, e), n in zip(pads[2:], xs.shape[2:], strict=True)))])
        w_bar = np.empty(ws.shape, data.dtype)
        for index in np.ndindex(*ws.shape[2:]):
            starts = [i * d for i, d in zip(index, dilations, strict=True)]
            stops = [a + (n - 1) * s + 1 for a, n, s in zip(starts, spatial, strides, strict=True)]
            taps = xs[(..., *(slice(*t) for t in zip(starts, stops, strides, strict=True)))]
            left = np.moveaxis(ys, 1, 0).reshape(ys.shape[1], 1, -1)
            right = np.moveaxis(taps, 1, 0).reshape(1, xs.shape[1], -1)
            w_bar[(..., *index)] = port.sums(left, right)
        w_parts.append(w_bar)
    rows = np.moveaxis(y_bar, 1, 0).reshape(y_bar.shape[1], -1)
    return {
        "x_bar": np.concatenate(x_parts, axis=1),
        "weight_bar": np.concatenate(w_parts),
        "bias_bar": port.keep(port.dot(rows, np.ones((), rows.dtype) * np.ones_like(rows))),
    }


def hadamard(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"weight": x["base_weight"] * port.keep(np.exp(x["delta"]))}


def hadamard_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"delta_bar": x["weight_bar"] * port.keep(hadamard(port, x, attrs)["weight"])}


def hadamard_delta(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"weight_delta": x["base_weight"] * port.keep(np.expm1(x["delta"]))}


def taylor1(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"weight": x["base_weight"] * port.keep(1 + x["delta"])}


def taylor1_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"delta_bar": x["weight_bar"] * x["base_weight"]}


def _expm_minus_identity(port: Port, a: np.ndarray) -> np.ndarray:
    norm = float(np.abs(a).sum(axis=0).max())
    if not math.isfinite(norm):
        return np.full_like(a, np.nan)
    squarings = max(0, math.ceil(math.log2(norm * 4))) if norm > 0 else 0
    b = port.keep(np.ldexp(a, -squarings).astype(a.dtype))
    degree = 12 if a.dtype == np.float32 else 20
    e = np.zeros_like(b)
    eye = np.eye(len(b), dtype=b.dtype)
    for k in range(degree, 0, -1):
        e = port.matmul(b, port.keep((e + eye) / a.dtype.type(k)))
    for _ in range(squarings):
        e = port.keep(e + e + port.matmul(e, e))
    return e


def _batched(function: Callable[..., np.ndarray], *operands: np.ndarray) -> np.ndarray:
    if operands[0].ndim == 2:
        return function(*operands)
    return np.stack([function(*slices) for slices in zip(*operands, strict=True)])


def expm(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"g": _batched(lambda a: _expm_minus_identity(port, a) + np.eye(len(a), dtype=a.dtype), x["a"])}


def expm_delta(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"g_minus_identity": _batched(lambda a: _expm_minus_identity(port, a), x["a"])}


def _frechet(port: Port, a: np.ndarray, e: np.ndarray) -> np.ndarray:
    n = len(a)
    sizes = [float(np.abs(v).sum(axis=0).max()) for v in (a, e)]
    if not sizes[1]:
        return np.zeros_like(e)
    if not math.isfinite(sizes[0] + sizes[1]):
        return np.full_like(e, np.nan)
    # The direction is brought to the size of the matrix, but not below what narrow formats hold.
    shift = max(math.frexp(sizes[0])[1] if sizes[0] else 0, -2) - math.frexp(sizes[1])[1]
    block = np.block([[a, np.ldexp(e, shift)], [np.zeros_like(a), a]]).astype(a.dtype)
    return np.ldexp(_expm_minus_identity(port, block)[:n, n:], -shift).astype(a.dtype)


def expm_frechet(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"g_dot": _batched(lambda a, e: _frechet(port, a, e), x["a"], x["a_dot"])}


def expm_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    return {"a_bar": _batched(lambda a, e: _frechet(port, a.T, e), x["a"], x["g_bar"])}


def low_rank_expm(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    a = port.matmul(x["lora_b"], x["lora_a"])
    return {"g": _expm_minus_identity(port, a) + np.eye(len(a), dtype=a.dtype)}


def low_rank_expm_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    bar = port.keep(_frechet(port, port.matmul(x["lora_b"], x["lora_a"]).T, x["g_bar"]))
    return {"lora_b_bar": port.matmul(bar, x["lora_a"].T), "lora_a_bar": port.matmul(x["lora_b"].T, bar)}


def _layout(shape: Any, attrs: dict[str, Any]) -> tuple[Any, int, int]:
    groups = attrs.get("groups", 1)
    rows = 0 if attrs["matricisation"] == "unfold" else (len(shape) - 2) // 2
    one = (shape[0] // groups, *shape[1:])
    return one, int(np.prod(shape[2 : 2 + rows])), int(np.prod(shape[2 + rows :]))


def low_rank(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    one, p, q = _layout(attrs["shape"], attrs)
    groups, blocks = attrs.get("groups", 1), []
    for b, a in zip(_groups(x["lora_b"], groups, 0), _groups(x["lora_a"], groups, 0), strict=True):
        product = port.matmul(b, a)
        if attrs["matricisation"] == "structured":
            product = product.reshape(one[0], p, one[1], q).transpose(0, 2, 1, 3)
        blocks.append(product.reshape(one))
    delta = np.concatenate(blocks)
    return {"delta": delta * delta.dtype.type(attrs["scaling"])}


def low_rank_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    one, p, q = _layout(attrs["shape"], attrs)
    groups, b_bars, a_bars = attrs.get("groups", 1), [], []
    scaled = port.keep(x["delta_bar"] * x["delta_bar"].dtype.type(attrs["scaling"]))
    for b, a, m in zip(*(_groups(v, groups, 0) for v in (x["lora_b"], x["lora_a"], scaled)), strict=True):
        if attrs["matricisation"] == "structured":
            m = m.reshape(one[0], one[1], p, q).transpose(0, 2, 1, 3)
        m = m.reshape(one[0] * p, one[1] * q)
        b_bars.append(port.matmul(m, a.T))
        a_bars.append(port.matmul(b.T, m))
    return {"lora_b_bar": np.concatenate(b_bars), "lora_a_bar": np.concatenate(a_bars)}


def _unfold(x: np.ndarray, mode: int) -> np.ndarray:
    return np.moveaxis(x, mode, 0).reshape(x.shape[mode], -1)


def _mode_dot(port: Port, x: np.ndarray, matrix: np.ndarray, mode: int) -> np.ndarray:
    rest = [n for i, n in enumerate(x.shape) if i != mode]
    return np.moveaxis(port.matmul(matrix, _unfold(x, mode)).reshape(len(matrix), *rest), 0, mode)


def _factors(x: Arrays) -> list[np.ndarray]:
    return [x[f"factor_{i}"] for i in range(sum(name.startswith("factor_") for name in x))]


def tucker(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    delta = x["core"]
    for mode, factor in enumerate(_factors(x)):
        delta = _mode_dot(port, delta, factor, mode)
    return {"delta": delta * delta.dtype.type(attrs["scaling"])}


def tucker_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    factors, scaled = _factors(x), port.keep(x["delta_bar"] * x["delta_bar"].dtype.type(attrs["scaling"]))
    core_bar = scaled
    for mode, factor in enumerate(factors):
        core_bar = _mode_dot(port, core_bar, factor.T, mode)
    outputs = {"core_bar": core_bar}
    for mode in range(len(factors)):
        partial = x["core"]
        for other, factor in enumerate(factors):
            partial = partial if other == mode else _mode_dot(port, partial, factor, other)
        outputs[f"factor_{mode}_bar"] = port.matmul(_unfold(scaled, mode), _unfold(partial, mode).T)
    return outputs


def atoms(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    coefficients = x["coefficients"]
    return {"delta": port.matmul(coefficients.reshape(-1, coefficients.shape[2]), x["atoms"]).reshape(attrs["shape"])}


def atoms_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    rows = x["coefficients"].reshape(-1, x["coefficients"].shape[2])
    return {"atoms_bar": port.matmul(rows.T, x["delta_bar"].reshape(len(rows), -1))}


_KINDS = {
    "low-rank": (low_rank, low_rank_vjp),
    "tucker": (tucker, tucker_vjp),
    "filter-atoms": (atoms, atoms_vjp),
}
_UPDATES = {"exp": (hadamard, hadamard_vjp), "taylor1": (taylor1, taylor1_vjp)}


def adapted_weight(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    attrs = {**attrs, "shape": x["base_weight"].shape}
    delta = port.keep(_KINDS[attrs["parameterisation"]][0](port, x, attrs)["delta"])
    if attrs["group"] == "additive":
        return {"weight": x["base_weight"] + delta}
    return _UPDATES[attrs["map"]][0](port, {**x, "delta": delta}, attrs)


def adapted_weight_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    attrs = {**attrs, "shape": x["base_weight"].shape}
    forward, backward = _KINDS[attrs["parameterisation"]]
    bar = x["weight_bar"]
    if attrs["group"] != "additive":
        delta = port.keep(forward(port, x, attrs)["delta"])
        bar = port.keep(_UPDATES[attrs["map"]][1](port, {**x, "delta": delta}, attrs)["delta_bar"])
    return backward(port, {**x, "delta_bar": bar}, attrs)


def adapted_conv(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    weight = port.keep(adapted_weight(port, x, attrs)["weight"])
    y = port.keep(conv(port, {"x": x["x"], "weight": weight, "bias": x["bias"]}, attrs)["y"])
    r = (y - x["target"]).reshape(-1)
    return {"y": y, "loss": port.dot(r, r) / y.dtype.type(2 * y.size)}


def adapted_conv_vjp(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    y = adapted_conv(port, x, attrs)["y"]
    y_bar = port.keep((y - x["target"]) / y.dtype.type(y.size))
    weight = port.keep(adapted_weight(port, x, attrs)["weight"])
    bar = conv_vjp(port, {"x": x["x"], "weight": weight, "y_bar": y_bar}, attrs)["weight_bar"]
    return adapted_weight_vjp(port, {**x, "weight_bar": bar}, attrs)


def optimizer_step(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    number = x["param"].dtype.type
    param, grad, rate = x["param"], x["grad"], number(attrs["learning_rate"])
    decay = attrs.get("weight_decay", 0.0)
    if attrs["optimizer"] == "sgd":
        grad = grad + number(decay) * param
        velocity = number(attrs["momentum"]) * x["velocity"] + grad
        move = grad + number(attrs["momentum"]) * velocity if attrs.get("nesterov") else velocity
        return {"param": param - rate * move, "velocity": velocity}
    beta1, beta2, step = attrs["beta1"], attrs["beta2"], attrs["step"]
    mean = number(beta1) * x["mean"] + number(1 - beta1) * grad
    square = number(beta2) * x["square"] + number(1 - beta2) * (grad * grad)
    corrected, spread = mean / number(1 - beta1**step), np.sqrt(square / number(1 - beta2**step))
    move = corrected / (spread + number(attrs["epsilon"]))
    return {"param": number(1 - attrs["learning_rate"] * decay) * param - rate * move, "mean": mean, "square": square}


def training(port: Port, x: Arrays, attrs: dict[str, Any]) -> Arrays:
    state = dict(x)
    velocity = {name: np.zeros_like(x[name]) for name in ("lora_a", "lora_b")}
    losses = []
    for _ in range(attrs["steps"]):
        losses.append(adapted_conv(port, state, attrs)["loss"])
        bars = adapted_conv_vjp(port, state, attrs)
        for name in velocity:
            step = {"param": state[name], "grad": port.keep(bars[f"{name}_bar"]), "velocity": velocity[name]}
            new = optimizer_step(port, step, {**attrs, "optimizer": "sgd"})
            state[name], velocity[name] = port.keep(new["param"]), port.keep(new["velocity"])
    return {"losses": np.stack(losses), "lora_a": state["lora_a"], "lora_b": state["lora_b"]}


DEFINITIONS: dict[str, Callable[[Port, Arrays, dict[str, Any]], Arrays]] = {
    function.__name__: function
    for function in (
        conv, conv_vjp, hadamard, hadamard_vjp, hadamard_delta, taylor1, taylor1_vjp, expm, expm_delta, expm_frechet,
        expm_vjp, low_rank_expm, low_rank_expm_vjp, low_rank, low_rank_vjp, tucker, tucker_vjp, atoms, atoms_vjp,
        adapted_weight, adapted_weight_vjp, adapted_conv, adapted_conv_vjp, optimizer_step, training,
    )
}  # fmt: skip

_TF32, _BF16, _FP16 = narrow(ports.tf32), narrow(ports.bfloat16), half
PORTS = (
    Port("the definition", "fp32"),
    Port("blocks of eight", "fp32", dot=blocked),
    Port("fused multiply-adds", "fp32", dot=fused),
    Port("Winograd F(2 x 2, 3 x 3)", "winograd", fast=winograd(2)),
    Port("Winograd F(4 x 4, 3 x 3)", "winograd", fast=winograd(4)),
    Port("FFT", "fft", fast=by_fft),
    Port("TF32 operands", "tf32", operand=_TF32),
    Port("TF32 inputs", "tf32", read=_TF32),
    Port("bfloat16 inputs, float32 inside", "bf16", read=_BF16),
    Port("bfloat16 throughout, float32 sums", "bf16", read=_BF16, operand=_BF16, keep=_BF16),
    Port("float16 inputs, float32 inside", "fp16", read=_FP16),
    Port("float16 throughout, float32 sums", "fp16", read=_FP16, operand=_FP16, keep=_FP16),
)
