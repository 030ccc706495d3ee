"""Every compiled kernel against its definition, over random geometries, within n u S.

S is the sum of the absolute products behind an entry and n their number: a sum of n products in any order, with or
without fused multiply-add, is off by at most n u S (1 + n u). Inputs are drawn so that no geometry is special: odd
channel counts, images smaller than the kernel's reach, strides above the kernel.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine.conv import bias_gradient
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.weights import Storage
from tests.model.engine.rows import OneLayer, define, make_tensor, run_rows, view, within

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]
SHAPES = -(-int(os.environ.get("LIEREF_ENGINE_SHAPES", "900")) // len(TARGETS))
"""Shapes for each instruction set and element type; LIEREF_ENGINE_SHAPES is their number in all."""


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


def run_layer(layer, storage, x, g, w):
    """What a layer computes of x, the gradients of x, of its weight and of its bias for the gradient g of its sums."""
    isa, dtype = storage.isa, storage.dtype
    a, x_bar = (make_tensor(*x.shape, isa, dtype) for _ in range(2))
    out, bar = (make_tensor(*g.shape, isa, dtype) for _ in range(2))
    kind, one = KINDS[layer.kind], OneLayer(storage, {"x": a}, {"x": x_bar})
    rows = [*kind.forward(one, layer, out, Epilogue()), *kind.backward(one, layer, bar)]
    rows += bias_gradient(layer, storage, bar)
    arena, sums = run_rows(rows, storage, {a: x, bar: g}, {"w": w})
    found = {acc.name: acc.read(sums) for acc in storage.accumulators}
    return view(arena, out), view(arena, x_bar), found["w"].reshape(w.shape), found["b"]


def check_bias_gradient(b_bar, g, dtype):
    within(b_bar, g.astype("f8").sum((1, 2)), np.abs(g).astype("f8").sum((1, 2)), g[0].size, dtype)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=SHAPES)
@given(geometry=geometries())
def test_convolution_and_both_gradients_are_within_n_u_s(isa, dtype, geometry):
    window, height, width, groups, inner, outer, seed = geometry
    rng = np.random.default_rng(seed)
    channels, out_channels = groups * inner, groups * outer
    w = rng.standard_normal((out_channels, inner, *window.kernel)).astype(dtype)
    x = rng.standard_normal((channels, height, width)).astype(dtype)
    g = rng.standard_normal((out_channels, *window.output(height, width))).astype(dtype)
    depthwise = groups == channels == out_channels > 1
    axes = WeightAxes.row_major(*w.shape, 1 if depthwise else groups)
    layer = FusedLayer("depthwise" if depthwise else "conv", "x", "y", window, out_channels, "w", "b", axes, groups)
    *computed, b_bar = run_layer(layer, Storage(isa, dtype, frozenset({"w"})), x, g, w)
    exact = define(*(v.astype("f8") for v in (x, w, g)), window, groups)
    size = define(*(np.abs(v).astype("f8") for v in (x, w, g)), window, groups)
    terms = (inner * np.prod(window.kernel), outer * np.prod(window.kernel), g[0].size)
    for got, want, bound, n in zip(computed, exact, size, terms, strict=True):
        within(got, want, bound, n, dtype)
    check_bias_gradient(b_bar, g, dtype)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=SHAPES // 2)
@given(geometry=geometries(), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_transposed_convolution_and_both_gradients_are_within_n_u_s(isa, dtype, geometry, padding):
    """The layer is the convolution's input gradient, its input gradient the convolution."""
    window, height, width, groups, outer, inner, seed = geometry
    (top, left, bottom, right), (more, beside) = window.pads, padding
    window = replace(window, pads=(top, left, bottom - more, right - beside))
    rng = np.random.default_rng(seed)
    if min(window.input(height, width)) < 1:
        height, width = 6, 7
    channels, out_channels = groups * inner, groups * outer
    w = rng.standard_normal((channels, outer, *window.kernel)).astype(dtype)
    x = rng.standard_normal((channels, height, width)).astype(dtype)
    g = rng.standard_normal((out_channels, *window.input(height, width))).astype(dtype)
    depthwise = groups == channels == out_channels > 1
    axes = WeightAxes.inputs_first(out_channels, inner, *window.kernel, groups)
    if depthwise:
        axes = WeightAxes.row_major(out_channels, 1, *window.kernel)
    kind = "transposed_depthwise" if depthwise else "transposed"
    layer = FusedLayer(kind, "x", "y", window, out_channels, "w", "b", axes, groups)
    assert layer.size(height, width) == g.shape[1:]
    out, x_bar, w_bar, b_bar = run_layer(layer, Storage(isa, dtype, frozenset({"w"})), x, g, w)
    exact = define(*(v.astype("f8") for v in (g, w, x)), window, groups)
    size = define(*(np.abs(v).astype("f8") for v in (g, w, x)), window, groups)
    terms = (outer * np.prod(window.kernel), inner * np.prod(window.kernel), x[0].size)
    for got, want, bound, n in zip((x_bar, out, w_bar), exact, size, terms, strict=True):
        within(got, want, bound, n, dtype)
    check_bias_gradient(b_bar, g, dtype)
