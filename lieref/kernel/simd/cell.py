"""The cells of recurrent layers: what becomes of the sums of one step, and the chain rule of that.

With a the sums of the gates, s() the sigmoid, h and c the state before, h' and c' the state behind:

    lstm         i, o, f = s(a_i), s(a_o), s(a_f),  g = tanh(a_g),   c' = f c + i g,   h' = o tanh(c')
    gru          u, r = s(a_u), s(a_r),   g = tanh(z_g + R_g (r h) + bias_g),   h' = g + u (h - g)
    gru_linear   the same with g = tanh(z_g + r m),   m = R_g h + bias_g
    rnn          h' = tanh(a)

What backward needs of a step is kept, block by block: i, o, f, g, c'; u, r, g, r h; u, r, g, m; of an rnn h' alone. The
derivative of a sigmoid y is y (1 - y), that of a tanh y is 1 - y^2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lieref.kernel.simd.elementary import sigmoid_parts, tanh
from lieref.kernel.simd.emit import Int, Pointer, Real
from lieref.kernel.simd.row import Kernel


class Step(NamedTuple):
    """One vector of hidden units in one step: where the blocks of its tensors are, and those of the step before."""

    k: Kernel
    at: dict[str, Pointer]
    before: dict[str, Pointer]
    size: Int
    vector: Int

    def load(self, tensor: str, block: int = 0) -> Real:
        """Return this step's numbers."""
        return self.at[tensor].vector_at(self._place(block), self.k.width)

    def load_before(self, tensor: str, block: int = 0) -> Real:
        """Return those of the step before."""
        return self.before[tensor].vector_at(self._place(block), self.k.width)

    def store(self, tensor: str, *values: Real, block: int = 0) -> None:
        """Store this step's numbers, from a block on."""
        for number, value in enumerate(values):
            self.at[tensor].store(self._place(block + number), value)

    def _place(self, block: int) -> Int:
        return self.size * block + self.vector * self.k.width


class Forward(NamedTuple):
    """A part of a step: the gates whose sums are made, and what is done with them.

    Attributes
    ----------
    gates : tuple of int
    with_input : tuple of int
        Gates whose sums begin with what the input gives.
    source : int or None
        What R is multiplied with: a block that is kept of this step, None for the h before.
    apply : callable
    """

    gates: tuple[int, ...]
    with_input: tuple[int, ...]
    source: int | None
    apply: Callable[[Step, list[Real]], None]


class Backward(NamedTuple):
    """A part of a step back: what the rows of R^T are multiplied with, (tensor, first block, blocks), or nothing."""

    source: tuple[str, int, int] | None
    apply: Callable[[Step, Real], None]


class Cell(NamedTuple):
    """A cell.

    Attributes
    ----------
    gates, kept, recalled, carried : int
        Blocks of a step's sums, of what is kept of it, of that those from the first on that a step back reads, and of
        what a step back hands on.
    before : tuple of int
        Kept blocks that the next step reads.
    read : tuple of str
        What a walk back reads beside g: "kept", "h" of the step, "before", h of the step before.
    sides : tuple of str
        "recurrent" where what R gives has other gradients than what the input gives, which are "out".
    forward, backward : tuple
        Parts of a step; each runs over all vectors before the next.
    """

    gates: int
    kept: int
    recalled: int
    carried: int
    before: tuple[int, ...]
    read: tuple[str, ...]
    sides: tuple[str, ...]
    forward: tuple[Forward, ...]
    backward: tuple[Backward, ...]


def _sigmoid(k: Kernel, x: Real) -> Real:
    return k.vector(1.0, k.width) / sigmoid_parts(k, x)[1]


def _of_sigmoid(y: Real) -> Real:
    return y - y * y


def _of_tanh(k: Kernel, y: Real) -> Real:
    return (-y).muladd(y, k.vector(1.0, k.width))


def _carry(s: Step, product: Real) -> None:
    """Add R^T a_bar to what passes the gates by."""
    s.store("carry", s.load("carry") + product)


def _lstm(s: Step, a: list[Real]) -> None:
    i, o, f = (_sigmoid(s.k, one) for one in a[:3])
    g = tanh(s.k, a[3])
    c = f.muladd(s.load_before("kept", 4), i * g)
    s.store("kept", i, o, f, g, c)
    s.store("out", o * tanh(s.k, c))


# With s = tanh(c'):   o_bar = h'_bar s,   c'_bar += h'_bar o (1 - s^2),   i_bar = c'_bar g,   f_bar = c'_bar c,
# g_bar = c'_bar i,   and c'_bar f is handed on to c. Each times the derivative of its gate gives a_bar.
def _lstm_back(s: Step, _: Real) -> None:
    i, o, f, g, c = (s.load("kept", block) for block in range(5))
    squashed, h_bar = tanh(s.k, c), s.load("g") + s.load("carry")
    c_bar = (h_bar * o).muladd(_of_tanh(s.k, squashed), s.load("carry", 1))
    bars = (
        c_bar * g * _of_sigmoid(i),
        h_bar * squashed * _of_sigmoid(o),
        c_bar * s.load_before("kept", 4) * _of_sigmoid(f),
        c_bar * i * _of_tanh(s.k, g),
    )
    s.store("out", *bars)
    s.store("carry", s.k.vector(0.0, s.k.width), c_bar * f)


def _gru_reset(s: Step, a: list[Real]) -> None:
    u, r = (_sigmoid(s.k, one) for one in a)
    s.store("kept", u, r)
    s.store("kept", r * s.load_before("out"), block=3)


def _gru(s: Step, a: list[Real]) -> None:
    u, g, h = s.load("kept"), tanh(s.k, a[0]), s.load_before("out")
    s.store("kept", g, block=2)
    s.store("out", u.muladd(h - g, g))


# g_bar = h'_bar (1 - u),   u_bar = h'_bar (h - g),   h_bar = h'_bar u; with q = r h, q_bar = R_g^T a_g_bar:
# r_bar = q_bar h,   h_bar += q_bar r.
def _gru_back(s: Step, _: Real) -> None:
    u, g, h_bar = s.load("kept"), s.load("kept", 2), s.load("g") + s.load("carry")
    s.store("out", (h_bar - h_bar * u) * _of_tanh(s.k, g), block=2)


def _gru_reset_back(s: Step, q_bar: Real) -> None:
    u, r, g = (s.load("kept", block) for block in range(3))
    h, h_bar = s.load("before"), s.load("g") + s.load("carry")
    s.store("out", h_bar * (h - g) * _of_sigmoid(u), q_bar * h * _of_sigmoid(r))
    s.store("carry", q_bar.muladd(r, h_bar * u))


def _gru_linear(s: Step, a: list[Real]) -> None:
    u, r, m, h = _sigmoid(s.k, a[0]), _sigmoid(s.k, a[1]), a[2], s.load_before("out")
    g = tanh(s.k, r.muladd(m, s.load("in", 2)))
    s.store("kept", u, r, g, m)
    s.store("out", u.muladd(h - g, g))


# As above, but with r_bar = a_g_bar m and m_bar = a_g_bar r: R acts on h alone.
def _gru_linear_back(s: Step, _: Real) -> None:
    u, r, g, m = (s.load("kept", block) for block in range(4))
    h, h_bar = s.load("before"), s.load("g") + s.load("carry")
    g_bar = (h_bar - h_bar * u) * _of_tanh(s.k, g)
    u_bar, r_bar = h_bar * (h - g) * _of_sigmoid(u), g_bar * m * _of_sigmoid(r)
    s.store("out", u_bar, r_bar, g_bar)
    s.store("recurrent", u_bar, r_bar, g_bar * r)
    s.store("carry", h_bar * u)


def _rnn(s: Step, a: list[Real]) -> None:
    s.store("out", tanh(s.k, a[0]))


def _rnn_back(s: Step, _: Real) -> None:
    s.store("out", (s.load("g") + s.load("carry")) * _of_tanh(s.k, s.load("h")))
    s.store("carry", s.k.vector(0.0, s.k.width))


CELLS: dict[str, Cell] = {
    "lstm": Cell(
        4, 5, 5, 2, (4,), ("kept",), (), (Forward((0, 1, 2, 3), (0, 1, 2, 3), None, _lstm),),
        (Backward(None, _lstm_back), Backward(("out", 0, 4), _carry)),
    ),
    "gru": Cell(
        3, 4, 3, 1, (), ("kept", "before"), (),
        (Forward((0, 1), (0, 1), None, _gru_reset), Forward((2,), (2,), 3, _gru)),
        (Backward(None, _gru_back), Backward(("out", 2, 1), _gru_reset_back), Backward(("out", 0, 2), _carry)),
    ),
    "gru_linear": Cell(
        3, 4, 4, 1, (), ("kept", "before"), ("recurrent",), (Forward((0, 1, 2), (0, 1), None, _gru_linear),),
        (Backward(None, _gru_linear_back), Backward(("recurrent", 0, 3), _carry)),
    ),
    "rnn": Cell(
        1, 0, 0, 1, (), ("h",), (), (Forward((0,), (0,), None, _rnn),),
        (Backward(None, _rnn_back), Backward(("out", 0, 1), _carry)),
    ),
}  # fmt: skip
"""The cells by name."""
