"""Random layers of every kind, extremes among them, as .tflite files.

Scales are drawn so that outputs fill their range, from multipliers with large right shifts to those with left shifts;
a part of them are powers of two, so that halves come up, and zero points stand at both ends of their type as often as
in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from validation.integer.tflite_file import TYPES, Operator, Tensor, build

Rng = np.random.Generator
SAMPLES = 4


@dataclass(frozen=True)
class Layer:
    content: bytes
    inputs: tuple[Any, ...]
    """Arrays, each (SAMPLES, ...)."""


def pick(rng: Rng, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def limits(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def zero_point(rng: Rng, dtype: str) -> int:
    low, high = limits(dtype)
    return 0 if dtype == "int16" else int(pick(rng, low, high, rng.integers(low, high + 1), 0 if low < 0 else 128))


def scale(rng: Rng, low: float = -8, high: float = 1) -> float:
    exponent = rng.uniform(low, high)
    return float(np.float32(2.0 ** (np.round(exponent) if rng.random() < 0.3 else exponent)))


def integers(rng: Rng, dtype: str, shape: tuple[int, ...]) -> Any:
    """Random integers; a third of the arrays hold little but the ends of the type."""
    low, high = limits(dtype)
    x = rng.integers(low, high + 1, shape)
    if rng.random() < 0.3:
        x = np.where(rng.random(shape) < 0.7, np.where(rng.random(shape) < 0.5, low, high), x)
    return x.astype(dtype)


def activation(rng: Rng) -> int:
    return int(pick(rng, 0, 0, 1, 2, 3))


def accumulating(rng: Rng, dtype: str, kind: str) -> Layer:
    """Return a convolution, a depthwise one or a dense layer."""
    weight_type = "uint8" if dtype == "uint8" else "int8"
    per_channel = bool(rng.random() < 0.6) and dtype != "uint8"
    bias_type = "int32" if dtype != "int16" else "int64" if kind == "depthwise" else pick(rng, "int32", "int64")
    bias_scale = 1 if bias_type == "int32" or rng.random() < 0.5 else 1 << 8
    out_c = int(rng.integers(1, 9))
    s_in, s_w = scale(rng), np.array([scale(rng) for _ in range(1)], np.float32)
    z_in, z_w = zero_point(rng, dtype), 0
    if dtype == "uint8":
        z_w = zero_point(rng, "uint8")
    options: dict[int, tuple[str, Any]]
    if kind == "dense":
        depth = int(rng.integers(1, 65))
        shape_x, shape_w, shape_y = (1, depth), (out_c, depth), (1, out_c)
        axis, taps = 0, depth
        operator, options_type = "FULLY_CONNECTED", "FullyConnectedOptions"
        options = {0: ("b", activation(rng))}
    else:
        k = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
        stride = int(rng.integers(1, 4))
        strides = (stride, stride if kind == "depthwise" else int(rng.integers(1, 4)))
        dilations = (1, 1) if strides != (1, 1) else (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        reach = tuple((n - 1) * d + 1 for n, d in zip(k, dilations, strict=True))
        h, w = int(rng.integers(reach[0], reach[0] + 6)), int(rng.integers(reach[1], reach[1] + 6))
        same = bool(rng.random() < 0.6)
        size = [-(-n // s) if same else (n - r) // s + 1 for n, s, r in zip((h, w), strides, reach, strict=True)]
        c = int(rng.integers(1, 7))
        if kind == "depthwise":
            multiplier = int(rng.integers(1, 4))
            out_c = c * multiplier
            shape_w, axis, taps = (1, *k, out_c), 3, k[0] * k[1]
            operator, options_type = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            options = {3: ("i", multiplier), 4: ("b", activation(rng)), 5: ("i", dilations[1]), 6: ("i", dilations[0])}
        else:
            groups = 1
            if kind == "grouped":
                groups = int(pick(rng, 2, 3))
                c, out_c = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
            shape_w, axis, taps = (out_c, *k, c // groups), 0, k[0] * k[1] * (c // groups)
            operator, options_type = "CONV_2D", "Conv2DOptions"
            options = {3: ("b", activation(rng)), 4: ("i", dilations[1]), 5: ("i", dilations[0])}
        options |= {0: ("b", 0 if same else 1), 1: ("i", strides[1]), 2: ("i", strides[0])}
        shape_x, shape_y = (1, h, w, c), (1, *size, out_c)
    if bias_type == "int32" and dtype == "int16":  # a runtime takes it for int64 unless it is told
        options[4 if kind == "dense" else 6] = ("b", TYPES["int32"])
    if per_channel:
        s_w = np.array([s_w[0] * 2.0 ** rng.uniform(-3, 3) for _ in range(out_c)], np.float32)
    spread = (limits(dtype)[1] - limits(dtype)[0]) / 3 * 74 * np.sqrt(taps)
    aim = spread / (limits(dtype)[1] - limits(dtype)[0]) * 4
    aim *= 2.0 ** pick(rng, rng.uniform(-1, 2), rng.uniform(-1, 2), rng.uniform(-8, 10), rng.uniform(-14, 22))
    s_out = float(np.float32(s_in * float(s_w.max()) * aim))
    s_out = float(np.float32(2.0 ** np.round(np.log2(s_out)))) if rng.random() < 0.3 else s_out
    s_out = max(s_out, 2e-6 * s_in)  # multipliers stay below what a runtime takes
    x = integers(rng, dtype, (SAMPLES, *shape_x[1:]))
    weight = integers(rng, weight_type, shape_w)
    if weight_type == "int8":
        weight = np.maximum(weight, -127)
    bias = (rng.normal(0, spread / 2, out_c) * bias_scale).astype(bias_type)
    tensors = [
        Tensor(dtype, shape_x, s_in, z_in),
        Tensor(weight_type, shape_w, s_w, np.full(s_w.size, z_w), axis, weight),
        Tensor(bias_type, (out_c,), s_in * s_w, np.zeros(s_w.size, np.int64), 0, bias),
        Tensor(dtype, shape_y, s_out, zero_point(rng, dtype)),
    ]
    if rng.random() < 0.1 and dtype == "int8":
        read: tuple[int, ...] = (0, 1, -1) if kind == "dense" else (0, 1, 2)
    else:
        read = (0, 1, 2)
    return Layer(build(tensors, [Operator(operator, read, (3,), options_type, options)], (0,), (3,)), (x,))


def element_wise(rng: Rng, dtype: str, kind: str) -> Layer:
    shape = (1, int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(1, 20)))
    s_a, s_b = scale(rng, -6, 2), scale(rng, -6, 2)
    if rng.random() < 0.2:
        s_b = s_a
    base = s_a * s_b * 64 if kind == "MUL" else max(s_a, s_b)
    s_out = float(
        np.float32(base * 2.0 ** pick(rng, rng.uniform(-1, 2), rng.uniform(-4, 5), float(rng.integers(-2, 3))))
    )
    tensors = [
        Tensor(dtype, shape, s_a, zero_point(rng, dtype)),
        Tensor(dtype, shape, s_b, zero_point(rng, dtype)),
        Tensor(dtype, shape, s_out, zero_point(rng, dtype)),
    ]
    options: dict[int, tuple[str, Any]] = {0: ("b", activation(rng))}
    if kind != "MUL":
        options[1] = ("B", 0)
    name = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[kind]
    x = tuple(integers(rng, dtype, (SAMPLES, *shape[1:])) for _ in range(2))
    return Layer(build(tensors, [Operator(kind, (0, 1), (2,), name, options)], (0, 1), (2,)), x)


def pool(rng: Rng, dtype: str, kind: str) -> Layer:
    k = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    strides = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    h, w, c = int(rng.integers(k[0], 9)), int(rng.integers(k[1], 9)), int(rng.integers(1, 20))
    same = bool(rng.random() < 0.5)
    size = [-(-n // s) if same else (n - r) // s + 1 for n, s, r in zip((h, w), strides, k, strict=True)]
    s, z = scale(rng), zero_point(rng, dtype)
    tensors = [Tensor(dtype, (1, h, w, c), s, z), Tensor(dtype, (1, *size, c), s, z)]
    options = {
        0: ("b", 0 if same else 1), 1: ("i", strides[1]), 2: ("i", strides[0]), 3: ("i", k[1]), 4: ("i", k[0]),
        5: ("b", activation(rng)),
    }  # fmt: skip
    x = integers(rng, dtype, (SAMPLES, h, w, c))
    return Layer(build(tensors, [Operator(kind, (0,), (1,), "Pool2DOptions", options)], (0,), (1,)), (x,))


def softmax(rng: Rng, dtype: str) -> Layer:
    shape = (1, int(rng.integers(1, 40)))
    out = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}[dtype]
    s = scale(rng, -6, 1) if dtype != "int16" else scale(rng, -14, -6)
    tensors = [Tensor(dtype, shape, s, zero_point(rng, dtype)), Tensor(dtype, shape, *out)]
    options = {0: ("f", float(pick(rng, 1.0, 1.0, 0.5, 2.0)))}
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    if rng.random() < 0.5:
        x = (rng.integers(-20, 20, x.shape) + 60).astype(dtype)
    return Layer(build(tensors, [Operator("SOFTMAX", (0,), (1,), "SoftmaxOptions", options)], (0,), (1,)), (x,))


def mean(rng: Rng, dtype: str) -> Layer:
    shape = (1, *(int(n) for n in rng.integers(1, 9, 3)))
    axes = pick(rng, (1, 2), (1, 2), (1,), (2,), (3,), (1, 2, 3), (2, 3))
    keep = bool(rng.random() < 0.5)
    out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
    s = scale(rng)
    s_out = s if rng.random() < 0.3 else float(np.float32(s * 2.0 ** rng.uniform(-3, 1)))
    tensors = [
        Tensor(dtype, shape, s, zero_point(rng, dtype)),
        Tensor("int32", (len(axes),), data=np.array(axes, np.int32)),
        Tensor(dtype, out, s_out, zero_point(rng, dtype)),
    ]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    operator = Operator("MEAN", (0, 1), (2,), "ReducerOptions", {0: ("B", int(keep))})
    return Layer(build(tensors, [operator], (0,), (2,)), (x,))


def resize(rng: Rng, dtype: str, kind: str) -> Layer:
    h, w, c, rows, cols = (int(n) for n in rng.integers(1, 9, 5))
    corners, centers = pick(rng, (0, 0), (1, 0), (0, 1))
    s, z = scale(rng), zero_point(rng, dtype)
    tensors = [
        Tensor(dtype, (1, h, w, c), s, z),
        Tensor("int32", (2,), data=np.array([rows, cols], np.int32)),
        Tensor(dtype, (1, rows, cols, c), s, z),
    ]
    nearest = kind == "RESIZE_NEAREST_NEIGHBOR"
    first = 0 if nearest else 2
    options = {first: ("B", corners), first + 1: ("B", centers)}
    name = "ResizeNearestNeighborOptions" if nearest else "ResizeBilinearOptions"
    x = integers(rng, dtype, (SAMPLES, h, w, c))
    return Layer(build(tensors, [Operator(kind, (0, 1), (2,), name, options)], (0,), (2,)), (x,))


def pad(rng: Rng, dtype: str) -> Layer:
    shape = (1, *(int(n) for n in rng.integers(1, 6, 3)))
    border = np.concatenate([np.zeros((1, 2)), rng.integers(0, 4, (3, 2))]).astype(np.int32)
    out = tuple(int(n + a + b) for n, (a, b) in zip(shape, border, strict=True))
    s, z = scale(rng), zero_point(rng, dtype)
    tensors = [Tensor(dtype, shape, s, z), Tensor("int32", (4, 2), data=border), Tensor(dtype, out, s, z)]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    return Layer(build(tensors, [Operator("PAD", (0, 1), (2,), "PadOptions")], (0,), (2,)), (x,))


def concat(rng: Rng, dtype: str) -> Layer:
    n, s, z = int(rng.integers(1, 6)), scale(rng), zero_point(rng, dtype)
    widths = [int(k) for k in rng.integers(1, 9, 2)]
    tensors = [Tensor(dtype, (1, n, k), s, z) for k in (*widths, sum(widths))]
    operator = Operator("CONCATENATION", (0, 1), (2,), "ConcatenationOptions", {0: ("i", int(pick(rng, 2, -1)))})
    x = tuple(integers(rng, dtype, (SAMPLES, n, k)) for k in widths)
    return Layer(build(tensors, [operator], (0, 1), (2,)), x)


def hard_swish(rng: Rng, dtype: str) -> Layer:
    shape = (1, int(rng.integers(1, 300)))
    s = scale(rng, -7, -1)
    s_out = float(np.float32(s * 2.0 ** rng.uniform(-1, 3)))
    tensors = [Tensor(dtype, shape, s, zero_point(rng, dtype)), Tensor(dtype, shape, s_out, zero_point(rng, dtype))]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    return Layer(build(tensors, [Operator("HARD_SWISH", (0,), (1,), "HardSwishOptions")], (0,), (1,)), (x,))


def sigmoid(rng: Rng, dtype: str, kind: str) -> Layer:
    """Return a sigmoid or a tanh; of 16 bits, a third has the unit of fixed point, or nearly."""
    shape, low = (1, int(rng.integers(1, 300))), limits(dtype)[0]
    s = scale(rng, -8, 2)
    if dtype == "int16":
        near = 2.0 ** float(rng.integers(-13, -9) + pick(rng, 0, 0, 0.0009, -0.0009))
        s = float(np.float32(near)) if rng.random() < 0.3 else scale(rng, -18, 1)
    out = (2**-15, 0) if dtype == "int16" else (2**-8, low) if kind == "LOGISTIC" else (2**-7, low + 128)
    tensors = [Tensor(dtype, shape, s, zero_point(rng, dtype)), Tensor(dtype, shape, *out)]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    return Layer(build(tensors, [Operator(kind, (0,), (1,))], (0,), (1,)), (x,))


def requantize(rng: Rng, dtype: str) -> Layer:
    shape = (1, int(rng.integers(1, 100)))
    s, to = scale(rng), dtype if rng.random() < 0.7 else {"int8": "uint8", "uint8": "int8", "int16": "int16"}[dtype]
    s_out = float(np.float32(s * 2.0 ** pick(rng, rng.uniform(-3, 3), float(rng.integers(-3, 3)))))
    tensors = [Tensor(dtype, shape, s, zero_point(rng, dtype)), Tensor(to, shape, s_out, zero_point(rng, to))]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    return Layer(build(tensors, [Operator("QUANTIZE", (0,), (1,), "QuantizeOptions")], (0,), (1,)), (x,))


def dequantize(rng: Rng, dtype: str) -> Layer:
    shape = (1, int(rng.integers(1, 100)))
    tensors = [Tensor(dtype, shape, scale(rng), zero_point(rng, dtype)), Tensor("float32", shape)]
    x = integers(rng, dtype, (SAMPLES, *shape[1:]))
    return Layer(build(tensors, [Operator("DEQUANTIZE", (0,), (1,), "DequantizeOptions")], (0,), (1,)), (x,))


KINDS: dict[str, Callable[[Rng, str], Layer]] = {
    "convolution": lambda rng, dtype: accumulating(rng, dtype, "convolution"),
    "grouped": lambda rng, dtype: accumulating(rng, dtype, "grouped"),
    "depthwise": lambda rng, dtype: accumulating(rng, dtype, "depthwise"),
    "dense": lambda rng, dtype: accumulating(rng, dtype, "dense"),
    "add": lambda rng, dtype: element_wise(rng, dtype, "ADD"),
    "sub": lambda rng, dtype: element_wise(rng, dtype, "SUB"),
    "mul": lambda rng, dtype: element_wise(rng, dtype, "MUL"),
    "average pool": lambda rng, dtype: pool(rng, dtype, "AVERAGE_POOL_2D"),
    "max pool": lambda rng, dtype: pool(rng, dtype, "MAX_POOL_2D"),
    "softmax": softmax,
    "mean": mean,
    "resize nearest": lambda rng, dtype: resize(rng, dtype, "RESIZE_NEAREST_NEIGHBOR"),
    "resize bilinear": lambda rng, dtype: resize(rng, dtype, "RESIZE_BILINEAR"),
    "pad": pad,
    "concat": concat,
    "hard swish": hard_swish,
    "logistic": lambda rng, dtype: sigmoid(rng, dtype, "LOGISTIC"),
    "tanh": lambda rng, dtype: sigmoid(rng, dtype, "TANH"),
    "requantize": requantize,
    "dequantize": dequantize,
}
"""A layer of each kind, for an element type of its activations."""
