"""Layers of random sequence networks that take more than one choice: cells, attention, images, positions."""

from __future__ import annotations

import numpy as np

from tests.model.engine.networks import net_axes, net_bool, net_const
from tests.model.engine.sequence import constant, net_number, weight


def positions(net):
    """What follows from the number of samples: positions repeated for each, zeros, or a mask of places."""
    shape = net.shape_of()
    if not net.first() or len(shape) < 2:
        return False
    x, places = net.last, shape[1:]
    count = net.note("Slice", net.note("Shape", net.pick("x", x)), *(net_axes(net, n) for n in (0, 1)))
    whole = net.note("Concat", count, net_axes(net, *places), axis=0)
    kind = net.pick("expand", "zeros", "range")
    if kind == "expand":
        made = net.note("Expand", constant(net, net.pick((1, *places), places, (1, *places[:-1], 1))), whole)
    elif kind == "zeros":
        made = net.note("ConstantOfShape", whole, value=np.array([0.25], np.float32))
    else:
        steps = net.note("Range", *(net_number(net, n) for n in (0, places[-1], 1)))
        made = net.note("Expand", net.note("Cast", steps, to=1), whole)
    if net.chance(0.3) and net.attempt("Concat", x, made, axis=1):
        return True
    return net.attempt(net.pick("Add", "Mul", "Sub"), x, made)


def images(net):
    """What works on images: convolutions, pooling, resampling, channels to pixels and back."""
    shape = net.shape_of()
    if not net.first() or len(shape) not in (3, 4):
        return False
    channels, *image = shape[1:]
    rank, wide = len(image), net.pick(1, 2, 3, 4, 8, 9, 17)
    op = net.pick("Conv", "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Depth")
    kernel, strides = tuple(net.below(1, 4) for _ in image), tuple(net.pick(1, 1, 2, 3) for _ in image)
    pads = tuple(net.below(0, 2) for _ in (*image, *image))
    if op == "Conv":
        matrix = net.weight(wide, channels, *kernel, scale=0.3)
        return net.attempt(op, net.last, matrix, constant(net, (wide,)), strides=strides, pads=pads)
    if op == "ConvTranspose":
        matrix = net.weight(channels, wide, *kernel, scale=0.3)
        return net.attempt(op, net.last, matrix, strides=strides)
    if op in ("MaxPool", "AveragePool"):
        return net.attempt(op, net.last, kernel_shape=kernel, strides=strides)
    if op == "Resize":
        scales = net_const(net, [1, 1, *(net.pick(1.0, 2.0, 1.5, 0.5) for _ in image)])
        return net.attempt(op, net.last, "", scales, mode=net.pick("nearest", "linear"))
    if op == "Depth":
        if rank != 2:
            return False
        return net.attempt("DepthToSpace", net.last, blocksize=2, mode=net.pick("DCR", "CRD")) or net.attempt(
            "SpaceToDepth", net.last, blocksize=net.pick(1, 2)
        )
    return net.attempt(op)


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recur(net):
    """A recurrent layer, samples first or second, of either direction or both."""
    shape, layout = net.shape_of(), net.below(0, 2)
    samples = 0 if layout else 1
    if len(shape) != 3 or net.samples() != [samples] or shape[1 - samples] > 9:
        return False
    op, both = net.pick("LSTM", "GRU", "RNN"), net.chance(0.4)
    hidden, turns = net.pick(1, 2, 3, 5, 8, 9), 2 if both else 1
    rows = GATES[op] * hidden
    names = [net.last, weight(net, turns, rows, shape[2]), weight(net, turns, rows, hidden)]
    names += [net.weight(turns, 2 * rows)] if net.chance(0.6) else []
    attrs = {"hidden_size": hidden, "direction": "bidirectional" if both else net.pick("forward", "reverse")}
    attrs |= {"layout": layout, "output": net.below(0, 2)}
    if op == "GRU":
        attrs["linear_before_reset"] = net.below(0, 2)
    return net.attempt(op, *names, **attrs)


def attention(net):
    """Attention as one operator, of (N, T, D) by heads or of (N, H, T, D)."""
    shape = net.shape_of()
    if not net.first() or len(shape) not in (3, 4):
        return False
    heads = net.pick(*(n for n in range(1, shape[-1] + 1) if shape[-1] % n == 0))
    fits = [name for name in net.floats() if net.shape_of(name) == shape and net.first(name)]
    mask = []
    if net.chance(0.5):
        seen = np.tril(np.ones((shape[-2], shape[-2]), bool))
        mask = [net_bool(net, seen) if net.chance(0.5) else net_const(net, np.where(seen, 0.0, -1e4))]
    attrs = {"q_num_heads": heads, "kv_num_heads": heads} if len(shape) == 3 else {}
    attrs |= {"is_causal": net.below(0, 2)} if not mask else {}
    attrs |= {"scale": 0.4} if net.chance(0.3) else {}
    return net.attempt("Attention", net.pick(*fits), net.last, net.pick(*fits), *mask, **attrs)


def index_product(net):
    """Einsum of two tensors, indices in any order."""
    shape = net.shape_of()
    fits = [name for name in net.floats() if net.shape_of(name) == shape]
    if not 2 < len(shape) < 5 or len(net.samples()) != 1 or not fits:
        return False
    a = "".join(net.rng.permutation(list("bcde"[: len(shape)])))
    (samples,) = net.samples()
    gone = net.pick(*(i for place, i in enumerate(a) if place != samples))
    own = [i for place, i in enumerate(a) if place != samples and i != gone]
    apart = {i: net.pick(i, i.upper()) for i in own}
    b = "".join(apart.get(i, i) for i in a)
    result = dict.fromkeys([i for i in a + b if i != gone])
    order = "".join(net.rng.permutation(list(result)))
    return net.attempt("Einsum", net.last, net.pick(*fits), equation=f"{a},{b}->{order}")
