"""Where a maximum or a bound is reached more than once: the gradient goes to one place, the one the operator names."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel.pool import max_pool_vjp
from lieref.op.pool import global_max_pool, global_max_pool_vjp
from lieref.op.registry import OPERATORS

TIED = np.array([[[[0.0, 7.0, 1.0], [7.0, 7.0, -2.0]], [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]]])


def test_global_maximum_sends_its_gradient_to_the_first() -> None:
    y = global_max_pool(TIED)
    (x_bar,) = global_max_pool_vjp(TIED, y=y, y_bar=np.array([2.0, 3.0]).reshape(1, 2, 1, 1))
    assert x_bar.tolist() == [[[[0, 2, 0], [0, 0, 0]], [[3, 0, 0], [0, 0, 0]]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maximum_of_a_window_sends_its_gradient_to_the_first(dtype: type) -> None:
    x = TIED.astype(dtype)
    y_bar = np.array([[[[2.0, 4.0]], [[3.0, 8.0]]]], dtype)
    x_bar = max_pool_vjp(x, (2, 2), y_bar)
    assert x_bar.tolist() == [[[[0, 6, 0], [0, 0, 0]], [[3, 8, 0], [0, 0, 0]]]]


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_largest_of_several_inputs_sends_its_gradient_to_the_first(op: str) -> None:
    parts = (np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.array([1.0]))
    y = OPERATORS[op].forward(*parts)
    bars = OPERATORS[op].vjp(*parts, y=y, y_bar=np.array([2.0, 3.0, 5.0]))
    expected = {"Max": ([2, 3, 0], [0, 0, 5], [0]), "Min": ([2, 0, 0], [0, 0, 0], [8])}[op]
    assert [bar.tolist() for bar in bars] == [list(each) for each in expected]


@pytest.mark.parametrize("op", ["Sign", "Floor", "Ceil", "Round", "Hardmax"])
def test_a_jump_has_no_gradient(op: str) -> None:
    x = np.array([-1.0, 0.0, 0.5, 2.0])
    y = OPERATORS[op].forward(x)
    assert OPERATORS[op].vjp(x, y=y, y_bar=np.ones(4))[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("op", "sign"), [("ReduceMax", 1), ("ReduceMin", -1)])
def test_largest_along_axes_sends_its_gradient_to_the_first(op: str, sign: int) -> None:
    x = sign * TIED[0]
    y = OPERATORS[op].forward(x, axes=(1, 2), keepdims=0)
    (x_bar,) = OPERATORS[op].vjp(x, y=y, y_bar=np.array([2.0, 3.0]), axes=(1, 2), keepdims=0)
    assert x_bar.tolist() == [[[0, 2, 0], [0, 0, 0]], [[3, 0, 0], [0, 0, 0]]]


def test_equal_entries_keep_their_order() -> None:
    x, k = np.array([1, 3, 3, 2, 3]), np.array([4])
    for y, largest in ((x, 1), (-x, 0)):
        assert OPERATORS["TopK"].forward(y, k, largest=largest).tolist() == y[[1, 2, 4, 3]].tolist()
        assert OPERATORS["TopK"].forward(y, k, largest=largest, output=1).tolist() == [1, 2, 4, 3]
    assert OPERATORS["ArgMax"].forward(x).tolist() == [1]
    assert OPERATORS["ArgMax"].forward(x, select_last_index=1).tolist() == [4]
    assert OPERATORS["ArgMin"].forward(-x, keepdims=0, select_last_index=1).tolist() == 4
