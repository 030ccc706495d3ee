"""Split as the slices that it is: one node of several outputs becomes a Slice for each output that is read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from lieref.errors import ShapeError, UnsupportedError
from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node
from lieref.model.shapes import infer_specs


def slices_for_split(graph: Graph, node: Node, batch: int) -> Graph:
    """Return the graph with a Slice for each output of a Split; no node before it is one.

    Parameters
    ----------
    graph : Graph
    node : Node
    batch : int
        Number of samples that shapes are inferred for, where a Split does not say its sizes.

    Raises
    ------
    UnsupportedError
        If a Split cuts an axis whose extent is not known, or says its sizes by what is no constant.
    ShapeError
        If its sizes are none of the axis.
    """
    place = graph.nodes.index(node)
    axis = int(node.attrs.get("axis", 0))  # type: ignore[arg-type]
    cuts = np.cumsum([0, *_sizes(graph, node, place, axis, batch)])
    tensors, slices = dict(graph.initializers), []
    for number, (output, limits) in enumerate(zip(node.outputs, pairwise(cuts), strict=True)):
        if output:
            names = []
            for part, value in zip(("start", "end", "axis"), (*limits, axis), strict=True):
                names.append(free_name(replace(graph, initializers=tensors), f"{node.name}.{number}.{part}"))
                tensors[names[-1]] = np.array([value], np.int64)
            slices.append(Node(f"{node.name}.{number}", "Slice", (node.inputs[0], *names), (output,)))
    nodes = (*graph.nodes[:place], *slices, *graph.nodes[place + 1 :])
    return replace(graph, nodes=nodes, initializers=tensors)


def _sizes(graph: Graph, node: Node, place: int, axis: int, batch: int) -> list[int]:
    """Return the extents of a node's outputs: those it says, else equal ones, the last of them what is left."""
    specs = infer_specs(replace(graph, nodes=graph.nodes[:place]), batch)
    spec, count = specs[node.inputs[0]], len(node.outputs)
    given: object = node.attrs.get("split")
    if len(node.inputs) > 1 and node.inputs[1]:
        given = specs[node.inputs[1]].value
        if given is None:
            raise UnsupportedError(f"load: node {node.name} (Split): its sizes must be constants")
    if not -spec.ndim <= axis < spec.ndim:
        raise ShapeError(f"load: node {node.name} (Split): `axis` must be one of {spec.ndim}; got {axis}")
    extent = spec.shape[axis]
    if given is None:
        if extent is None:
            raise UnsupportedError(f"load: node {node.name} (Split): the extent of axis {axis} must be known")
        each = -(-extent // count)
        given = [min(each, max(extent - i * each, 0)) for i in range(count)]
    sizes = [int(size) for size in np.ravel(np.asarray(given))]
    if len(sizes) != count or min(sizes) < 0 or (extent is not None and sum(sizes) != extent):
        raise ShapeError(f"load: node {node.name} (Split): {count} sizes must make {extent}; got {sizes}")
    return sizes
