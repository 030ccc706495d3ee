"""The reference path: a graph run operator by operator, forward and backward.

It is the definition that the compiled engine is checked against, it runs every operator lieref has, and it works in
float32 and float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.graph import Graph, Node
from lieref.op.registry import OPERATORS


def run(graph: Graph, x: Array, *, until: str | None = None, threads: int = 1) -> dict[str, Array]:
    """Return every tensor of the graph for one input batch.

    Parameters
    ----------
    graph : Graph
    x : array
        The graph's one input.
    until : str, optional
        Stop as soon as this tensor is known.
    threads : int
        The numbers do not depend on it.

    Returns
    -------
    dict of str to array
        All tensors computed, initializers and input included.
    """
    values: dict[str, Array] = {**graph.initializers, graph.inputs[0].name: x}
    if until in values:
        return values
    for node in graph.nodes:
        run_node(node, values, threads=threads)
        if until in node.outputs:
            break
    return values


def run_node(node: Node, values: dict[str, Array], *, threads: int = 1) -> None:
    """Add what a node gives to the tensors known so far."""
    operator = OPERATORS[node.op]
    options = {"threads": threads} if operator.threaded else {}
    outputs = operator.forward(*_inputs(node, values), **node.attrs, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    values.update(zip(node.outputs, outputs, strict=False))


def finish(graph: Graph, tensor: str, value: Array) -> Array:
    """Return the graph's first output from a tensor that it alone depends on, such as the logits before a Softmax."""
    values: dict[str, Array] = {**graph.initializers, tensor: value}
    for node in graph.nodes:
        if graph.outputs[0] in values:
            break
        known = [name for name in node.inputs if name]
        if all(name in values for name in known) and any(name not in graph.initializers for name in known):
            values[node.outputs[0]] = OPERATORS[node.op].forward(*_inputs(node, values), **node.attrs)
    return values[graph.outputs[0]]


# Derivation.  With v_k = f_k(inputs) in graph order and a scalar l that reads some tensors, the chain rule in reverse
# order is   input_bar += (D f_k)^T v_k_bar ,   one addition for each reader of a tensor.  A node is skipped where no
# wanted tensor lies above it, so the part of the network below the lowest adapted layer costs nothing.
def pull_back(
    graph: Graph, values: dict[str, Array], seeds: dict[str, FloatArray], wanted: Iterable[str], *, threads: int = 1
) -> dict[str, FloatArray]:
    """Return the cotangents of the wanted tensors.

    Parameters
    ----------
    graph : Graph
    values : dict of str to array
        What `run` returned for the same graph.
    seeds : dict of str to array
        Cotangents of the tensors the loss reads.
    wanted : iterable of str
        Initializers, the input, or any other tensor.
    threads : int
        The numbers do not depend on it.

    Returns
    -------
    dict of str to array
        One entry for each wanted name; zeros where the loss does not depend on it.
    """
    wanted = frozenset(wanted)
    active = downstream(graph, wanted)
    bars: dict[str, FloatArray] = dict(seeds)
    for node in reversed(graph.nodes):
        if not any(name in active for name in node.inputs) or not any(name in bars for name in node.outputs):
            continue
        operator = OPERATORS[node.op]
        outputs = tuple(values[name] for name in node.outputs if name in values)
        output_bars = tuple(bars.get(name, np.zeros_like(values[name])) for name in node.outputs if name in values)
        options: dict[str, Any] = {"threads": threads} if operator.threaded else {}
        if operator.selective:
            options["needs"] = tuple(name in active for name in node.inputs)
        single = len(outputs) == 1
        input_bars = operator.vjp(
            *_inputs(node, values),
            y=outputs[0] if single else outputs,
            y_bar=output_bars[0] if single else output_bars,
            **node.attrs,
            **options,
        )
        for name, bar in zip(node.inputs, input_bars, strict=True):
            if name in active and bar is not None:
                bars[name] = bars[name] + bar if name in bars else bar
    return {name: bars[name] if name in bars else np.zeros_like(values[name]) for name in wanted}


def downstream(graph: Graph, sources: Iterable[str]) -> frozenset[str]:
    """Return the tensors that depend on any of the sources, the sources included."""
    active = set(sources)
    for node in graph.nodes:
        if any(name in active for name in node.inputs):
            active.update(node.outputs)
    return frozenset(active)


def _inputs(node: Node, values: dict[str, Array]) -> list[Array | None]:
    return [values[name] if name else None for name in node.inputs]
