"""Any exported file as PyTorch code, in float64 so that autograd judges gradients and training of what the file says.

Nodes without a differentiable input (shapes, indices, masks) are computed by onnx's own reference evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from lieref.model.loops import unroll_loops
from validation.exporters.twin_recurrent import gru, lstm

Attrs = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def read(path: Path) -> onnx.ModelProto:
    """Return a file, its loops unrolled."""
    proto = onnx.load(path)
    opset = next(each.version for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    unroll_loops(onnx, proto, opset)
    return proto


def leaves(proto: onnx.ModelProto) -> Tensors:
    """Return every float constant of a file in float64, by name, and what is computed from constants.

    An exporter may write equal parameters once, and copies of them, or one parameter for two layers that read a part
    each: those are parameters of their own again.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if constants.keys() >= {*filter(None, node.input)}:
            feed = {name: constants[name] for name in node.input if name}
            constants.update(zip(node.output, ReferenceEvaluator(node).run(None, feed), strict=False))
    floats = {name: v for name, v in constants.items() if np.asarray(v).dtype.kind == "f"}
    return {name: torch.tensor(np.float64(v)) for name, v in floats.items()}


def run(
    proto: onnx.ModelProto, tensors: Mapping[str, torch.Tensor | np.ndarray], *inputs: torch.Tensor | np.ndarray
) -> torch.Tensor:
    """Return the file's first output for samples of each of its inputs, in the type of its tensors.

    What `tensors` holds of the outputs of nodes is not computed again.
    """
    dtype = next((t.dtype for t in tensors.values() if isinstance(t, torch.Tensor)), torch.float64)
    values: dict[str, Any] = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    values.update(tensors)
    names = [i.name for i in proto.graph.input if i.name not in values]
    values.update(zip(names, inputs, strict=True))
    for node in proto.graph.node:
        if proto.graph.output[0].name in values:  # what follows makes labels
            break
        if node.output[0] in tensors:
            continue
        args = [values[name] if name else None for name in node.input]
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Split":
            attrs.setdefault("num_outputs", len(node.output))
        if node.op_type == "Shape":
            found: Any = np.array(args[0].shape, np.int64)[attrs.get("start", 0) : attrs.get("end")]
        elif not any(isinstance(a, torch.Tensor) for a in args):
            feed = {name: a for name, a in zip(node.input, args, strict=True) if name}
            found = ReferenceEvaluator(node).run(None, feed)
            found = tuple(torch.tensor(v, dtype=dtype) if v.dtype.kind == "f" else v for v in found)
        else:
            if node.op_type not in TABLE:
                raise NotImplementedError(f"the twin does not know {node.op_type}")
            found = TABLE[node.op_type](attrs, *args)
        for name, value in zip(node.output, found if isinstance(found, tuple) else (found,), strict=False):
            values[name] = value
    return values[proto.graph.output[0].name]


def _t(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))


def _ints(value: Any) -> list[int]:
    return [int(v) for v in np.asarray(value).reshape(-1)]


def _padding(attrs: Attrs, size: tuple[int, ...], kernel: list[int]) -> list[int]:
    """Return the padding in torch's order: of the last axis first."""
    n = len(kernel)
    strides, dilations = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
    pads = list(attrs.get("pads", [0] * 2 * n))
    way = attrs.get("auto_pad", b"NOTSET")
    if way in (b"SAME_UPPER", b"SAME_LOWER"):
        for i in range(n):
            wide = (kernel[i] - 1) * dilations[i] + 1
            total = max((-(-size[i] // strides[i]) - 1) * strides[i] + wide - size[i], 0)
            less, more = total // 2, total - total // 2
            pads[i], pads[n + i] = (less, more) if way == b"SAME_UPPER" else (more, less)
    return [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]


def _conv(attrs: Attrs, x: Any, w: Any, b: Any = None) -> torch.Tensor:
    n = w.ndim - 2
    x = F.pad(x, _padding(attrs, x.shape[2:], list(w.shape[2:])))
    how = {"stride": attrs.get("strides", 1), "dilation": attrs.get("dilations", 1), "groups": attrs.get("group", 1)}
    return (F.conv1d, F.conv2d, F.conv3d)[n - 1](x, w, b, **how)


def _conv_transpose(attrs: Attrs, x: Any, w: Any, b: Any = None) -> torch.Tensor:
    n = w.ndim - 2
    pads, extra = attrs.get("pads", [0] * 2 * n), attrs.get("output_padding", [0] * n)
    assert attrs.get("auto_pad", b"NOTSET") == b"NOTSET"
    assert "output_shape" not in attrs
    how = {"stride": attrs.get("strides", 1), "dilation": attrs.get("dilations", 1), "groups": attrs.get("group", 1)}
    y = (F.conv_transpose1d, F.conv_transpose2d)[n - 1](x, w, **how)
    y = F.pad(y, [p for i in reversed(range(n)) for p in (-pads[i], extra[i] - pads[n + i])])
    return y if b is None else y + _along(b, y)


def _max_pool(attrs: Attrs, x: Any) -> torch.Tensor:
    kernel = list(attrs["kernel_shape"])
    x = F.pad(x, _padding(attrs, x.shape[2:], kernel), value=-torch.inf)
    how = {"dilation": attrs.get("dilations", 1), "ceil_mode": bool(attrs.get("ceil_mode", 0))}
    return (F.max_pool1d, F.max_pool2d)[len(kernel) - 1](x, kernel, attrs.get("strides", 1), **how)


def _average_pool(attrs: Attrs, x: Any) -> torch.Tensor:
    kernel, pads = list(attrs["kernel_shape"]), _padding(attrs, x.shape[2:], list(attrs["kernel_shape"]))
    pool, strides = (F.avg_pool1d, F.avg_pool2d)[len(kernel) - 1], attrs.get("strides", [1] * len(kernel))
    assert not attrs.get("ceil_mode", 0)
    y = pool(F.pad(x, pads), kernel, strides)
    if any(pads) and not attrs.get("count_include_pad", 0):
        y = y / pool(F.pad(torch.ones_like(x), pads), kernel, strides)
    return y


def _norm(x: Any, axes: list[int], epsilon: float) -> torch.Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + epsilon)


def _epsilon(attrs: Attrs) -> float:
    return float(np.float32(attrs.get("epsilon", 1e-5)))


def _along(v: Any, x: Any) -> Any:
    return v.reshape(-1, *[1] * (x.ndim - 2))


def _batch_norm(attrs: Attrs, x: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
    scale, shift, mean, var = (_along(v, x) for v in (scale, shift, mean, var))
    return (x - mean) / torch.sqrt(var + _epsilon(attrs)) * scale + shift


def _layer_norm(attrs: Attrs, x: Any, scale: Any, shift: Any = 0.0) -> Any:
    first = attrs.get("axis", -1) % x.ndim
    return _norm(x, list(range(first, x.ndim)), _epsilon(attrs)) * scale + (0.0 if shift is None else shift)


def _group_norm(attrs: Attrs, x: Any, scale: Any, shift: Any) -> Any:
    rows = x.reshape(x.shape[0], attrs["num_groups"], -1)
    return _norm(rows, [2], _epsilon(attrs)).reshape(x.shape) * _along(scale, x) + _along(shift, x)


def _instance_norm(attrs: Attrs, x: Any, scale: Any, shift: Any) -> Any:
    return _norm(x, list(range(2, x.ndim)), _epsilon(attrs)) * _along(scale, x) + _along(shift, x)


def _gemm(attrs: Attrs, a: Any, b: Any, c: Any = None) -> Any:
    y = attrs.get("alpha", 1.0) * (a.T if attrs.get("transA") else a) @ (b.T if attrs.get("transB") else b)
    return y if c is None else y + attrs.get("beta", 1.0) * c


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(attrs: Attrs, x: Any, axes: Any = None) -> Any:
        where = attrs.get("axes") if axes is None else _ints(axes)
        return function(x, list(range(x.ndim)) if where is None else list(where), bool(attrs.get("keepdims", 1)))

    return reduce


def _reshape(attrs: Attrs, x: Any, shape: Any) -> Any:
    wanted = _ints(shape)
    return x.reshape([x.shape[i] if n == 0 and not attrs.get("allowzero") else n for i, n in enumerate(wanted)])


def _squeeze(attrs: Attrs, x: Any, axes: Any = None) -> Any:
    where = attrs.get("axes") if axes is None else _ints(axes)
    return x.squeeze() if where is None else x.squeeze(tuple(where))


def _unsqueeze(attrs: Attrs, x: Any, axes: Any = None) -> Any:
    where = _ints(axes if axes is not None else attrs["axes"])
    for axis in sorted(a % (x.ndim + len(where)) for a in where):
        x = x.unsqueeze(axis)
    return x


def _slice(_: Attrs, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    where = range(len(_ints(starts))) if axes is None else _ints(axes)
    by = [1] * len(_ints(starts)) if steps is None else _ints(steps)
    for axis, start, end, step in zip(where, _ints(starts), _ints(ends), by, strict=True):
        places = np.arange(x.shape[axis])[slice(start, end if end > -(2**31) else None, step)]
        x = x.index_select(axis, torch.from_numpy(places.copy()))
    return x


def _split(attrs: Attrs, x: Any, sizes: Any = None) -> tuple[Any, ...]:
    axis = attrs.get("axis", 0)
    parts = _ints(sizes) if sizes is not None else -(-x.shape[axis] // attrs["num_outputs"])
    return tuple(x.split(parts, axis))


def _gather(attrs: Attrs, x: Any, places: Any) -> Any:
    axis = attrs.get("axis", 0) % x.ndim
    index = torch.from_numpy(np.asarray(places, np.int64).reshape(-1)) % x.shape[axis]
    return x.index_select(axis, index).reshape(*x.shape[:axis], *np.shape(places), *x.shape[axis + 1 :])


def _pad(attrs: Attrs, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    amounts, where = _ints(pads), list(range(x.ndim)) if axes is None else _ints(axes)
    each = dict(zip(where, zip(amounts[: len(where)], amounts[len(where) :], strict=True), strict=True))
    flat = [p for axis in reversed(range(x.ndim)) for p in each.get(axis, (0, 0))]
    mode = attrs.get("mode", b"constant").decode()
    if mode == "constant":
        return F.pad(x, flat, value=0.0 if value is None else float(value))
    return F.pad(x, flat[: 2 * (x.ndim - 2)], mode={"edge": "replicate"}.get(mode, mode))


def _resize(attrs: Attrs, x: Any, _: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    if sizes is None:
        sizes = [int(n * float(s)) for n, s in zip(x.shape, scales.reshape(-1), strict=True)]
    mode, where = attrs.get("mode", b"nearest"), attrs.get("coordinate_transformation_mode", b"half_pixel")
    size = _ints(sizes)[-(x.ndim - 2) :]
    if mode == b"nearest":
        assert (where, attrs.get("nearest_mode")) == (b"asymmetric", b"floor")
        return F.interpolate(x, size=size, mode="nearest")
    assert where in (b"half_pixel", b"pytorch_half_pixel", b"align_corners")
    name = {b"linear": "bilinear", b"cubic": "bicubic"}[mode]
    return F.interpolate(x, size=size, mode=name, align_corners=where == b"align_corners")


def _scatter(_: Attrs, x: Any, places: Any, updates: Any) -> Any:
    index = tuple(torch.from_numpy(places[..., axis].copy()) for axis in range(places.shape[-1]))
    return _t(x).clone().index_put(index, _t(updates))


def _depth_to_space(attrs: Attrs, x: Any) -> Any:
    if attrs.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(x, attrs["blocksize"])
    n, c, h, w = x.shape
    b = attrs["blocksize"]
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _prelu(_: Attrs, x: Any, slope: Any) -> Any:
    return torch.where(x < 0, slope * x, x)


def _selu(attrs: Attrs, x: Any) -> Any:
    alpha, gamma = attrs.get("alpha", 1.67326319217681884765625), attrs.get("gamma", 1.05070102214813232421875)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def _clip(attrs: Attrs, x: Any, low: Any = None, high: Any = None) -> Any:
    low = attrs.get("min") if low is None else float(low)
    high = attrs.get("max") if high is None else float(high)
    return x.clamp(low, high)


def _hard_sigmoid(attrs: Attrs, x: Any) -> Any:
    return (float(np.float32(attrs.get("alpha", 0.2))) * x + attrs.get("beta", 0.5)).clamp(0, 1)


def _cast(attrs: Attrs, x: Any) -> Any:
    kind = onnx.helper.tensor_dtype_to_np_dtype(attrs["to"])
    return x if kind.kind == "f" else x.detach().numpy().astype(kind)


def _where(_: Attrs, condition: Any, a: Any, b: Any) -> Any:
    return torch.where(_t(condition).bool(), _t(a), _t(b))


def _pow(_: Attrs, x: Any, y: Any) -> Any:
    return _t(x) ** (float(y) if np.ndim(y) == 0 or getattr(y, "ndim", 0) == 0 else _t(y))


def _attention(attrs: Attrs, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    return F.scaled_dot_product_attention(q, k, v, None if mask is None else _t(mask), scale=attrs.get("scale"))


def _compare(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *args: function(*(_t(a).detach() for a in args)).numpy()


def _simple(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *args: function(*(_t(a) for a in args))


def _axis(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda attrs, x: function(x, attrs.get("axis", -1))


TABLE: dict[str, Callable[..., Any]] = {
    "Abs": _simple(torch.abs),
    "Add": _simple(torch.add),
    "Attention": _attention,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda attrs, *xs: torch.cat([_t(x) for x in xs], attrs["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _simple(torch.div),
    "Dropout": lambda _, x, *rest: x,
    "Elu": lambda attrs, x: F.elu(x, attrs.get("alpha", 1.0)),
    "Equal": _compare(torch.eq),
    "Erf": _simple(torch.erf),
    "Exp": _simple(torch.exp),
    "Expand": lambda _, x, shape: x.expand(torch.broadcast_shapes(x.shape, tuple(_ints(shape)))),
    "Flatten": lambda attrs, x: x.flatten(attrs.get("axis", 1)),
    "GRU": gru,
    "Gather": _gather,
    "Gelu": lambda attrs, x: F.gelu(x, approximate=attrs.get("approximate", b"none").decode()),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean(list(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax(list(range(2, x.ndim)), keepdim=True),
    "GroupNormalization": _group_norm,
    "Greater": _compare(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _, x: x * (x / 6 + 0.5).clamp(0, 1),
    "Identity": lambda _, x: x,
    "InstanceNormalization": _instance_norm,
    "IsNaN": _compare(torch.isnan),
    "LSTM": lstm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda attrs, x: F.leaky_relu(x, float(np.float32(attrs.get("alpha", 0.01)))),
    "Less": _compare(torch.lt),
    "Log": _simple(torch.log),
    "LogSoftmax": _axis(torch.log_softmax),
    "MatMul": _simple(torch.matmul),
    "Max": _simple(torch.maximum),
    "MaxPool": _max_pool,
    "Mish": _simple(F.mish),
    "Min": _simple(torch.minimum),
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pow,
    "Reciprocal": _simple(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.sqrt((x * x).sum(axes, keepdim=keep))),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _simple(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterND": _scatter,
    "Selu": _selu,
    "Sigmoid": _simple(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _axis(torch.softmax),
    "Softplus": _simple(F.softplus),
    "Split": _split,
    "Sqrt": _simple(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _simple(torch.sub),
    "Sum": lambda _, *xs: sum(xs),
    "Swish": lambda attrs, x: x * torch.sigmoid(attrs.get("alpha", 1.0) * x),
    "Tanh": _simple(torch.tanh),
    "Tile": lambda _, x, repeats: x.repeat(*_ints(repeats)),
    "Transpose": lambda attrs, x: x.permute(attrs.get("perm", list(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
