"""LSTM, GRU and RNN against torch in float64: its own modules, and ONNX's equations written out and differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec
from tests.op.example import spread

torch: Any = pytest.importorskip("torch")

TIMES, SAMPLES, FEATURES, HIDDEN = 5, 3, 4, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Relu": torch.relu, "Softplus": torch.nn.functional.softplus}
FUNCTIONS["Softsign"] = torch.nn.functional.softsign
FUNCTIONS["HardSigmoid"] = lambda x: torch.clamp(0.2 * x + 0.5, 0, 1)
DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def small(*shape: int, seed: int) -> Array:
    numbers = spread(*shape, seed=seed)
    return numbers / np.abs(numbers).max()


def arguments(op: str, directions: int, lens: bool) -> list[Array | None]:
    gates = GATES[op]
    found: list[Array | None] = [
        spread(TIMES, SAMPLES, FEATURES),
        small(directions, gates * HIDDEN, FEATURES, seed=1),
        small(directions, gates * HIDDEN, HIDDEN, seed=2),
        small(directions, 2 * gates * HIDDEN, seed=3),
        np.array([5, 0, 3]) if lens else None,
        small(directions, SAMPLES, HIDDEN, seed=4),
    ]
    return [*found, small(directions, SAMPLES, HIDDEN, seed=5), small(directions, 3 * HIDDEN, seed=6)][
        : 8 if op == "LSTM" else 6
    ]


def step(op: str, x: Any, h: Any, c: Any, w: Any, r: Any, b: Any, p: Any, names: Any, linear: int) -> tuple[Any, Any]:
    """One sample at one time, from the equations of ONNX's documentation."""
    f = [FUNCTIONS[name] for name in names]
    wb, rb = b[: len(w)], b[len(w) :]
    if op == "RNN":
        return f[0](w @ x + r @ h + wb + rb), c
    if op == "GRU":
        wz, wr, wh = w.split(HIDDEN)
        rz, rr, rh = r.split(HIDDEN)
        (wbz, wbr, wbh), (rbz, rbr, rbh) = wb.split(HIDDEN), rb.split(HIDDEN)
        z = f[0](wz @ x + rz @ h + wbz + rbz)
        reset = f[0](wr @ x + rr @ h + wbr + rbr)
        inner = reset * (rh @ h + rbh) if linear else rh @ (reset * h) + rbh
        return (1 - z) * f[1](wh @ x + inner + wbh) + z * h, c
    ai, ao, af, ac = (w @ x + r @ h + wb + rb).split(HIDDEN)
    pi, po, pf = p.split(HIDDEN)
    i, forget = f[0](ai + pi * c), f[0](af + pf * c)
    c = forget * c + i * f[1](ac)
    return f[0](ao + po * c) * f[2](c), c


def written_out(op: str, args: list[Any], direction: str, names: Any, linear: int) -> tuple[Any, Any, Any]:
    x, w, r, b, lens, h0, *rest = args
    c0, p = rest or (torch.zeros_like(h0), torch.zeros(len(w), 0))
    count = len(DEFAULTS[op])
    y = [[[torch.zeros(HIDDEN, dtype=x.dtype) for _ in range(SAMPLES)] for _ in w] for _ in range(TIMES)]
    last: tuple[list[Any], list[Any]] = ([], [])
    for d, forward in enumerate({"forward": [1], "reverse": [0], "bidirectional": [1, 0]}[direction]):
        states = []
        for n in range(SAMPLES):
            h, c, length = h0[d, n], c0[d, n], TIMES if lens is None else int(lens[n])
            for t in range(length) if forward else reversed(range(length)):
                own = names[d * count : (d + 1) * count]
                h, c = step(op, x[t, n], h, c, w[d], r[d], b[d], p[d], own, linear)
                y[t][d][n] = h
            states.append((h, c))
        for which in (0, 1):
            last[which].append(torch.stack([state[which] for state in states]))
    whole = torch.stack([torch.stack([torch.stack(n) for n in d]) for d in y])
    return whole, torch.stack(last[0]), torch.stack(last[1])


CASES = [
    ("LSTM", "forward", 0, False, None, 0),
    ("LSTM", "reverse", 0, True, None, 1),
    ("LSTM", "bidirectional", 0, True, None, 2),
    ("LSTM", "bidirectional", 0, True, ("Softsign", "Softplus", "Tanh", "HardSigmoid", "Relu", "Tanh"), 0),
    ("GRU", "forward", 0, False, None, 1),
    ("GRU", "forward", 1, True, None, 0),
    ("GRU", "bidirectional", 0, True, None, 0),
    ("GRU", "bidirectional", 1, True, ("HardSigmoid", "Softsign", "Sigmoid", "Relu"), 1),
    ("RNN", "reverse", 0, False, ("Relu",), 0),
    ("RNN", "bidirectional", 0, True, None, 1),
]


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize(("op", "direction", "linear", "lens", "activations", "output"), CASES)
def test_value_and_gradient(
    op: str, direction: str, linear: int, lens: bool, activations: Any, output: int, layout: int
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    args = arguments(op, directions, lens)
    attrs: dict[str, Any] = {"direction": direction, "output": output, "activations": activations, "layout": layout}
    if op == "GRU":
        attrs["linear_before_reset"] = linear
    leaves = [None if a is None else torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in args]
    wanted = written_out(op, leaves, direction, activations or DEFAULTS[op] * 2, linear)[output]
    y_bar = np.cos(np.arange(wanted.numel())).reshape(wanted.shape)
    wanted.backward(torch.tensor(y_bar))

    def turned(a: Array, i: int) -> Array:
        return a.swapaxes(0, 1) if layout and i in (0, 5, 6) else a

    mine = [None if a is None else turned(a, i) for i, a in enumerate(args)]
    y = OPERATORS[op].forward(*mine, **attrs)
    order = ((0, 1, 2) if not layout else (1, 0, 2)) if output else ((0, 1, 2, 3) if not layout else (2, 0, 1, 3))
    close(y, wanted.detach().numpy().transpose(order))
    bars = OPERATORS[op].vjp(*mine, y=y, y_bar=y_bar.transpose(order), **attrs)
    assert len(bars) == len(args)
    for i, (bar, leaf) in enumerate(zip(bars, leaves, strict=True)):
        if leaf is not None and leaf.requires_grad:
            grad = np.zeros_like(args[i]) if leaf.grad is None else leaf.grad.numpy()
            close(bar, turned(grad, i))
        else:
            assert bar is None


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_torch_module(op: str) -> None:
    module = getattr(torch.nn, op)(FEATURES, HIDDEN, bidirectional=True).double()
    x = torch.tensor(spread(TIMES, SAMPLES, FEATURES), requires_grad=True)
    y, _ = module(x)
    y_bar = torch.cos(torch.arange(y.numel())).reshape(y.shape).double()
    y.backward(y_bar)
    # torch has the gates i, f, g, o and r, z, n; ONNX i, o, f, c and z, r, h
    order = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}[op]

    def stacked(*names: str, grad: bool) -> Array:
        rows = []
        for end in ("l0", "l0_reverse"):
            each = [getattr(module, f"{name}_{end}") for name in names]
            blocks = [(p.grad if grad else p.detach()).numpy() for p in each]
            rows.append(np.concatenate([np.concatenate([np.split(a, len(order))[i] for i in order]) for a in blocks]))
        return np.stack(rows)

    args = [x.detach().numpy(), *(stacked(n, grad=False) for n in ("weight_ih", "weight_hh"))]
    args.append(stacked("bias_ih", "bias_hh", grad=False))
    attrs: dict[str, Any] = {"direction": "bidirectional", **({"linear_before_reset": 1} if op == "GRU" else {})}
    mine = OPERATORS[op].forward(*args, **attrs)
    close(mine, y.detach().numpy().reshape(TIMES, SAMPLES, 2, HIDDEN).transpose(0, 2, 1, 3))
    bar = y_bar.numpy().reshape(TIMES, SAMPLES, 2, HIDDEN).transpose(0, 2, 1, 3)
    bars = OPERATORS[op].vjp(*args, y=mine, y_bar=bar, **attrs)
    wanted = [x.grad.numpy(), *(stacked(n, grad=True) for n in ("weight_ih", "weight_hh"))]
    for a, b in zip(bars, [*wanted, stacked("bias_ih", "bias_hh", grad=True)], strict=True):
        close(a, b)


def close(mine: Array, theirs: Array) -> None:
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= 1e-11 * max(1, np.abs(theirs).max())


X, W, R, B, _, H0, C0, P = arguments("LSTM", 1, False)
LENS = np.array([5, 2, 3])


@pytest.mark.parametrize(
    ("inputs", "attrs", "error", "message"),
    [
        ((X[0], W, R), {}, ShapeError, r"`X` must have shape \(time, batch, features\); got \(3, 4\)"),
        ((X[0], W, R), {"layout": 1}, ShapeError, r"`X` must have shape \(batch, time, features\)"),
        ((X.astype(int), W, R), {}, DTypeError, "must be float32 or float64"),
        ((X, W.astype(np.float32), R), {}, DTypeError, "all arrays must share one dtype"),
        ((X, W, R[0]), {}, ShapeError, r"`R` must have shape \(directions, gates \* hidden, hidden\)"),
        ((X, W[..., 1:], R), {}, ShapeError, r"`W` must have shape \(1, 8, 4\); got \(1, 8, 3\)"),
        ((X, W, R), {"direction": "bidirectional"}, ShapeError, r"`W` must have shape \(2, 8, 4\)"),
        ((X, W, R), {"hidden_size": 3}, ShapeError, r"`W` must have shape \(1, 12, 4\)"),
        ((X, W, R, B[:, 1:]), {}, ShapeError, r"`B` must have shape \(1, 16\); got \(1, 15\)"),
        ((X, W, R, B, LENS[:2]), {}, ShapeError, r"`sequence_lens` must have shape \(3,\); got \(2,\)"),
        ((X, W, R, B, LENS * 1.0), {}, DTypeError, "`sequence_lens` must be integers; got float64"),
        ((X, W, R, B, None, H0[:, 1:]), {}, ShapeError, r"`initial_h` must have shape \(1, 3, 2\)"),
        ((X, W, R, B, None, H0, C0[:, 1:]), {}, ShapeError, r"`initial_c` must have shape \(1, 3, 2\)"),
        ((X, W, R, B, None, H0, C0, P[:, 1:]), {}, ShapeError, r"`P` must have shape \(1, 6\)"),
        ((X, W, R), {"activations": ("Tanh",)}, UnsupportedError, "`activations` must be 3 of Sigmoid, .*; got Tanh"),
        ((X, W, R), {"activations": ("Tanh", "Tanh", "Sin")}, UnsupportedError, "got Tanh, Tanh, Sin"),
    ],
)
def test_bad_input(inputs: Any, attrs: dict[str, Any], error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=f"^LSTM: .*{message}"):
        OPERATORS["LSTM"].forward(*inputs, **attrs)
    with pytest.raises(error, match=f"^LSTM: .*{message}"):
        OPERATORS["LSTM"].shape(*(None if a is None else TensorSpec.of(a) for a in inputs), **attrs)


@pytest.mark.parametrize("lens", [LENS - 3, LENS + 1])
def test_lengths_lie_in_the_sequence(lens: Array) -> None:
    with pytest.raises(DomainError, match=r"^LSTM: `sequence_lens` must be 0 to 5; got"):
        OPERATORS["LSTM"].forward(X, W, R, None, lens)


@pytest.mark.parametrize(("times", "samples"), [(0, 3), (4, 0)])
def test_no_times_and_no_samples(times: int, samples: int) -> None:
    x, h0 = np.zeros((times, samples, FEATURES)), np.ones((1, samples, HIDDEN))
    last = OPERATORS["LSTM"].forward(x, W, R, B, None, h0, h0, P, output=1)
    np.testing.assert_array_equal(last, h0)
    x_bar, w_bar, *_ = OPERATORS["LSTM"].vjp(x, W, R, B, None, h0, h0, P, y=last, y_bar=last, output=1)
    assert x_bar.shape == x.shape
    assert not w_bar.any()
