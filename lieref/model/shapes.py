"""The shape and dtype of every tensor of a network, inferred and checked once, when it is loaded."""

from __future__ import annotations

import numpy as np

from lieref.errors import LierefError
from lieref.model.graph import Graph, Node
from lieref.op.axes import MOST_IN_A_SAMPLE, check_size
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec

MOST_KNOWN = 4096
"""Integer tensors of up to so many elements are computed ahead: shapes and indices, not data."""


def infer_specs(graph: Graph, batch: int) -> dict[str, TensorSpec]:
    """Return what is known of every tensor for a number of samples.

    Parameters
    ----------
    graph : Graph
    batch : int
        Number of samples; other free axes of the input stay unknown.

    Returns
    -------
    dict of str to TensorSpec
        Constants, the input, and what the nodes give.

    Raises
    ------
    LierefError
        Of the operator's own class if a node cannot take its inputs; the message names the node.
    """
    specs = {name: TensorSpec.of(value) for name, value in graph.initializers.items()}
    info = graph.inputs[0]
    specs[info.name] = TensorSpec((batch, *info.shape[1:]) if info.shape else (), np.dtype(info.dtype))
    for node in graph.nodes:
        try:
            spec = _infer(node, [specs[name] if name else None for name in node.inputs])
            check_size(node.op, _sample(spec, batch), MOST_IN_A_SAMPLE)
        except LierefError as error:
            raise type(error)(f"load: node {node.name}: {error}") from error
        specs[node.outputs[0]] = spec
    return specs


def _infer(node: Node, inputs: list[TensorSpec | None]) -> TensorSpec:
    operator = OPERATORS[node.op]
    spec = operator.shape(*inputs, **node.attrs)
    values = [None if each is None else each.value for each in inputs]
    known = all(each is None or value is not None for each, value in zip(inputs, values, strict=True))
    whole = all(value is None or (value.dtype.kind in "iub" and value.size <= MOST_KNOWN) for value in values)
    if spec.value is None and known and whole and None not in spec.shape and _size(spec) <= MOST_KNOWN:
        return TensorSpec.of(np.asarray(operator.forward(*values, **node.attrs)))
    return spec


def _size(spec: TensorSpec) -> int:
    return int(np.prod([extent for extent in spec.shape if extent is not None]))


def _sample(spec: TensorSpec, batch: int) -> list[int | None]:
    """Return extents whose product is that of one sample, where the first axis is the batch."""
    first = spec.shape[:1]
    return [1 if first == (batch,) else next(iter(first), 1), *spec.shape[1:]]
