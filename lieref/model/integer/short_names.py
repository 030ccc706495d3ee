"""Short names of what a quantised network computes, for tables and lines: ``conv2d_5`` for a tensor of TFLite's names.

A converter names a tensor by all that it fused, separated by ``;``, each by its path in the network that it came from.
"""

from __future__ import annotations

import re
from collections import Counter

from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.layers import integer_layers

_PRODUCT = re.compile(r"(Conv\dD|depthwise|MatMul|Tensordot)\d*")
"""Last words of paths that are those of a layer with weights, as TensorFlow names them."""
_QUANTISED = "_quant"
"""What ONNX Runtime adds to the name of a node in the QOperator form."""


def short_names(graph: IntegerGraph) -> dict[str, str]:
    """Return a short name for each tensor that a node computes, no two the same.

    It is the name of the layer or of what else is computed, without the scopes that all share and without the word for
    the operation; where that says the same of two, the node's own, such as ``CONV_2D 3``.
    """
    weights = {layer.node: layer.weight.name for layer in integer_layers(graph)}
    of_tflite = graph.format == "tflite"
    paths = {
        node.outputs[0]: _words(weights.get(node.name, node.outputs[0]) if of_tflite else node.name)
        for node in graph.nodes
    }
    shared = _shared([path for path in paths.values() if len(path) > 1])
    names = {tensor: "/".join(path[shared:] or path) for tensor, path in paths.items()}
    counts = Counter(names.values())
    own = {node.outputs[0]: node.name for node in graph.nodes}
    return {tensor: name if counts[name] == 1 else own[tensor] for tensor, name in names.items()}


def _words(name: str) -> list[str]:
    """Return the path of what a tensor is of, the layer or what was fused last, without the word for the operation."""
    parts = [part.strip("/").split("/") for part in name.removesuffix(_QUANTISED).split(";")]
    path = next((part for part in parts if _PRODUCT.fullmatch(part[-1])), parts[0])
    operation = path[-1][:1].isupper() or _PRODUCT.fullmatch(path[-1]) is not None
    return path[:-1] if operation and len(path) > 1 else path


def _shared(paths: list[list[str]]) -> int:
    """Return how many words all paths begin with, of which each keeps one."""
    count = 0
    while paths and all(len(path) > count + 1 and path[count] == paths[0][count] for path in paths):
        count += 1
    return count
