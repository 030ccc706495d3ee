"""Element types and quantisation that each operation of a quantised network needs."""

from __future__ import annotations

from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor

_ACTIVATIONS = ("int8", "uint8", "int16")
_LAYERS = ("Conv", "DepthwiseConv", "FullyConnected")
_COPIES = ("Reshape", "Maximum", "Minimum", "Concat", "Pad", "MaxPool", "Transpose", "AveragePool", "Resize", "Slice")
_LARGEST_SHIFT = 30


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
        else:
            for tensor in (*inputs, out):
                _need_one_scale(node, tensor)
            if node.op in _COPIES and {tensor.dtype for tensor in inputs} != {out.dtype}:
                raise FormatError(f"types: {node.op} must keep the type; got {out.dtype} for {inputs[0].dtype}")
            if node.op in ("Add", "Sub", "Mul") and {tensor.dtype for tensor in inputs} != {out.dtype}:
                raise UnsupportedError(f"types: {node.op} must have one type; got {', '.join(t.dtype for t in inputs)}")
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
    q = weight.quantisation
    axis = {"FullyConnected": 1 if node.attributes.get("transposed", 0) else 0, "Conv": 0}.get(
        node.op, 3 if node.layout == "NHWC" else 0
    )
    if q.channels > 1 and q.axis != axis:
        raise FormatError(f"types: scales of the weight of {node.op} must go along axis {axis}; got {weight}")


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
    else:
        return
    if not real < most:
        raise FormatError(
            f"types: scales of {node.op} that makes {out.name} must go together; got a ratio of {real:.6g}"
        )
