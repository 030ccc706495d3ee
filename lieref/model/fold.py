"""Folding BatchNormalization with frozen statistics into the linear layer before it.

With y = W x + b and BN(y) = scale (y - mean) / sqrt(var + eps) + shift, everything per out channel o:

    a = scale / sqrt(var + eps),   W_f = a W,   b_f = a (b - mean) + shift,   BN(W x + b) = W_f x + b_f.

The fold is a differentiable function of W, b, scale, shift, mean and var, so a network trains in its folded form and
the gradients flow back to the tensors of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import FormatError
from lieref.model.graph import Graph, Node
from lieref.model.layer import RECURRENT_OPERATORS, Layer, find_layers

Arguments: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
"""weight, bias, scale, shift, mean, var."""


@dataclass(frozen=True)
class Fold:
    """One linear layer and the BatchNormalization folded into it, by tensor names.

    `folded_weight` and `folded_bias` are initializers of the folded graph; the other names belong to the original.
    """

    layer: Layer
    scale: str
    shift: str
    mean: str
    var: str
    epsilon: float
    folded_weight: str
    folded_bias: str

    def sources(self) -> tuple[str, ...]:
        """Return the names of the original tensors the folded pair depends on."""
        bias = () if self.layer.bias is None else (self.layer.bias,)
        return (self.layer.weight, *bias, self.scale, self.shift, self.mean, self.var)

    def apply(self, tensors: Mapping[str, Array]) -> dict[str, FloatArray]:
        """Return the folded weight and bias computed from original tensors."""
        folded_weight, folded_bias = fold(*self._arguments(tensors), self.epsilon)
        return {
            self.folded_weight: self.layer.from_canonical(folded_weight),
            self.folded_bias: folded_bias,
        }

    def pull_back(self, tensors: dict[str, Array], bars: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """Return cotangents of the original tensors from those of the folded pair."""
        weight_bar = self.layer.to_canonical(bars[self.folded_weight])
        cotangents = fold_vjp(*self._arguments(tensors), self.epsilon, weight_bar, bars[self.folded_bias])
        result: dict[str, FloatArray] = {self.layer.weight: self.layer.from_canonical(cotangents[0])}
        if self.layer.bias is not None:
            result[self.layer.bias] = cotangents[1]
        result.update(zip((self.scale, self.shift, self.mean, self.var), cotangents[2:], strict=True))
        return result

    def bias_spread(self, tensors: dict[str, Array]) -> FloatArray:
        """Return |a b| + |a mean| + |shift| in float64, the absolute sum behind the folded bias."""
        _, bias, scale, shift, mean, var = (v.astype(np.float64) for v in self._arguments(tensors))
        a = np.abs(scale) / np.sqrt(var + self.epsilon)
        return a * np.abs(bias) + a * np.abs(mean) + np.abs(shift)

    def _arguments(self, tensors: Mapping[str, Array]) -> Arguments:
        weight = self.layer.to_canonical(tensors[self.layer.weight])
        zero = np.zeros(weight.shape[0], weight.dtype)
        bias = zero if self.layer.bias is None else tensors[self.layer.bias]
        return weight, bias, tensors[self.scale], tensors[self.shift], tensors[self.mean], tensors[self.var]


def fold(
    weight: FloatArray,
    bias: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
    mean: FloatArray,
    var: FloatArray,
    epsilon: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the folded weight (O, ...) and bias (O,).

    Computed in float64 and rounded once to the dtype of `weight`, so that folding adds half a unit in the last place.
    """
    a = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + epsilon)
    folded_weight = weight * a.reshape(-1, *[1] * (weight.ndim - 1))
    folded_bias = a * (bias.astype(np.float64) - mean) + shift
    return folded_weight.astype(weight.dtype), folded_bias.astype(weight.dtype)


# Derivation.  a = scale (var + eps)^(-1/2).  With cotangents Wf_bar, bf_bar:
#   W_bar = a Wf_bar,   b_bar = a bf_bar,   mean_bar = -a bf_bar,   shift_bar = bf_bar,
#   a_bar = sum over the filter of Wf_bar * W  +  bf_bar (b - mean),
#   scale_bar = a_bar (var + eps)^(-1/2),   var_bar = -1/2 a_bar scale (var + eps)^(-3/2).
def fold_vjp(
    weight: FloatArray,
    bias: FloatArray,
    scale: FloatArray,
    shift: FloatArray,
    mean: FloatArray,
    var: FloatArray,
    epsilon: float,
    folded_weight_bar: FloatArray,
    folded_bias_bar: FloatArray,
) -> Arguments:
    """Return the cotangents of weight, bias, scale, shift, mean and var, in the dtype of `weight`."""
    dtype = weight.dtype
    inverse_std = 1.0 / np.sqrt(var.astype(np.float64) + epsilon)
    a = scale * inverse_std
    filters = tuple(range(1, weight.ndim))
    a_bar = np.sum(folded_weight_bar * weight, axis=filters, dtype=np.float64)
    a_bar = a_bar + folded_bias_bar * (bias.astype(np.float64) - mean)
    weight_bar = folded_weight_bar * a.reshape(-1, *[1] * len(filters))
    bias_bar = a * folded_bias_bar
    scale_bar = a_bar * inverse_std
    var_bar = -0.5 * a_bar * scale * inverse_std**3
    return (
        weight_bar.astype(dtype),
        bias_bar.astype(dtype),
        scale_bar.astype(dtype),
        folded_bias_bar.astype(dtype),
        -bias_bar.astype(dtype),
        var_bar.astype(dtype),
    )


def fold_batch_norm(graph: Graph) -> tuple[Graph, tuple[Fold, ...]]:
    """Return the graph without the BatchNormalizations that follow a linear layer, and what was folded.

    A BatchNormalization folds where it alone reads the output of a convolution, Gemm or MatMul whose weight is constant
    and is used once, and where its four vectors are constant. Any other one stays a node.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    folded : Graph
        Its folded weights are new initializers, named ``<node>.folded_weight`` and ``<node>.folded_bias``.
    folds : tuple of Fold
    """
    layers = {layer.node: layer for layer in find_layers(graph) if layer.op not in RECURRENT_OPERATORS}
    folds: list[Fold] = []
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            fold_ = _foldable(graph, node, layers)
            if fold_ is not None:
                folds.append(fold_)
                renamed[node.outputs[0]] = node.inputs[0]
                continue
        nodes.append(node)
    by_node = {fold_.layer.node: fold_ for fold_ in folds}
    result: list[Node] = []
    for node in nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if node.name in by_node:
            # A bias-free MatMul keeps no place for the folded bias: it becomes the equal Gemm.
            fold_ = by_node[node.name]
            inputs = (inputs[0], fold_.folded_weight, fold_.folded_bias)
            op = "Gemm" if node.op == "MatMul" else node.op
            result.append(replace(node, op=op, inputs=inputs))
        else:
            result.append(replace(node, inputs=inputs))
    tensors: dict[str, Array] = dict(graph.initializers)
    for fold_ in folds:
        tensors.update(fold_.apply(graph.initializers))
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(result), outputs=outputs, initializers=tensors), tuple(folds)


def _foldable(graph: Graph, node: Node, layers: dict[str, Layer]) -> Fold | None:
    before = graph.producer(node.inputs[0])
    if before is None or before.name not in layers or node.attrs.get("training_mode", 0):
        return None
    layer = layers[before.name]
    read_once = len(graph.consumers(node.inputs[0])) == 1 and node.inputs[0] not in graph.outputs
    scale, shift, mean, var = node.inputs[1:5]
    if not read_once or layer.shared or not all(name in graph.initializers for name in node.inputs[1:5]):
        return None
    if before.op == "MatMul" and not layer.two_dimensional:
        return None
    if layer.bias is None and any(before.inputs[2:]):
        return None  # its bias is computed by the graph
    epsilon = float(node.attrs.get("epsilon", 1e-5))  # type: ignore[arg-type]
    if not (graph.initializers[var] + epsilon > 0).all():
        raise FormatError(f"load: the variances {var} plus epsilon must be positive")
    folded = (f"{before.name}.folded_weight", f"{before.name}.folded_bias")
    return Fold(layer, scale, shift, mean, var, epsilon, *folded)
