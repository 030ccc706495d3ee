"""What the instructions of adapters do, in NumPy: the adapted weight, and the gradients of its factors.

Of a low rank, the factor a is ranks x rows and b ranks x channels; else a is rows x channels, as the weights are, and b
has a number for each channel.
"""

from __future__ import annotations

import numpy as np

from tests.kernel.simd.bounded import dot, total
from tests.kernel.simd.state import Write, grid, lanes


def _weights(f, tile, start, column):
    """Where the packed weights are, rows x channels."""
    return start + np.arange(f["rows"])[:, None] * tile.width + lanes(f["blocks"], column, tile.width)


def _factors(f, tile):
    """Where both factors are."""
    channels = f["right"] + np.arange(f["blocks"] * tile.width)
    if tile.form == "low_rank":
        left = f["left"] + grid((f["rank"], f["left_rank"]), (f["rows"], 1))
        return left, np.arange(f["rank"])[:, None] * f["right_rank"] + channels
    return _weights(f, tile, f["left"], f["left_column"]), channels


def _xi(f, tile, s):
    """The algebra element, rows x channels."""
    left, right = _factors(f, tile)
    a = s.read("factors", left)
    if tile.form == "dense":
        return a
    b = s.read("factors", right)
    return dot(a.turned(), b) if tile.form == "low_rank" else a * b


def _tanh(f, xi, s):
    return (xi / s.number(f["bound"])).tanh()


def adapt(map_name, f, tile, table, s):
    """W' = W0 acted on by the map of xi."""
    xi, place = _xi(f, tile, s), _weights(f, tile, f["weight"], f["column"])
    w = s.read("bases", place)
    if map_name == "add":
        y = w + xi
    elif map_name == "exp":
        y = w * xi.exp()
    elif map_name == "bounded":
        y = w * (_tanh(f, xi, s) * s.number(f["bound"])).exp()
    else:
        y = w + w * xi if map_name == "taylor1" else w + w * xi * (xi * 0.5 + 1.0)
    return [Write("weights", place, y)]


def collect(map_name, f, tile, table, s):
    """The gradients of the factors, added up, from xi_bar = W'_bar dW'/dxi."""
    place = _weights(f, tile, f["weight"], f["column"])
    bar = s.read("gradients", _weights(f, tile, f["gradient"], f["gradient_column"]))
    if map_name == "exp":
        bar = bar * s.read("weights", place)
    elif map_name == "bounded":
        t = _tanh(f, _xi(f, tile, s), s)
        bar = bar * s.read("weights", place) * (1.0 - t * t)
    elif map_name == "taylor1":
        bar = bar * s.read("bases", place)
    elif map_name == "taylor2":
        bar = bar * s.read("bases", place)
        bar = bar + bar * _xi(f, tile, s)
    left, right = _factors(f, tile)
    a_bar = s.read("factor_gradients", left)
    if tile.form == "dense":
        return [Write("factor_gradients", left, a_bar + bar)]
    a, b, b_bar = s.read("factors", left), s.read("factors", right), s.read("factor_gradients", right)
    if tile.form == "channel":
        a_bar, b_bar = a_bar + bar * b, total(bar * a, 0, b_bar)
    else:
        a_bar, b_bar = total(bar * b[:, None, :], 2, a_bar), total(bar * a[:, :, None], 1, b_bar)
    return [Write("factor_gradients", left, a_bar), Write("factor_gradients", right, b_bar)]
