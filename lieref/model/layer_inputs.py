"""The directions in which the inputs of a layer are largest, and low ranks that start there: EVA.

A layer multiplies rows of its weight with columns x of its input: vectors, or patches of an image. With the second
moment C = sum x x^T the largest directions are the eigenvectors of its largest eigenvalues: the right singular vectors
of the matrix of all x [Paischer24, section 3], which that publication finds batch by batch. Here one batch is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model import executor
from lieref.model.graph import Graph, Node
from lieref.model.layer import RECURRENT_OPERATORS, Layer
from lieref.model.site import Site
from lieref.op.registry import OPERATORS

MORE = 8
"""Directions that are followed beside those wanted: what is wanted converges by the eigenvalue behind all of these."""

ROUNDS = 3
"""What two directions hold of C is then within 1.4e-3 of the most possible in every layer of ResNet-8 (5e-3 after two,
4e-4 after four); that the batch is one of 64 images costs up to 1e-2 of what they hold of 512."""


def waiting(sites: Iterable[Site]) -> list[Site]:
    """Return the sites that are to start from inputs and are not trained yet: B is zero, so that A changes nothing."""
    return [site for site in sites if site.method.wants_inputs and not site.params["lora_b"].any()]


def start_from_inputs(
    graph: Graph, sites: Iterable[Site], x: Array, generator: np.random.Generator, *, threads: int = 1
) -> list[str]:
    """Write the largest directions of the inputs of `waiting` sites into their A; return the owners that have none.

    These are the layers of recurrent nodes, whose inputs the graph does not hold, and inputs that are all zero.

    Parameters
    ----------
    graph : Graph
        Of the file, with the tensors as they are now.
    sites : iterable of Site
    x : array
        One batch, in the dtype of the graph's weights.
    generator : Generator
    threads : int
    """
    values = executor.run(graph, x, threads=threads)
    nodes, without = {node.name: node for node in graph.nodes}, []
    for site in waiting(sites):
        layer, a = site.layer, site.params["lora_a"]
        found = None
        if layer is not None and layer.op not in RECURRENT_OPERATORS:
            blocks = len(a) // site.params["lora_b"].shape[1]
            found = largest_directions(nodes[layer.node], layer, values, len(a) // blocks, blocks, generator)
        if found is None:
            without.append(site.owner)
        else:
            a[...] = found.reshape(a.shape)
    return without


# Derivation.  A layer is linear in its weight: y = L(x, W).  With rows V in the place of W, y_bar = L(x, V) is V x for
# every column x, and the cotangent of the weight is sum y_bar x^T = V sum x x^T = V C: the layer's own operator and its
# VJP multiply with C, whatever its strides, dilations and layout, and C is never stored.  Subspace iteration then makes
# V the largest eigenvectors: V <- orth(V C), and at the end those of the small matrix V C V^T.
def largest_directions(
    node: Node, layer: Layer, values: Mapping[str, Array], count: int, blocks: int, generator: np.random.Generator
) -> FloatArray | None:
    """Return the `count` largest directions of what each block of rows reads, (blocks, count, columns), orthonormal.

    None where the inputs are all zero. With one block for several conv groups it is the sum over these.
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
    _, turned = np.linalg.eigh(product @ v.swapaxes(1, 2))
    largest = turned[:, :, ::-1][:, :, :count]
    found: FloatArray = largest.swapaxes(1, 2) @ v
    return found


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


def _orthonormal(rows: FloatArray) -> FloatArray:
    """Return orthonormal rows of the same span, for every block."""
    q, _ = np.linalg.qr(rows.swapaxes(1, 2))
    return np.ascontiguousarray(q.swapaxes(1, 2))
