"""From ONNX nodes to layers: products of matrices that are activations, read and written where they stand.

The heads of an attention are channels of the pixels of one tensor, split by Reshape and Transpose. Such views are
tables of places: where the matrices in them are a fixed step apart, and neighbours in a row or a column are
neighbouring channels, the product reads them there, and nothing is moved.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from lieref._types import Array
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_views import held, view_of
from lieref.model.engine.lowered import LoweredGraph, Size, View, unsupported
from lieref.model.engine.strided import CHANNEL, NONE, BatchedProduct, Counts, Strided, strided
from lieref.model.graph import Node


def batched_product(net: LoweredGraph, node: Node) -> None:
    """MatMul of two tensors that are activations."""
    left, right = (view_of(net, node, position) for position in (0, 1))
    if min(len(left.shape), len(right.shape)) < 2 or left.shape[-1] != right.shape[-2]:
        raise unsupported(node, f"the factors must be matrices that fit; got shapes {left.shape} and {right.shape}")
    _name(net, node, _multiply(net, node, left, right, left.all_places, right.all_places))


def einsum(net: LoweredGraph, node: Node) -> None:
    """Einsum of two tensors that are activations.

    An index of both factors and the result numbers the matrices, one of both and not the result the terms of the sums,
    one of the first and the result their rows, one of the second and the result their columns.
    """
    equation = str(node.attrs["equation"]).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    indices = terms.split(",")
    if len(node.inputs) != 2 or len(indices) != 2 or any(max(Counter(t).values()) > 1 for t in (*indices, result)):
        raise unsupported(node, f"its equation must be of two tensors, no index twice in one; got {equation!r}")
    left, right = (view_of(net, node, position) for position in (0, 1))
    a, b = indices
    lead, inner = [i for i in a if i in b and i in result], [i for i in a if i in b and i not in result]
    rows, columns = [i for i in a if i not in b], [i for i in b if i not in a]
    if not arrow or "." in equation or sorted(result) != sorted([*lead, *rows, *columns]):
        raise unsupported(node, f"its equation must name the result and sum what both tensors have; got {equation!r}")
    sizes = dict(zip(a + b, left.shape + right.shape, strict=True))
    if left.shape != tuple(sizes[i] for i in a):
        raise unsupported(node, f"each index must have one size; got shapes {left.shape} and {right.shape}")

    def matrices(seen: View, own: str, *groups: list[str]) -> Array:
        ordered = seen.all_places.transpose([own.index(i) for group in groups for i in group])
        return ordered.reshape(*(sizes[i] for i in groups[0]), *(math.prod(sizes[i] for i in g) for g in groups[1:]))

    factors = matrices(left, a, lead, rows, inner), matrices(right, b, lead, inner, columns)
    found = _multiply(net, node, left, right, *factors)
    order = [*lead, *rows, *columns]
    full = found.all_places.reshape([sizes[i] for i in order]).transpose([order.index(i) for i in result])
    named = View.of(found.base, full, found.step)
    assert named is not None  # samples have kept their order
    _name(net, node, named)


def joins_as_scale(net: LoweredGraph, node: Node, constant: int, power: int = 1) -> bool:
    """Multiply a product by a constant number, or by its inverse, where it is made and nothing else reads it."""
    number, seen = net.graph.initializers.get(node.inputs[constant]), net.view(node.inputs[1 - constant])
    layer = None if seen is None else net.producer(seen.base)
    if number is None or seen is None or layer is None or layer.matrices is None or layer.clamp or layer.add:
        return False
    if number.size != 1 or number.ndim > len(seen.shape) or not net.read_only_by(seen.base, node):
        return False
    net.folded.add(node.inputs[constant])
    layer.matrices = replace(layer.matrices, alpha=layer.matrices.alpha * float(number.ravel()[0]) ** power)
    net.rename(layer, node, seen)
    return True


def _multiply(net: LoweredGraph, node: Node, left: View, right: View, a: Array, b: Array) -> View:
    """Append the products of matrices (..., rows, inner) and (..., inner, columns), given by places; return the result.

    Raises
    ------
    UnsupportedError
        If a matrix has numbers of several samples, or one of a sample meets one of another.
    """
    if net.flat:
        raise unsupported(node, "samples that are vectors have no matrices")
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError as error:
        raise unsupported(node, f"shapes {left.shape} and {right.shape} do not fit") from error
    owner = _owners(node, a // left.step, lead)
    if not np.array_equal(owner, _owners(node, b // right.step, lead)):
        raise unsupported(node, "matrices of one sample must not meet those of another")
    x, first = _matrices(net, node, left, np.broadcast_to(a, lead + a.shape[-2:])[owner == 0])
    other, second = _matrices(net, node, right, np.broadcast_to(b, lead + b.shape[-2:])[owner == 0])
    counts = Counts(int((owner == 0).sum()), 1, a.shape[-2], a.shape[-1], b.shape[-1])
    size, places = _result(net, node, (counts.matrices, counts.rows, counts.columns))
    third = strided(places, size)
    assert third is not None  # as it was made
    layer = FusedLayer("batched_product", x, f"{node.outputs[0]}.matrices", Window(), size[0], others=(other,))
    layer.matrices = BatchedProduct(counts, first, second, third)
    net.layers.append(layer)
    net.sizes[layer.out] = size
    # The matrices of each sample are in the order of their owners.
    number, step = np.empty(owner.shape, np.int64), places.size
    for sample in np.unique(owner):
        number[owner == sample] = np.arange(counts.matrices)
    found = View.of(layer.out, places[number] + owner[..., None, None] * step, step)
    assert found is not None  # all samples have as many matrices
    return found


def _name(net: LoweredGraph, node: Node, seen: View) -> None:
    """Let a view be the output of a node."""
    (out,) = node.outputs
    net.views[out] = seen
    if seen.full is None:
        net.shapes[out] = seen.places.shape


def _owners(node: Node, samples: Array, lead: tuple[int, ...]) -> Array:
    """Return which sample each matrix is of, given that of each number."""
    owner = samples[..., :1, :1]
    if (samples != owner).any():
        raise unsupported(node, "a matrix must be of one sample")
    return np.broadcast_to(owner[..., 0, 0], lead)


def _matrices(net: LoweredGraph, node: Node, seen: View, places: Array) -> tuple[str, Strided]:
    """Return the tensor that holds matrices, and how they stand in it: moved where a kernel cannot take them."""
    alone = places[:1] if (places == places[:1]).all() else places
    found = strided(places, net.sizes[seen.base])
    met = np.zeros(math.prod(net.sizes[seen.base]), bool)
    met[alone] = True
    if found is None or CHANNEL not in (found.row, found.column) or np.count_nonzero(met) < alone.size:
        base = held(net, node, (seen.base,), alone.transpose(2, 0, 1), exact=True)
        own = strided(_rows(alone.shape), net.sizes[base])
        assert own is not None  # as it was moved
        return base, replace(own, matrix=own.matrix if len(alone) > 1 else NONE)
    return seen.base, found


def _rows(shape: tuple[int, ...]) -> Array:
    """Return the places of matrices whose columns are channels, and each row a pixel."""
    matrices, rows, columns = shape
    return np.arange(math.prod(shape)).reshape(columns, matrices, rows).transpose(1, 2, 0)


def _result(net: LoweredGraph, node: Node, shape: tuple[int, int, int]) -> tuple[Size, Array]:
    """Return the size of the tensor for a result, and the places of its matrices.

    They are rows, or, where all that follows puts the rows of several matrices side by side, channels of its pixels.
    """
    matrices, rows, columns = shape
    readers = net.graph.consumers(node.outputs[0])
    if matrices > 1 and readers and all(_joins_heads(reader) for reader in readers):
        order = np.arange(math.prod(shape)).reshape(matrices, columns, rows).transpose(0, 2, 1)
        return (matrices * columns, 1, rows), order
    return (columns, matrices, rows), _rows(shape)


def _joins_heads(reader: Node) -> bool:
    """Return whether a node puts rows before matrices, and leaves columns where they are."""
    order = reader.attrs.get("perm") if reader.op == "Transpose" else None
    if not isinstance(order, (list, tuple)) or len(order) < 3:
        return False
    last = len(order) - 1
    return order[-1] == last and order[-2] != last - 1
