"""Which of a network's outputs are meant: the first of the graph, wherever they stand in the file.

Where several are trained at once, the losses read one row of numbers a sample: the scores of each, side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from lieref._check import check_real
from lieref.errors import DomainError, LierefError
from lieref.model.canonical import free_name
from lieref.model.engine.lowered import rows_shape
from lieref.model.graph import Graph, Node
from lieref.model.samples_axis import samples_first
from lieref.model.scores import logits_name
from lieref.model.shapes import infer_specs
from lieref.model.simplify import at_size, at_some_size

SAMPLES = 3
"""For how many samples shapes are inferred where any number will do."""


def weights_of(output: str | Mapping[str, float] | None) -> dict[str, float]:
    """Return the outputs asked for with their weights; none for None.

    Raises
    ------
    DomainError, DTypeError
        If none is named, or a weight is no number above zero.
    """
    if output is None:
        return {}
    if isinstance(output, str):
        return {output: 1.0}
    weights = {str(name): check_real("load", f"output {name}", weight, above=0.0) for name, weight in output.items()}
    if not weights:
        raise DomainError("load: `output` must name an output; got none")
    return weights


def with_first_outputs(graph: Graph, outputs: Iterable[str]) -> Graph:
    """Return the graph with these outputs before all others.

    Raises
    ------
    DomainError
        If it has no output of that name; the message lists those it has.
    """
    first = tuple(outputs)
    unknown = [name for name in first if name not in graph.outputs]
    if unknown:
        raise DomainError(f"load: `output` must be one of {', '.join(graph.outputs)}; got {unknown[0]!r}")
    return replace(graph, outputs=(*first, *(name for name in graph.outputs if name not in first)))


def scores_names(graph: Graph, count: int, final: str) -> list[str]:
    """Return the tensors that the losses read of the first `count` outputs; see `logits_name`."""
    return [logits_name(replace(graph, outputs=(name,)), final) for name in graph.outputs[:count]]


def with_row(graph: Graph, scores: Sequence[str]) -> tuple[Graph, str]:
    """Return the graph with nodes that put several tensors into one row a sample, and that row's name."""
    whole = free_name(graph, "scores of all outputs")
    rows = [free_name(graph, f"{name}: row {number}") for number, name in enumerate(scores)]
    nodes = [Node(row, "Flatten", (name,), (row,), {"axis": 1}) for row, name in zip(rows, scores, strict=True)]
    joined = Node(whole, "Concat", tuple(rows), (whole,), {"axis": 1})
    return replace(graph, nodes=(*graph.nodes, *nodes, joined)), whole


def shapes_of_others(graph: Graph, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of one sample of each output behind the first, where it is known.

    Parameters
    ----------
    graph : Graph
        In plain form.
    names : tuple of str
        The file's names of all its outputs, in the graph's order.
    """
    with suppress(LierefError):  # a free size that none of the usual ones fits
        graph, first, _ = samples_first(graph, graph.outputs[1:])
        specs = infer_specs(at_some_size(graph), graph.inputs[0].shape[0] or SAMPLES)
        shapes = {name: specs[tensor].shape[1:] for name, tensor in zip(names[1:], first, strict=True)}
        return {name: tuple(n for n in shape if n) for name, shape in shapes.items() if None not in shape}
    return {}


def shapes_of_scores(graph: Graph, sample: tuple[int, ...], scores: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of tensors for one sample of this shape, as the losses read them; see `as_rows`."""
    graph, first, _ = samples_first(graph, scores)
    sized = at_size(graph, sample) if None in graph.inputs[0].shape[1:] else graph
    specs = infer_specs(sized, graph.inputs[0].shape[0] or SAMPLES)
    return tuple(rows_shape(tuple(n for n in specs[name].shape[1:] if n is not None)) for name in first)
