"""Winograd's rows against the definition, within n u S of the arithmetic they do.

S follows the transforms with absolute values: |A|^T [ sum (|G| |w| |G|^T) * (|B|^T |x| |B|) ] |A|, and n is the number
of channels or tiles summed plus the length of the six transforms.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.winograd import INPUT, OUTPUT, WEIGHT
from lieref.model.engine import Adapter, compile_graph, conv, winograd
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.weights import Storage
from tests.model.engine.networks import Net
from tests.model.engine.rows import OneLayer, define, make_tensor, run_rows, view, within


def tiles(x, m, size, step):
    """(C, tiles down, tiles across, size, size) squares of x, `step` apart."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::step, ::step]


def forward_size(x, w, m):
    """S of every output; x is padded."""
    b, g, a = np.abs(INPUT[m]), np.abs(WEIGHT[m]), np.abs(OUTPUT[m])
    v = np.einsum("pi,cyxij,qj->cyxpq", b, tiles(x, m, m + 2, m), b)
    u = np.einsum("pi,ocij,qj->ocpq", g, w, g)
    y = np.einsum("ip,oyxpq,jq->oyixj", a, np.einsum("ocpq,cyxpq->oyxpq", u, v), a)
    return y.reshape(len(w), y.shape[1] * m, y.shape[3] * m)


def gradient_size(x, g_value, m):
    b, g, a = np.abs(INPUT[m]), np.abs(WEIGHT[m]), np.abs(OUTPUT[m])
    v = np.einsum("pi,cyxij,qj->cyxpq", b, tiles(x, m, m + 2, m), b)
    bars = np.einsum("ip,oyxij,jq->oyxpq", a, tiles(g_value, m, m, m), a)
    return np.einsum("pi,ocpq,qj->ocij", g, np.einsum("cyxpq,oyxpq->ocpq", v, bars), g)


def outside(arena, t):
    """A tensor's halo and padded channels, zeros where its pixels are."""
    first = t.offset - t.shift
    found = arena[first : first + t.size].reshape(-1, t.row // t.pixel, t.pixel).copy()
    found[t.halo[0] : t.halo[0] + t.height, t.halo[1] : t.halo[1] + t.width, : t.channels] = 0
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("m", [2, 4])
@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    beyond=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    pads=st.sampled_from([(1, 1, 1, 1), (0, 1, 2, 1), (2, 0, 0, 2)]),
    channels=st.tuples(st.sampled_from([16, 17, 22, 40]), st.sampled_from([16, 22, 31, 48])),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_winograd_is_within_n_u_s(m, isa, dtype, size, beyond, pads, channels, seed):
    rng = np.random.default_rng(seed)
    # The last tiles reach beyond the image. Pads add up to 2, so outputs have the size of inputs.
    height, width = (max(m * n - b % m, 1) for n, b in zip(size, beyond, strict=True))
    inner, outer = channels
    window = Window((3, 3), (1, 1), pads)
    w, x, g_value = (
        rng.standard_normal(s).astype(dtype)
        for s in ((outer, inner, 3, 3), (inner, height, width), (outer, height, width))
    )
    layer = FusedLayer("conv", "x", "y", window, outer, "w", "", WeightAxes.row_major(*w.shape))
    storage = Storage(isa, dtype, frozenset({"w"}), winograd=f"f{m}")
    a, x_bar = (make_tensor(inner, height, width, isa, dtype) for _ in range(2))
    out, g = (make_tensor(outer, height, width, isa, dtype) for _ in range(2))
    small = {"LEAST_TILES": 1, "MOST_WORK": 99.0}  # so that small images, quick to check, come this way
    with mock.patch.multiple(winograd, **small):
        one = OneLayer(storage, {"x": a}, {"x": x_bar})
        rows = [*conv.forward(one, layer, out, Epilogue()), *conv.backward(one, layer, g)]
    rows = [*storage.prepare, *rows, *storage.collect]
    assert any(row.kernel.family == "winograd_output" and row.kernel.tile.m == m for row in rows)
    arena, sums = run_rows(rows, storage, {a: x, g: g_value}, {"w": w})
    x8, w8, g8 = (v.astype("f8") for v in (x, w, g_value))
    exact = define(x8, w8, g8, window, 1)
    t, left, b, r = pads
    rest = m * size[0] - height, m * size[1] - width
    padded = np.pad(np.abs(x8), ((0, 0), (t, b + rest[0]), (left, r + rest[1])))
    g_padded = np.pad(np.abs(g8), ((0, 0), (2 - t, 2 - b + rest[0]), (2 - left, 2 - r + rest[1])))
    g_tiled = np.pad(np.abs(g8), ((0, 0), (0, rest[0]), (0, rest[1])))
    flipped = np.abs(w8)[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    sizes = (
        forward_size(padded, np.abs(w8), m)[:, :height, :width],
        forward_size(g_padded, flipped, m)[:, :height, :width],
        gradient_size(padded, g_tiled, m),
    )
    terms = np.array([inner, outer, size[0] * size[1]]) + 6 * (m + 2)
    assert not any(outside(arena, t).any() for t in (a, x_bar, out, g))
    found = (view(arena, out), view(arena, x_bar), storage.accumulators[0].read(sums).reshape(w.shape))
    for got, want, bound, n in zip(found, exact, sizes, terms, strict=True):
        within(got, want, bound, n, dtype)


@pytest.mark.parametrize("map_name", ["exp", "taylor1"])
def test_what_passes_through_one_place_is_what_it_is_apart(map_name, rng, monkeypatch):
    net = Net((16, 12, 12))
    sizes = ((32, 16), (16, 32), (32, 16), (16, 32), (24, 16), (24, 24))  # not all are transposed on the way back
    for out, inner in sizes:
        net.conv(out, inner, (3, 3), scale=0.1, pads=(1, 1, 1, 1))
        net.add("Relu")
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(4, 24)
    graph = net.graph()
    adapters = {node.inputs[1]: Adapter(map_name, "low_rank", 2) for node in graph.nodes if node.op == "Conv"}
    x, y = rng.standard_normal((5, 16, 12, 12)).astype(np.float32), rng.integers(0, 4, 5)
    values = rng.standard_normal(10_000).astype(np.float32)
    found = []
    for passes in (True, False):
        if not passes:
            apart = {"weights": Storage.reserve, "gradients": Storage.reserve_gradient}
            monkeypatch.setattr(Storage, "_pass", lambda storage, memory, size, a=apart: a[memory](storage, size))
        engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=adapters)
        engine.parameters.flat[...] = 0.1 * values[: engine.parameters.flat.size]
        runs = [engine.loss_and_grad(x, y) for _ in range(2)]
        found.append((engine._plans.get(1).storage.sizes, *runs))
    (small, *passed), (large, *kept) = found
    # The direct gradients of all but the largest layer, and the backward weights of those that are whole vectors.
    direct = [9 * out * inner for out, inner in sizes]
    assert large[2] - small[2] == sum(direct) - max(direct)
    assert large[0] > small[0]
    for a, b in zip(passed, kept, strict=True):
        assert a[0] == b[0]
        assert np.array_equal(a[1], b[1])
        assert all(np.array_equal(a[2][key], b[2][key]) for key in b[2])
