"""Sequence networks drawn at random: samples on any axis, tensors in any order, constants and tensors of any shape."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lieref.model.engine.lower_views import VIEWS
from lieref.model.graph import Graph
from tests.model.engine.networks import net_axes, net_bool, net_const
from tests.model.engine.random_layers import attention, images, index_product, positions, recur
from tests.model.engine.sequence import BATCHES, Sequence, constant, net_number, weight

FUNCTIONS = (
    "Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Softplus", "Erf", "Gelu", "Abs", "Sin", "Softsign",
    "Neg", "Identity", "Atan", "Swish",
)  # fmt: skip


def transpose(net):
    return net.attempt("Transpose", net.last, perm=tuple(map(int, net.rng.permutation(len(net.shape_of())))))


def merge(net):
    """Two or more neighbouring axes as one."""
    shape, mixed = net.shape_of(), net.samples()
    if len(shape) < 2:
        return False
    start = net.below(0, len(shape) - 1)
    end = net.below(start + 2, len(shape) + 1)
    wanted = [*shape[:start], math.prod(shape[start:end]), *shape[end:]]
    behind = start if any(start <= axis < end for axis in mixed) else mixed[0] if mixed else 0
    behind = behind if behind <= start else behind - (end - start) + 1
    wanted[behind] = -1
    return net.attempt("Reshape", net.last, net_axes(net, *wanted))


def split(net):
    """One axis as two."""
    shape, mixed = net.shape_of(), net.samples()
    axis = net.below(0, len(shape))
    whole = shape[axis] // BATCHES[0] if axis in mixed else shape[axis]
    part = net.pick(*(n for n in range(1, whole + 1) if whole % n == 0))
    pair = [shape[axis] // part, part] if net.chance(0.5) else [part, shape[axis] // part]
    wanted = [*shape[:axis], *pair, *shape[axis + 1 :]]
    if axis in mixed:
        wanted[axis if pair[0] != part or (part == 1 and pair[0] > 1) else axis + 1] = -1
    elif mixed:
        wanted[mixed[0] + (mixed[0] > axis)] = -1
    return net.attempt("Reshape", net.last, net_axes(net, *wanted))


def back(net, name=None):
    """Samples on an axis of their own moved to the first."""
    name = name or net.last
    mixed = net.samples(name)
    if len(mixed) != 1 or net.shape_of(name)[mixed[0]] != BATCHES[0] or mixed == [0]:
        return False
    order = [mixed[0], *(axis for axis in range(len(net.shape_of(name))) if axis != mixed[0])]
    return net.attempt("Transpose", name, perm=tuple(order))


def cut(net):
    """A slice along some axes, forwards or backwards."""
    axes = [axis for axis in net.others() if net.chance(0.6)]
    if not axes:
        return False
    starts, ends, steps = [], [], []
    for extent in (net.shape_of()[axis] for axis in axes):
        start = net.below(0, extent)
        if net.chance(0.25):
            starts, ends, steps = (
                [*starts, start - net.pick(0, extent)],
                [*ends, -extent - 1],
                [*steps, -net.below(1, 3)],
            )
        else:
            end = net.below(start + 1, extent + 1)
            starts, ends, steps = [*starts, start], [*ends, end], [*steps, net.pick(1, 1, 2, 3)]
    return net.attempt("Slice", net.last, *(net_axes(net, *values) for values in (starts, ends, axes, steps)))


def take(net):
    """Some places of an axis: one, several, in a matrix, some twice, counted from either end."""
    if not net.others():
        return False
    axis = net.pick(*net.others())
    extent = net.shape_of()[axis]
    shape = net.pick((), (), (net.below(1, 5),), (extent,), (2, net.below(1, 3)))
    name = net_axes(net)
    net.init[name] = np.asarray(net.rng.integers(-extent, extent, shape))
    return net.attempt("Gather", net.last, name, axis=axis - net.pick(0, len(net.shape_of())))


def squeeze(net):
    ones = [axis for axis in net.others() if net.shape_of()[axis] == 1]
    if ones and net.chance(0.7):
        chosen = [axis for axis in ones if net.chance(0.7)] or ones[:1]
        return net.attempt("Squeeze", net.last, net_axes(net, *chosen))
    rank = len(net.shape_of()) + 1
    return net.attempt("Unsqueeze", net.last, net_axes(net, net.below(-rank, rank)))


def repeat(net):
    shape, mixed = net.shape_of(), net.samples()
    if net.chance(0.5):
        times = [1 if axis in mixed else net.pick(1, 1, 2, 3) for axis in range(len(shape))]
        return net.attempt("Tile", net.last, net_axes(net, *times))
    wide = [net.below(2, 4) if n == 1 and axis not in mixed else 1 for axis, n in enumerate(shape)]
    return net.attempt("Expand", net.last, net_axes(net, *([1] * net.pick(0, 0, 1)), *wide))


def join(net):
    """Tensors, or a constant, side by side along any axis."""
    if not net.others():
        return False
    axis, shape = net.pick(*net.others()), net.shape_of()
    fits = [
        name for name in net.floats()
        if len(net.shape_of(name)) == len(shape) and net.samples(name) == net.samples()
        and all(n == m for i, (n, m) in enumerate(zip(net.shape_of(name), shape, strict=True)) if i != axis)
    ]  # fmt: skip
    names = [net.last, *(net.pick(*fits) for _ in range(net.below(0, 3)))]
    if not fits:
        return False
    return net.attempt("Concat", *map(str, net.rng.permutation(names)), axis=axis - net.pick(0, len(shape)))


def linear(net):
    """A product with a constant matrix on either side, and a bias."""
    shape, mixed = net.shape_of(), net.samples()
    wide = net.pick(1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
    last = len(shape) - 1
    if last in mixed:
        return False
    if len(shape) == 2 and net.chance(0.5):
        turned = net.below(0, 2)
        matrix = weight(net, *((wide, shape[-1]) if turned else (shape[-1], wide)))
        bias = [constant(net, (wide,), low=0, high=1)] if net.chance(0.7) else []
        return net.attempt("Gemm", net.last, matrix, *bias, transB=turned)
    if len(shape) > 2 and net.chance(0.15) and last - 1 not in mixed:
        return net.attempt("MatMul", weight(net, wide, shape[-2]), net.last)
    if not net.attempt("MatMul", net.last, weight(net, shape[-1], wide)):
        return False
    if net.chance(0.6):
        net.attempt("Add", *net.rng.permutation([net.last, constant(net, (wide,), low=0, high=1)]))
    return True


def product(net):
    """A product of two activations, scaled or not."""
    rank = len(net.shape_of())
    fits = [name for name in net.floats() if len(net.shape_of(name)) == rank and rank > 1]
    if not fits:
        return False
    x, other = net.last, net.pick(*fits)
    swap = (*range(rank - 2), rank - 1, rank - 2)
    kind = net.pick("plain", "left", "right")
    if kind != "plain" and net.attempt("Transpose", other, perm=swap):
        other = net.last
    pair = (other, x) if kind == "left" else (x, other)
    if not net.attempt("MatMul", *pair):
        return False
    last = net.shape_of(pair[0])[-1]
    return net.attempt(net.pick("Div", "Mul"), net.last, net_const(net, net.pick(1.5, 0.3, math.sqrt(last))))


def attend(net):
    """Masked attention of a tensor (N, T, D) to itself, by heads."""
    shape = net.shape_of()
    if len(shape) != 3 or not net.first():
        return False
    _, places, depth = shape
    heads = net.pick(*(n for n in range(1, depth + 1) if depth % n == 0))
    x, parts = net.last, []
    for _ in range(3):
        net.attempt("MatMul", x, weight(net, depth, depth))
        net.attempt("Reshape", net.last, net_axes(net, net.pick(0, -1), places, heads, depth // heads))
        parts.append(net.last)
    query, key, value = parts
    net.attempt("Transpose", query, perm=(0, 2, 1, 3))
    query = net.last
    net.attempt("Transpose", key, perm=(0, 2, 3, 1))
    if not net.attempt("MatMul", query, net.last):
        return False
    net.attempt("Mul", net.last, net_const(net, 1 / math.sqrt(depth // heads)))
    kind, scores = net.pick("none", "triangle", "choice", "sum"), net.last
    seen = np.tril(np.ones((places, places), bool)).reshape(*([1] * net.pick(0, 1, 2)), places, places)
    if kind == "choice":
        scores = net.note("Where", net_bool(net, seen), scores, net_const(net, -np.inf))
    elif kind != "none":
        low = -np.inf if kind == "triangle" else -1e4
        scores = net.note("Add", scores, net_const(net, np.where(seen, 0.0, low)))
    net.attempt("Softmax", scores, axis=net.pick(-1, 3))
    probabilities = net.last
    if kind != "none":
        for values in net.values:  # nothing else may read what is infinite or large
            values.pop(scores)
    net.attempt("Transpose", value, perm=(0, 2, 1, 3))
    net.attempt("MatMul", probabilities, net.last)
    net.attempt("Transpose", net.last, perm=(0, 2, 1, 3))
    return net.attempt("Reshape", net.last, net_axes(net, -1, places, depth))


def normalise(net):
    shape, free = net.shape_of(), net.others()
    op = net.pick("Softmax", "Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "Instance", "Group")
    if "Softmax" in op:
        return bool(free) and net.attempt(op, net.last, axis=net.pick(*free) - net.pick(0, len(shape)))
    if op in ("Instance", "Group"):
        if not net.first() or len(shape) < 3:
            return False
        vectors = [constant(net, shape[1:2]), constant(net, shape[1:2], low=0)]
        groups = net.pick(*(g for g in range(1, shape[1] + 1) if shape[1] % g == 0))
        attrs = {"num_groups": groups} if op == "Group" else {}
        return net.attempt(f"{op}Normalization", net.last, *vectors, epsilon=0.1, **attrs)
    start = max(net.samples(), default=-1) + 1
    if start >= len(shape):
        return False
    axis = net.pick(len(shape) - 1, net.below(start, len(shape)))
    vectors = [constant(net, shape[axis:])]
    if op == "LayerNormalization" and net.chance(0.7):
        vectors.append(constant(net, shape[axis:], low=0))
    return net.attempt(op, net.last, *vectors, axis=axis - net.pick(0, len(shape)), epsilon=0.1)


def broadcast(net, shape, mixed):
    """A shape that is broadcast to another, of a constant: one number along the samples."""
    found = [1 if axis in mixed or net.chance(0.4) else n for axis, n in enumerate(shape)]
    while found and found[0] == 1 and net.chance(0.6):
        found = found[1:]
    return tuple(found)


def combine(net):
    """Two tensors, or a tensor and a constant, entry by entry."""
    shape, mixed = net.shape_of(), net.samples()
    op = net.pick("Add", "Add", "Mul", "Mul", "Sub", "Div", "Max", "Min", "Where")
    if net.chance(0.5):
        other = constant(net, broadcast(net, shape, mixed))
    else:
        names = net.floats()
        fits = [
            name for name in names
            if all(n in (1, m) for n, m in zip(net.shape_of(name)[::-1], shape[::-1], strict=False))
        ]  # fmt: skip
        other = net.pick(*fits)
        if net.chance(0.3) and net.others() and op != "Div":
            axes = [axis for axis in net.others() if net.chance(0.5)]
            x = net.last
            if axes and net.attempt(net.pick("ReduceMean", "ReduceSum"), x, axes=tuple(axes), keepdims=1):
                other, net.last = net.last, x
    pair = [net.last, other] if net.chance(0.5) else [other, net.last]
    if op == "Div":
        divisor = pair[1]
        if divisor not in net.init:
            if not net.attempt("Softplus", divisor) or not net.attempt("Add", net.last, net_const(net, 0.5)):
                return False
            pair[1] = net.last
    if op == "Where":
        x = net.last
        kind = net.pick("compare", "constant")
        if kind == "constant":
            mask = net_bool(net, net.rng.random(broadcast(net, shape, mixed)) < 0.5)
        elif net.attempt(net.pick("Greater", "Less"), net.pick(*net.floats()), net_const(net, 0.123)):
            mask = net.last
        else:
            return False
        net.last = x
        return net.attempt("Where", mask, *pair)
    return net.attempt(op, *pair)


def reduce(net):
    axes = [axis for axis in net.others() if net.chance(0.5)]
    if not axes:
        return False
    rank = len(net.shape_of())
    op = net.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceMean")
    signed = tuple(axis - net.pick(0, rank) for axis in axes)
    return net.attempt(op, net.last, axes=signed, keepdims=net.below(0, 2))


def apply(net):
    if net.chance(0.15):
        return net.attempt("Clip", net.last, net_const(net, -0.5), net_const(net, net.pick(0.5, 6.0)))
    return net.attempt(net.pick(*FUNCTIONS))


def words(net):
    """Rows of a table, by the samples or what they are after moves, and a mask of those that are some number."""
    for _ in range(net.pick(0, 0, 1, 2)):
        net.pick(transpose, merge, split, cut, take, squeeze)(net)
    ids, mask = net.last, ""
    if net.chance(0.3):
        net.note("Equal", ids, net_number(net, net.below(0, net.rows)))
        mask = net.note("Cast", net.note("Unsqueeze", net.last, net_axes(net, -1)), to=1)
    if not net.attempt("Gather", net.weight(net.rows, net.pick(1, 2, 3, 4, 5, 8, 9)), ids):
        return False
    if mask:
        net.attempt(net.pick("Mul", "Add", "Sub"), net.last, mask)
    return True


def residual(net):
    """A sum with an earlier tensor of the same shape."""
    fits = [name for name in net.floats() if net.shape_of(name) == net.shape_of() and name != net.last]
    return bool(fits) and net.attempt(net.pick("Add", "Mul", "Concat"), net.last, net.pick(*fits))


def elsewhere(net):
    """Another tensor is read next, again."""
    net.last = net.pick(*net.floats())
    return True


STEPS = (
    transpose, transpose, merge, merge, split, split, back, cut, take, squeeze, repeat, join, linear, linear, linear,
    product, product, attend, attend, normalise, normalise, combine, combine, combine, reduce, apply, apply, positions,
    images, images, residual, elsewhere, recur, recur, attention, index_product,
)  # fmt: skip


def random_sequence(rng) -> Graph:
    """A valid network of sequences, images or vectors of floats, or of numbers of rows of tables."""
    kind = "int64" if rng.random() < 0.25 else "float32"
    net = Sequence(net_sides(rng), rng, kind)
    if kind == "int64" and not words(net):
        net.last = "x"
        net.attempt("Gather", net.weight(net.rows, 5), "x")
    for _ in range(int(rng.integers(1, 12))):
        net.pick(*STEPS)(net)
        if net.chance(0.3) and not net.first():
            back(net)
    finish(net)
    return replace(net.graph(), opset=18)


def net_sides(rng):
    rank = int(rng.integers(1, 4))
    extents = [1, 2, 3, 3, 4, 4, 5, 6, 8, 9, 12, 16, 17][: 8 if rank > 2 else None]
    return tuple(int(n) for n in rng.choice(extents, rank))


def finish(net):
    """Let the result be one row, or a few axes, a sample."""
    net.last = net.nodes[-1].outputs[0] if net.nodes else "x"
    back(net)
    if not net.first() or net.last == "x":
        firsts = [name for name in net.floats() if net.first(name)]
        net.last = net.pick(*firsts) if firsts else net.last
    if net.first() and (len(net.shape_of()) > 2 or net.chance(0.2)):
        if net.chance(0.8) or len(net.shape_of()) > 4:
            net.attempt("Flatten")
        if len(net.shape_of()) == 2 and net.chance(0.7):
            linear(net)
    if all(node.op in VIEWS for node in net.nodes):  # the engine wants a layer
        net.attempt("Tanh")
