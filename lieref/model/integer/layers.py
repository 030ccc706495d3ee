"""The layers of a quantised network whose scales and biases can change while its integers stay."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation

LAYER_OPERATIONS = ("Conv", "DepthwiseConv", "FullyConnected")


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A layer with a constant weight.

    Attributes
    ----------
    node : str
        Name of its node.
    weight : IntegerTensor
    bias : IntegerTensor or None
        int32 or int64, (out,).
    input_scale : float
        Scale of what it reads, a float32 number.
    out : int
        Number of output channels.
    axis : int
        Axis of the weight that they are.
    stored_bias_scale_counts : bool
        Whether the format computes with the scale that the file has for the bias, as QDQ does.
    """

    node: str
    weight: IntegerTensor
    bias: IntegerTensor | None
    input_scale: float
    out: int
    axis: int
    stored_bias_scale_counts: bool = False

    @property
    def scales(self) -> Array:
        """The weight's scales, (out,) float32, or (1,) where one is for all."""
        return _said(self.weight).scale

    @property
    def factors(self) -> int:
        """How many factors it can carry: one a scale."""
        return int(self.scales.size)

    def bias_unit(self, scales: Array | None = None) -> Array:
        """Return what an integer of the bias stands for with these weight scales, its own by default; float64.

        Kernels on integers take the input's scale times the weight's, whatever the file says of the bias.
        """
        chosen = self.scales if scales is None else scales
        return np.float64(self.input_scale) * chosen.astype(np.float64)

    def real_bias(self) -> Array:
        """Return the bias in real numbers, (out,) float64; zeros where there is none."""
        if self.bias is None or self.bias.data is None:
            return np.zeros(self.out)
        unit = self.bias_unit()
        said = self.bias.quantisation
        if said is not None and self.stored_bias_scale_counts:
            unit = said.scale.astype(np.float64)
        return np.broadcast_to(self.bias.data * unit, (self.out,)).copy()


def integer_layers(graph: IntegerGraph) -> tuple[IntegerLayer, ...]:
    """Return the layers with a constant weight, in graph order.

    Raises
    ------
    UnsupportedError
        If two layers read one weight or bias, or share the bytes of a scale: what is changed for one would change the
        other.
    """
    found = []
    for node in graph.nodes:
        if node.op in LAYER_OPERATIONS and graph.tensors[node.inputs[1]].is_constant:
            found.append(_layer(graph, node))
    named = Counter(tensor.name for layer in found for tensor in (layer.weight, layer.bias) if tensor is not None)
    places = Counter(
        tensor.scale_at for layer in found for tensor in (layer.weight, layer.bias)
        if tensor is not None and tensor.scale_at is not None
    )  # fmt: skip
    twice = next((name for name, count in named.items() if count > 1), None)
    twice = twice or next((f"the scale at bytes {place}" for place, count in places.items() if count > 1), None)
    if twice is not None:
        raise UnsupportedError(f"integer_layers: {twice} must belong to one layer alone; several read it")
    return tuple(found)


def _layer(graph: IntegerGraph, node: IntegerNode) -> IntegerLayer:
    weight = graph.tensors[node.inputs[1]]
    bias = graph.tensors[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    if node.op == "DepthwiseConv" and node.layout == "NHWC":
        axis = 3
    elif node.op == "FullyConnected" and node.attributes.get("transposed"):
        axis = 1
    else:
        axis = 0
    out = int(weight.shape[axis] or 0)
    said = _said(weight)
    if said.channels > 1 and said.axis != axis:
        raise UnsupportedError(
            f"integer_layers: {weight.name} must have one scale, or one for each output (axis {axis}); "
            f"got {said.channels} along axis {said.axis}"
        )
    x = graph.tensors[node.inputs[0]].quantisation
    if x is None or x.channels != 1:
        raise UnsupportedError(f"integer_layers: node {node.name} must read a tensor with one scale")
    return IntegerLayer(node.name, weight, bias, float(x.scale[0]), out, axis, graph.format != "tflite")


def _said(tensor: IntegerTensor) -> Quantisation:
    if tensor.quantisation is None:
        raise UnsupportedError(f"integer_layers: weight {tensor.name} must be quantised; it has no scale")
    return tensor.quantisation
