"""The operators of ai.onnx.ml around a network that scikit-learn has trained, as skl2onnx writes them.

    Scaler                            (x - offset) scale, before the first layer: two standard nodes
    ZipMap                            probabilities as dictionaries by class: handed on as the array that they are
    ArrayFeatureExtractor, Binarizer  the label of the best class: an output that is not computed here

Trees, support vectors and what else computes the scores itself are refused by name. A merged file keeps all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.graph import Node

DOMAIN = "ai.onnx.ml"
LABELLING = ("ArrayFeatureExtractor", "Binarizer")


def labels_of(graph: Any) -> dict[str, str]:
    """Return the tensors of a GraphProto that are labels or made of them, each with what makes the label."""
    found: dict[str, str] = {}
    for node in graph.node:  # a valid file has each node behind what it reads
        maker = next((found[name] for name in node.input if name in found), None)
        if node.domain == DOMAIN and node.op_type in LABELLING:
            maker = node.op_type
        if maker is not None:
            found |= dict.fromkeys(filter(None, node.output), maker)
    return found


def labels_said(graph: Any) -> str:
    """Return in words which outputs of a GraphProto are labels, "" where none is."""
    labels = labels_of(graph)
    left = [f"{value.name} ({labels[value.name]})" for value in graph.output if value.name in labels]
    return f"the labels {', '.join(left)} are not computed, and kept in what is merged, as outputs" if left else ""


def label_names(graph: Any) -> list[str] | None:
    """Return the words among which an ArrayFeatureExtractor picks the label, in the order of the classes.

    None where there are none: labels may be numbers.
    """
    read = {node.input[0] for node in graph.node if node.domain == DOMAIN and node.op_type == LABELLING[0]}
    words = [tensor.string_data for tensor in graph.initializer if tensor.name in read and tensor.string_data]
    return [word.decode("utf-8", "replace") for word in words[0]] if len(words) == 1 else None


def standard_nodes(item: Any, name: str, attrs: dict[str, Any], source: str) -> tuple[list[Node], dict[str, Array]]:
    """Return standard nodes for a Scaler or a ZipMap, and the constants that they read; no nodes for another operator.

    Raises
    ------
    FormatError
        If a Scaler has no offset or scale.
    """
    if item.op_type == "ZipMap":
        return [Node(name, "Identity", tuple(item.input), tuple(item.output))], {}
    if item.op_type != "Scaler":
        return [], {}
    if not {"offset", "scale"} <= attrs.keys():
        raise FormatError(f"load: node {name} of {source} must have an offset and a scale; got {sorted(attrs)}")
    (x,), (y,) = item.input, item.output
    moved, held = f"{name}: moved", {f"{name}: {key}": np.array(attrs[key], np.float32) for key in ("offset", "scale")}
    offset, scale = held
    return [Node(moved, "Sub", (x, offset), (moved,)), Node(name, "Mul", (moved, scale), (y,))], held
