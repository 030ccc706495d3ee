"""Every compiled kernel against its definition, over random geometries, within n u S.

S is the sum of the absolute products behind an entry and n their number: a sum of n products in any order, with or
without fused multiply-add, is off by at most n u S (1 + n u). Inputs are drawn so that no geometry is special: odd
channel counts, images smaller than the kernel's reach, strides above the kernel.
"""

from __future__ import annotations

import ctypes
import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.library import library
from lieref.kernel.simd.row import CONTEXT
from lieref.model.engine import channel_rows, conv_rows
from lieref.model.engine.engine import aligned
from lieref.model.engine.layer import Epilogue, Layer, Window
from lieref.model.engine.program import Tensor as Buffer
from lieref.model.engine.program import assemble
from lieref.model.engine.tiling import pad_channels
from lieref.model.engine.weights import Storage

SHAPES = int(os.environ.get("LIEREF_ENGINE_SHAPES", "350"))
TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]


def make_tensor(channels, height, width, isa, dtype):
    return Buffer(channels, height, width, pad_channels(channels, isa, dtype))


def view(arena, t):
    """The tensor's real channels as (C, H, W)."""
    strides = (arena.itemsize, t.row * arena.itemsize, t.pixel * arena.itemsize)
    return np.lib.stride_tricks.as_strided(arena[t.offset :], (t.channels, t.height, t.width), strides)


def taps(window):
    return itertools.product(range(window.kernel[0]), range(window.kernel[1]))


def define(x, w, g, window, groups):
    """Forward, input gradient and weight gradient from their definition, in float64."""
    pt, pl, pb, pr = window.pads
    (sy, sx), (dy, dx) = window.strides, window.dilations
    padded = np.pad(x, ((0, 0), (pt, pb), (pl, pr)))
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


@st.composite
def geometries(draw):
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilations = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 3)]))
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    window = Window(kernel, strides, pads, dilations)
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    kind = draw(st.sampled_from(["dense", "dense", "depthwise", "groups"]))
    groups = 1 if kind == "dense" else draw(st.integers(2, 40)) if kind == "depthwise" else draw(st.integers(2, 4))
    inner = 1 if kind == "depthwise" else draw(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 24, 40]))
    outer = 1 if kind == "depthwise" else draw(st.sampled_from([1, 3, 4, 8, 10, 16, 33, 48]))
    if min(window.output(height, width)) < 1:
        height, width = 12, 14
    return window, height, width, groups, inner, outer, draw(st.integers(0, 2**16))


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=SHAPES)
@given(geometry=geometries())
def test_convolution_and_both_gradients_are_within_n_u_s(isa, dtype, geometry):
    window, height, width, groups, inner, outer, seed = geometry
    rng = np.random.default_rng(seed)
    channels, out_channels = groups * inner, groups * outer
    w = rng.standard_normal((out_channels, inner, *window.kernel)).astype(dtype)
    x = rng.standard_normal((channels, height, width)).astype(dtype)
    index = np.arange(w.size).reshape(w.shape)
    layer = Layer("conv", "x", "y", window, out_channels, "w", "b", index, groups)
    storage = Storage(isa, dtype, frozenset({"w"}))
    a = make_tensor(channels, height, width, isa, dtype)
    out, g = (make_tensor(out_channels, *window.output(height, width), isa, dtype) for _ in range(2))
    x_bar = make_tensor(channels, height, width, isa, dtype)
    g_value = rng.standard_normal((out_channels, out.height, out.width)).astype(dtype)
    rows_of = channel_rows if groups == channels == out_channels > 1 else conv_rows
    rows = [
        *rows_of.forward(layer, storage, a, out, Epilogue()),
        *rows_of.input_gradient(layer, storage, g, x_bar, Epilogue()),
        *rows_of.weight_gradient(layer, storage, a, g),
        *conv_rows.bias_gradient(layer, storage, g),
    ]
    arena, sums = run_rows(rows, storage, {a: x, g: g_value}, {"w": w}, isa, dtype)
    exact = define(*(v.astype("f8") for v in (x, w, g_value)), window, groups)
    size = define(*(np.abs(v).astype("f8") for v in (x, w, g_value)), window, groups)
    found = {acc.name: sums[acc.index] for acc in storage.accumulators}
    terms = (inner * np.prod(window.kernel), outer * np.prod(window.kernel), out.height * out.width)
    computed = (view(arena, out), view(arena, x_bar), found["w"].reshape(w.shape))
    for got, want, bound, n in zip(computed, exact, size, terms, strict=True):
        within(got, want, bound, n, dtype)
    within(found["b"], g_value.astype("f8").sum((1, 2)), np.abs(g_value).astype("f8").sum((1, 2)), terms[2], dtype)


def run_rows(rows, storage, values, weights, isa, dtype):
    """Run rows on tensors filled with `values` {tensor: (C, H, W)}; return the arena and the accumulators."""
    program = assemble([*rows, *rows[::-1]], library(isa, dtype))  # read twice: no two tensors share a place
    arena, packed = aligned(program.arena, dtype), aligned(storage.weight_size + 64, dtype)
    sums = aligned(storage.gradient_size + 64, dtype)
    for tensor, value in values.items():
        view(arena, tensor)[...] = value
    flat = {name: np.append(w.ravel(), 0) for name, w in weights.items()}
    for pack in storage.packs:
        packed[pack.offset : pack.offset + pack.index.size] = flat[pack.name][pack.index]
    for offset, constant in storage.constants:
        packed[offset : offset + constant.size] = constant
    known = {
        "arena": arena.ctypes.data, "weights": packed.ctypes.data, "gradients": sums.ctypes.data,
        "table": program.table.ctypes.data, "first": 1,
    }  # fmt: skip
    context = np.array([known.get(name, 0) for name in CONTEXT], np.int64)
    for row in program.rows[: len(rows)]:
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(int(row[0]))
        call(row.ctypes.data, context.ctypes.data)
    return arena, sums


def within(got, want, size, n, dtype):
    u = np.finfo(dtype).eps / 2
    u += np.finfo("f8").eps / 2  # the definition itself is summed in float64
    bound = n * u * size * (1 + n * u) + 1e-300
    assert np.all(np.abs(got.astype("f8") - want) <= bound), np.max(np.abs(got - want) / bound)
