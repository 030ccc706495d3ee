"""Operators that pick and place entries, and their VJPs, against PyTorch's autograd in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.op.registry import OPERATORS
from tests.op.example import ints, spread
from tests.op.examples_indexed import CELLS, TABLE

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

TWICE = np.array([[0, 2, 0], [1, 1, 1]])
ROWS = np.array([[1, 0], [0, 2], [1, 2]])
X, NEW = spread(3, 4), spread(2, 3, seed=1) + 0.11


def places(values: Array, extent: int) -> Any:
    return torch.tensor(values % extent)


CASES: dict[str, tuple[str, dict[str, Any], Callable[..., Any], tuple[Array, ...]]] = {
    "gather": (
        "GatherElements", {"axis": 1}, lambda x, i: x.gather(1, places(CELLS, 3)), (TABLE, CELLS),
    ),
    "gather-nd": ("GatherND", {}, lambda x, i: x[ROWS[:, 0], ROWS[:, 1]], (TABLE, ROWS)),
    "gather-nd-batch": (
        "GatherND", {"batch_dims": 1}, lambda x, i: torch.stack([x[0, [1, 0]], x[1, [2, 2]]]),
        (TABLE, np.array([[[1], [0]], [[2], [-1]]])),
    ),
    "scatter": (
        "ScatterElements", {"axis": 1}, lambda x, i, u: x.scatter(1, torch.tensor(ROWS[:, :2]), u),
        (X, ROWS, spread(3, 2, seed=1)),
    ),
    "scatter-add": (
        "ScatterElements", {"reduction": "add"}, lambda x, i, u: x.scatter_add(0, torch.tensor(TWICE), u),
        (X, TWICE, NEW),
    ),
    **{
        f"scatter-{name}": (
            "ScatterElements", {"reduction": name},
            lambda x, i, u, how=how: x.scatter_reduce(0, torch.tensor(TWICE), u, how), (X, TWICE, NEW),
        )
        for name, how in (("mul", "prod"), ("max", "amax"), ("min", "amin"))
    },
    "scatter-nd": (
        "ScatterND", {}, lambda x, i, u: x.index_put((torch.tensor(ROWS[:, 0]), torch.tensor(ROWS[:, 1])), u),
        (TABLE, ROWS, spread(3, 4, seed=1)),
    ),
    "scatter-nd-add": (
        "ScatterND", {"reduction": "add"},
        lambda x, i, u: x.index_put((torch.tensor([0, 1, 0]),), u, accumulate=True),
        (TABLE, ints(0, 1, 0)[:, None], spread(3, 3, 4, seed=1)),
    ),
    "compress": (
        "Compress", {"axis": 1}, lambda x, c: x[:, [0, 2]], (TABLE, np.array([True, False, True])),
    ),
    "compress-flat": ("Compress", {}, lambda x, c: x.flatten()[[1, 4]], (X, np.arange(5) % 3 == 1)),
    "triu": ("Trilu", {}, torch.triu, (TABLE,)),
    "tril": ("Trilu", {"upper": 0}, lambda x, k: torch.tril(x, 1), (TABLE, np.array(1))),
    "reverse": (
        "ReverseSequence", {}, lambda x, n: torch.stack([x[[0, 1], 0], x[[1, 0], 1], x[[0, 1], 2]], 1),
        (TABLE, ints(1, 2, 0)),
    ),
    "circular": ("Pad", {"mode": "wrap", "pads": (0, 2, 0, 1)}, lambda x: F.pad(x[None], (2, 1), "circular")[0], (X,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str) -> None:
    op, attrs, function, inputs = CASES[name]
    y = OPERATORS[op].forward(*inputs, **attrs)
    y_bar = np.cos(np.arange(y.size)).reshape(y.shape)
    bars = OPERATORS[op].vjp(*inputs, y=y, y_bar=y_bar, **attrs)
    leaves = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
    expected = function(*leaves)
    expected.backward(torch.tensor(y_bar))
    tolerance = 8 * np.finfo(float).eps
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=tolerance, atol=0)
    for bar, leaf in zip(bars, leaves, strict=True):
        assert (bar is None) == (leaf.grad is None)
        if bar is not None:
            np.testing.assert_allclose(bar, leaf.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_the_last_of_several_updates_counts_and_gets_the_gradient() -> None:
    x, indices, updates = np.zeros(3), ints(1, 1, 2), np.array([5.0, 6.0, 7.0])
    y = OPERATORS["ScatterElements"].forward(x, indices, updates)
    assert y.tolist() == [0, 6, 7]
    x_bar, _, updates_bar = OPERATORS["ScatterElements"].vjp(x, indices, updates, y=y, y_bar=np.array([2.0, 3.0, 4.0]))
    assert (x_bar.tolist(), updates_bar.tolist()) == ([2, 0, 0], [0, 3, 4])


@pytest.mark.parametrize("reduction", ["min", "max"])
def test_the_first_of_equal_extremes_gets_the_gradient(reduction: str) -> None:
    sign = 1 if reduction == "max" else -1
    x, indices, updates = sign * np.array([5.0, 0.0]), ints(0, 1, 1), sign * np.array([5.0, 3.0, 3.0])
    y = OPERATORS["ScatterElements"].forward(x, indices, updates, reduction=reduction)
    bars = OPERATORS["ScatterElements"].vjp(x, indices, updates, y=y, y_bar=np.array([2.0, 4.0]), reduction=reduction)
    assert (bars[0].tolist(), bars[2].tolist()) == ([2, 0], [0, 4, 0])


def test_products_of_updates_with_zeros() -> None:
    x, indices, updates = np.array([3.0, 2.0]), ints(0, 0, 1), np.array([0.0, 4.0, 0.0])
    y = OPERATORS["ScatterElements"].forward(x, indices, updates, reduction="mul")
    bars = OPERATORS["ScatterElements"].vjp(x, indices, updates, y=y, y_bar=np.ones(2), reduction="mul")
    assert (bars[0].tolist(), bars[2].tolist()) == ([0, 0], [12, 0, 2])


def test_sequences_have_the_gradients_of_their_start_and_step() -> None:
    numbers = [np.array(0.25), np.array(2.375), np.array(0.5)]
    y = OPERATORS["Range"].forward(*numbers)
    assert y.tolist() == [0.25, 0.75, 1.25, 1.75, 2.25]
    bars = OPERATORS["Range"].vjp(*numbers, y=y, y_bar=np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (float(bars[0]), bars[1], float(bars[2])) == (15, None, 2 + 6 + 12 + 20)


def test_large_integers_of_a_sequence_are_exact() -> None:
    first = 2**53
    y = OPERATORS["Range"].forward(np.array(first), np.array(first + 3), np.array(1))
    assert y.tolist() == [first, first + 1, first + 2]
    assert OPERATORS["Range"].forward(np.array(5), np.array(0), np.array(-2)).tolist() == [5, 3, 1]
    assert OPERATORS["Range"].forward(np.array(5), np.array(0), np.array(2)).tolist() == []
