"""Adapters of a network whose BatchNormalization the exporter multiplied into the weights.

With y = W x + b and BN(y) = g (y - mean) / sqrt(var + eps) + shift, an exporter may write one layer of the weight W_f =
a W and the bias b_f = a (b - mean) + shift, a = g / sqrt(var + eps) for each out channel. An adapter of W is none of
W_f then:

- what is added is a D there, and adding D itself is wrong: D is scaled by a, which must be known;
- what multiplies the weight from the right (rotations of the filters, factors of the in channels), entry by entry, or
  by out channels commutes with a and stays as it is;
- of W' = m V / ||V||, V = W + D, both D and m are scaled: |a| m (a V) / ||a V|| = a W';
- a factor l of the outputs, bias included, multiplies W_f but not b_f: the bias becomes a (l b - mean) + shift.

How one knows. A file that still has the BatchNormalization behind the layer has not folded it. The dynamo exporter
folds by default and keeps the *names* of the weights, but the node's metadata names the normalisation as its operator.
The TorchScript exporter folds convolutions and gives their weights new names. Any other program may have done anything,
so that its file must come with the tensors of the base; these show a as well, for a is W_f over W, filter by filter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Factors
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.names import Traces, channel_scales
from lieref.errors import DomainError, UnsupportedError
from lieref.model.graph import Graph
from lieref.model.layer import Layer

OWN, FOLDED, UNKNOWN = "own", "folded", "unknown"

RENAMED_CONV = re.compile(r"^onnx::Conv(Transpose)?_\d+$")
RENAMED_PRODUCT = re.compile(r"^(onnx::(MatMul|Gemm)_\d+|/(.+/)?Transpose(_\d+)?_output_0)$")

GIVE = "give the base's tensors with --model-names BASE.safetensors"


@dataclass(frozen=True)
class Folding:
    """What is known of the weight of a layer.

    Attributes
    ----------
    state : str
        `OWN`: it is the module's. `FOLDED`: its out channels are scaled. `UNKNOWN`.
    why : str
        What shows that, or why nothing does.
    scales : array or None
        (out,) a, float64, where it is folded and known.
    own_bias : array or None
        The module's bias, where the base is given and has one.
    has_bias : bool or None
        Whether the module has a bias; None where nothing tells.
    """

    state: str
    why: str
    scales: FloatArray | None = None
    own_bias: FloatArray | None = None
    has_bias: bool | None = None


def folding_of(
    path: str, layer: Layer, weight: FloatArray, graph: Graph, found: Traces, given: Given | None, separator: str = "."
) -> Folding:
    """Return what is known of the weight of the module `path`.

    Parameters
    ----------
    path : str
    layer : Layer
        What the module became.
    weight : array
        In canonical layout, as the file has it.
    graph : Graph
        In plain form.
    found : Traces
    given : Given, optional
        With the tensors of the base, what they say counts.
    separator : str
        Between the parts of `path`.

    Raises
    ------
    DomainError
        If the base's tensors are given and the weight is not one of them, scaled by out channels or not.
    """
    own = None if given is None else given.weight(path, separator)
    if own is not None and given is not None:
        bias = given.tensor(path, "bias", separator)
        return _compared(path, layer, weight, own, bias)
    has_bias = True if layer.bias is not None else None
    if _normalised(graph, layer):
        return Folding(OWN, "a BatchNormalization follows it", has_bias=has_bias)
    if found.fused(layer.node):
        none = layer.bias is not None and layer.bias == f"{layer.weight}_bias"
        return Folding(FOLDED, "its node took the place of a BatchNormalization", has_bias=False if none else None)
    if layer.node in found.scopes:
        return Folding(OWN, "its node is the module's", has_bias=has_bias)
    by_name = layer.weight.endswith(".weight")
    if found.producer == "pytorch" and (by_name or RENAMED_PRODUCT.match(layer.weight)):
        return Folding(OWN, "its weight is a parameter", has_bias=has_bias)
    if found.producer == "pytorch" and RENAMED_CONV.match(layer.weight):
        return Folding(UNKNOWN, f"its weight {layer.weight} has been computed, as a folded BatchNormalization would")
    return Folding(UNKNOWN, f"nothing shows that {layer.weight} is the module's own weight")


def through(factors: Factors, folding: Folding, path: str) -> Factors:
    """Return the factors for the weight in the file.

    Raises
    ------
    UnsupportedError
        If what is added to a weight that is, or may be, scaled cannot be scaled along.
    """
    if not factors.adds or folding.state == OWN:
        return factors
    if folding.scales is None:
        raise UnsupportedError(
            f"import: what is added to {path} must be scaled where a BatchNormalization is folded into its weight; "
            f"{folding.why}: {GIVE} (LieRA, HiRA, rotations and other multiplicative adapters need nothing)"
        )
    params = dict(factors.params)
    for names, a in ((factors.rows, folding.scales), (factors.lengths, np.abs(folding.scales))):
        for name in names:
            column = a.reshape(-1, *(1,) * (params[name].ndim - 1))
            params[name] = params[name].astype(np.float64) * column
    if not factors.rows:
        raise UnsupportedError(f"import: the factors of {path} must be scaled by out channels, which they cannot be")
    said = f"a BatchNormalization is folded into {path}: its change is scaled along"
    return replace(factors, params=params, notes=(*factors.notes, said))


def bias_change(factor: FloatArray, folding: Folding, path: str) -> FloatArray | None:
    """Return what is added to the bias in the file where the outputs of a folded module are multiplied.

    Parameters
    ----------
    factor : array
        (out,) l: the module's bias b becomes l b, and the file's changes by a (l - 1) b.
    folding : Folding
    path : str

    Returns
    -------
    array or None
        None where the module has no bias.

    Raises
    ------
    UnsupportedError
        If it may have one that is not known.
    """
    if folding.has_bias is False:
        return None
    if folding.own_bias is not None and folding.scales is not None:
        return folding.scales * (factor - 1) * folding.own_bias
    raise UnsupportedError(
        f"import: the outputs of {path}, bias included, are multiplied, and its bias must be known; {folding.why}: "
        f"{GIVE}"
    )


def _compared(path: str, layer: Layer, weight: FloatArray, own: Array, bias: Array | None) -> Folding:
    scales = channel_scales(weight, own)
    if scales is None and own.ndim == 2 and own.shape == weight.shape[::-1]:
        scales = channel_scales(weight, own.T)  # a module that keeps its weight as (in, out)
    if scales is None:
        raise DomainError(
            f"import: the weight of {layer.node} must be that of {path} in the given base, or that scaled by out "
            "channels; it is another"
        )
    own_bias = None if bias is None else bias.astype(np.float64)
    if (scales == 1).all():
        return Folding(OWN, "it is the base's", None, own_bias, bias is not None)
    return Folding(FOLDED, "it is the base's, scaled by out channels", scales, own_bias, bias is not None)


def _normalised(graph: Graph, layer: Layer) -> bool:
    """Tell whether a BatchNormalization reads what a layer gives, directly or behind the Add of its bias."""
    node = next(node for node in graph.nodes if node.name == layer.node)
    readers = graph.consumers(node.outputs[0])
    if len(readers) == 1 and readers[0].op == "Add" and layer.bias in readers[0].inputs:
        readers = graph.consumers(readers[0].outputs[0])
    return bool(readers) and all(reader.op == "BatchNormalization" for reader in readers)
