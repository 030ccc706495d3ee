"""Outputs whose samples are not the first axis, (T, N, K), as networks give them that go through time step by step.

The losses read samples first. A Transpose behind such an output moves them there; `predict` moves them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from lieref.errors import LierefError
from lieref.model.canonical import free_name
from lieref.model.graph import Graph, Node
from lieref.model.shapes import infer_specs
from lieref.model.simplify import BATCHES, at_some_size


def samples_first(graph: Graph, names: Sequence[str]) -> tuple[Graph, list[str], list[int]]:
    """Return the graph with nodes that move the samples of tensors to their first axis.

    Parameters
    ----------
    graph : Graph
        In plain form. Of one that takes a fixed number of samples it is not known where they stand: nothing is moved.
    names : sequence of str

    Returns
    -------
    graph : Graph
    first : list of str
        What holds the numbers of each tensor, samples first: itself, where they are.
    axes : list of int
        Where they stand in it: the axis that grows with the number of samples; 0 where that is none, or several.
    """
    shapes: list[dict[str, tuple[int | None, ...]]] = []
    if graph.inputs[0].shape[:1] == (None,):
        with suppress(LierefError):  # a free size that none of the usual ones fits
            sized = at_some_size(graph)
            specs = [infer_specs(sized, batch) for batch in BATCHES]
            shapes = [{name: each[name].shape for name in names} for each in specs]
    first, axes = [], []
    for name in names:
        few, many = (each[name] for each in shapes) if shapes else ((), ())
        growing = [axis for axis, extents in enumerate(zip(few, many, strict=True)) if extents == BATCHES]
        axis = growing[0] if len(growing) == 1 else 0
        axes.append(axis)
        first.append(free_name(graph, f"{name}: samples first") if axis else name)
        if axis:
            order = (axis, *(other for other in range(len(few)) if other != axis))
            node = Node(first[-1], "Transpose", (name,), (first[-1],), {"perm": order})
            graph = replace(graph, nodes=(*graph.nodes, node))
    return graph, first, axes
