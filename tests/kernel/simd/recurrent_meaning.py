"""What a walk along sequences and one back do, step by step, from the definitions of the cells."""

from __future__ import annotations

import numpy as np

from tests.kernel.simd.bounded import Bounded, total
from tests.kernel.simd.state import Write, lanes


def _sigmoid(x):
    """Right to 8 ulp; its slope is at most a quarter."""
    return Bounded(1 / (1 + np.exp(-x.value)), 0.0, x.dtype).rounded(x.error / 4, 16)


def _product(x, matrix):
    """The sums over the rows of a matrix, in any order."""
    return total(x.reshape(-1, 1) * matrix, 0)


class _Walk:
    """The steps of an instruction: where their blocks are, and what has been computed of them."""

    def __init__(self, f, tile, s):
        self.f, self.s, self.size = f, s, f["vectors"] * tile.width
        self.width = tile.width
        self.found = {}

    def place(self, tensor, t, block=0):
        return self.f[tensor] + t * self.f.get(f"{tensor}_pixel", 0) + block * self.size + np.arange(self.size)

    def read(self, tensor, t, block=0):
        """What has been written there, else what was there before."""
        known = self.found.get((tensor, t, block))
        return self.s.read("arena", self.place(tensor, t, block)) if known is None else known

    def matrix(self, first, rows, blocks):
        """Rows from one on, and so many blocks of columns from another on."""
        row, columns = first[0] + np.arange(rows), self.f["vectors"] * blocks
        start = self.f["weight"] + first[1] * self.f["vectors"] * self.f["column"]
        return self.s.read("weights", start + row[:, None] * self.width + lanes(columns, self.f["column"], self.width))

    def bias(self, gate):
        return self.s.read("weights", self.f["bias"] + gate * self.size + np.arange(self.size))

    def writes(self):
        return [Write("arena", self.place(*key), value) for key, value in self.found.items()]


def each_sample(meaning, cell, f, tile, table, s):
    """What a walk of all samples does: of each what the walk of one would do in its tensors."""
    found = []
    for sample in range(f["samples"]):
        moved = {name: n + sample * f.get(f"{name}_pitch", 0) for name, n in f.items()}
        found += meaning(cell, moved, tile, table, s)
    return found


def forward(cell, f, tile, table, s):
    """The states of all steps of a sample, and what is kept of them."""
    w = _Walk(f, tile, s)
    for t in range(f["count"]):
        h = w.read("out", t - 1)

        def sums(gate, x=h, w=w):
            return _product(x, w.matrix((0, gate), w.size, 1)) + w.bias(gate)

        z = [w.read("in", t, gate) for gate in range({"lstm": 4, "rnn": 1}.get(cell, 3))]
        if cell == "lstm":
            i, o, gate = (_sigmoid(z[n] + sums(n)) for n in range(3))
            g = (z[3] + sums(3)).tanh()
            c = gate * w.read("kept", t - 1, 4) + i * g
            kept, new = (i, o, gate, g, c), o * c.tanh()
        elif cell == "rnn":
            kept, new = (), (z[0] + sums(0)).tanh()
        else:
            u, r = (_sigmoid(z[n] + sums(n)) for n in range(2))
            last = sums(2) if cell == "gru_linear" else r * h
            g = (z[2] + (r * last if cell == "gru_linear" else sums(2, last))).tanh()
            kept, new = (u, r, g, last), g + u * (h - g)
        w.found |= {("out", t, 0): new} | {("kept", t, block): one for block, one in enumerate(kept)}
    return w.writes()


def backward(cell, f, tile, table, s):
    """The gradients of the sums of all steps of a sample, and what is left to hand on."""
    w = _Walk(f, tile, s)
    zero = Bounded(np.zeros(w.size), 0.0, s.dtype)
    carry, c_bar = zero, zero
    for t in range(f["count"]):
        h_bar = w.read("g", t) + carry
        if cell == "lstm":
            i, o, gate, g, c = (w.read("kept", t, block) for block in range(5))
            squashed = c.tanh()
            c_bar = c_bar + h_bar * o * (1 - squashed * squashed)
            through = ((c_bar * g, i), (h_bar * squashed, o), (c_bar * w.read("kept", t + 1, 4), gate))
            bars = [*(bar * (y - y * y) for bar, y in through), c_bar * i * (1 - g * g)]
            carry, c_bar = zero, c_bar * gate
            sides = {"out": bars}
        elif cell == "rnn":
            y = w.read("h", t)
            carry, sides = zero, {"out": [h_bar * (1 - y * y)]}
        else:
            u, r, g, m = (w.read("kept", t, block) for block in range(4))
            h = w.read("before", t)
            carry = h_bar * u
            g_bar = (h_bar - h_bar * u) * (1 - g * g)
            u_bar = h_bar * (h - g) * (u - u * u)
            if cell == "gru_linear":
                r_bar = g_bar * m * (r - r * r)
                sides = {"out": [u_bar, r_bar, g_bar], "recurrent": [u_bar, r_bar, g_bar * r]}
            else:
                q_bar = _product(g_bar, w.matrix((2 * w.size, 0), w.size, 1))
                carry = carry + q_bar * r
                sides = {"out": [u_bar, q_bar * h * (r - r * r), g_bar]}
        for number, bar in enumerate([*sides.values()][-1]):
            if cell != "gru" or number < 2:
                carry = carry + _product(bar, w.matrix((number * w.size, 0), w.size, 1))
        w.found |= {(name, t, n): bar for name, bars in sides.items() for n, bar in enumerate(bars)}
        w.found |= {("carry", 0, 0): carry, **({("carry", 0, 1): c_bar} if cell == "lstm" else {})}
    return w.writes()
