"""LSTM and GRU of a file in PyTorch, step by step as the ONNX specification writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def _directions(attrs: dict[str, Any]) -> list[bool]:
    """Return, for each direction, whether it runs backwards."""
    return {b"forward": [False], b"reverse": [True], b"bidirectional": [False, True]}[
        attrs.get("direction", b"forward")
    ]


def _start(given: Any, x: torch.Tensor, directions: int, hidden: int) -> torch.Tensor:
    return x.new_zeros(directions, x.shape[1], hidden) if given is None else torch.as_tensor(given, dtype=x.dtype)


def _all_lengths(lengths: Any, x: torch.Tensor) -> None:
    assert lengths is None or (np.asarray(lengths) == x.shape[0]).all(), "the twin knows sequences of one length"


def lstm(attrs: dict[str, Any], x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None,
         c0: Any = None) -> tuple[torch.Tensor, ...]:  # fmt: skip
    hidden, ways = attrs["hidden_size"], _directions(attrs)
    _all_lengths(lengths, x)
    hs, cs = _start(h0, x, len(ways), hidden), _start(c0, x, len(ways), hidden)
    outs, last_h, last_c = [], [], []
    for d, backwards in enumerate(ways):
        h, c, ys = hs[d], cs[d], {}
        bias = 0.0 if b is None else b[d, : 4 * hidden] + b[d, 4 * hidden :]
        for t in reversed(range(len(x))) if backwards else range(len(x)):
            i, o, f, g = (x[t] @ w[d].T + h @ r[d].T + bias).split(hidden, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys[t] = h
        outs.append(torch.stack([ys[t] for t in range(len(x))]))
        last_h.append(h)
        last_c.append(c)
    return torch.stack(outs, 1), torch.stack(last_h), torch.stack(last_c)


def gru(attrs: dict[str, Any], x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None,
        h0: Any = None) -> tuple[torch.Tensor, ...]:  # fmt: skip
    hidden, ways = attrs["hidden_size"], _directions(attrs)
    assert attrs.get("linear_before_reset", 0), "the twin knows PyTorch's gates"
    _all_lengths(lengths, x)
    hs = _start(h0, x, len(ways), hidden)
    outs, last = [], []
    for d, backwards in enumerate(ways):
        h, ys = hs[d], {}
        wb, rb = (0.0, 0.0) if b is None else b[d].split(3 * hidden)
        for t in reversed(range(len(x))) if backwards else range(len(x)):
            (xz, xr, xn), (hz, hr, hn) = (x[t] @ w[d].T + wb).split(hidden, 1), (h @ r[d].T + rb).split(hidden, 1)
            z, reset = torch.sigmoid(xz + hz), torch.sigmoid(xr + hr)
            h = (1 - z) * torch.tanh(xn + reset * hn) + z * h
            ys[t] = h
        outs.append(torch.stack([ys[t] for t in range(len(x))]))
        last.append(h)
    return torch.stack(outs, 1), torch.stack(last)
