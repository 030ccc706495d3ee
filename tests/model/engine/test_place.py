"""Offsets in the arena, replayed: every read finds its own tensor's data, and zeros where zeros are wanted."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.errors import DomainError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.kernels import FAMILIES
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.row import CONTEXT
from lieref.model.engine import compile_graph, group, program
from lieref.model.engine.memories import check_accesses
from lieref.model.engine.place import Lifetime, Request, extent, must_clear, place, plan_text
from lieref.model.engine.tensor import RUN_SPARE, Tensor
from tests.kernel.simd.state import grid
from tests.model.engine.networks import (
    NETS,
    Net,
    draw,
    trainable,
)

ALIGN = 4
ZERO = -1


@st.composite
def requests(draw):
    """Requests of a few sizes; where one must be zero is what its key says, so that equal keys are of equal sizes."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        size, first = draw(st.integers(1, 23)), draw(st.integers(0, 15))
        kind = draw(st.sampled_from(["none", "front", "own"]))
        zeros = {"none": None, "front": (size, min(size, 2)), "own": (size, min(size, 3), number)}[kind]
        found.append(Request(size, first, first + draw(st.integers(0, 6)), zeros))
    return found


def replay(asked, offsets, cleared):
    """Two samples: each request is written but for its zeros at its first instruction, and read until its last."""
    memory = np.full(extent(asked, offsets), ZERO)
    for sample in range(2):
        for now in range(24):
            for number, (r, at) in enumerate(zip(asked, offsets, strict=True)):
                own, zeros = memory[at : at + r.size], r.zeros[1] if r.zeros else 0
                mark = 100 * sample + number
                if r.first == now:
                    if cleared[number]:
                        own[:zeros] = ZERO
                    own[zeros:] = mark
                if r.first <= now <= r.last:
                    assert (own[zeros:] == mark).all()
                    assert (own[:zeros] == ZERO).all()


@settings(max_examples=300, deadline=None)
@given(requests())
def test_random_requests(asked):
    offsets = place(asked, ALIGN)
    assert all(offset % ALIGN == 0 for offset in offsets)
    replay(asked, offsets, must_clear(asked, offsets))
    whole = [-(-r.size // ALIGN) * ALIGN for r in asked]
    taken = -(-extent(asked, offsets) // ALIGN) * ALIGN
    assert most_alive([(size, r.first, r.last) for size, r in zip(whole, asked, strict=True)]) <= taken <= sum(whole)


def most_alive(sizes):
    """The largest sum of the sizes (size, first, last) that are alive at once."""
    return max((sum(s for s, first, last in sizes if first <= now <= last) for _, now, _ in sizes), default=0)


def test_the_largest_is_first_and_gaps_are_filled():
    asked = [Request(8, 0, 2), Request(100, 2, 5), Request(20, 4, 9), Request(90, 6, 9), Request(4, 0, 9)]
    assert place(asked, 4) == [100, 0, 100, 0, 120]


def test_zeros_are_kept_by_equals_in_one_place():
    a, b, other, free = Request(8, 0, 1, "a"), Request(8, 2, 3, "a"), Request(8, 4, 5, "b"), Request(8, 6, 7)
    assert must_clear([a, b], [0, 0]) == [False, False]
    assert must_clear([a, b], [0, 4]) == [True, True]
    assert must_clear([a, other], [0, 0]) == [True, True]
    assert must_clear([a, free], [0, 0]) == [True, False]
    assert must_clear([a, other, free], [0, 8, 16]) == [False, False, False]


def programs(graph, isa, winograd):
    """Every program of a network, of single samples: its instructions, (row, integers, table) each, and its arena."""
    found = []

    def note(row, values, table, memories):
        check_accesses(row, values, table, memories)
        if row is not last[0]:
            last[0] = row
            last[1].append((row, values, table, memories["arena"].size))

    last = [None, []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "SAMPLES", ())
        patch.setattr(program, "check_accesses", note)
        engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=isa, winograd=winograd)
        engine._plans.get(7) if engine._plans.net.flat else None
    for item in last[1]:
        if not found or item[2] is not found[-1][0][2]:  # a program has a table of its own
            found.append([])
        found[-1].append(item)
    return found


class Arena:
    """Who wrote each element last: a tensor, or `ZERO`."""

    def __init__(self, size):
        self.owner = np.full(size, ZERO)

    def region(self, t):
        """A tensor's elements, its slack among them, and which of them are its channels, and its padded ones."""
        start = t.offset - t.shift
        inside = np.zeros((t.height + t.halo[0] + t.halo[2], t.width + t.halo[1] + t.halo[3], t.pixel), int)
        pixels = inside[t.halo[0] : t.halo[0] + t.height, t.halo[1] : t.halo[1] + t.width]
        pixels[..., : t.channels], pixels[..., t.channels :] = 1, 2
        kind = np.append(inside.ravel(), np.zeros(RUN_SPARE, int))
        return start, kind

    def parts(self, t, first, last, elements):
        """Which elements an access meets, none of other channels than those of some elements, and what they are."""
        start, kind = self.region(t)
        here = np.arange(max(first, start), min(last + 1, start + len(kind)))
        if elements is not None:
            here = here[np.isin((here - start) % t.pixel, (elements - start) % t.pixel)]
        return here, kind[here - start]

    def read(self, t, number, first, last, elements):
        here, kind = self.parts(t, first, last, elements)
        owner = self.owner[here]
        assert (owner[kind == 1] == number).all(), "a tensor's channels are its own"
        if not t.scratch:
            assert (owner[kind == 0] == ZERO).all(), "halo and slack are zero"
            assert np.isin(owner[kind == 2], (ZERO, number)).all(), "padded channels are zero, or its own"

    def write(self, t, number, first, last, elements):
        """Padded channels are not written by every row: they are its own only where they were zero."""
        here, kind = self.parts(t, first, last, elements)
        own = (kind == 1) | ((kind == 2) & ((self.owner[here] == ZERO) | t.scratch))
        self.owner[here[own]] = number

    def clear(self, values):
        for segment in range(values["segments"]):
            start = values["out"] + segment * values["step"]
            self.owner[start : start + values["count"]] = ZERO


def pixel_met(kernel, operand, values, table):
    """The elements an instruction meets at one pixel of an operand, or at its taps; None for all.

    Its other pixels are whole pixels away, so that these tell which channels it meets.
    """
    family, tile = kernel
    if family in ("conv", "gradient") and operand == "in":
        runs = np.array(table[values["runs"] :][: values["run_count"]], int)
        length = tile.steps if family == "conv" else values["run_blocks"] * tile.depth
        return (values["in"] + values.get("start", 0) + runs[:, None] + np.arange(length)).ravel()
    if family.startswith("batched"):
        right = "columns" if operand != "in" or family == "batched_transpose" else "inner"
        down = "inner" if operand == "other" else "rows"
        column = values.get(f"{operand}_column", 1)
        first, end = values.get("channel", 0), values[right]
        if right == "columns" and "blocks" in values:
            end = min(end, first + values["blocks"] * tile.vectors * tile.width)
        loops = [("matrices", "matrix"), ("summed", "summed"), (down, "row")]
        found = grid(*((values.get(n, 1), values.get(f"{operand}_{step}", 0)) for n, step in loops))
        columns = np.arange(first if right == "columns" else 0, end) * column
        return (values[operand] + found[..., None] + columns).ravel()
    if "blocks" not in values or family in ("winograd_product", "select", "select_pair", "deal", "undeal"):
        return None
    lanes = values["blocks"] * getattr(tile, "vectors", 1) * tile.width
    return values[operand] + values.get("channel", 0) + np.arange(lanes)


@pytest.mark.parametrize("isa", sorted({isa_module.available()[0], isa_module.available()[-1]}))
@pytest.mark.parametrize("name", NETS)
def test_every_read_finds_its_own(name, isa):
    cleared = 0
    for rows in programs(NETS[name](), isa, "f2"):
        arena = Arena(rows[0][3])
        numbers: dict[Tensor, int] = {}
        for _ in range(2):
            for row, values, table, _ in rows:
                named = {key: met.tensor for key, met in row.places.items()}
                for t in named.values():
                    numbers.setdefault(t, len(numbers))
                if row.kernel is None:
                    outputs = {k: t for k, t in named.items() if k.startswith("target")} or {"out": named["out"]}
                    met = [
                        (k, t, k in outputs, t.offset - t.shift, t.offset - t.shift + t.size - 1, None)
                        for k, t in named.items()
                    ]
                elif row.kernel.family == "zeros":
                    arena.clear(values)
                    cleared += 1
                    continue
                else:
                    said = FAMILIES[row.kernel.family].accesses(values, row.kernel.tile, table)
                    met = [
                        (
                            one.operand,
                            named[one.operand],
                            one.written,
                            one.first,
                            one.last,
                            pixel_met(row.kernel, one.operand, values, table),
                        )
                        for one in said
                        if one.memory == "arena"
                    ]
                for _, t, written, *where in sorted(met, key=lambda one: one[2]):
                    (arena.write if written else arena.read)(t, numbers[t], *where)
    assert cleared, "tensors follow others in their place"


ARENAS = {
    "resampled": (13352, 27616), "upsampled": (1976, 3592), "square": (108792, 160968), "views": (9896, 23672),
    "shuffle": (10776, 20824), "attention": (8696, 13672), "layers": (1464, 2392), "branches": (344, 344),
    "cells": (5176, 10552), "words": (1464, 5400), "up": (49336, 124728), "up line": (680, 1320),
    "column norms": (4632, 13016), "row norms": (296, 776), "sequence norms": (1112, 3496),
    "attention operator": (2312, 5720), "two heads": (328, 520), "joined": (632, 744), "fire": (10424, 22252),
    "fused": (6840, 12312), "functions": (4984, 24280), "choices": (4984, 15728), "shapes": (504, 1064),
    "gates": (6264, 24408), "gate vector": (344, 648), "odd": (5624, 11696), "odd vector": (280, 456),
    "residual": (7032, 14024), "plain": (7552, 16576), "vector": (408, 728), "line": (1340, 2808),
    "heads": (11000, 19212), "shared factor": (6744, 9128),
}  # fmt: skip
"""Bytes of the arenas of each network for one sample, outputs alone and training, where vectors hold four numbers."""


@pytest.mark.parametrize("name", NETS)
def test_arenas_stay_small(name, monkeypatch):
    monkeypatch.setattr(group, "SAMPLES", ())
    graph = NETS[name]()
    isa = isa_module.available()[-1]
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=isa)
    plan = engine._plans.get(1)
    for made, pinned in zip((plan.forward, plan.training), ARENAS[name], strict=True):
        padded = [(-(-(one.elements + RUN_SPARE) // 16) * 16, one.first, one.last) for one in made.lifetimes]
        assert made.arena <= 1.2 * most_alive(padded) + 80, "80 elements are before the first and behind the last"
        assert 4 * made.arena <= pinned


def test_what_the_backward_pass_does_not_read_is_not_kept():
    """Before the first trainable weight nothing is kept; behind it, an input of a layer that has none, or a mask's."""
    net = Net((8, 12, 10))
    for _ in range(6):
        net.conv(8, 8, (3, 3), pads=(1, 1, 1, 1))
        net.add("Relu")
    net.add("Flatten", net.add("GlobalAveragePool"))
    net.gemm(4, 8)
    graph = net.graph()
    weights = [name for name in graph.initializers if graph.initializers[name].ndim == 4]

    def kept(*trained):
        engine = compile_graph(graph, trainable=frozenset(trained), logits=graph.outputs[0], winograd="direct")
        lifetimes = {one.name: one for one in engine._plans.get(1).training.lifetimes}
        backward = lifetimes[f"gradient of {graph.outputs[0]}"].first
        return [name for name, one in lifetimes.items() if one.first < backward <= one.last and "gradient" not in name]

    images = [node.outputs[0] for node in graph.nodes if node.op == "Relu"]
    assert kept(weights[5]) == [images[4], images[5], graph.outputs[0]], "its input, and where its clamp holds"
    assert kept(weights[2]) == [*images[1:6], graph.outputs[0]]
    assert kept(*weights) == ["x", *images, graph.outputs[0]]


def gradients(net, x):
    """Whose gradients have a place of their own, in a network that goes on from a tensor to its outputs."""
    net.add("Flatten", net.add("GlobalAveragePool", net.conv(8, 8, (1, 1), x=x)))
    graph = net.graph()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    return {
        one.name.removeprefix("gradient of ") for one in engine._plans.get(1).training.lifetimes if "of" in one.name
    }


def test_a_gradient_that_nothing_else_reads_is_written_over():
    net = Net((8, 3, 5))
    a = net.conv(8, 8, (1, 1))
    b = net.add("Sigmoid", a)
    c = net.add("Mul", b, net.add("GlobalAveragePool", b))
    found = gradients(net, c)
    assert c in found
    assert a not in found


def test_a_gradient_that_is_another_tensors_too_is_not_written_over():
    net = Net((8, 2, 6))
    early, a, b = net.conv(16, 8, (1, 1)), net.conv(8, 8, (1, 1), x="x"), net.conv(8, 8, (1, 1), x="x")
    joined = net.add("Concat", net.add("Sigmoid", a), net.add("Sigmoid", b), axis=1)
    found = gradients(net, net.conv(8, 16, (1, 1), x=net.add("Add", joined, early)))
    assert {a, b} <= found, "the gradient of the sum is that of its early summand"
    net = Net((8, 2, 6))
    a, b = net.conv(8, 8, (1, 1)), net.conv(8, 8, (1, 1), x="x")
    found = gradients(net, net.add("Add", net.add("Sigmoid", a), net.add("Sigmoid", b)))
    assert b in found, "the late summand's layer passes the gradient on to the early one"
    assert a not in found


def apart(asked, align):
    """Every tensor by itself."""
    sizes = [-(-r.size // align) * align for r in asked]
    return [sum(sizes[:number]) for number in range(len(sizes))]


@pytest.mark.parametrize("name", NETS)
def test_bits_do_not_depend_on_places(name, rng, monkeypatch):
    """Nor does a sample of NaN leave anything behind."""
    graph = NETS[name]()
    x = draw(graph, 5, rng)
    y = rng.integers(0, 4, 5)
    results = []
    for placer in (apart, place):
        monkeypatch.setattr(program, "place", placer)
        engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
        results.append(engine.loss_and_grad(x, y))
        with np.errstate(all="ignore"):
            try:
                engine.loss_and_grad(np.full_like(x, np.nan if x.dtype.kind == "f" else 0), y)
            except DomainError:
                calls_back = ("odd", "odd vector", "attention", "layers")
                assert name in calls_back, "an operator without a compiled form may refuse"
        results.append(engine.loss_and_grad(x, y))
        results.append((results[-1][0], engine.logits(x), results[-1][2]))
    for loss, z, grads in results[1:]:
        assert loss == results[0][0]
        assert np.array_equal(z, results[0][1])
        assert all(np.array_equal(grads[key], value) for key, value in results[0][2].items())


@pytest.mark.parametrize(("channels", "pixel"), [(8, 8), (5, 8)])
@pytest.mark.parametrize("halo", [(0, 0, 0, 0), (1, 2, 3, 4), (0, 0, 2, 0), (2, 0, 0, 1)])
@pytest.mark.parametrize("isa", isa_module.available())
def test_what_must_be_zero_is_cleared(channels, pixel, halo, isa):
    t = Tensor(channels, 3, 5, pixel, list(halo))
    t.offset = 16 + t.shift
    lib = library(isa, "float32")
    arena = np.full(t.size + 64, 7, np.float32)
    for row in program._clear(t, lib.isa.lanes("float32")):
        values = {"address": 0, "out": row.places["out"].fields("out")["out"], **row.ints}
        numbers = np.array(row.fields.pack(**values), np.int64)
        context = np.array([{"arena": arena.ctypes.data}.get(name, 0) for name in CONTEXT], np.int64)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lib.address(row.kernel))
        call(numbers.ctypes.data, context.ctypes.data)
    _, kind = Arena(0).region(t)
    inside = arena[16 : 16 + len(kind)]
    assert (inside[kind != 1] == 0).all()
    assert (inside[kind == 1] == (7 if channels == pixel else 0)).all()
    assert (arena[:16] == 7).all()
    assert (arena[16 + len(kind) :] == 7).all()


def test_a_plan_is_printed():
    text = plan_text([Lifetime("b", 80, 10, 3, 4), Lifetime("a", 16, 64, 0, 3)], 4)
    assert [line.split() for line in text.splitlines()[1:]] == [["a", "256", "64", "0..3"], ["b", "40", "320", "3..4"]]


def test_lifetimes_name_the_tensors_of_a_network():
    graph = NETS["residual"]()
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    training = engine._plans.get(1).training
    names = [one.name for one in training.lifetimes]
    assert {"x", graph.outputs[0], f"gradient of {graph.outputs[0]}"} <= set(names)
    assert all(0 <= one.first <= one.last < len(training.rows) for one in training.lifetimes)
    assert all(16 <= one.offset and one.offset + one.elements <= training.arena for one in training.lifetimes)
