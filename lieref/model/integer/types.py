"""Element types and quantisation that each operation of a quantised network needs."""

from __future__ import annotations

from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.graph import LEAST_SCALE, IntegerGraph, IntegerNode, IntegerTensor

_ACTIVATIONS = ("int8", "uint8", "int16")
_LAYERS = ("Conv", "DepthwiseConv", "FullyConnected")
_COPIES = ("Reshape", "Maximum", "Minimum", "Concat", "Pad", "MaxPool", "Transpose", "AveragePool", "Resize", "Slice")
_LARGEST_SHIFT = 30
_UNIT_APART = 1e-3  # products in float32 are 1e-7 apart; other units by far more


def check_types(graph: IntegerGraph) -> None:
    """Check all nodes of a network.

    Raises
    ------
    FormatError
        If a tensor lacks the quantisation that its node needs, or scales do not go together.
    UnsupportedError
        If a type is one that does not run.
    """
    for node in graph.nodes:
        inputs = [graph.tensors[name] for name in node.inputs if name]
        out = graph.tensors[node.outputs[0]]
        if node.op == "Quantize":
            _need_integers(node, out)
        elif node.op == "Dequantize":
            _need_integers(node, inputs[0])
            if out.dtype != "float32":
                raise FormatError(f"types: Dequantize must make float32; got {out}")
        elif node.op in _LAYERS:
            _check_layer(node, inputs, out)
            if graph.format == "onnx-qdq":
                _check_bias_unit(node, *inputs)
        else:
            for tensor in (*inputs, out):
                _need_one_scale(node, tensor)
            if node.op in _COPIES and {tensor.dtype for tensor in inputs} != {out.dtype}:
                raise FormatError(f"types: {node.op} must keep the type; got {out.dtype} for {inputs[0].dtype}")
            if node.op in ("Add", "Sub", "Mul") and {tensor.dtype for tensor in inputs} != {out.dtype}:
                raise UnsupportedError(f"types: {node.op} must have one type; got {', '.join(t.dtype for t in inputs)}")
        _check_border(node, out)
        _check_unit(node, inputs, out)
        _check_same_scale(node, inputs, out)
        _check_ratios(node, inputs, out)


def _need_integers(node: IntegerNode, tensor: IntegerTensor) -> None:
    if tensor.dtype not in (*_ACTIVATIONS, "int32") or tensor.quantisation is None:
        raise FormatError(f"types: {node.op} must have quantised integers; got {tensor}")


def _need_one_scale(node: IntegerNode, tensor: IntegerTensor) -> None:
    if tensor.dtype not in _ACTIVATIONS:
        raise UnsupportedError(f"types: {node.op} must have int8, uint8 or int16; got {tensor}")
    q = tensor.quantisation
    if q is None or q.channels != 1 or q.zero_point.size != 1:
        raise FormatError(f"types: {node.op} must have tensors of one scale; got {tensor}")


def _check_layer(node: IntegerNode, inputs: list[IntegerTensor], out: IntegerTensor) -> None:
    x, weight, *rest = inputs
    _need_one_scale(node, x)
    _need_one_scale(node, out)
    if weight.data is None or weight.dtype not in ("int8", "uint8") or weight.quantisation is None:
        raise UnsupportedError(f"types: the weight of {node.op} must be int8 or uint8 in the file; got {weight}")
    if rest and (rest[0].data is None or rest[0].dtype not in ("int32", "int64")):
        raise UnsupportedError(f"types: the bias of {node.op} must be int32 or int64 in the file; got {rest[0]}")
    if rest and rest[0].dtype == "int64" and x.dtype != "int16":
        raise UnsupportedError(f"types: the bias of {node.op} must be int32 for {x.dtype}; got int64")
    if rest and rest[0].quantisation is not None and rest[0].quantisation.zero_point.any():
        raise FormatError(
            f"types: the bias of {node.op} must have zero point 0, which all runtimes expect; got {rest[0]}"
        )
    q = weight.quantisation
    axis = {"FullyConnected": 1 if node.attributes.get("transposed", 0) else 0, "Conv": 0}.get(
        node.op, 3 if node.layout == "NHWC" else 0
    )
    if q.channels > 1 and q.axis != axis:
        raise FormatError(f"types: scales of the weight of {node.op} must go along axis {axis}; got {weight}")


def _check_bias_unit(node: IntegerNode, x: IntegerTensor, weight: IntegerTensor, *rest: IntegerTensor) -> None:
    """Check the scale that a QDQ file has for a bias: it counts unless a runtime fuses, which takes the product."""
    if not rest or rest[0].quantisation is None or x.quantisation is None or weight.quantisation is None:
        return
    unit = float(x.quantisation.scale[0]) * weight.quantisation.scale.astype("float64")
    said = rest[0].quantisation.scale
    if unit.size not in (1, said.size) or not (abs(said / unit - 1) <= _UNIT_APART).all():
        raise UnsupportedError(
            f"types: the bias of {node.op} that makes {node.outputs[0]} must have the scale of its input times that of "
            f"its weight, which fused kernels take; got {rest[0]}"
        )


def _check_unit(node: IntegerNode, inputs: list[IntegerTensor], out: IntegerTensor) -> None:
    """Check that the unit of a layer's accumulators is a number of float32 in all its bits."""
    scales = [float(t.quantisation.scale.min()) for t in inputs[:2] if t.quantisation is not None]
    if node.op in _LAYERS and not scales[0] * scales[1] >= LEAST_SCALE:
        raise FormatError(
            f"types: scales of {node.op} that makes {out.name} must have products of 2^-126 or more; got "
            f"{scales[0] * scales[1]:.6g}"
        )


def _check_border(node: IntegerNode, out: IntegerTensor) -> None:
    """Check that a border of another value than zero is one of the type's integers."""
    value = node.attributes.get("value")
    if node.op == "Pad" and value is not None and not out.limits[0] <= value <= out.limits[1]:  # type: ignore[operator]
        raise FormatError(f"types: the border of Pad must be an integer of {out.dtype}; got {value}")


def _check_same_scale(node: IntegerNode, inputs: list[IntegerTensor], out: IntegerTensor) -> None:
    """Check that what is only copied keeps its scale in the eyes of every runtime."""
    kept = ("MaxPool", "Maximum", "Minimum", "Pad", "Reshape", "Transpose", "Slice")
    if node.op not in kept and (node.op != "Concat" or node.layout != "NHWC"):  # ONNX's brings its parts to one scale
        return
    last = out.quantisation
    for tensor in inputs:
        q = tensor.quantisation
        assert q is not None
        assert last is not None
        if q.scale[0] != last.scale[0] or q.zero_point[0] != last.zero_point[0]:
            raise UnsupportedError(f"types: {node.op} must keep scale and zero point; got {tensor} for {out}")


def _check_ratios(node: IntegerNode, inputs: list[IntegerTensor], out: IntegerTensor) -> None:
    """Check that the fixed-point multipliers of a node exist."""
    scales = [float(t.quantisation.scale.max()) for t in (*inputs[:2], out) if t.quantisation is not None]
    if node.op in (*_LAYERS, "Mul", "MatMul"):
        real, most = scales[0] * scales[1] / scales[-1], 2.0**_LARGEST_SHIFT
    elif node.op in ("Add", "Sub"):
        real, most = 2 * max(scales[:2]) / scales[-1], 2.0**_LARGEST_SHIFT
    elif node.op in ("Mean", "Requantize"):
        real, most = scales[0] / scales[-1], 2.0**_LARGEST_SHIFT
    elif node.op == "HardSwish" and node.layout == "NHWC":
        real, most = max(scales[0] / 128 / scales[-1], scales[0] * 2.0**-24), 1.0
    elif node.op == "Softmax" and inputs[0].dtype == "int16":  # exponents of a table that ends at -10
        real, most = scales[0] * float(node.attributes.get("beta", 1.0)) * 6553.5, 2.0**_LARGEST_SHIFT  # type: ignore[arg-type]
    else:
        return
    if not real < most:
        raise FormatError(
            f"types: scales of {node.op} that makes {out.name} must go together; got a ratio of {real:.6g}"
        )
