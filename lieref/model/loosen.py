"""What a file says of the number of samples that its layers do not depend on, left out.

Exporters write the shapes that one batch had into constants. Where a constant says only that the samples stay as they
are, the same network takes any number of them: a Reshape keeps them apart, a Resize does not resize them, and a state
of zeros is where a recurrent layer begins anyway.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np

from lieref._types import Array
from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node
from lieref.op.spec import TensorSpec

STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
"""Inputs of recurrent operators that are zero where they are absent."""


MOVING = frozenset({"Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
"""Operators whose output holds numbers of their first input alone."""


def loosen(graph: Graph, specs: dict[str, TensorSpec], batch: int) -> Graph:
    """Return the graph without what its constants say of the batch.

    Parameters
    ----------
    graph : Graph
    specs : dict of str to TensorSpec
        Of its tensors, for a number of samples that it takes.
    batch : int
        That number.
    """
    return _loosen_resizes(_loosen_reshapes(graph, specs, batch), specs)


def _loosen_reshapes(graph: Graph, specs: dict[str, TensorSpec], batch: int) -> Graph:
    """Let each Reshape that keeps the samples apart keep them whatever their number: (8, -1) becomes (-1, 16).

    Where the samples are not the first axis, as in a sequence of batches, the axes up to theirs are copied.
    """
    targets = {}
    for node in graph.nodes:
        if node.op == "Reshape":
            before, after = specs[node.inputs[0]].shape, specs[node.outputs[0]].shape
            same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))))
            if batch in after[:same] and None not in after and 0 not in after:
                kept = [-1, *after[1:same]] if after[0] == batch else [0] * same
                targets[node.name] = np.array([*kept, *after[same:]], np.int64)
    return reshape_to(graph, targets)


def _loosen_resizes(graph: Graph, specs: dict[str, TensorSpec]) -> Graph:
    """Let each Resize say the extents of those axes only that change."""
    tensors, nodes = dict(graph.initializers), []
    for node in graph.nodes:
        sizes = graph.initializers.get(node.inputs[3]) if node.op == "Resize" and len(node.inputs) > 3 else None
        before = specs[node.inputs[0]].shape if sizes is not None else ()
        plain = "axes" not in node.attrs and node.attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch"
        crop = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if sizes is not None and sizes.shape == (len(before),) and plain and not crop:
            axes = tuple(axis for axis, size in enumerate(sizes) if size != before[axis])
            if axes and len(axes) < len(before):
                name = free_name(replace(graph, initializers=tensors), f"{node.name}.sizes")
                tensors[name] = sizes[list(axes)]
                inputs = (*node.inputs[:3], name)
                node = replace(node, inputs=inputs, attrs={**node.attrs, "axes": axes})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), initializers=tensors)


def reshape_to(graph: Graph, targets: dict[str, Array]) -> Graph:
    """Give the Reshape nodes of these names constant targets."""
    tensors, nodes = dict(graph.initializers), []
    for node in graph.nodes:
        if node.name in targets:
            name = free_name(graph, f"{node.name}.shape")
            tensors[name] = targets[node.name]
            node = replace(node, inputs=(node.inputs[0], name), attrs={})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), initializers=tensors)


def without_zero_states(graph: Graph) -> Graph:
    """Leave out the first states of recurrent operators that are zeros, for one batch or for as many as come."""
    zeros = _zeros(graph) - {name for name, value in graph.initializers.items() if value.ndim != 3}
    return replace(graph, nodes=tuple(_without_zero_states(node, zeros) for node in graph.nodes))


def _zeros(graph: Graph) -> set[str]:
    """Return the tensors that hold zeros and nothing else: constants, and what is made or moved of zeros alone."""
    found = {name for name, value in graph.initializers.items() if value.dtype.kind == "f" and not value.any()}
    for node in graph.nodes:
        filled = node.op == "ConstantOfShape" and not np.any(node.attrs.get("value", 0))
        joined = node.op == "Concat" and found.issuperset(node.inputs)
        if filled or joined or (node.op in MOVING and node.inputs[0] in found):
            found.update(node.outputs)
    return found


def _without_zero_states(node: Node, zeros: set[str]) -> Node:
    inputs = list(node.inputs)
    for position in STATES.get(node.op, ()):
        if position < len(inputs) and inputs[position] in zeros:
            inputs[position] = ""
    return replace(node, inputs=tuple(inputs))
