"""What TFLite's kernels demand of types and zero points, beyond what the arithmetic needs.

A file that breaks these is refused by the runtime when it is prepared (conv.cc, fully_connected.cc, add.cc and
kernel_util.cc of LiteRT), or, where the type of weights or output is another one than that of the input, read as if
it were the same: found with ai-edge-litert 2.3.0, whose outputs then are other numbers.
"""

from __future__ import annotations

import warnings

from lieref.errors import FormatError, LierefWarning
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor
from lieref.op.integer.resize import passes_the_edge
from lieref.op.integer.sigmoid import OUTPUTS

_UNITS_APART = 0.02  # of the output's scale: kernel_util.cc
_LAYERS = ("Conv", "DepthwiseConv", "FullyConnected")
_GIVEN = {
    "Softmax": ("SOFTMAX", {"int8": (2.0**-8, -128), "uint8": (2.0**-8, 0), "int16": (2.0**-15, 0)}, 1e-3),
    "Sigmoid": ("LOGISTIC", OUTPUTS["Sigmoid"], 0.0),
    "Tanh": ("TANH", OUTPUTS["Tanh"], 0.0),
}
"""Operators whose output is fixed: TFLite's name, scale and zero point by type, and how far off the scale may be."""


class PastTheEdgeWarning(LierefWarning):
    """A resize of which kernels of TFLite read what is no pixel."""


def check_tflite_rules(graph: IntegerGraph) -> None:
    """Check all nodes of a network whose types have been checked.

    Raises
    ------
    FormatError
        If a runtime would refuse the file, or compute something else.
    """
    for node in graph.nodes:
        inputs = [graph.tensors[name] for name in node.inputs if name]
        out = graph.tensors[node.outputs[0]]
        if node.op in _LAYERS:
            _check_weight(node, inputs[0], inputs[1])
            if node.op == "FullyConnected" and len(inputs) > 2:
                _check_bias_unit(inputs[0], inputs[1], inputs[2], out)
        if node.op == "Softmax":
            _check_exponent(node, inputs[0])
        if node.op == "Resize" and node.attributes.get("mode") == "bilinear":
            _check_edge(node, inputs[0], out)
        if node.op in (*_LAYERS, "Mean", "HardSwish", "Sigmoid", "Tanh") and out.dtype != inputs[0].dtype:
            raise FormatError(f"tflite: {node.op} must keep the type; got {out.dtype} for {inputs[0].dtype}")
        if node.op in (*_LAYERS, "Add", "Sub", "Mul", "Sigmoid", "Tanh"):
            for tensor in (*inputs, out):
                _check_symmetric(node, tensor)
        if node.op in _GIVEN:
            _check_given(node, out)
        if node.op in ("Sigmoid", "Tanh"):
            _check_step(node, inputs[0])


def _check_weight(node: IntegerNode, x: IntegerTensor, weight: IntegerTensor) -> None:
    q = weight.quantisation
    assert q is not None  # types have been checked
    fits = "uint8" if x.dtype == "uint8" else "int8"
    if weight.dtype != fits:
        raise FormatError(f"tflite: the weight of {node.op} must be {fits} beside {x.dtype}; got {weight}")
    if weight.dtype == "uint8" and q.channels > 1:
        raise FormatError(f"tflite: a weight of uint8 must have one scale; got {weight}")
    if weight.dtype == "int8" and q.zero_point.any() and (node.op != "FullyConnected" or q.channels > 1):
        raise FormatError(f"tflite: the weight of {node.op} must have zero point 0; got {weight}")


def _check_bias_unit(x: IntegerTensor, weight: IntegerTensor, bias: IntegerTensor, out: IntegerTensor) -> None:
    """Check the stored scale of a bias: one that is far off stops a dense layer of one scale, though nobody uses it."""
    said = [each.quantisation for each in (x, weight, bias, out)]
    if any(q is None or q.channels > 1 for q in said):
        return
    s_x, s_w, s_b, s_y = (float(q.scale[0]) for q in said if q is not None)
    if abs(s_x * s_w - s_b) > _UNITS_APART * s_y:
        raise FormatError(
            f"tflite: the bias of FullyConnected must have the scale of its input times that of its weight, "
            f"{s_x * s_w:.6g}; got {bias}"
        )


def _check_exponent(node: IntegerNode, x: IntegerTensor) -> None:
    """Check the fixed-point factor of a softmax of eight bits, beta s 2^26, below which reference kernels abort."""
    q, beta = x.quantisation, node.attributes.get("beta", 1.0)
    if q is not None and x.dtype != "int16" and not float(beta) * float(q.scale[0]) > 2.0**-26:  # type: ignore[arg-type]
        raise FormatError(
            f"tflite: beta of SOFTMAX times the scale of its input must exceed 2^-26; got {beta:.6g} for {x}"
        )


def _check_edge(node: IntegerNode, x: IntegerTensor, out: IntegerTensor) -> None:
    """Warn of a resize whose last rows or columns are not defined by the file."""
    how = [bool(node.attributes.get(name, 0)) for name in ("align_corners", "half_pixel_centers")]
    sizes = [(a, b) for a, b in zip(x.shape[1:3], out.shape[1:3], strict=True) if a and b]
    past = [(a, b) for a, b in sizes if x.dtype != "uint8" and passes_the_edge(a, b, *how)]
    if past:
        warnings.warn(
            f"RESIZE_BILINEAR that makes {out.name} enlarges {past[0][0]} to {past[0][1]} pixels: kernels of TFLite "
            "other than XNNPACK's read past the image there; here the last pixel is repeated",
            PastTheEdgeWarning,
            stacklevel=2,
        )


def _check_step(node: IntegerNode, x: IntegerTensor) -> None:
    """Check the multiplier of a table of 16 bits, 3 2^12 s: one of 16 bits, shifted by 31 at most and not 0."""
    q = x.quantisation
    if q is not None and x.dtype == "int16" and not 2.0**-31 <= float(q.scale[0]) * 3 * 2**12 < 2.0**15:
        raise FormatError(
            f"tflite: the scale of the input of {node.op} must be 3.8e-14 or more and below 8/3 for int16; got {x}"
        )


def _check_symmetric(node: IntegerNode, tensor: IntegerTensor) -> None:
    q = tensor.quantisation
    if tensor.dtype == "int16" and q is not None and q.zero_point.any():
        raise FormatError(f"tflite: {node.op} of int16 must have zero point 0; got {tensor}")


def _check_given(node: IntegerNode, out: IntegerTensor) -> None:
    """Refuse an output of another scale than kernels put there, whatever the file says."""
    if out.quantisation is None:
        return
    name, given, apart = _GIVEN[node.op]
    scale, zero_point = float(out.quantisation.scale[0]), int(out.quantisation.zero_point[0])
    right, right_zero = given[out.dtype]
    if abs(scale / right - 1) > apart or zero_point != right_zero:
        raise FormatError(
            f"tflite: the output of {name} must have scale {right} and zero point {right_zero}, which runtimes take "
            f"for granted; got {scale:.9g} and {zero_point}"
        )
