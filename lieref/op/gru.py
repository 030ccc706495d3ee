"""GRU (Cho et al. 2014), its reset gate before or behind the recurrent product."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.matmul import matmul
from lieref.op.gates import activate, derivative
from lieref.op.recurrent import Cell, Inputs, State, Weights, recurrent_shape, run, run_vjp
from lieref.op.spec import TensorSpec, specs


def gru_step(
    z: FloatArray, state: State, weights: Weights, activations: tuple[str, ...]
) -> tuple[State, tuple[FloatArray, ...]]:
    """Return the next state, and the state before with all that the gates gave; the reset gate acts on h.

    With a = z + R h + bias in blocks u, r and R_g, the last block of R,

        u = f(a_u),   r = f(a_r),   g = g(z_g + R_g (r h) + bias_g),   h' = (1 - u) g + u h.
    """
    h, c = state
    size = h.shape[1]
    update, reset = _gates(z, h, weights, activations, 2 * size)
    g = activate(activations[1], z[:, 2 * size :] + matmul(reset * h, weights.r[2 * size :].T) + _last(weights, size))
    return State((1 - update) * g + update * h, c), (h, c, update, reset, g)


# g_bar = h'_bar (1 - u),   u_bar = h'_bar (h - g),   h_bar = h'_bar u. With a_g_bar = g_bar g-, and q = r h:
#     q_bar = R_g^T a_g_bar,   R_g_bar = a_g_bar q^T,   r_bar = q_bar h,   h_bar += q_bar r,
# and through the two gates, as in `lstm_step_vjp`, h_bar += R_ur^T a_ur_bar,   R_ur_bar = a_ur_bar h^T.
def gru_step_vjp(
    kept: tuple[FloatArray, ...], weights: Weights, bar: State, activations: tuple[str, ...]
) -> tuple[FloatArray, State, Weights]:
    """Return (z_bar, state_bar, weights_bar)."""
    h, _, update, reset, g = kept
    size = h.shape[1]
    g_bar = bar.h * (1 - update) * derivative(activations[1], g)
    q_bar = matmul(g_bar, weights.r[2 * size :])
    ur_bar = _gates_bar(update, reset, bar.h * (h - g), q_bar * h, activations)
    h_bar = bar.h * update + q_bar * reset + matmul(ur_bar, weights.r[: 2 * size])
    r_bar = np.concatenate([matmul(ur_bar.T, h), matmul(g_bar.T, reset * h)])
    z_bar = np.concatenate([ur_bar, g_bar], axis=1)
    return z_bar, State(h_bar, bar.c), Weights(r_bar, z_bar.sum(axis=0), np.zeros_like(weights.peepholes))


def gru_linear_step(
    z: FloatArray, state: State, weights: Weights, activations: tuple[str, ...]
) -> tuple[State, tuple[FloatArray, ...]]:
    """Return what `gru_step` does, the reset gate behind the product: g = g(z_g + r (R_g h + bias_g))."""
    h, c = state
    size = h.shape[1]
    update, reset = _gates(z, h, weights, activations, 2 * size)
    product = matmul(h, weights.r[2 * size :].T) + _last(weights, size)
    g = activate(activations[1], z[:, 2 * size :] + reset * product)
    return State((1 - update) * g + update * h, c), (h, c, update, reset, g, product)


# As above, but with m = R_g h + bias_g:   r_bar = a_g_bar m,   m_bar = a_g_bar r, and all of R acts on h alone:
#     h_bar = h'_bar u + R^T (a_ur_bar, m_bar),   R_bar = (a_ur_bar, m_bar) h^T; z_g sees a_g_bar, the bias m_bar.
def gru_linear_step_vjp(
    kept: tuple[FloatArray, ...], weights: Weights, bar: State, activations: tuple[str, ...]
) -> tuple[FloatArray, State, Weights]:
    """Return (z_bar, state_bar, weights_bar)."""
    h, _, update, reset, g, product = kept
    g_bar = bar.h * (1 - update) * derivative(activations[1], g)
    ur_bar = _gates_bar(update, reset, bar.h * (h - g), g_bar * product, activations)
    a_bar = np.concatenate([ur_bar, g_bar * reset], axis=1)
    weights_bar = Weights(matmul(a_bar.T, h), a_bar.sum(axis=0), np.zeros_like(weights.peepholes))
    z_bar = np.concatenate([ur_bar, g_bar], axis=1)
    return z_bar, State(bar.h * update + matmul(a_bar, weights.r), bar.c), weights_bar


def _gates(
    z: FloatArray, h: FloatArray, weights: Weights, activations: tuple[str, ...], rows: int
) -> tuple[FloatArray, FloatArray]:
    a = z[:, :rows] + matmul(h, weights.r[:rows].T) + weights.bias[:rows]
    update, reset = np.split(activate(activations[0], a), 2, axis=1)
    return update, reset


def _gates_bar(
    update: FloatArray, reset: FloatArray, update_bar: FloatArray, reset_bar: FloatArray, activations: tuple[str, ...]
) -> FloatArray:
    gate = activations[0]
    return np.concatenate([update_bar * derivative(gate, update), reset_bar * derivative(gate, reset)], axis=1)


def _last(weights: Weights, size: int) -> FloatArray:
    return weights.bias[2 * size :]


GRU = Cell("GRU", 3, ("Sigmoid", "Tanh"), gru_step, gru_step_vjp, 2)
LINEAR_GRU = Cell("GRU", 3, ("Sigmoid", "Tanh"), gru_linear_step, gru_linear_step_vjp, 2)


def gru(
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
    linear_before_reset: int = 0,
    output: int = 0,
) -> FloatArray:
    """Return one output of a GRU along sequences; see `gru_step` for what one step is.

    Parameters
    ----------
    x, sequence_lens, initial_h, direction, hidden_size, layout
        As of `lieref.op.lstm.lstm`.
    w, r, b
        (D, 3 H, I), (D, 3 H, H), (D, 6 H): blocks u (ONNX's z), r, g (ONNX's h) for each of D directions.
    activations
        Names f, g for each direction; Sigmoid, Tanh by default.
    linear_before_reset
        1: the reset gate multiplies the recurrent product (cuDNN, PyTorch), see `gru_linear_step`; 0: the state.
    output
        Which of the node's outputs: 0 is h at all times (T, D, N, H), 1 the last h (D, N, H).
    """
    cell = LINEAR_GRU if linear_before_reset else GRU
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    recurrent_shape(cell, Inputs(*specs(*inputs)), direction, activations, hidden_size, layout, output)
    return run(cell, inputs, direction, activations, layout, output)


def gru_vjp(
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
    linear_before_reset: int = 0,
    output: int = 0,
) -> tuple[FloatArray | None, ...]:
    """Return the cotangents of the six inputs, by `lieref.op.recurrent.run_vjp`."""
    cell = LINEAR_GRU if linear_before_reset else GRU
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    return tuple(run_vjp(cell, inputs, direction, activations, layout, output, y_bar))[:6]


def gru_shape(
    x: TensorSpec, w: TensorSpec, r: TensorSpec, b: TensorSpec | None = None, sequence_lens: TensorSpec | None = None,
    initial_h: TensorSpec | None = None,
    *, activations: Any = None, direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
    linear_before_reset: int = 0, output: int = 0,
) -> TensorSpec:  # fmt: skip
    """Return the shape of the output that is asked for."""
    inputs = Inputs(x, w, r, b, sequence_lens, initial_h)
    return recurrent_shape(GRU, inputs, direction, activations, hidden_size, layout, output)
