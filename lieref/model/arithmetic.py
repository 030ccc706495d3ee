"""How much there is to compute: the multiply-adds of every node, for one sample."""

from __future__ import annotations

import math

from lieref.model.graph import Graph, Node
from lieref.model.layer import LINEAR_OPERATORS, RECURRENT_OPERATORS
from lieref.model.shapes import infer_specs
from lieref.op.spec import TensorSpec

COUNTED = LINEAR_OPERATORS
"""Operators whose products are counted; every other one does a few operations an element, which are not."""

BATCH = 2
"""Number of samples that shapes are inferred for, where any will do."""


def multiply_adds(graph: Graph) -> dict[str, int | None]:
    """Return the multiply-adds of one sample by node; None where they depend on a size that is free.

    Those of an operator that is not in `COUNTED` are 0, and so are those of what no sample reaches.

    Parameters
    ----------
    graph : Graph
        The first extent of its input is the batch, None where any number of samples will do.
    """
    fixed = graph.inputs[0].shape[0] if graph.inputs[0].shape else None
    batch = BATCH if fixed is None else fixed
    specs = infer_specs(graph, batch)
    fed, found = {graph.inputs[0].name}, dict[str, int | None]()
    for node in graph.nodes:
        if fed.isdisjoint(node.inputs):
            found[node.name] = 0
            continue
        fed.update(node.outputs)
        count = _count(node, specs)
        found[node.name] = None if count is None else count // batch
    return found


def _count(node: Node, specs: dict[str, TensorSpec]) -> int | None:
    """Return the multiply-adds of a node for the whole batch."""
    if node.op not in COUNTED:
        return 0
    out, first, second = specs[node.outputs[0]].shape, specs[node.inputs[0]].shape, specs[node.inputs[1]].shape
    if None in out or None in first or None in second:
        return None
    if node.op in RECURRENT_OPERATORS:  # at each time of each sample, all of W and of R
        weights = math.prod(second) + math.prod(specs[node.inputs[2]].shape)  # type: ignore[arg-type]
        return math.prod(first[:2]) * weights  # type: ignore[arg-type]
    if node.op == "ConvTranspose":  # each input is read by its kernels
        return math.prod(first) * math.prod(second[1:])  # type: ignore[arg-type]
    if node.op == "Conv":  # each output sums over its filter
        return math.prod(out) * math.prod(second[1:])  # type: ignore[arg-type]
    transposed = node.op == "Gemm" and node.attrs.get("transA", 0)
    inner = first[0] if transposed else first[-1]
    return math.prod(out) * int(inner or 0)  # type: ignore[arg-type]
