"""Rows of layers that combine tensors entry by entry against the reference operators, and what they leave in a padding.

Values are small whole numbers and halves, so that tensors have ties, and what is no number stands beside them.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine import function
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.weights import Storage
from lieref.op.registry import OPERATORS
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]
SIZES = st.tuples(st.sampled_from([1, 3, 8, 12, 17, 33]), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**16))

OPERATIONS = {
    "difference": ("Sub", "ff"), "quotient": ("Div", "ff"), "larger": ("Max", "ff"), "smaller": ("Min", "ff"),
    "equals": ("Equal", "ff"), "above": ("Greater", "ff"), "at_least": ("GreaterOrEqual", "ff"),
    "where": ("Where", "bff"), "differs": ("Xor", "bb"), "negative": ("Neg", "f"), "absolute": ("Abs", "f"),
    "sign": ("Sign", "f"),
    "floor": ("Floor", "f"), "ceil": ("Ceil", "f"), "nearest": ("Round", "f"), "opposite": ("Not", "b"),
    "square": ("Mul", "f"), "softsign": ("Softsign", "f"), "is_nan": ("IsNaN", "f"), "is_infinite": ("IsInf", "f"),
    "reciprocal": ("Reciprocal", "f"), "thresholded_relu": ("ThresholdedRelu", "f"),
}  # fmt: skip
"""Operators of the layers' functions, and of what each operand is: a float or a truth value."""


def values(rng, shape, sort, positive, dtype):
    if sort == "b":
        return rng.random(shape) < 0.5
    found = rng.integers(1 if positive else -4, 5, shape) / 2
    return found.astype(dtype)


def defined(name, operands, bar):
    """The reference operator's output and its gradients; of x x, those of both factors together."""
    operator = OPERATORS[OPERATIONS[name][0]]
    given = operands * 2 if name == "square" else operands
    y = operator.forward(*given)
    bars = operator.vjp(*given, y=y, y_bar=bar)
    bars = [np.zeros(bar.shape) if one is None else one for one in bars]
    return y.astype(float), [sum(bars)] if name == "square" else bars


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=6)
@given(size=SIZES, alone=st.booleans())
def test_combinations_and_their_gradients(isa, dtype, name, size, alone):
    """`alone` writes the last operand's gradient over the layer's."""
    *shape, seed = size
    rng = np.random.default_rng(seed)
    sorts = OPERATIONS[name][1]
    operands = [values(rng, shape, sort, name in ("quotient", "reciprocal"), dtype) for sort in sorts]
    bar = rng.integers(-8, 9, shape).astype(dtype)
    names = [f"x{i}" for i in range(len(sorts))]
    tensors = {one: make_tensor(*shape, isa, dtype) for one in names}
    bars = {one: make_tensor(*shape, isa, dtype) for one in names}
    out, g = (make_tensor(*shape, isa, dtype) for _ in range(2))
    if alone and name != "difference":  # there the first operand's gradient is the layer's own
        bars[names[-1]] = g
    storage = Storage(isa, dtype, frozenset())
    numbers = (1.0, 0.0) if name == "thresholded_relu" else (0.0, 0.0)
    layer = FusedLayer(
        "function", "x0", "y", Window(), shape[0], others=tuple(names[1:]), function=name, numbers=numbers
    )
    one = OneLayer(storage, tensors, bars)
    rows = [*function.forward(one, layer, out, Epilogue()), *function.backward(one, layer, g)]
    given_values = {tensors[n]: v.astype(dtype) for n, v in zip(names, operands, strict=True)}
    if any(g in row.tensors() for row in rows):  # where all gradients are zero, nothing reads that of the layer
        given_values[g] = bar
    arena, _ = run_rows(rows, storage, given_values, {})
    want, gradients = defined(name, [v if v.dtype == bool else v.astype(float) for v in operands], bar.astype(float))
    tolerance = 8 * np.finfo(dtype).eps
    assert np.allclose(view(arena, out), want, rtol=tolerance, atol=0)
    for n, gradient in zip(names, gradients, strict=True):
        # What is computed with no rounding is the reference's to the bit.
        assert np.allclose(view(arena, bars[n]), gradient, rtol=tolerance, atol=0), n


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@pytest.mark.parametrize("name", ["log", "reciprocal", "exp", "quotient", "cos"])
def test_what_is_infinite_or_one_at_zero_is_zero_in_a_padding(isa, dtype, name):
    """What reads a padding multiplies it by zero."""
    x, other, out = (make_tensor(3, 2, 3, isa, dtype) for _ in range(3))
    names = ("x", "other") if name == "quotient" else ("x",)
    storage = Storage(isa, dtype, frozenset())
    layer = FusedLayer("function", "x", "y", Window(), 3, others=names[1:], function=name)
    rows = function.forward(OneLayer(storage, {"x": x, "other": other}, {}), layer, out, Epilogue())
    given_values = {x: np.full((3, 2, 3), 2.0)} | ({other: np.ones((3, 2, 3))} if name == "quotient" else {})
    arena, _ = run_rows(rows, storage, given_values, {})
    assert not np.any(view(arena, out) == 0)
    whole = arena[out.offset : out.offset + 6 * out.pixel].reshape(6, out.pixel)
    assert not np.any(whole[:, 3:])


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
def test_an_infinity_that_is_not_chosen_does_no_harm(isa, dtype):
    c, a, b, out, g = (make_tensor(5, 2, 3, isa, dtype) for _ in range(5))
    bars = {name: make_tensor(5, 2, 3, isa, dtype) for name in ("c", "a", "b")}
    rng = np.random.default_rng(0)
    chosen = rng.random((5, 2, 3)) < 0.5
    first, second = np.where(chosen, 2.0, np.nan), np.where(chosen, np.inf, 3.0)
    storage = Storage(isa, dtype, frozenset())
    layer = FusedLayer("function", "c", "y", Window(), 5, others=("a", "b"), function="where")
    one = OneLayer(storage, {"c": c, "a": a, "b": b}, bars)
    rows = [*function.forward(one, layer, out, Epilogue()), *function.backward(one, layer, g)]
    bar = rng.standard_normal((5, 2, 3)).astype(dtype)
    arena, _ = run_rows(rows, storage, {c: chosen, a: first, b: second, g: bar}, {})
    assert np.array_equal(view(arena, out), np.where(chosen, 2.0, 3.0))
    assert np.array_equal(view(arena, bars["a"]), np.where(chosen, bar, 0))
    assert np.array_equal(view(arena, bars["b"]), np.where(chosen, 0, bar))
    assert not np.any(view(arena, bars["c"]))
