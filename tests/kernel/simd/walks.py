"""Where an instruction meets its tensors, and what it does with its sums before it stores them."""

from __future__ import annotations

import numpy as np

from lieref.kernel.simd.epilogue import ADD, BIAS, CLAMP, MASK
from tests.kernel.simd.state import Write, grid


def pixels(f, tensor):
    """Where `count` pixels are in a tensor, in rows of `cols`."""
    y, x = np.divmod(np.arange(f["count"]), f["cols"])
    return f[tensor] + y * f[f"{tensor}_row"] + x * f[f"{tensor}_pixel"]


def image(f, tensor):
    """Where the pixels of `rows` rows of `cols` are in a tensor."""
    return f[tensor] + grid((f["rows"], f[f"{tensor}_row"]), (f["cols"], f[f"{tensor}_pixel"])).ravel()


def offsets(table, start, count):
    """Entries of the table."""
    return np.array(table[start : start + count], np.int64)


def channels_of(f, count):
    """So many channels of a pixel."""
    return f["channel"] + np.arange(count)


def finish(f, s, t, channels, where):
    """What follows the sums: bias, what is added, clamp, and the clamp's derivative."""
    if f["flags"] & BIAS:
        t = t + s.read("weights", f["bias"] + channels)
    if f["flags"] & ADD:
        t = t + s.read("arena", where("aux")[:, None] + channels)
    low, high = s.number(f["low"]), s.number(f["high"])
    if f["flags"] & CLAMP:
        t = t.clip(low, high)
    if f["flags"] & MASK:
        saved = s.raw("arena", where("mask")[:, None] + channels)
        t = t.where((saved > low) & (saved < high))
    return [Write("arena", where("out")[:, None] + channels, t)]
