"""Layouts against their definition, in plain loops: what is packed where, what stays zero, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.errors import InternalError
from lieref.model.engine.layout import Block, Layout, TapPlace, WeightAxes, part_blocks, tap_blocks, vector_block


def spans(lanes):
    """Panels of 16, 8 and 4 lanes that cover at least so many."""
    found, first = [], 0
    for width in (16, 8, 4):
        panels = (lanes - first) // width if width > 4 else -(-(lanes - first) // width)
        if panels:
            found.append((first, panels, width))
            first += panels * width
    return tuple(found)


@st.composite
def layouts(draw):
    """A layout of a weight (O, I, kh, kw), and where each element of the matrix (row, lane) comes from."""
    groups = draw(st.integers(1, 3))
    outputs, inputs = groups * draw(st.integers(1, 19)), draw(st.integers(1, 6))
    kh, kw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["conv", "transposed", "gemm", "matmul"]))
    if kind == "transposed":
        axes, shape = WeightAxes.inputs_first(outputs, inputs, kh, kw, groups), (inputs * groups, outputs // groups)
    elif kind == "conv":
        axes, shape = WeightAxes.row_major(outputs, inputs, kh, kw, groups), (outputs, inputs, kh, kw)
    else:
        axes = replace(WeightAxes.matrix(outputs, (inputs, kh, kw), kind == "gemm"), groups=groups)
        shape = (outputs, inputs * kh * kw) if kind == "gemm" else (inputs * kh * kw, outputs)
    order = np.arange(outputs * inputs * kh * kw).reshape(*shape, *((kh, kw) if kind == "transposed" else ()))
    weight = order.T if kind == "matmul" else order
    if kind == "transposed":
        weight = np.concatenate([part.swapaxes(0, 1) for part in np.split(order, groups)])
        if draw(st.booleans()):
            axes, weight, (outputs, inputs) = axes.exchanged(), order, order.shape[:2]
    weight = weight.reshape(outputs, inputs, kh, kw)
    if draw(st.booleans()):
        axes, weight = axes.flipped(), weight[:, :, ::-1, ::-1]
    taps = draw(st.permutations([(ky, kx) for ky in range(kh) for kx in range(kw)]))
    taps = taps[: draw(st.integers(1, len(taps)))]
    backward, gap = draw(st.booleans()), draw(st.integers(0, 3))
    part = draw(st.integers(0, groups - 1)) if draw(st.booleans()) else None
    if part is not None:  # one group by itself
        axes = axes.group(part)
        weight = weight[part * outputs // groups : (part + 1) * outputs // groups]
        groups = 1
    rows, lanes = (len(weight), inputs * groups) if backward else (inputs * groups, len(weight))
    beside = draw(st.booleans())  # taps side by side in the lanes, or one below the other
    places = [
        TapPlace(ky, kx, *((0, number * (lanes + gap)) if beside else (number * (rows + gap), 0)))
        for number, (ky, kx) in enumerate(taps)
    ]
    depth = max(place.row for place in places) + rows + gap
    blocks = tap_blocks(axes, places, backward)
    width = max(place.lane for place in places) + lanes
    layout = Layout(draw(st.integers(0, 40)), depth, spans(width), blocks, axes.elements)
    matrix = np.full((depth, layout.lanes), -1)
    for ky, kx, row, lane in places:
        for o in range(len(weight)):
            for i in range(inputs):
                i_dense = o // (len(weight) // groups) * inputs + i
                where = (row + o, lane + i_dense) if backward else (row + i_dense, lane + o)
                matrix[where] = weight[o, i, ky, kx]
    return axes, layout, matrix


@settings(max_examples=300)
@given(drawn=layouts())
def test_panels_hold_the_matrix(drawn):
    axes, layout, matrix = drawn
    weight = np.arange(1.0, axes.elements + 1)
    memory = np.zeros(layout.offset + layout.size + 16)
    layout.pack(weight, memory)
    place = layout.offset
    values = np.where(matrix < 0, 0, weight[matrix])
    for first, panels, width in layout.spans:
        for panel in range(panels):
            lane = first + panel * width
            found = memory[place : place + layout.depth * width].reshape(layout.depth, width)
            assert np.array_equal(found, values[:, lane : lane + width])
            place += layout.depth * width
    assert place == layout.offset + layout.size
    assert not memory[: layout.offset].any()
    assert not memory[place:].any()
    apart = np.zeros_like(memory)
    for block in layout.blocks:
        alone = layout.restricted((block,))
        assert all(first <= block.lane + block.lanes and block.lane < alone.lanes for first, *_ in alone.spans)
        alone.pack(weight, apart)
    assert np.array_equal(apart, memory)
    back = np.zeros(axes.elements)
    layout.unpack(memory, back)
    held = np.isin(np.arange(axes.elements), matrix)
    assert np.array_equal(back, np.where(held, weight, 0))
    assert np.array_equal(layout.arranged(np.arange(axes.elements), -1), memory[layout.offset : place] - 1)
    places = layout.places()
    assert np.array_equal(places >= 0, held)
    assert np.array_equal(memory[places[held]], weight[held])


def test_a_vector_is_one_row():
    layout = Layout(3, 1, ((0, 1, 8),), (vector_block(5),), 5)
    memory = np.zeros(16)
    layout.pack(np.arange(1.0, 6), memory)
    assert memory.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, *[0] * 8]


def test_parts_start_at_lanes_of_their_own():
    """Two parts of 3 outputs, 2 inputs: their lanes, or rows, are 4 apart, and what lies between belongs to no one."""
    axes = WeightAxes((6, 2, 1, 1), (2, 1, 1, 1), 12, parts=2)
    weight = np.arange(12).reshape(2, 3, 2)
    matrix = np.full((2, 8), -1)
    matrix[:, :3], matrix[:, 4:7] = weight[0].T, weight[1].T
    forward = Layout(5, 2, ((0, 1, 4), (4, 2, 2)), part_blocks(axes, 4), 12)
    assert np.array_equal(forward.matrix(forward.arranged(np.arange(12), -1), -1), matrix)
    second = forward.restricted(forward.blocks[1:])
    assert second.spans == ((4, 2, 2),)
    assert np.array_equal(second.matrix(second.arranged(np.arange(12), -1), -1)[:, 4:], matrix[:, 4:])
    rows = Layout(0, 8, ((0, 1, 2),), part_blocks(axes, 4, backward=True), 12)
    assert np.array_equal(rows.matrix(rows.arranged(np.arange(12), -1), -1), matrix.T)


def test_numbers_of_a_view():
    """Element (o, i, ky, kx) of a matrix (C H W, outputs) is number o J + j."""
    axes = WeightAxes.matrix(3, (2, 2, 1), transposed=False)
    assert np.array_equal(axes.numbered(), np.arange(12).reshape(3, 4).T.ravel())
    assert np.array_equal(replace(axes, groups=3).group(1).numbered(), [n for j in range(4) for n in (-1, j, -1)])
    axes = WeightAxes.inputs_first(6, 2, 1, 5, groups=3)
    stored = [[[(2 * (i // 2) + o) * 10 + i % 2 * 5 + x for x in range(5)] for o in range(2)] for i in range(6)]
    assert np.array_equal(axes.numbered(), np.ravel(stored))


def test_views_know_the_weight_they_are_of():
    """What adapters go by: the same for the layer, for the convolution back, and for reversed taps."""
    axes = WeightAxes.inputs_first(6, 2, 3, 5, groups=3)
    for view in (axes.exchanged(), axes.flipped(), axes.flipped().exchanged()):
        assert view.own == axes
        assert view.group(2).own == axes.group(2)
    assert axes.own is None
    back = axes.exchanged()
    assert (back.shape, back.strides) == ((6, 2, 3, 5), (30, 15, 5, 1)), "the array itself"


@pytest.mark.parametrize(
    "blocks",
    [
        (Block(0, 4, 0, 5, 0, 5, 1),),  # below the matrix
        (Block(0, 3, 4, 5, 0, 5, 1),),  # beside it
        (Block(-1, 3, 0, 5, 0, 5, 1),),
        (Block(0, 3, 0, 5, 1, 5, 1),),  # behind the weight
        (Block(0, 3, 0, 5, 9, -5, 1),),  # before it
        (Block(0, 0, 0, 5, 0, 5, 1),),
        (Block(0, 2, 0, 5, 0, 5, 1), Block(1, 2, 4, 2, 0, 1, 1)),  # on one another
    ],
)
def test_what_does_not_fit_is_refused(blocks):
    with pytest.raises(InternalError, match="Layout: `blocks` must lie"):
        Layout(0, 3, ((0, 1, 8),), blocks, 15)


def test_memory_that_is_too_small_is_not_written():
    layout = Layout(0, 3, ((0, 1, 8),), (Block(0, 3, 0, 5, 0, 5, 1),), 15)
    with pytest.raises((TypeError, ValueError)):
        layout.pack(np.ones(15), np.zeros(20))
    with pytest.raises((TypeError, ValueError)):
        layout.pack(np.ones(14), np.zeros(24))
    with pytest.raises((TypeError, ValueError)):
        replace(layout, offset=8).unpack(np.zeros(24), np.zeros(15))
