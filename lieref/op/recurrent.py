"""What LSTM, GRU and RNN share: their arguments, and a cell run along a sequence, forward and back through time.

A cell is a pair: ``step(z, state, weights) -> (state, kept)`` and ``step_vjp(kept, weights, state_bar) -> (z_bar,
state_bar, weights_bar)``. z (N, gates H) is what the input gives at that time, x W^T plus its bias; everything else of
the input's side is done here, for all times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.kernel.matmul import matmul
from lieref.op.spec import Extents, TensorSpec, check_dtypes, differ, need_float, text

DIRECTIONS = ("forward", "reverse", "bidirectional")


class State(NamedTuple):
    """What a cell hands on from one time to the next: h and, of an LSTM, c, each (N, H)."""

    h: FloatArray
    c: FloatArray


class Weights(NamedTuple):
    """What a cell reads beside its state: R (gates H, H), its bias (gates H,), the peepholes of an LSTM (3 H,)."""

    r: FloatArray
    bias: FloatArray
    peepholes: FloatArray


@dataclass(frozen=True)
class Cell:
    """A recurrent operator.

    Attributes
    ----------
    name
        ONNX's.
    gates
        Blocks of H rows in W and R.
    activations
        The default ones of one direction.
    step, step_vjp
        See the module; both take the activations last.
    outputs
        Y, Y_h and, of an LSTM, Y_c.
    """

    name: str
    gates: int
    activations: tuple[str, ...]
    step: Callable[..., tuple[State, Any]]
    step_vjp: Callable[..., tuple[FloatArray, State, Weights]]
    outputs: int


class Inputs(NamedTuple):
    """The inputs of a node, in ONNX's order and layout 0; what is absent is None."""

    x: Any
    w: Any
    r: Any
    b: Any = None
    sequence_lens: Any = None
    initial_h: Any = None
    initial_c: Any = None
    p: Any = None


class Unrolled(NamedTuple):
    """One direction run along its sequence: h at each time (T, N, H), the last state, and what each step kept."""

    hidden: FloatArray
    last: State
    kept: list[Any]


Bars: TypeAlias = dict[str, FloatArray]


def run(cell: Cell, inputs: Inputs, direction: str, activations: Any, layout: int, output: int) -> FloatArray:
    """Return output 0 (Y), 1 (Y_h) or 2 (Y_c) of a node whose arguments are checked."""
    inputs = _as_layout_0(inputs, layout)
    _check_lengths(cell.name, inputs)
    runs = [_unroll(cell, *one) for one in _directions(cell, inputs, direction, activations)]
    if output:
        y = np.stack([each.last[output - 1] for each in runs])
        return np.ascontiguousarray(y.swapaxes(0, 1)) if layout else y
    backward = direction == "reverse", True
    hidden = [
        _reversed(each.hidden, inputs.sequence_lens) if turned else each.hidden
        for each, turned in zip(runs, backward, strict=False)
    ]
    y = np.stack(hidden, axis=1)
    return np.ascontiguousarray(y.transpose(2, 0, 1, 3)) if layout else y


# The chain rule backward through time: with (h, c)_t = F(z_t, (h, c)_{t-1}), the cotangent of a state is what its
# output asks for plus what step t + 1 hands back. A sample that is over hands its state on, and its output is zero.
# z_t = W x_t + bias for all t at once:
#     x_bar_t = W^T z_bar_t,   W_bar = sum_t z_bar_t x_t^T,   bias_bar = sum_t z_bar_t.
def run_vjp(
    cell: Cell, inputs: Inputs, direction: str, activations: Any, layout: int, output: int, y_bar: FloatArray
) -> Inputs:
    """Return the cotangents of the inputs, None for one that is absent or has none."""
    given = inputs
    inputs = _as_layout_0(inputs, layout)
    if layout:
        y_bar = y_bar.swapaxes(0, 1) if output else y_bar.transpose(1, 2, 0, 3)
    x_bar, parts = np.zeros_like(inputs.x), []
    for number, (forward, one) in enumerate(
        zip(_is_forward(direction), _directions(cell, inputs, direction, activations), strict=True)
    ):
        unrolled = _unroll(cell, *one)
        hidden_bar, last_bar = np.zeros_like(unrolled.hidden), [np.zeros_like(part) for part in unrolled.last]
        if output:
            last_bar[output - 1] = y_bar[number]
        else:
            hidden_bar = y_bar[:, number] if forward else _reversed(y_bar[:, number], inputs.sequence_lens)
        bars = _unroll_vjp(cell, *one, unrolled, hidden_bar, State(*last_bar))
        x_bar += bars["x"] if forward else _reversed(bars["x"], inputs.sequence_lens)
        parts.append(bars)
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0] if name != "x"}
    found: dict[str, Any] = {"x": x_bar, "sequence_lens": None, **stacked}
    if layout:
        found |= {name: found[name].swapaxes(0, 1) for name in ("x", "initial_h", "initial_c")}
    present = {name: bar for name, bar in found.items() if getattr(given, name) is not None}
    return Inputs(**{name: present.get(name) for name in Inputs._fields})


def _unroll(cell: Cell, args: Mapping[str, Array], alive: Array | None, activations: tuple[str, ...]) -> Unrolled:
    """Run a cell along one direction."""
    x, weights, state = args["x"], _weights(cell, args), State(args["initial_h"], args["initial_c"])
    times, samples, _ = x.shape
    bias = args["b"][: len(args["w"])]
    z = matmul(x.reshape(times * samples, x.shape[2]), args["w"].T).reshape(times, samples, len(bias)) + bias
    hidden, kept = np.zeros((times, *state.h.shape), x.dtype), []
    for t in range(times):
        new, saved = cell.step(z[t], state, weights, activations)
        kept.append(saved)
        if alive is None:
            state, hidden[t] = new, new.h
        else:
            state = State(*(np.where(alive[t], a, b) for a, b in zip(new, state, strict=True)))
            hidden[t] = np.where(alive[t], new.h, 0)
    return Unrolled(hidden, state, kept)


def _unroll_vjp(
    cell: Cell, args: Mapping[str, Array], alive: Array | None, activations: tuple[str, ...], unrolled: Unrolled,
    hidden_bar: FloatArray, last_bar: State,
) -> Bars:  # fmt: skip
    """Return the cotangents of the arguments of one direction."""
    x, weights = args["x"], _weights(cell, args)
    total = Weights(*(np.zeros_like(part) for part in weights))
    z_bar = np.zeros((*x.shape[:2], len(args["w"])), x.dtype)
    bar = last_bar
    for t in reversed(range(len(x))):
        asked = State(bar.h + hidden_bar[t], bar.c)
        if alive is None:
            z_bar[t], bar, one = cell.step_vjp(unrolled.kept[t], weights, asked, activations)
        else:
            live = State(*(np.where(alive[t], part, 0) for part in asked))
            z_bar[t], earlier, one = cell.step_vjp(unrolled.kept[t], weights, live, activations)
            bar = State(*(np.where(alive[t], a, b) for a, b in zip(earlier, bar, strict=True)))
        total = Weights(*(a + b for a, b in zip(total, one, strict=True)))
    rows, flat = (array.reshape(len(x) * x.shape[1], array.shape[2]) for array in (z_bar, x))
    return {
        "x": matmul(rows, args["w"]).reshape(x.shape),
        "w": matmul(rows.T, flat),
        "r": total.r,
        "b": np.concatenate([rows.sum(axis=0), total.bias]),
        "initial_h": bar.h,
        "initial_c": bar.c,
        "p": total.peepholes,
    }


def _weights(cell: Cell, args: Mapping[str, Array]) -> Weights:
    return Weights(args["r"], args["b"][len(args["w"]) :], args["p"])


def _is_forward(direction: str) -> tuple[bool, ...]:
    return {"forward": (True,), "reverse": (False,), "bidirectional": (True, False)}[direction]


def _directions(
    cell: Cell, inputs: Inputs, direction: str, activations: Any
) -> list[tuple[dict[str, Array], Array | None, tuple[str, ...]]]:
    """Return, for each direction, its arguments, zeros where one is absent, who is alive when, and its activations."""
    times, samples, _ = inputs.x.shape
    hidden, dtype, found = inputs.r.shape[2], inputs.x.dtype, []
    names = tuple(activations or cell.activations * 2)
    alive = None
    if inputs.sequence_lens is not None:
        alive = (np.arange(times)[:, None] < inputs.sequence_lens)[:, :, None]
    sizes = {"b": (2 * cell.gates * hidden,), "initial_h": (samples, hidden), "initial_c": (samples, hidden)}
    sizes["p"] = (3 * hidden,)
    for number, forward in enumerate(_is_forward(direction)):
        args = {"w": inputs.w[number], "r": inputs.r[number]}
        for name, size in sizes.items():
            value = getattr(inputs, name)
            args[name] = np.zeros(size, dtype) if value is None else value[number]
        args["x"] = inputs.x if forward else _reversed(inputs.x, inputs.sequence_lens)
        count = len(cell.activations)
        found.append((args, alive, names[number * count : (number + 1) * count]))
    return found


def _reversed(x: Array, sequence_lens: Array | None) -> Array:
    """Return sequences (T, N, ...) from their last to their first; what lies behind a sequence stays there."""
    if sequence_lens is None:
        return x[::-1]
    t, n = np.arange(len(x))[:, None], np.asarray(sequence_lens)[None]
    places = np.where(t < n, n - 1 - t, t)
    return np.take_along_axis(x, places[:, :, None], axis=0)


def _as_layout_0(inputs: Inputs, layout: int) -> Inputs:
    if not layout:
        return inputs
    names = ("x", "initial_h", "initial_c")
    turned = {name: getattr(inputs, name).swapaxes(0, 1) for name in names if getattr(inputs, name) is not None}
    return inputs._replace(**turned)


def _check_lengths(function: str, inputs: Inputs) -> None:
    lengths = inputs.sequence_lens
    if lengths is not None and lengths.size and not 0 <= lengths.min() <= lengths.max() <= len(inputs.x):
        raise DomainError(
            f"{function}: `sequence_lens` must be 0 to {len(inputs.x)}; got {lengths.min()} to {lengths.max()}"
        )


def recurrent_shape(
    cell: Cell, inputs: Inputs, direction: str, activations: Any, hidden_size: int | None, layout: int, output: int
) -> TensorSpec:
    """Return the shape of output 0 (Y), 1 (Y_h) or 2 (Y_c) after checking every argument.

    Raises
    ------
    ShapeError, DTypeError
        If an input does not fit the others.
    UnsupportedError
        If an activation is none of `ACTIVATIONS`, or their number is not that of the directions.
    """
    from lieref.op.gates import ACTIVATIONS

    name, count = cell.name, len(_is_forward(direction))
    x, w, r = inputs[:3]
    need_float(name, x)
    check_dtypes(name, x, w, r, inputs.b, inputs.initial_h, inputs.initial_c, inputs.p)
    if x.ndim != 3:
        axes = "(batch, time, features)" if layout else "(time, batch, features)"
        raise ShapeError(f"{name}: `X` must have shape {axes}; got {text(x.shape)}")
    if r.ndim != 3:
        raise ShapeError(f"{name}: `R` must have shape (directions, gates * hidden, hidden); got {text(r.shape)}")
    times, samples = (x.shape[1], x.shape[0]) if layout else x.shape[:2]
    hidden = r.shape[2] if hidden_size is None else hidden_size
    rows = None if hidden is None else cell.gates * hidden
    state = (samples, count, hidden) if layout else (count, samples, hidden)
    expected: dict[str, Extents] = {
        "W": (count, rows, x.shape[2]),
        "R": (count, rows, hidden),
        "B": (count, None if rows is None else 2 * rows),
        "sequence_lens": (samples,),
        "initial_h": state,
        "initial_c": state,
        "P": (count, None if hidden is None else 3 * hidden),
    }
    for (label, shape), spec in zip(expected.items(), inputs[1:], strict=True):
        if spec is not None and (spec.ndim != len(shape) or any(map(differ, spec.shape, shape))):
            raise ShapeError(f"{name}: `{label}` must have shape {text(shape)}; got {text(spec.shape)}")
    if inputs.sequence_lens is not None and inputs.sequence_lens.dtype.kind not in "iu":
        raise DTypeError(f"{name}: `sequence_lens` must be integers; got {inputs.sequence_lens.dtype}")
    if activations:
        unknown = [each for each in activations if each not in ACTIVATIONS]
        if unknown or len(activations) != count * len(cell.activations):
            raise UnsupportedError(
                f"{name}: `activations` must be {count * len(cell.activations)} of {', '.join(ACTIVATIONS)}; "
                f"got {', '.join(map(str, activations))}"
            )
    whole = (samples, times, count, hidden) if layout else (times, count, samples, hidden)
    return TensorSpec(state if output else whole, x.dtype)
