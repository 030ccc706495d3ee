"""Moves of numbers: gradients that come together where the numbers came from, and the loops that are walked."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine.move import _move
from lieref.model.engine.tensor import Tensor
from lieref.model.engine.weights import Storage
from tests.model.engine.networks import Net, net_axes
from tests.model.engine.test_lower_products import agrees, compiled, operand


def sliced(net, x, start, end, axis, step=1):
    """Some of a tensor along an axis."""
    return net.add("Slice", x, *(net_axes(net, number) for number in (start, end, axis, step)))


@pytest.mark.parametrize("clamped", [False, True])
def test_parts_that_overlap_and_repeat(clamped, rng):
    net = Net((3, 7))
    x = operand(net, 4, 6)
    if clamped:
        x = net.add("Relu", x)
    turned = [net.add("Transpose", sliced(net, x, first, last, 2, step), perm=(0, 2, 1))
              for first, last, step in ((0, 3, 1), (2, 5, 1), (0, 6, 2))]  # fmt: skip
    out = net.add("Add", net.add("Mul", turned[0], turned[1]), turned[2])
    net.add("Mul", out, sliced(net, net.add("Transpose", x, perm=(0, 2, 1)), 1, 4, 1))
    graph, kinds = compiled(net, (3, 4))
    assert "reference" not in kinds
    agrees(graph, rng)


def test_a_tensor_beside_its_own_transpose(rng):
    """The gradient of the sum is that of the tensor too, and must not be added to while it is read."""
    net = Net((3, 7))
    x = operand(net, 6, 6)
    net.add("Add", x, net.add("Transpose", x, perm=(0, 2, 1)))
    graph, kinds = compiled(net, (6, 6))
    assert "move" in kinds
    agrees(graph, rng)


def test_a_copy_walks_along_its_longer_loop():
    """Of (T, heads, 2, half) channels are the last two, then T: the longest loop is along T, on either side."""
    tokens, heads, half = 37, 3, 2
    storage = Storage(isa_module.best().name, "float32", frozenset(), {})
    source, target = Tensor(2 * tokens, heads, half, 80), Tensor(2 * half, heads, tokens, 16)
    numbers = np.arange(2 * tokens * heads * half).reshape(2, tokens, heads, half)
    taken = numbers.transpose(3, 0, 2, 1).ravel()
    for one, there, other, here in (
        (source, taken, target, np.arange(taken.size)), (target, np.arange(taken.size), source, taken),
    ):  # fmt: skip
        (instruction,) = _move(storage, one, there, other, here, adds=False)
        assert instruction.ints["inner"] == tokens
        ints = instruction.ints
        assert ints["count"] * ints["outer"] * ints["inner"] == taken.size
