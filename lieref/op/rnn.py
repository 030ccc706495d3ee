"""RNN: one product of the state and one activation a step (Elman 1990)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.matmul import matmul
from lieref.op.gates import activate, derivative
from lieref.op.recurrent import Cell, Inputs, State, Weights, recurrent_shape, run, run_vjp
from lieref.op.spec import TensorSpec, specs


def rnn_step(
    z: FloatArray, state: State, weights: Weights, activations: tuple[str, ...]
) -> tuple[State, tuple[FloatArray, FloatArray]]:
    """Return the next state h' = f(z + R h + bias), and (h, h')."""
    h, c = state
    new = activate(activations[0], z + matmul(h, weights.r.T) + weights.bias)
    return State(new, c), (h, new)


# a_bar = h'_bar f-,   h_bar = R^T a_bar,   R_bar = a_bar h^T,   z_bar = bias_bar = a_bar.
def rnn_step_vjp(
    kept: tuple[FloatArray, FloatArray], weights: Weights, bar: State, activations: tuple[str, ...]
) -> tuple[FloatArray, State, Weights]:
    """Return (z_bar, state_bar, weights_bar)."""
    h, new = kept
    a_bar = bar.h * derivative(activations[0], new)
    weights_bar = Weights(matmul(a_bar.T, h), a_bar.sum(axis=0), np.zeros_like(weights.peepholes))
    return a_bar, State(matmul(a_bar, weights.r), bar.c), weights_bar


RNN = Cell("RNN", 1, ("Tanh",), rnn_step, rnn_step_vjp, 2)


def rnn(
    x: FloatArray,
    w: FloatArray,
    r: FloatArray,
    b: FloatArray | None = None,
    sequence_lens: Array | None = None,
    initial_h: FloatArray | None = None,
    *,
    activations: Any = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output: int = 0,
) -> FloatArray:
    """Return one output of a plain recurrent network along sequences, h' = f(W x + R h + biases).

    Parameters
    ----------
    x, sequence_lens, initial_h, direction, hidden_size, layout
        As of `lieref.op.lstm.lstm`.
    w, r, b
        (D, H, I), (D, H, H), (D, 2 H) for D directions.
    activations
        A name for each direction; Tanh by default.
    output
        Which of the node's outputs: 0 is h at all times (T, D, N, H), 1 the last h (D, N, H).
    """
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    recurrent_shape(RNN, Inputs(*specs(*inputs)), direction, activations, hidden_size, layout, output)
    return run(RNN, inputs, direction, activations, layout, output)


def rnn_vjp(
    x: FloatArray,
    w: FloatArray,
    r: FloatArray,
    b: FloatArray | None = None,
    sequence_lens: Array | None = None,
    initial_h: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    activations: Any = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output: int = 0,
) -> tuple[FloatArray | None, ...]:
    """Return the cotangents of the six inputs, by `lieref.op.recurrent.run_vjp`."""
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    return tuple(run_vjp(RNN, inputs, direction, activations, layout, output, y_bar))[:6]


def rnn_shape(
    x: TensorSpec, w: TensorSpec, r: TensorSpec, b: TensorSpec | None = None, sequence_lens: TensorSpec | None = None,
    initial_h: TensorSpec | None = None,
    *, activations: Any = None, direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
    output: int = 0,
) -> TensorSpec:  # fmt: skip
    """Return the shape of the output that is asked for."""
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    return recurrent_shape(RNN, inputs, direction, activations, hidden_size, layout, output)
