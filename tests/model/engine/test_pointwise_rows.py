"""Rows of activations, products, concatenations and max pools against their definitions, over random geometries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.pool_naive import max_pool_naive, max_pool_naive_vjp
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.window import make_window
from lieref.model.engine import pointwise, pool, select
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.weights import Storage
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view, within

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]
SIZES = st.tuples(st.sampled_from([1, 3, 8, 12, 17, 33]), st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**16))


def draw(seed, dtype, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=40)
@given(size=SIZES, shared=st.booleans(), halo=st.tuples(*[st.integers(0, 2)] * 4))
def test_products_and_their_gradients(isa, dtype, size, shared, halo):
    channels, height, width, seed = size
    small = (channels, 1, 1) if shared else (channels, height, width)
    a, f, bar = draw(seed, dtype, size[:3], small, size[:3])
    x, out, g, x_bar = (make_tensor(channels, height, width, isa, dtype) for _ in range(4))
    factor, factor_bar = (make_tensor(*small, isa, dtype) for _ in range(2))
    for tensor in (x, out, factor_bar):
        tensor.need_halo(*halo)  # places between rows that no row of kernels may read as pixels
    storage = Storage(isa, dtype, frozenset())
    layer = FusedLayer("product", "x", "y", Window(), channels, others=("factor",))
    one = OneLayer(storage, {"x": x, "factor": factor}, {"x": x_bar, "factor": factor_bar})
    rows = [*pointwise.product_forward(one, layer, out, Epilogue()), *pointwise.product_backward(one, layer, g)]
    arena, _ = run_rows(rows, storage, {x: a, factor: f, g: bar}, {})
    assert np.array_equal(view(arena, out), a * f)
    assert np.array_equal(view(arena, x_bar), bar * f)
    terms = a.astype("f8") * bar
    want, bound = (t.sum((1, 2), keepdims=True) if shared else t for t in (terms, np.abs(terms)))
    within(view(arena, factor_bar), want, bound, height * width if shared else 1, dtype)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=25)
@given(size=SIZES, function=st.sampled_from(["hard_swish", "leaky_relu"]))
def test_activations_reach_every_pixel(isa, dtype, size, function):
    channels, height, width, seed = size
    a, bar, more = draw(seed, dtype, *[size[:3]] * 3)
    x, out, g, x_bar, aux = (make_tensor(channels, height, width, isa, dtype) for _ in range(5))
    layer = FusedLayer("activation", "x", "y", Window(), channels, function=function, numbers=(0.25, 0.0))
    storage = Storage(isa, dtype, frozenset())
    one = OneLayer(storage, {"x": x}, {"x": x_bar}, Epilogue(aux=aux))
    rows = [*pointwise.activation_forward(one, layer, out, Epilogue()), *pointwise.activation_backward(one, layer, g)]
    arena, _ = run_rows(rows, storage, {x: a, g: bar, aux: more}, {})
    wide = a.astype("f8")
    if function == "leaky_relu":
        value, slope = np.where(wide > 0, wide, wide / 4), np.where(wide > 0, 1, 0.25)
    else:
        value = wide * np.clip(wide / 6 + 0.5, 0, 1)
        slope = np.where(wide <= -3, 0, np.where(wide >= 3, 1, wide / 3 + 0.5))
    within(view(arena, out), value, np.abs(wide) * (np.abs(wide) / 6 + 0.5), 4, dtype)
    size_of_slope = np.abs(bar) * (np.abs(wide) / 3 + 1) + np.abs(more)
    within(view(arena, x_bar), bar * slope + more, size_of_slope, 5, dtype)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=40)
@given(parts=st.lists(st.sampled_from([1, 3, 5, 8, 16, 19]), min_size=1, max_size=4), size=SIZES)
def test_concatenation_and_its_gradient(isa, dtype, parts, size):
    _, height, width, seed = size
    storage = Storage(isa, dtype, frozenset())
    values = draw(seed, dtype, *[(c, height, width) for c in parts], (sum(parts), height, width))
    tensors = [make_tensor(c, height, width, isa, dtype) for c in parts]
    bars = [make_tensor(c, height, width, isa, dtype) for c in parts]
    out, g = (make_tensor(sum(parts), height, width, isa, dtype) for _ in range(2))
    names = [f"x{i}" for i in range(len(parts))]
    layer = FusedLayer("concat", names[0], "y", Window(), sum(parts), others=tuple(names[1:]))
    one = OneLayer(storage, dict(zip(names, tensors, strict=True)), dict(zip(names, bars, strict=True)))
    rows = pointwise.concat_forward(one, layer, out, Epilogue())
    g.pixel = out.pixel  # the gradient of a tensor has its pixels
    rows += pointwise.concat_backward(one, layer, g)
    starts = np.cumsum([0, *parts[:-1]])
    arena, _ = run_rows(rows, storage, {**dict(zip(tensors, values[:-1], strict=True)), g: values[-1]}, {})
    assert np.array_equal(view(arena, out), np.concatenate(values[:-1]))
    for start, c, bar in zip(starts, parts, bars, strict=True):
        assert np.array_equal(view(arena, bar), values[-1][start : start + c])


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=60)
@given(
    size=SIZES, kernel=st.tuples(*[st.integers(1, 4)] * 2), strides=st.tuples(*[st.integers(1, 3)] * 2),
    dilations=st.tuples(*[st.integers(1, 2)] * 2), fraction=st.tuples(*[st.floats(0, 0.99)] * 4),
)  # fmt: skip
def test_max_pool_and_its_gradient(isa, dtype, size, kernel, strides, dilations, fraction):
    channels, height, width, seed = size
    pads = tuple(int(f * k) for f, k in zip(fraction, (*kernel, *kernel), strict=True))  # below the kernel, as in ONNX
    window = Window(kernel, strides, pads, dilations)
    if min(window.output(height, width)) < 1:
        return
    if not all(count for axis, n in ((0, height), (1, width)) for _, count in window.taps_inside(axis, n)):
        return  # a window outside the image has no largest element
    x, x_bar = (make_tensor(channels, height, width, isa, dtype) for _ in range(2))
    out, g = (make_tensor(channels, *window.output(height, width), isa, dtype) for _ in range(2))
    rng = np.random.default_rng(seed)
    a = rng.integers(-3, 3, size[:3]).astype(dtype)  # ties everywhere
    bar = rng.integers(-9, 9, (channels, out.height, out.width)).astype(dtype)
    layer = FusedLayer("maximum", "x", "y", window, channels)
    storage = Storage(isa, dtype, frozenset())
    one = OneLayer(storage, {"x": x, "y": out}, {"x": x_bar})
    rows = [*pool.forward(one, layer, out, Epilogue()), *pool.backward(one, layer, g)]
    arena, _ = run_rows(rows, storage, {x: a, g: bar}, {})
    definition = make_window(
        "test", (height, width), kernel, strides=strides, pads=pads, dilations=dilations
    )  # fmt: skip
    assert np.array_equal(view(arena, out), max_pool_naive(a[None], definition)[0])
    assert np.array_equal(view(arena, x_bar), max_pool_naive_vjp(a[None], definition, bar[None])[0])


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=40)
@given(
    size=SIZES, strides=st.tuples(*[st.integers(1, 3)] * 2), fraction=st.tuples(*[st.floats(0, 0.99)] * 3),
    run=st.booleans(),
)  # fmt: skip
def test_selection_and_its_gradient(isa, dtype, size, strides, fraction, run):
    """Some channels in any order, or neighbours, of pixels from one on to one of the last."""
    channels, height, width, seed = size
    rng = np.random.default_rng(seed)
    count = 1 + int(fraction[0] * channels)
    start = int(rng.integers(channels - count + 1))
    chosen = tuple(range(start, start + count)) if run else tuple(map(int, rng.permutation(channels)[:count]))
    y0, x0 = int(fraction[1] * height), int(fraction[2] * width)
    kept = (slice(y0, height, strides[0]), slice(x0, width, strides[1]))
    ends = [range(n)[part][-1] - (n - 1) for n, part in zip((height, width), kept, strict=True)]
    window = Window(strides=strides, pads=(-y0, -x0, *ends))
    a, more = draw(seed, dtype, size[:3], size[:3])
    want = a[list(chosen)][:, *kept]
    assert window.output(height, width) == want.shape[1:]
    (bar,) = draw(seed + 1, dtype, want.shape)
    x, x_bar, aux = (make_tensor(channels, height, width, isa, dtype) for _ in range(3))
    out, g = (make_tensor(*want.shape, isa, dtype) for _ in range(2))
    layer = FusedLayer("select", "x", "y", window, count, selected=chosen)
    storage = Storage(isa, dtype, frozenset())
    one = OneLayer(storage, {"x": x}, {"x": x_bar}, Epilogue(aux=aux))
    rows = [*select.forward(one, layer, out, Epilogue()), *select.backward(one, layer, g)]
    arena, _ = run_rows(rows, storage, {x: a, g: bar, aux: more}, {})
    assert np.array_equal(view(arena, out), want)
    want_bar = more.copy()
    for number, channel in enumerate(chosen):
        want_bar[channel][kept] += bar[number]
    assert np.array_equal(view(arena, x_bar), want_bar)
