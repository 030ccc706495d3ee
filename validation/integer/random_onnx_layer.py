"""Random layers of ONNX and of ONNX Runtime (com.microsoft) on integers, extremes among them.

Scales, zero points and integers are drawn as in `random_layer`. A file has one input of integers; a second operand is a
constant of a scale of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from validation.integer.random_layer import SAMPLES, Layer, Rng, integers, limits, pick, scale, zero_point

OPSET = 17


class _File:
    """A file of one operator while it is written."""

    def __init__(self, rng: Rng, dtype: str, shape: tuple[int, ...], s: float | None = None) -> None:
        self.rng, self.dtype, self.shape = rng, dtype, shape
        self.rank = 1 + len(shape)
        self.nodes: list[Any] = []
        self.held: dict[str, Any] = {}
        self.x = integers(rng, dtype, (SAMPLES, *shape))
        self.s = scale(rng) if s is None else s
        self.hold("x_s", np.float32(self.s))
        self.hold("x_z", np.array(zero_point(rng, dtype), dtype))

    def hold(self, name: str, value: Any) -> str:
        self.held[name] = np.asarray(value)
        return name

    def pair(self, name: str, s: Any, z: Any, dtype: str) -> tuple[str, str]:
        return self.hold(f"{name}_s", np.asarray(s, np.float32)), self.hold(f"{name}_z", np.asarray(z, dtype))

    def integers(self) -> None:
        """Write q, which are the integers of x once more, with what they stand for."""
        self.add("DequantizeLinear", X, "r")
        self.add("QuantizeLinear", ("r", *X[1:]), "q")

    def out(self, s: float, dtype: str | None = None, z: int | None = None) -> tuple[str, str]:
        dtype = dtype or self.dtype
        return self.pair("y", np.float32(s), zero_point(self.rng, dtype) if z is None else z, dtype)

    def add(self, op: str, inputs: tuple[str, ...], output: str = "y", **attrs: Any) -> str:
        from onnx import helper

        domain = "com.microsoft" if op in _MICROSOFT else ""
        self.nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, name=f"{op}_{output}", **attrs))
        return output

    def layer(self, kind: str | None = None) -> Layer:
        """Return the file; its output y has the type `kind`, that of the input by default."""
        from onnx import TensorProto, helper, numpy_helper

        types = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
        graph = helper.make_graph(
            self.nodes, "layer",
            [helper.make_tensor_value_info("x", types[self.dtype], ["N", *self.shape])],
            [helper.make_tensor_value_info("y", types[kind or self.dtype], [f"d{i}" for i in range(self.rank)])],
            [numpy_helper.from_array(value, name) for name, value in self.held.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return Layer(model.SerializeToString(), (self.x,))


_MICROSOFT = frozenset({
    "QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearGlobalAveragePool", "QLinearAveragePool",
    "QLinearSoftmax", "QLinearSigmoid", "QLinearLeakyRelu",
})  # fmt: skip
X = ("x", "x_s", "x_z")


def _aimed(rng: Rng, file: _File, s_w: Any, taps: int) -> float:
    """Return an output scale: one that fills the range, or one with a multiplier far from there."""
    aim = 74 * np.sqrt(taps) / 3 * 4
    aim *= 2.0 ** pick(rng, rng.uniform(-1, 2), rng.uniform(-1, 2), rng.uniform(-8, 10), rng.uniform(-14, 16))
    s = float(np.float32(file.s * float(np.max(s_w)) * aim))
    return float(np.float32(2.0 ** np.round(np.log2(s)))) if rng.random() < 0.3 else s


def _weight(rng: Rng, dtype: str, shape: tuple[int, ...], channels: int) -> tuple[Any, Any, Any]:
    """Return the integers of a weight, its scales and zero points: per channel half of the time."""
    kind = "int8" if dtype == "int8" else str(pick(rng, "int8", "uint8"))
    s = scale(rng)
    per_channel = bool(rng.random() < 0.5) and kind == "int8"
    scales = np.float32(s * 2.0 ** rng.uniform(-3, 3, channels)) if per_channel else np.float32(s)
    zero = np.zeros(channels if per_channel else (), kind)
    if kind == "uint8":
        zero = np.array(zero_point(rng, kind), kind)
    return integers(rng, kind, shape), scales, zero


def _bias(rng: Rng, channels: int, taps: int) -> Any:
    return rng.normal(0, 74 * 74 / 2 * np.sqrt(taps), channels).astype(np.int32)


def convolution(rng: Rng, dtype: str, kind: str) -> Layer:
    k = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    strides, dilations = ([int(n) for n in rng.integers(1, 3, 2)] for _ in range(2))
    reach = [(n - 1) * d + 1 for n, d in zip(k, dilations, strict=True)]
    pads = [int(rng.integers(0, k[i % 2])) for i in range(4)]
    size = [int(rng.integers(max(r - a - b, 1), r + 6)) for r, a, b in zip(reach, pads[:2], pads[2:], strict=True)]
    groups = int(pick(rng, 2, 3)) if kind == "grouped" else 1
    per = int(rng.integers(1, 5 if groups > 1 else 18))
    c, out = groups * per, groups * int(rng.integers(1, 6 if groups > 1 else 20))
    if kind == "depthwise":
        c = groups = int(rng.integers(1, 35))
        per, out = 1, c * int(pick(rng, 1, 1, 2))
    file = _File(rng, dtype, (c, *size))
    weight, s_w, z_w = _weight(rng, dtype, (out, per, *k), out)
    taps = per * k[0] * k[1]
    w = (file.hold("w", weight), *file.pair("w", s_w, z_w, weight.dtype.name))
    y = file.out(_aimed(rng, file, s_w, taps))
    bias = (file.hold("b", _bias(rng, out, taps)),) if rng.random() < 0.8 else ()
    file.add("QLinearConv", (*X, *w, *y, *bias), strides=strides, dilations=dilations, pads=pads, group=groups,
             kernel_shape=k)  # fmt: skip
    return file.layer()


def gemm(rng: Rng, dtype: str) -> Layer:
    depth, out, turned = int(rng.integers(1, 70)), int(rng.integers(1, 40)), int(rng.integers(0, 2))
    file = _File(rng, dtype, (depth,))
    weight, s_w, z_w = _weight(rng, dtype, (out, depth) if turned else (depth, out), out)
    w = (file.hold("w", weight), *file.pair("w", s_w, z_w, weight.dtype.name))
    y = file.out(_aimed(rng, file, s_w, depth))
    bias = file.hold("b", _bias(rng, out, depth)) if rng.random() < 0.8 else ""
    file.add("QGemm", (*X, *w, bias, *y), transB=turned)
    return file.layer()


def matmul(rng: Rng, dtype: str, kind: str) -> Layer:
    rows, depth, out = int(rng.integers(1, 6)), int(rng.integers(1, 70)), int(rng.integers(1, 40))
    shape = pick(rng, (depth,), (rows, depth)) if kind == "weight" else pick(rng, (rows, depth), (2, rows, depth))
    file = _File(rng, dtype, shape)
    if kind == "weight":
        weight, s_w, z_w = _weight(rng, dtype, (depth, out), out)
        w: tuple[str, ...] = (file.hold("w", weight), *file.pair("w", s_w, z_w, weight.dtype.name))
    else:
        s_w, axes = file.s, list(range(len(shape) + 1))
        file.integers()
        w = (file.add("Transpose", ("q",), "t", perm=[*axes[:-2], axes[-1], axes[-2]]), "x_s", "x_z")
    file.add("QLinearMatMul", (*X, *w, *file.out(_aimed(rng, file, s_w, depth))))
    return file.layer()


def element_wise(rng: Rng, dtype: str, op: str) -> Layer:
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(1, 40)))
    file = _File(rng, dtype, shape, scale(rng, -6, 2))
    s_b = file.s if rng.random() < 0.2 else scale(rng, -6, 2)
    other = pick(rng, (1, *shape), (1, *shape), (shape[0], 1, 1), shape[-1:], ())
    b = (file.hold("b", integers(rng, dtype, other)), *file.pair("b", np.float32(s_b), zero_point(rng, dtype), dtype))
    base = file.s * s_b * 64 if op == "QLinearMul" else max(file.s, s_b)
    s = base * 2.0 ** pick(rng, rng.uniform(-1, 2), rng.uniform(-4, 5), float(rng.integers(-2, 3)))
    first, second = (X, b) if rng.random() < 0.7 else (b, X)
    file.add(op, (*first, *second, *file.out(s)))
    return file.layer()


def concat(rng: Rng, dtype: str) -> Layer:
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.integers(1, 9)))
    file = _File(rng, dtype, shape)
    s_b = file.s * 2.0 ** pick(rng, rng.uniform(-2, 2), float(rng.integers(-2, 3)))
    ends = file.pair("b", np.float32(s_b), zero_point(rng, dtype), dtype)
    b = (file.add("QLinearLeakyRelu", (*X, *ends), "b"), *ends)
    s = file.s * 2.0 ** pick(rng, rng.uniform(-2, 2), float(rng.integers(-2, 3)))
    y = X[1:] if rng.random() < 0.3 else file.out(s)
    file.add("QLinearConcat", (*y, *X, *b), axis=1)
    return file.layer()


def global_pool(rng: Rng, dtype: str) -> Layer:
    file = _File(rng, dtype, tuple(int(n) for n in rng.integers(1, (40, 12, 12))))
    s = file.s * 2.0 ** pick(rng, rng.uniform(-3, 1), float(rng.integers(-3, 2)))
    file.add("QLinearGlobalAveragePool", (*X, *file.out(s)), channels_last=0)
    return file.layer()


def average_pool(rng: Rng, dtype: str) -> Layer:
    k, strides = [int(n) for n in rng.integers(1, 5, 2)], [int(n) for n in rng.integers(1, 4, 2)]
    pads = [int(rng.integers(0, k[i % 2])) for i in range(4)]
    size = [int(rng.integers(n, n + 6)) for n in k]
    file = _File(rng, dtype, (int(rng.integers(1, 20)), *size))
    s = file.s if rng.random() < 0.3 else file.s * 2.0 ** rng.uniform(-3, 1)
    file.add("QLinearAveragePool", (*X, *file.out(s)), kernel_shape=k, strides=strides, pads=pads,
             count_include_pad=int(rng.integers(0, 2)))  # fmt: skip
    return file.layer()


def softmax(rng: Rng, dtype: str) -> Layer:
    file = _File(rng, dtype, (int(rng.integers(1, 40)),), scale(rng, -6, 1))
    if rng.random() < 0.5:
        file.x = (rng.integers(-20, 20, file.x.shape) + 60).astype(dtype)
    s = float(np.float32(pick(rng, 1 / 256, 1 / 255, 1 / rng.uniform(200, 400))))
    file.add("QLinearSoftmax", (*X, *file.out(s, z=limits(dtype)[0])), axis=1, opset=13)
    return file.layer()


def table(rng: Rng, dtype: str, op: str) -> Layer:
    file = _File(rng, dtype, (int(rng.integers(1, 300)),), scale(rng, -7, 0))
    s = float(np.float32(pick(rng, 1 / 256, 1 / 255))) if op == "QLinearSigmoid" else file.s * 2.0 ** rng.uniform(-2, 2)
    attrs = {} if op == "QLinearSigmoid" else {"alpha": float(np.float32(rng.uniform(0.01, 0.5)))}
    file.add(op, (*X, *file.out(s)), **attrs)
    return file.layer()


_ATTRIBUTES: dict[str, Callable[[Rng], dict[str, float]]] = {
    "HardSigmoid": lambda rng: pick(rng, {"alpha": 1 / 6, "beta": 0.5}, {"alpha": 0.2, "beta": 0.5}),
    "Elu": lambda rng: {"alpha": float(rng.uniform(0.3, 2))},
    "LeakyRelu": lambda rng: {"alpha": float(rng.uniform(0.01, 0.5))},
}


def real(rng: Rng, dtype: str, op: str) -> Layer:
    """Return an operator on real numbers between DequantizeLinear and QuantizeLinear."""
    shape = (int(rng.integers(1, 300)),) if op != "ReduceMean" else tuple(int(n) for n in rng.integers(1, 8, 3))
    file = _File(rng, dtype, shape, scale(rng, -7, 0))
    s = 1 / 255 if op in ("Sigmoid", "HardSigmoid", "Tanh") else file.s * 2.0 ** rng.uniform(-2, 2)
    attrs = _ATTRIBUTES.get(op, lambda rng: {})(rng)
    if op == "ReduceMean":
        attrs = {"axes": pick(rng, [2, 3], [1], [3]), "keepdims": int(rng.integers(0, 2))}  # type: ignore[dict-item]
        file.rank = 4 if attrs["keepdims"] else 4 - len(attrs["axes"])  # type: ignore[arg-type]
    bounds = ()
    if op == "Clip":
        low = float(np.float32(rng.uniform(-20, 5) * file.s))
        bounds = (file.hold("low", np.float32(low)), file.hold("high", np.float32(low + 40 * file.s)))
    file.add("DequantizeLinear", X, "r")
    last = "r" if op == "Identity" else file.add(op, ("r", *bounds), "f", **attrs)
    file.add("QuantizeLinear", (last, *file.out(s)))
    return file.layer()


def moved(rng: Rng, dtype: str, op: str) -> Layer:
    """Return an operator that integers go through as they are."""
    c, h, w = (int(n) for n in rng.integers(1, 9, 3))
    file = _File(rng, dtype, (c, h, w))
    file.integers()
    if op == "MaxPool":
        k = [int(rng.integers(1, n + 1)) for n in (h, w)]
        file.add("MaxPool", ("q",), "m", kernel_shape=k, strides=[int(n) for n in rng.integers(1, 3, 2)])
    elif op == "Slice":
        values = {"begin": 0, "end": max(h - 1, 1), "axis": 2, "step": 2}
        ends = [file.hold(name, np.array([value], np.int64)) for name, value in values.items()]
        file.add("Slice", ("q", *ends), "m")
    else:
        mode = op.split()[1]
        ways = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        if mode == "nearest":
            roundings = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
            attrs = {"nearest_mode": pick(rng, *roundings)}
        sizes = file.hold("sizes", np.array([SAMPLES, c, *rng.integers(1, 9, 2)], np.int64))
        extra = attrs if mode == "nearest" else {}
        file.add(
            "Resize", ("q", "", "", sizes), "m", mode=mode, coordinate_transformation_mode=pick(rng, *ways), **extra
        )
    file.add("DequantizeLinear", ("m", *X[1:]), "y")
    return file.layer("float32")


KINDS: dict[str, Callable[[Rng, str], Layer]] = {
    "QLinearConv": lambda rng, dtype: convolution(rng, dtype, "plain"),
    "QLinearConv, grouped": lambda rng, dtype: convolution(rng, dtype, "grouped"),
    "QLinearConv, depthwise": lambda rng, dtype: convolution(rng, dtype, "depthwise"),
    "QGemm": gemm,
    "QLinearMatMul, weight": lambda rng, dtype: matmul(rng, dtype, "weight"),
    "QLinearMatMul, computed": lambda rng, dtype: matmul(rng, dtype, "computed"),
    "QLinearAdd": lambda rng, dtype: element_wise(rng, dtype, "QLinearAdd"),
    "QLinearMul": lambda rng, dtype: element_wise(rng, dtype, "QLinearMul"),
    "QLinearConcat": concat,
    "QLinearGlobalAveragePool": global_pool,
    "QLinearAveragePool": average_pool,
    "QLinearSoftmax": softmax,
    "QLinearSigmoid": lambda rng, dtype: table(rng, dtype, "QLinearSigmoid"),
    "QLinearLeakyRelu": lambda rng, dtype: table(rng, dtype, "QLinearLeakyRelu"),
    **{f"real {op}": lambda rng, dtype, op=op: real(rng, dtype, op)  # type: ignore[misc]
       for op in ("Identity", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "HardSigmoid", "HardSwish",
                  "ReduceMean")},
    **{op: lambda rng, dtype, op=op: moved(rng, dtype, op)  # type: ignore[misc]
       for op in ("MaxPool", "Slice", "Resize nearest", "Resize linear")},
}  # fmt: skip
"""A layer of each kind, for an element type of its activations."""


def exact_only(layer: Layer) -> bool:
    """Tell whether uint8 meets an int8 weight: what older processors compute exactly only when they are told to."""
    import onnx

    proto = onnx.load_from_string(layer.content)
    kinds = {t.name: t.data_type for t in proto.graph.initializer}
    return kinds.get("x_z") == onnx.TensorProto.UINT8 and kinds.get("w") == onnx.TensorProto.INT8
