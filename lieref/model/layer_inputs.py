"""What a layer reads, and low ranks that start from it: EVA and CorDA.

A layer multiplies rows of its weight with columns x of its input: vectors, or patches of an image. With the second
moment C = sum x x^T the largest directions are the eigenvectors of its largest eigenvalues: the right singular vectors
of the matrix of all x [Paischer24, section 3], which that publication finds batch by batch, and PEFT for x without its
mean. CorDA decomposes W C (`lieref.param.corda`). Here one batch is read, as it is; of a weight that several nodes
share, what the first of them reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from lieref._check import check_finite
from lieref._types import Array, FloatArray, Params
from lieref.errors import LierefWarning
from lieref.model import executor
from lieref.model.attaching import listed
from lieref.model.graph import Graph, Node
from lieref.model.layer import RECURRENT_OPERATORS, Layer
from lieref.model.redistribution import redistributed
from lieref.model.site import Site
from lieref.op.registry import OPERATORS
from lieref.param.combination import Combination
from lieref.param.principal import Principal
from lieref.param.starts import KEEPS

MORE = 8
"""Directions that are followed beside those wanted: what is wanted converges by the eigenvalue behind all of these."""

ROUNDS = 3
"""What two directions hold of C is then within 1.4e-3 of the most possible in every layer of ResNet-8 (5e-3 after two,
4e-4 after four); that the batch is one of 64 images costs up to 1e-2 of what they hold of 512."""


MOST_COLUMNS = 8192
"""Of a weight whose C is made: more take over 512 MiB for it, and as much again for each of its products."""

ROWS = 64
"""Rows of C that are made at once: a layer of as many outputs takes as much memory in a step of training."""


def waiting(sites: Iterable[Site]) -> list[Site]:
    """Return the sites that are to start from inputs, have not been started for good and are not trained yet."""
    return [site for site in sites if site.method.wants_inputs and not site.started and not _moved(site.params)]


def waiting_for_others(sites: Iterable[Site]) -> list[Site]:
    """Return those of them that are to keep what the network does with inputs which no training set holds."""
    return [site for site in waiting(sites) if (recipe := _principal(site)) and recipe.start == KEEPS]


class Directions(NamedTuple):
    """The largest directions of what a layer reads, (blocks, count, columns), and what each holds of the whole."""

    rows: FloatArray
    shares: FloatArray


def start_from_inputs(
    graph: Graph, sites: Mapping[str, Site], x: Array, generator: np.random.Generator, *, threads: int = 1
) -> tuple[dict[str, int], dict[str, Site]]:
    """Start the factors of the sites that are `waiting` from the inputs of their layers.

    A warning names those that keep theirs: layers of recurrent nodes, whose inputs the graph does not hold, layers that
    read zeros alone, and for CorDA weights of more than `MOST_COLUMNS` columns. A failed call changes nothing.

    Parameters
    ----------
    graph : Graph
        Of the file, with the tensors as they are now.
    sites : mapping of str to Site
        By tensor.
    x : array
        One batch, in the dtype of the graph's weights.
    generator : Generator
    threads : int

    Returns
    -------
    ranks : dict of str to int
        Of the sites whose ranks move; empty where none do.
    moved : dict of str to Site
        All sites with other ranks for these, without those that have none left, none of them one of `sites`; empty
        where no ranks move.

    Raises
    ------
    DomainError
        If an input of a layer, or its second moment, is not finite.
    """
    values = executor.run(graph, x, threads=threads)
    nodes = {node.name: node for node in graph.nodes}
    found = [(site, _start(site, nodes, values, generator)) for site in waiting(sites.values())]
    moving: dict[str, Directions] = {}
    for site, start in found:
        if isinstance(start, Directions):
            moving[site.tensor] = start
            continue
        for name, factor in (start or {}).items():
            site.params[name][...] = factor.reshape(site.params[name].shape)
    without = [site.owner for site, start in found if start is None]
    if without:
        why = f"what they read is zero, is not in the graph, or has more than {MOST_COLUMNS:,} columns"
        text = f"start_from_inputs: {listed(without)} keep the start they had: {why}"
        warnings.warn(text, LierefWarning, stacklevel=3)
    return _redistributed(sites, moving)


def _redistributed(
    sites: Mapping[str, Site], moving: Mapping[str, Directions]
) -> tuple[dict[str, int], dict[str, Site]]:
    if not moving:
        return {}, {}
    budget = sum(sites[tensor].params["lora_b"].shape[1] for tensor in moving)
    counts = redistributed([found.shares for found in moving.values()], budget)
    ranks = dict(zip(moving, counts, strict=True))
    moved = {}
    for tensor, site in sites.items():
        if tensor not in ranks:
            moved[tensor] = replace(site, params=dict(site.params))
        elif ranks[tensor]:
            method, params = site.method.along(site.params, moving[tensor].rows[:, : ranks[tensor]])
            moved[tensor] = replace(site, method=method, params=params)
    return ranks, moved


def _moved(params: Params) -> bool:
    """Tell whether a step of training has moved the factors: B from zero, or both from where they count from."""
    if "start_b" not in params:
        return bool(params["lora_b"].any())
    return any(not np.array_equal(params[f"lora_{name}"], params[f"start_{name}"]) for name in "ab")


def _principal(site: Site) -> Principal | None:
    recipe = site.method.parameterisation if isinstance(site.method, Combination) else None
    return recipe if isinstance(recipe, Principal) else None


def _start(
    site: Site, nodes: Mapping[str, Node], values: Mapping[str, Array], generator: np.random.Generator
) -> Params | Directions | None:
    """Return the factors that a site starts at, or directions of which it gets as many as others leave it.

    None where the inputs of its layer do not say any.
    """
    layer, a = site.layer, site.params["lora_a"]
    if layer is None or layer.op in RECURRENT_OPERATORS:
        return None
    node = nodes[layer.node]
    check_finite("start_from_inputs", f"inputs of {layer.node}", values[node.inputs[1 - layer.position]])
    blocks = len(a) // site.params["lora_b"].shape[1]
    if (recipe := _principal(site)) is None:
        count, moves = site.method.directions(site.params)
        found = largest_directions(node, layer, values, count, blocks, generator)
        return found if found is None or moves else {"lora_a": found.rows}
    if a.shape[1] > MOST_COLUMNS:
        return None
    moments = second_moments(node, layer, values, blocks)
    return None if moments is None else recipe.started_from(moments, site.canonical(values[layer.weight]))


# Derivation.  A layer is linear in its weight: y = L(x, W).  With rows V in the place of W, y_bar = L(x, V) is V x for
# every column x, and the cotangent of the weight is sum y_bar x^T = V sum x x^T = V C: the layer's own operator and its
# VJP multiply with C, whatever its strides, dilations and layout, and C is never stored.  Subspace iteration then makes
# V the largest eigenvectors: V <- orth(V C), and at the end those of the small matrix V C V^T.
def largest_directions(
    node: Node, layer: Layer, values: Mapping[str, Array], count: int, blocks: int, generator: np.random.Generator
) -> Directions | None:
    """Return the `count` largest directions of what each block of rows reads, orthonormal.

    None where the inputs are all zero. With one block for several conv groups it is the sum over these. A share is the
    eigenvalue, the sum over blocks, over the trace of C.
    """
    per_group = (layer.shape[0] // layer.groups, *layer.shape[1:])
    columns = int(np.prod(per_group[1:]))
    rows = min(count + MORE, columns)
    v = _orthonormal(generator.standard_normal((blocks, rows, columns)))
    product = v
    for _ in range(ROUNDS):
        product = _times_moment(node, layer, values, v)
        if not product.any():
            return None
        v = _orthonormal(product)
    product = _times_moment(node, layer, values, v)
    held, turned = np.linalg.eigh(product @ v.swapaxes(1, 2))
    largest = turned[:, :, ::-1][:, :, :count]
    total = _trace(node, layer, values)
    return Directions(largest.swapaxes(1, 2) @ v, held[:, ::-1][:, :count].sum(axis=0) / total)


def second_moments(node: Node, layer: Layer, values: Mapping[str, Array], blocks: int) -> FloatArray | None:
    """Return C of what each block of rows reads, (blocks, columns, columns), symmetric; None where all are zero.

    With one block for several conv groups it is the sum over these.

    Raises
    ------
    DomainError
        If it is not finite.
    """
    columns = int(np.prod(layer.shape[1:]))
    eye = np.broadcast_to(np.eye(columns), (blocks, columns, columns))
    parts = [_times_moment(node, layer, values, eye[:, at : at + ROWS]) for at in range(0, columns, ROWS)]
    moments = np.concatenate(parts, axis=1)
    check_finite("start_from_inputs", f"second moment of the inputs of {layer.node}", moments)
    return (moments + moments.swapaxes(1, 2)) / 2 if moments.any() else None


def _times_moment(node: Node, layer: Layer, values: Mapping[str, Array], v: FloatArray) -> FloatArray:
    """Return V C of every block."""
    kernel = layer.shape[1:]
    each = np.broadcast_to(v[:, None], (len(v), layer.groups // len(v), *v.shape[1:]))
    weight = each.reshape(-1, *kernel).astype(values[layer.weight].dtype)
    inputs = [values[name] for name in node.inputs[:2]]  # without the bias
    inputs[layer.position] = np.ascontiguousarray(layer.from_canonical(weight))
    operator = OPERATORS[node.op]
    y = operator.forward(*inputs, **node.attrs)
    needs = {"needs": tuple(place == layer.position for place in range(2))} if operator.selective else {}
    bar = cast(Array, operator.vjp(*inputs, y=y, y_bar=y, **node.attrs, **needs)[layer.position])
    product: FloatArray = layer.to_canonical(bar).reshape(each.shape).astype(np.float64).sum(axis=1)
    return product


def _trace(node: Node, layer: Layer, values: Mapping[str, Array]) -> float:
    """Return the sum of |x|^2 over all columns x: the layer of ones on the squares of its input."""
    ones = np.ones((layer.groups, *layer.shape[1:]), values[layer.weight].dtype)
    inputs = [values[name] for name in node.inputs[:2]]
    inputs[1 - layer.position] = np.square(inputs[1 - layer.position])
    inputs[layer.position] = np.ascontiguousarray(layer.from_canonical(ones))
    y = cast(Array, OPERATORS[node.op].forward(*inputs, **node.attrs))
    factor = node.attrs.get("alpha", 1.0)  # of a Gemm: C has its square
    return float(y.sum(dtype=np.float64)) * (float(factor) if isinstance(factor, (int, float)) else 1.0)


def _orthonormal(rows: FloatArray) -> FloatArray:
    """Return orthonormal rows of the same span, for every block."""
    q, _ = np.linalg.qr(rows.swapaxes(1, 2))
    return np.ascontiguousarray(q.swapaxes(1, 2))
