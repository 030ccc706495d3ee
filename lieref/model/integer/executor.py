"""Running a quantised network, exact to the bit in named semantics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DTypeError, ShapeError, UnsupportedError
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor
from lieref.model.integer.step import Step
from lieref.model.integer.steps import STEPS
from lieref.op.integer.semantics import Semantics, semantics

CHUNK = 32
"""Most samples run at once: what they need stays within some tens of megabytes for networks of microcontrollers."""
ELEMENTS = 1 << 22
"""Most numbers in a tensor of several samples: of larger images fewer are run at once."""


def run(graph: IntegerGraph, x: Array, how: str | Semantics, *, told: Callable[[int], object] | None = None) -> Array:
    """Return the network's only output for samples of its only input.

    Parameters
    ----------
    graph : IntegerGraph
    x : (N, ...) array of the input's type
    how : str or Semantics
        A key of `lieref.op.integer.semantics.SEMANTICS`, or a value of one's own.
    told : callable, optional
        Called with the number of samples that are done, some of them at a time.

    Raises
    ------
    UnsupportedError
        If the network has several inputs or outputs (`run_all` takes them), is made for several samples at once that it
        mixes, or has an operation that does not run.
    DTypeError, ShapeError
        If the samples do not fit the input.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        got = f"{len(graph.inputs)} and {len(graph.outputs)}"
        raise UnsupportedError(f"run: the network must have one input and one output; got {got}")
    x = np.asarray(x)
    _check(graph.tensors[graph.inputs[0]], x)
    if not len(x):
        one = np.zeros((1, *x.shape[1:]), x.dtype)
        return run(graph, one, how)[:0]
    chunk, parts = _chunk(graph), []
    for first in range(0, len(x), chunk):
        parts.append(run_all(graph, {graph.inputs[0]: x[first : first + chunk]}, how)[graph.outputs[0]])
        if told is not None:
            told(min(first + chunk, len(x)))
    return np.concatenate(parts)


def run_all(graph: IntegerGraph, fed: dict[str, Array], how: str | Semantics) -> dict[str, Array]:
    """Return every tensor that the network computes, by name, for these inputs.

    Parameters
    ----------
    graph : IntegerGraph
    fed : dict of str to array
        One array of samples for each input. Other tensors of the network may be fed too: what is fed is not computed.
    how : str or Semantics

    Returns
    -------
    dict of str to array
        Inputs and computed tensors.

    Raises
    ------
    UnsupportedError
        If an operation does not run.
    DTypeError, ShapeError
        If an array does not fit its tensor.
    """
    chosen = semantics(how) if isinstance(how, str) else how
    for name in graph.inputs:
        _check(graph.tensors[name], fed[name])
    values = {name: np.asarray(value) for name, value in fed.items()}
    for node in graph.nodes:
        if any(name not in values for name in node.outputs):
            values[node.outputs[0]] = run_node(graph, node, values, chosen)
    return values


def run_node(graph: IntegerGraph, node: IntegerNode, values: dict[str, Array], how: Semantics) -> Array:
    """Return the output of one node, with `values` for what is computed before it."""
    if node.op not in STEPS:
        raise UnsupportedError(f"run: node {node.name} must be one of {', '.join(STEPS)}; got {node.op}")
    inputs = tuple(values.get(name, graph.tensors[name].data) if name else None for name in node.inputs)
    return STEPS[node.op](Step(graph, node, how, inputs))


def _check(tensor: IntegerTensor, x: Array) -> None:
    if x.dtype != np.dtype(tensor.dtype):
        raise DTypeError(f"run: {tensor.name} must be {tensor.dtype}; got {x.dtype}")
    free = tuple(n if i and n is not None else m for i, (n, m) in enumerate(zip(tensor.shape, x.shape, strict=False)))
    if x.ndim != len(tensor.shape) or x.shape != free:
        raise ShapeError(f"run: {tensor.name} must have shape (N, *{tensor.shape[1:]}); got {x.shape}")


def _chunk(graph: IntegerGraph) -> int:
    """Return how many samples run at once.

    Raises
    ------
    UnsupportedError
        If the file is for several samples and works across them.
    """
    outputs = [graph.tensors[name] for node in graph.nodes for name in node.outputs]
    shape = graph.tensors[graph.inputs[0]].shape
    if _keeps_samples_apart(graph):
        largest = max(math.prod(n or 1 for n in tensor.shape[1:]) for tensor in outputs)
        return max(1, min(CHUNK, ELEMENTS // largest))
    if shape[:1] not in ((1,), (None,)):
        raise UnsupportedError(
            f"run: the network must take one sample at a time, or keep several apart; got one for {shape[0]} that it "
            "mixes: convert it with a batch of 1"
        )
    return 1


def _keeps_samples_apart(graph: IntegerGraph) -> bool:
    """Return whether the first axis counts the samples in every tensor, so that any number runs at once."""
    shape = graph.tensors[graph.inputs[0]].shape
    outputs = [graph.tensors[name] for node in graph.nodes for name in node.outputs]
    return (
        all(len(tensor.shape) > 1 and tensor.shape[0] == shape[0] for tensor in outputs)
        and len(shape) > 1
        and not any(_mixes(graph, node) for node in graph.nodes)
    )


def _mixes(graph: IntegerGraph, node: IntegerNode) -> bool:
    """Return whether a node works along the first axis."""
    of: dict[str, Any] = node.attributes
    if node.op == "Mean":
        return 0 in of["axes"]
    if node.op == "Concat":
        return of["axis"] == 0 or any(graph.tensors[name].is_constant for name in node.inputs)
    if node.op == "Transpose":
        return bool(of["axes"][0] != 0)
    if node.op == "Slice":
        return graph.tensors[node.inputs[0]].shape[0] is not None
    if node.op in ("Add", "Sub", "Mul", "Maximum", "Minimum"):  # one constant must serve all samples
        axes = len(graph.tensors[node.outputs[0]].shape)
        sides = [graph.tensors[name] for name in node.inputs if graph.tensors[name].is_constant]
        return any(len(tensor.shape) == axes and tensor.shape[0] != 1 for tensor in sides)
    return node.op == "Pad" and bool(of["before"][0] or of["after"][0])
