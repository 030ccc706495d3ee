"""A network as its exporter wrote it, in the plain form that everything behind the reader works on.

Split is slices, an If the branch that it takes, operators that others make up are those, constants are computed (also
weights behind Transpose, Reshape, Mul, Cast or Identity), Identity and Dropout are gone, shape arithmetic that does not
depend on the samples is a constant, the batch is free where the network allows it, a Softmax, Gelu, Softplus or
normalisation that is written out is one node, so is a Gather of numbers counted from the end, numbers that scale
factors of a product scale the product, zeros around what a convolution reads are its padding, and every layer has its
weight and bias in the plain form of `canonical`. Shapes are inferred and checked on the way. Each step is a function
from a graph to a graph that computes the same.

A constant made here is an initializer of the graph and none of the file; `Graph.made` says how the file gets it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, LierefError, ShapeError
from lieref.model.branch import IF, take_branch
from lieref.model.canonical import canonical_layers
from lieref.model.checked import EXPANDED
from lieref.model.graph import Graph, Made, Node
from lieref.model.half import without_widening
from lieref.model.indices import join_indices
from lieref.model.loosen import loosen, reshape_to, without_zero_states
from lieref.model.normalization import join_normalizations
from lieref.model.padding import join_padding
from lieref.model.plain_operators import plain_operators
from lieref.model.scale import scale_products
from lieref.model.shapes import infer_specs
from lieref.model.split import slices_for_split
from lieref.model.two_classes import join_two_classes
from lieref.model.written_out import join_written
from lieref.op.cast import DTYPES
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec

BATCHES = (5, 7)
"""Numbers of samples that shapes are inferred for: an extent that differs between them depends on the batch."""

LARGE_BATCH = 100_003
"""Of how many samples every one must come out: a network for any number of samples cuts none off."""

MOST_SIZES, MOST_SAMPLES = 8, 4096
"""So many sizes of a batch are tried at most, each takes an inference of all shapes; and so large ones."""

MOST_GROWTH = 2**20
"""A constant is computed ahead where it has at most so many elements, or no more than what it is computed from."""

USUAL_EXTENTS = (224, 64, 512)
"""Heights and widths that a network for any is tried with."""

FLOAT_TYPES = {"float32": 1, "float64": 11}
"""ONNX's numbers of the float types."""

INFINITE = frozenset({"ConstantOfShape", "Log", "ReduceMax", "ReduceMin"})
"""Operators that give infinities by intent: a value that a node says, and what ONNX says of zero and of nothing."""

TYPED = {"Cast": "to", "CastLike": "", "EyeLike": "dtype", "ConstantOfShape": "value"}
"""Operators that give a type of their own, and the attribute that says it."""


def simplify(graph: Graph, dtype: str = "float32") -> Graph:
    """Return the graph in plain form.

    Parameters
    ----------
    graph : Graph
        As read, the floats in the types of the file.
    dtype : str
        What it will be computed in. In "float64" written-out functions and numbers that follow from shapes stay as
        they are: a file of float32 has 1 / sqrt(2) of Gelu rounded, and its roots of sizes would be.

    Returns
    -------
    Graph
        The first extent of its input is None where any number of samples will do, else the one number that will.

    Raises
    ------
    LierefError
        Of the operator's own class if a node cannot take its inputs; the message names the node.
    """
    graph = without_widening(expand(graph))
    graph = drop_unread(plain_operators(without_zero_states(fold_constants(graph))))
    graph = free_batch(graph)
    _check_not_empty(graph)
    if dtype == "float64":
        graph = join_softmax(skip_copies(graph))
    else:
        graph = scale_products(join_written(join_softmax(skip_copies(fold_constants(graph)))))
    graph = drop_unread(join_normalizations(join_two_classes(join_indices(graph))))
    return drop_unread(canonical_layers(join_padding(graph)))


def expand(graph: Graph) -> Graph:
    """Return the graph with slices for each Split, and for each If the branch that it takes."""
    while node := next((node for node in graph.nodes if node.op in EXPANDED), None):
        batches = batches_of(graph)
        graph = take_branch(graph, node, batches) if node.op == IF else slices_for_split(graph, node, batches[0])
    return graph


def _check_not_empty(graph: Graph) -> None:
    """Raise `ShapeError` if the first output holds no number of a sample."""
    shape = infer_specs(graph, batches_of(graph)[0])[graph.outputs[0]].shape
    if 0 in shape:
        raise ShapeError(f"load: the output {graph.outputs[0]} must hold a number of each sample; got shape {shape}")


def fold_constants(graph: Graph) -> Graph:
    """Compute every node whose inputs are all constant, in the types of the file."""
    tensors, made = dict(graph.initializers), dict(graph.made)
    nodes = []
    for node in graph.nodes:
        value = _constant_value(node, tensors)
        if value is None:
            nodes.append(node)
        else:
            meant = node.op in INFINITE and not np.isnan(value).any()
            if not meant and not _is_finite(value) and all(_is_finite(tensors[name]) for name in node.inputs if name):
                raise DomainError(f"load: node {node.name}: its value must be finite; it holds a NaN or an infinity")
            tensors[node.outputs[0]] = value
            made[node.outputs[0]] = Made(value.dtype.name)
    return replace(graph, nodes=tuple(nodes), initializers=tensors, made=made)


def _is_finite(value: Array) -> bool:
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def _constant_value(node: Node, tensors: dict[str, Array]) -> Array | None:
    """Return what a node gives, None where that depends on the input or is large."""
    if not all(name in tensors for name in node.inputs if name):
        return None
    inputs = [tensors[name] if name else None for name in node.inputs]
    try:
        shape = OPERATORS[node.op].shape(*(None if a is None else TensorSpec.of(a) for a in inputs), **node.attrs).shape
        size = int(np.prod([extent or 0 for extent in shape]))
        if None in shape or size > max([MOST_GROWTH, *(a.size for a in inputs if a is not None)]):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(OPERATORS[node.op].forward(*inputs, **node.attrs))
    except LierefError as error:
        raise type(error)(f"load: node {node.name}: {error}") from error


def free_batch(graph: Graph) -> Graph:
    """Return the graph for any number of samples, or for the one that its input declares where no other works.

    Raises
    ------
    LierefError
        If a node cannot take its inputs.
    """
    declared = graph.inputs[0].shape[0] if graph.inputs[0].shape else None
    plain: Graph | LierefError
    try:
        plain = _constant_shapes(graph)
        if declared is None and _keeps_samples_apart(plain):
            return plain
    except LierefError as error:
        plain = error  # it may declare a free batch and hold shapes made for one sample
    sizes = _sizes_of_reshapes(graph) if declared is None else [declared]
    for size in sizes:
        with suppress(LierefError):
            specs = infer_specs(graph, size)
            freed = _constant_shapes(_with_batch(loosen(graph, specs, size), None))
            if _keeps_samples_apart(freed):
                return freed
    if not isinstance(plain, LierefError):
        return plain
    for size in sizes if declared is None else []:
        with suppress(LierefError):
            return _constant_shapes(_with_batch(graph, size))
    raise plain


def at_size(graph: Graph, shape: tuple[int, ...]) -> Graph:
    """Return the graph of a network that takes samples of any size for those of one: its shape arithmetic is constant.

    Parameters
    ----------
    graph : Graph
        In plain form, axes of its input free.
    shape : tuple of int
        Of one sample.

    Raises
    ------
    LierefError
        If a node cannot take its inputs.
    """
    info = graph.inputs[0]
    return drop_unread(_constant_shapes(replace(graph, inputs=(replace(info, shape=(info.shape[0], *shape)),))))


def at_some_size(graph: Graph) -> Graph:
    """Return the graph for samples of a usual size; itself where its input has no free axes, or no such size fits."""
    shape = graph.inputs[0].shape[1:]
    for extent in USUAL_EXTENTS if None in shape else ():
        with suppress(LierefError):
            return at_size(graph, tuple(extent if n is None else n for n in shape))
    return graph


def _sizes_of_reshapes(graph: Graph) -> list[int]:
    """Return the numbers of samples that the targets of Reshape may have been made for, one first."""
    targets = (graph.initializers.get(node.inputs[1]) for node in graph.nodes if node.op == "Reshape")
    first = [int(target.flat[0]) for target in targets if target is not None and target.size]
    return list(dict.fromkeys([1, *(size for size in first if 1 < size < MOST_SAMPLES)]))[:MOST_SIZES]


def _keeps_samples_apart(graph: Graph) -> bool:
    """Tell whether the first output grows with the batch."""
    batches = [*BATCHES]
    with suppress(LierefError):  # where the batch is merged with other axes, so many samples may be too large
        infer_specs(graph, LARGE_BATCH)
        batches.append(LARGE_BATCH)
    rows = [infer_specs(graph, batch)[graph.outputs[0]].shape[:1] for batch in batches]
    each = [row[0] / batch for row, batch in zip(rows, batches, strict=True) if row and row[0] is not None]
    return len(each) == len(batches) and len(set(each)) == 1


def batches_of(graph: Graph) -> tuple[int, int]:
    """Return two numbers of samples to infer shapes for; they are one where the graph takes only one."""
    fixed = graph.inputs[0].shape[0] if graph.inputs[0].shape else None
    return BATCHES if fixed is None else (fixed, fixed)


def _with_batch(graph: Graph, batch: int | None) -> Graph:
    info = graph.inputs[0]
    return replace(graph, inputs=(replace(info, shape=(batch, *info.shape[1:])),)) if info.shape else graph


def _constant_shapes(graph: Graph) -> Graph:
    """Make constants of shape arithmetic that is the same for any number of samples, and of the targets of Reshape.

    Raises
    ------
    LierefError
        If a node cannot take its inputs.
    """
    few, many = (infer_specs(graph, batch) for batch in batches_of(graph))
    tensors, made, targets, nodes = dict(graph.initializers), dict(graph.made), {}, []
    for node in graph.nodes:
        name = node.outputs[0]
        a, b = few[name], many[name]
        if a.value is not None and b.value is not None and np.array_equal(a.value, b.value):
            tensors[name], made[name] = a.value, Made(a.dtype.name)
            continue
        if node.op == "Reshape" and node.inputs[1] not in graph.initializers:
            moving = [axis for axis, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
            if None not in a.shape and 0 not in a.shape and len(moving) <= 1:
                targets[node.name] = np.array([-1 if axis in moving else n for axis, n in enumerate(a.shape)], np.int64)
        nodes.append(node)
    return reshape_to(replace(graph, nodes=tuple(nodes), initializers=tensors, made=made), targets)


def skip_copies(graph: Graph) -> Graph:
    """Leave out Identity and Dropout."""
    return _skip(graph, {node.name for node in graph.nodes if node.op in ("Identity", "Dropout")})


def _skip(graph: Graph, names: set[str]) -> Graph:
    """Leave out the nodes of these names: their readers read what they read."""
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if node.name in names:
            renamed[node.outputs[0]] = inputs[0]
        else:
            nodes.append(replace(node, inputs=inputs))
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def join_softmax(graph: Graph) -> Graph:
    """Write exp(z) / sum of exp(z) along one axis as a Softmax, which is its definition without the overflow."""
    nodes = []
    for node in graph.nodes:
        found = _written_softmax(graph, node)
        nodes.append(node if found is None else replace(node, op="Softmax", inputs=found[:1], attrs={"axis": found[1]}))
    return replace(graph, nodes=tuple(nodes))


def _written_softmax(graph: Graph, node: Node) -> tuple[str, int] | None:
    """Return the scores and the axis, where a node is the division of a softmax written out."""
    if node.op != "Div":
        return None
    above, below = (graph.producer(name) for name in node.inputs)
    if above is None or below is None or (above.op, below.op) != ("Exp", "ReduceSum"):
        return None
    axes = graph.initializers.get(below.inputs[1]) if len(below.inputs) > 1 else below.attrs.get("axes")
    over = [] if axes is None else [int(axis) for axis in np.ravel(np.asarray(axes))]
    if below.inputs[0] != above.outputs[0] or len(over) != 1 or not below.attrs.get("keepdims", 1):
        return None
    return above.inputs[0], over[0]


def drop_unread(graph: Graph) -> Graph:
    """Leave out the nodes and constants that no output depends on."""
    wanted = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(node.inputs)
    tensors = {name: value for name, value in graph.initializers.items() if name in wanted}
    made = {name: how for name, how in graph.made.items() if name in wanted}
    return replace(graph, nodes=tuple(nodes[::-1]), initializers=tensors, made=made)


def in_dtype(graph: Graph, dtype: np.dtype[np.floating]) -> Graph:
    """Return the graph with all its floats in one type: a network computes in float32 or in float64.

    Raises
    ------
    DomainError
        If a constant is too large for the type.
    """
    specs = infer_specs(graph, batches_of(graph)[0])
    casts = [node for node in graph.nodes if node.op in ("Cast", "CastLike")]
    graph = _skip(
        graph, {n.name for n in casts if specs[n.inputs[0]].dtype.kind == specs[n.outputs[0]].dtype.kind == "f"}
    )
    nodes = tuple(_typed(node, dtype) for node in graph.nodes)
    with np.errstate(over="ignore"):
        floats = {name: value for name, value in graph.initializers.items() if value.dtype.kind == "f"}
        changed = {name: value.astype(dtype, copy=False) for name, value in floats.items()}
    for name, value in changed.items():
        if _is_finite(graph.initializers[name]) and not _is_finite(value):
            raise DomainError(f"load: tensor {name} must hold numbers of {dtype}; one is too large")
    info = graph.inputs[0]
    info = replace(info, dtype=dtype.name) if np.dtype(info.dtype).kind == "f" else info
    graph = replace(graph, nodes=nodes, inputs=(info,)).with_initializers(changed)
    infer_specs(graph, batches_of(graph)[0])
    return graph


def _typed(node: Node, dtype: np.dtype[np.floating]) -> Node:
    """Return a node that gives floats of its own type as one that gives them in `dtype`."""
    name, said = TYPED.get(node.op, ""), _type_said(node)
    if said is None or np.dtype(said).kind != "f":
        return node
    value = node.attrs.get(name, np.zeros(1))
    number = value.astype(dtype) if isinstance(value, np.ndarray) else FLOAT_TYPES[dtype.name]
    return replace(node, attrs={**node.attrs, name: number})


def _type_said(node: Node) -> type | np.dtype[Any] | None:
    """Return the type that a node says its output has, None where it says none."""
    if node.op == "ConstantOfShape":
        value = node.attrs.get("value")
        return value.dtype if isinstance(value, np.ndarray) else np.float32
    number = node.attrs.get(TYPED.get(node.op, ""))
    return None if number is None else DTYPES[number]  # type: ignore[index]


def in_float64(graph: Graph) -> list[str]:
    """Return the names of the constants in float64, and of the nodes that say that their numbers are."""
    nodes = [node.name for node in graph.nodes if _type_said(node) == np.float64]
    return [*nodes, *(name for name, value in graph.initializers.items() if value.dtype == np.float64)]
