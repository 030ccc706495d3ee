"""Rows of resamplings against the dense matrices they stand for, over random maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.model.engine import resample
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.pixel_map import AxisMap, PixelMap
from lieref.model.engine.weights import Storage
from tests.model.engine.rows import OneLayer, make_tensor, run_rows, view, within

TARGETS = [(isa, dtype) for isa in isa_module.available() for dtype in ("float32", "float64")]


@st.composite
def axes(draw):
    """A matrix with the taps of a window, of a selection, or of anything, some of its ends empty."""
    inputs, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 11))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    match draw(st.sampled_from(["window", "selection", "copies", "any"])):
        case "window":
            count, step = rng.integers(1, inputs + 1), rng.integers(0, 3)
            fitting = 1 + (inputs - count) // step if step else outputs
            taps = [[(i * step + t, 0.25) for t in range(count)] for i in range(min(outputs, fitting))]
        case "selection":
            taps = [[(rng.integers(inputs), 0.5)] for _ in range(outputs)]
        case "copies":
            taps = [[(i * inputs // outputs, 1.0)] for i in range(outputs)]
        case _:
            chosen = [rng.permutation(inputs)[: rng.integers(inputs + 1)] for _ in range(outputs)]
            taps = [[(i, rng.standard_normal()) for i in sorted(own)] for own in chosen]
    before, behind = draw(st.sampled_from([(0, 0), (0, 0), (2, 1)]))
    plain = tuple(tuple((int(i), float(w)) for i, w in own) for own in taps)
    return AxisMap(((),) * before + plain + ((),) * behind, inputs)


def dense(axis):
    matrix = np.zeros((axis.outputs, axis.inputs))
    for output, taps in enumerate(axis.taps):
        for index, weight in taps:
            matrix[output, index] += weight
    return matrix


def apply(rows, cols, x):
    return np.einsum("ia,jb,cab->cij", rows, cols, x)


@pytest.mark.parametrize(("isa", "dtype"), TARGETS)
@settings(max_examples=120)
@given(
    rows=axes(), cols=axes(), channels=st.sampled_from([1, 3, 8, 12, 17, 33]), fill=st.sampled_from([0.0, 1.5]),
    halo=st.tuples(*[st.integers(0, 2)] * 4), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_a_resampling_and_its_gradient(isa, dtype, rows, cols, channels, fill, halo, seed):
    rng = np.random.default_rng(seed)
    sizes = (channels, rows.inputs, cols.inputs), (channels, rows.outputs, cols.outputs)
    x, x_bar, x_aux = (make_tensor(*sizes[0], isa, dtype) for _ in range(3))
    out, g, aux = (make_tensor(*sizes[1], isa, dtype) for _ in range(3))
    for tensor in (x, out, x_bar):
        tensor.need_halo(*halo)
    a, more = (rng.standard_normal(sizes[0]).astype(dtype) for _ in range(2))
    bar, added = (rng.standard_normal(sizes[1]).astype(dtype) for _ in range(2))
    layer = FusedLayer("resample", "x", "y", Window(), channels, resampling=PixelMap(rows, cols, fill))
    storage = Storage(isa, dtype, frozenset())
    one = OneLayer(storage, {"x": x}, {"x": x_bar}, Epilogue(aux=x_aux))
    instructions = [
        *resample.forward(one, layer, out, Epilogue(aux=aux, clamp=(-1.0, 2.0))), *resample.backward(one, layer, g)
    ]  # fmt: skip
    met = {tensor for instruction in instructions for tensor in instruction.tensors()}  # all, where there are taps
    values = {tensor: v for tensor, v in {x: a, g: bar, aux: added, x_aux: more}.items() if tensor in met}
    arena, _ = run_rows(instructions, storage, values, {})
    matrices = dense(rows), dense(cols)
    sizes_of = np.abs(matrices[0]), np.abs(matrices[1])
    constant = np.full(sizes[1][1:], fill)
    constant[slice(*rows.span), slice(*cols.span)] = 0
    # Weights are rounded, those of both axes or their product; sums are rounded one after the other.
    terms = 6 + max(map(len, rows.taps)) * 2 + max(map(len, cols.taps)) * 2
    terms += max(map(len, rows.transposed().taps)) * 2 + max(map(len, cols.transposed().taps)) * 2
    bound = apply(*sizes_of, np.abs(a).astype("f8")) + np.abs(added) + constant
    within(view(arena, out), np.clip(apply(*matrices, a.astype("f8")) + constant + added, -1, 2), bound, terms, dtype)
    turned = matrices[0].T, matrices[1].T
    bound = apply(*(np.abs(m) for m in turned), np.abs(bar).astype("f8")) + np.abs(more)
    within(view(arena, x_bar), apply(*turned, bar.astype("f8")) + more, bound, terms, dtype)


def test_taps_of_one_input_are_one_and_those_without_weight_are_none():
    found = AxisMap.of(np.array([[0, 0, 1], [2, 1, 2]]), np.array([[0.25, 0.5, 0.0], [1.0, -2.0, -1.0]]), 3)
    assert found.taps == (((0, 0.75),), ((1, -2.0),))
    assert found.transposed().taps == (((0, 0.75),), ((1, -2.0),), ())
    assert AxisMap.copies((2, -1, 0), 3).span == (0, 3)
    assert AxisMap.copies((-1, 2, -1), 3).span == (1, 2)
    assert AxisMap(((), ()), 4).span == (0, 0)


def test_windows_are_told_from_what_is_none():
    assert AxisMap((((1, 0.5), (3, 0.5)), ((3, 0.5), (5, 0.5))), 6).window() == (1, 2, (0, 2), 0.5)
    assert AxisMap((((1, 0.5), (3, 0.5)), ((3, 0.5), (4, 0.5))), 6).window() is None
    assert AxisMap((((1, 0.5), (3, 0.25)),), 6).window() is None
    assert AxisMap((((1, 1.0),), ()), 6).window() is None
