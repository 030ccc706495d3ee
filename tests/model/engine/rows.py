"""Run single rows of a plan on given tensors, and what they should compute."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np

from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.memory import aligned
from lieref.kernel.simd.row import CONTEXT
from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.layer import Epilogue
from lieref.model.engine.program import assemble
from lieref.model.engine.reference import view
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.tiling import pad_channels


def make_tensor(channels, height, width, isa, dtype):
    return Tensor(channels, height, width, pad_channels(channels, isa, dtype))


class OneLayer:
    """What a layer by itself sees of the program under construction: the tensors it reads, and their gradients."""

    def __init__(self, storage, tensors, gradients, epilogue=None):
        self.storage, self.tensors = storage, tensors
        self.needed = set(gradients)
        self._gradients, self._epilogue = gradients, epilogue or Epilogue()

    def target(self, name, over=None):
        return self._gradients[name], self._epilogue

    def tensor(self, name):
        return self._gradients[name]

    def add_gradient(self, name, g):
        own = self._gradients[name]
        return [] if g is own else copy_pixels(self.storage, Place(g), Place(own), Epilogue())


def taps(window):
    return itertools.product(range(window.kernel[0]), range(window.kernel[1]))


def define(x, w, g, window, groups):
    """Forward, input gradient and weight gradient from their definition, in float64."""
    pt, pl, pb, pr = window.pads
    (sy, sx), (dy, dx) = window.strides, window.dilations
    padded = np.pad(x, ((0, 0), (pt, max(pb, 0)), (pl, max(pr, 0))))
    ho, wo = window.output(*x.shape[1:])
    o, i = w.shape[:2]
    y = np.zeros((o, ho, wo))
    x_bar, w_bar = np.zeros_like(padded), np.zeros_like(w)
    for ky, kx in taps(window):
        place = (slice(ky * dy, ky * dy + sy * (ho - 1) + 1, sy), slice(kx * dx, kx * dx + sx * (wo - 1) + 1, sx))
        for group in range(groups):
            c = slice(group * i, (group + 1) * i)
            out = slice(group * (o // groups), (group + 1) * (o // groups))
            part = padded[(c, *place)]
            y[out] += np.einsum("oi,ihw->ohw", w[out, :, ky, kx], part)
            x_bar[(c, *place)] += np.einsum("oi,ohw->ihw", w[out, :, ky, kx], g[out])
            w_bar[out, :, ky, kx] += np.einsum("ohw,ihw->oi", g[out], part)
    return y, x_bar[:, pt : pt + x.shape[1], pl : pl + x.shape[2]], w_bar


def exchanged(weight, groups):
    """A weight (O, I / groups, ...) as (I, O / groups, ...), or back: the channels of both axes change places."""
    return np.concatenate([part.swapaxes(0, 1) for part in np.split(weight, groups)])


def run_on(rows, storage, memory, values):
    """Run rows on tensors filled with `values` {tensor: (C, H, W)} and the arrays of the context; return the arena."""
    # read twice: no two tensors share a place
    program = assemble([*rows, *rows[::-1]], library(storage.isa, storage.dtype), storage.memories())
    arena = aligned(program.arena, storage.dtype)
    for tensor, value in values.items():
        view(arena, tensor)[...] = value
    known = {name: array.ctypes.data for name, array in {**memory, "arena": arena, "table": program.table}.items()}
    context = np.array([{**known, "fresh": 1}.get(name, 0) for name in CONTEXT], np.int64)
    for row in program.rows[: len(rows)]:
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(int(row[0]))
        call(row.ctypes.data, context.ctypes.data)
    return arena


def run_rows(rows, storage, values, weights):
    """Run rows of a storage without adapters; return the arena and the accumulators."""
    packed = aligned(storage.weight_size, storage.dtype)
    sums = aligned(storage.gradient_size, storage.dtype)
    for pack in storage.packs:
        pack.layout.pack(weights[pack.name].ravel(), packed)
    for (numbers, times), offset in storage.constants.items():
        packed[offset : offset + len(numbers) * times] = np.tile(numbers, times)
    return run_on(rows, storage, {"weights": packed, "gradients": sums}, values), sums


def within(got, want, size, n, dtype):
    u = np.finfo(dtype).eps / 2
    u += np.finfo("f8").eps / 2  # the definition itself is summed in float64
    bound = n * u * size * (1 + n * u) + 1e-300
    assert np.all(np.abs(got.astype("f8") - want) <= bound), np.max(np.abs(got - want) / bound)
