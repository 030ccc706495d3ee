"""Rows of recurrent layers against the operators in float64, over random sizes, in every direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.cell import CELLS
from lieref.model.engine import recurrent
from lieref.model.engine.layer import Epilogue, FusedLayer, Recurrence, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.weights import Storage
from lieref.op.gru import gru, gru_vjp
from lieref.op.lstm import lstm, lstm_vjp
from lieref.op.rnn import rnn, rnn_vjp
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]
OPERATORS = {
    "lstm": (lstm, lstm_vjp, {}),
    "gru": (gru, gru_vjp, {}),
    "gru_linear": (gru, gru_vjp, {"linear_before_reset": 1}),
    "rnn": (rnn, rnn_vjp, {}),
}
WAYS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def make_layer(cell, way, features, hidden, bias):
    directions, gates = len(WAYS[way]), CELLS[cell].gates
    axes = [
        WeightAxes((directions * gates * hidden, n, 1, 1), (n, 1, 1, 1), directions * gates * hidden * n,
                   parts=directions * gates)
        for n in (features, hidden)
    ]  # fmt: skip
    r = Recurrence(cell, hidden, WAYS[way], "r", "b" if bias else "", axes[1])
    return FusedLayer("recurrent", "x", "y", Window(), directions * hidden, "w", axes=axes[0], recurrence=r)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@pytest.mark.parametrize("cell", OPERATORS)
@settings(max_examples=20)
@given(
    way=st.sampled_from(sorted(WAYS)), features=st.sampled_from([1, 5, 16, 19]),
    hidden=st.sampled_from([1, 3, 8, 16, 20, 33, 48]), times=st.integers(1, 7), bias=st.booleans(),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_a_recurrent_layer_and_its_gradients(isa, dtype, cell, way, features, hidden, times, bias, seed):
    rng, directions, gates = np.random.default_rng(seed), len(WAYS[way]), CELLS[cell].gates
    shapes = {
        "x": (times, 1, features), "w": (directions, gates * hidden, features),
        "r": (directions, gates * hidden, hidden), "b": (directions, 2 * gates * hidden),
        "g": (times, directions, 1, hidden),
    }  # fmt: skip
    # States that feed on themselves must not grow: their errors would too.
    values = {
        name: (rng.standard_normal(shape) / (1 + shape[-1]) ** 0.5).astype(dtype) for name, shape in shapes.items()
    }
    storage = Storage(isa, dtype, frozenset({"w", "r", *(["b"] if bias else [])}))
    layer = make_layer(cell, way, features, hidden, bias)
    x, x_bar = (make_tensor(features, 1, times, isa, dtype) for _ in range(2))
    out, g = (make_tensor(directions * hidden, 1, times, isa, dtype) for _ in range(2))
    one = OneLayer(storage, {"x": x}, {"x": x_bar})
    rows = [*recurrent.forward(one, layer, out, Epilogue()), *recurrent.backward(one, layer, g)]
    given_values = {
        x: values["x"].transpose(2, 1, 0),
        g: values["g"].reshape(times, 1, directions * hidden).transpose(2, 1, 0),
    }
    arena, sums = run_rows(rows, storage, given_values, {name: values[name] for name in "wrb"})

    function, vjp, attrs = OPERATORS[cell]
    wide = {name: value.astype("f8") for name, value in values.items()}
    inputs = [wide["x"], wide["w"], wide["r"], wide["b"] if bias else None]
    y = function(*inputs, direction=way, **attrs)
    bars = dict(zip("xwrb", vjp(*inputs, y=y, y_bar=wide["g"], direction=way, **attrs), strict=False))
    tolerance = {"float32": 3e-6, "float64": 1e-14}[dtype]

    def near(got, want):
        assert np.linalg.norm(got.astype("f8") - want) <= tolerance * (np.linalg.norm(want) + 1)

    near(view(arena, out), y.reshape(times, 1, directions * hidden).transpose(2, 1, 0))
    near(view(arena, x_bar), bars["x"].transpose(2, 1, 0))
    found = {each.name: each.read(sums) for each in storage.accumulators}
    for name in storage.trainable:
        near(found[name].reshape(shapes[name]), bars[name])


@pytest.mark.parametrize("cell", OPERATORS)
def test_long_sequences_are_summed_in_bands(cell, monkeypatch):
    monkeypatch.setattr(recurrent, "BAND_STEPS", 3)
    isa, dtype = isa_module.available()[0], "float32"
    test_a_recurrent_layer_and_its_gradients.hypothesis.inner_test(
        isa, dtype, cell, "bidirectional", 5, 20, 8, True, 1
    )  # fmt: skip
