"""LSTM (Hochreiter and Schmidhuber 1997) with forget gates and peepholes, as ONNX has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.matmul import matmul
from lieref.op.gates import activate, derivative
from lieref.op.recurrent import Cell, Inputs, State, Weights, recurrent_shape, run, run_vjp
from lieref.op.spec import TensorSpec, specs


def lstm_step(
    z: FloatArray, state: State, weights: Weights, activations: tuple[str, ...]
) -> tuple[State, tuple[FloatArray, ...]]:
    """Return the next state, and the state before with all that the gates gave.

    With a = z + R h + bias in blocks i, o, f, g and the peepholes p_i, p_o, p_f,

        i = f(a_i + p_i c),   f = f(a_f + p_f c),   g = g(a_g),   c' = f c + i g,   o = f(a_o + p_o c'),   h' = o h(c').
    """
    h, c = state
    a_i, a_o, a_f, a_g = np.split(z + matmul(h, weights.r.T) + weights.bias, 4, axis=1)
    p_i, p_o, p_f = np.split(weights.peepholes, 3)
    gate, cell, squash = activations
    i, f, g = activate(gate, a_i + p_i * c), activate(gate, a_f + p_f * c), activate(cell, a_g)
    new_c = f * c + i * g
    o, s = activate(gate, a_o + p_o * new_c), activate(squash, new_c)
    return State(o * s, new_c), (h, c, i, o, f, g, new_c, s)


# With a dash for derivatives of activations:   o_bar = h'_bar s,   a_o_bar = o_bar o-,
#     c'_bar += h'_bar o s- + p_o a_o_bar                            (c' is read by o, by s and by the next step),
#     i_bar = c'_bar g,  f_bar = c'_bar c,  g_bar = c'_bar i,        a_bar of each its bar times its dash,
#     c_bar = c'_bar f + p_i a_i_bar + p_f a_f_bar,   h_bar = R^T a_bar,   R_bar = a_bar h^T,   p_bar = sum of a_bar c.
def lstm_step_vjp(
    kept: tuple[FloatArray, ...], weights: Weights, bar: State, activations: tuple[str, ...]
) -> tuple[FloatArray, State, Weights]:
    """Return (z_bar, state_bar, weights_bar)."""
    h, c, i, o, f, g, new_c, s = kept
    p_i, p_o, p_f = np.split(weights.peepholes, 3)
    gate, cell, squash = activations
    o_bar = bar.h * s * derivative(gate, o)
    new_c_bar = bar.c + bar.h * o * derivative(squash, s) + o_bar * p_o
    i_bar = new_c_bar * g * derivative(gate, i)
    f_bar = new_c_bar * c * derivative(gate, f)
    g_bar = new_c_bar * i * derivative(cell, g)
    a_bar = np.concatenate([i_bar, o_bar, f_bar, g_bar], axis=1)
    p_bar = np.concatenate([(i_bar * c).sum(axis=0), (o_bar * new_c).sum(axis=0), (f_bar * c).sum(axis=0)])
    c_bar = new_c_bar * f + i_bar * p_i + f_bar * p_f
    return a_bar, State(matmul(a_bar, weights.r), c_bar), Weights(matmul(a_bar.T, h), a_bar.sum(axis=0), p_bar)


LSTM = Cell("LSTM", 4, ("Sigmoid", "Tanh", "Tanh"), lstm_step, lstm_step_vjp, 3)


def lstm(
    x: FloatArray,
    w: FloatArray,
    r: FloatArray,
    b: FloatArray | None = None,
    sequence_lens: Array | None = None,
    initial_h: FloatArray | None = None,
    initial_c: FloatArray | None = None,
    p: FloatArray | None = None,
    *,
    activations: Any = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output: int = 0,
) -> FloatArray:
    """Return one output of an LSTM along sequences; see `lstm_step` for what one step is.

    Parameters
    ----------
    x
        (T, N, I): times, samples, features.
    w, r, b
        (D, 4 H, I), (D, 4 H, H), (D, 8 H): blocks i, o, f, g for each of D directions; b has those of w, then of r.
    sequence_lens
        (N,), 0 to T; a sample that is over keeps its state, and its output is zero. All T by default.
    initial_h, initial_c
        (D, N, H), zero by default.
    p
        Peepholes (D, 3 H) of i, o, f; zero by default.
    activations
        Names f, g, h for each direction, of `lieref.op.gates.ACTIVATIONS`; Sigmoid, Tanh, Tanh by default.
    direction
        forward, reverse or bidirectional.
    hidden_size
        H, where it is given.
    input_forget
        0: gates that are coupled are not supported.
    layout
        1: the samples come first, in x, the states and the outputs.
    output
        Which of the node's outputs: 0 is h at all times (T, D, N, H), 1 the last h and 2 the last c (D, N, H).
    """
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h, initial_c, p)
    recurrent_shape(LSTM, Inputs(*specs(*inputs)), direction, activations, hidden_size, layout, output)
    return run(LSTM, inputs, direction, activations, layout, output)


def lstm_vjp(
    x: FloatArray,
    w: FloatArray,
    r: FloatArray,
    b: FloatArray | None = None,
    sequence_lens: Array | None = None,
    initial_h: FloatArray | None = None,
    initial_c: FloatArray | None = None,
    p: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    activations: Any = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output: int = 0,
) -> tuple[FloatArray | None, ...]:
    """Return the cotangents of the eight inputs, by `lieref.op.recurrent.run_vjp`."""
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h, initial_c, p)
    return tuple(run_vjp(LSTM, inputs, direction, activations, layout, output, y_bar))


def lstm_shape(
    x: TensorSpec, w: TensorSpec, r: TensorSpec, b: TensorSpec | None = None, sequence_lens: TensorSpec | None = None,
    initial_h: TensorSpec | None = None, initial_c: TensorSpec | None = None, p: TensorSpec | None = None,
    *, activations: Any = None, direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
    layout: int = 0, output: int = 0,
) -> TensorSpec:  # fmt: skip
    """Return the shape of the output that is asked for."""
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h, initial_c, p)
    return recurrent_shape(LSTM, inputs, direction, activations, hidden_size, layout, output)
