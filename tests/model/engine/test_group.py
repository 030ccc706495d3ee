"""Groups of samples: the same bits as sample by sample, whatever the batch, the threads and the places in the arena."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd import memory
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.isa import best
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.tiles import ConvTile, PixelTile
from lieref.model.engine import compile_graph, group, pieces, program
from lieref.model.engine.adapter import FORMS
from lieref.model.engine.instruction import SUMMING, Instruction
from lieref.model.engine.tensor import Place, Tensor
from tests.model.engine.networks import (
    NETS,
    Net,
    draw,
    trainable,
)
from tests.model.engine.replay import kernels_by_address, replay_run
from tests.model.engine.test_accesses import adapters
from tests.model.engine.test_place import apart

MOST = group.SAMPLES[0]
BATCHES = (*range(1, 2 * MOST + 2), 40)
IMAGES = [name for name in NETS if len(NETS[name]().inputs[0].shape) > 2]


def large_everywhere(patch, weights=16, piece=96):
    """Let a handful of weights count as large."""
    patch.setattr(pieces, "LARGE", weights)
    patch.setattr(pieces, "PIECE", piece)
    patch.setattr(group, "LEAST_SHARED", -1.0)


def wide_net():
    """Images of 12x12 and 6x6 whose 3x3 convolutions take the transforms, in strips, and a residual sum."""
    net = Net((3, 24, 24))
    first = net.conv(32, 3, (3, 3), pads=(1, 1, 1, 1), strides=(2, 2), scale=0.1)
    net.conv(32, 32, (3, 3), pads=(1, 1, 1, 1), scale=0.1)
    net.add("Relu")
    net.conv(32, 32, (3, 3), pads=(1, 1, 1, 1), scale=0.1)
    net.add("Add", first, net.last)
    net.add("Relu")
    net.conv(48, 32, (3, 3), pads=(1, 1, 1, 1), strides=(2, 2), scale=0.1)
    net.conv(48, 1, (3, 3), group=48, pads=(1, 1, 1, 1))
    net.conv(40, 48, (1, 1), scale=0.1)
    net.add("Relu")
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.gemm(10, 40)
    return net.graph()


def compiled(graph, grouped, **options):
    with pytest.MonkeyPatch.context() as patch:
        if grouped:
            large_everywhere(patch)
        else:
            patch.setattr(group, "SAMPLES", ())
        return compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], **options)


def same(a, b):
    assert a[0] == b[0]
    assert np.array_equal(a[1], b[1])
    assert a[2].keys() == b[2].keys()
    assert all(np.array_equal(a[2][name], b[2][name]) for name in a[2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", ["f2", "f4", "direct"])
def test_every_batch_has_the_bits_of_single_samples(way, dtype, rng):
    graph = wide_net()
    one, many = (compiled(graph, grouped, winograd=way, dtype=dtype) for grouped in (False, True))
    assert [engine._plans.at_once(True) for engine in (one, many)] == [1, MOST]
    families = {row.kernel.family for row in _rows_of(graph, way)}
    assert ("winograd_product" in families) == (way != "direct")
    for count in BATCHES:
        x = draw(graph, count, rng, dtype)
        y = rng.integers(0, 10, count)
        for threads in (1, 2, 4):
            one.threads = many.threads = threads
            for loss in ("cross_entropy", "mean_squared_error") if count == 3 else ("cross_entropy",):
                target = y if loss == "cross_entropy" else rng.standard_normal((count, 10)).astype(dtype)
                same(one.loss_and_grad(x, target, loss), many.loss_and_grad(x, target, loss))
            assert np.array_equal(one.logits(x), many.logits(x))


def _rows_of(graph, way):
    """Return the instructions of a forward pass that is grouped."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        before = group._blocks
        patch.setattr(group, "_blocks", lambda rows: (found.extend(rows), before(rows))[1])
        compiled(graph, True, winograd=way)
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_so_has_every_network(name, rng):
    graph = NETS[name]()
    one, many = (compiled(graph, grouped, winograd="f4") for grouped in (False, True))
    training = many._plans.get(1).training
    assert training.samples == (1 if training.functions else MOST), "functions know the tensors of one sample"
    for count in (1, MOST + 1, 19):
        x = draw(graph, count, rng)
        y = rng.integers(0, 4, count)
        same(one.loss_and_grad(x, y), many.loss_and_grad(x, y))
        assert np.array_equal(one.logits(x), many.logits(x))


@pytest.mark.parametrize("number", range(len(MAPS)))
def test_so_have_adapters(number, rng):
    graph = wide_net()
    form = FORMS[number % len(FORMS)]
    results = []
    for grouped in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if grouped:
                large_everywhere(patch)
            engine = compile_graph(
                graph, trainable=frozenset(), logits=graph.outputs[0], adapters=adapters(graph, form, MAPS[number])
            )
        engine.parameters.flat[:] = 0.1 * np.random.default_rng(7).standard_normal(engine.parameters.flat.size)
        x = np.random.default_rng(8).standard_normal((MOST + 2, 3, 24, 24)).astype(np.float32)
        results.append(engine.loss_and_grad(x, np.arange(MOST + 2)))
    same(*results)


@pytest.mark.parametrize("name", ["wide", "square", "residual", "plain", "gates", "shuffle", "cells"])
def test_bits_do_not_depend_on_places(name, rng, monkeypatch):
    """Nor does a sample of NaN leave anything behind."""
    graph = wide_net() if name == "wide" else NETS[name]()
    x = draw(graph, MOST + 1, rng)
    y = rng.integers(0, 4, len(x))
    results = []
    for placer in (apart, program.place):
        monkeypatch.setattr(program, "place", placer)
        engine = compiled(graph, True)
        results.append(engine.loss_and_grad(x, y))
        with np.errstate(all="ignore"):
            engine.loss_and_grad(np.full_like(x, np.nan), y)
            engine.logits(np.full_like(x, np.nan))
        results.append(engine.loss_and_grad(x, y))
        assert np.array_equal(engine.logits(x), results[-1][1])
    for result in results[1:]:
        same(results[0], result)


@pytest.mark.parametrize("way", ["f4", "direct"])
def test_every_instruction_does_what_it_means(way, rng):
    graph = wide_net()
    engine = compiled(graph, True, winograd=way, isa=isa_module.available()[0])
    x = rng.standard_normal((MOST + 1, 3, 24, 24)).astype(np.float32)
    targets = engine._targets(rng.integers(0, 10, len(x)), len(x))
    for loss, training in (("logits", False), ("cross_entropy", True)):
        wrong, *_ = replay_run(engine, x, targets, loss, training)
        assert wrong is None


def walking_net(op, cells=20, features=9, **attrs):
    """Samples first, a recurrent layer along 7 steps in both directions, and a linear layer on all its states."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    net = Net((7, features))
    weights = [net.weight(2, gates * cells, n, scale=0.3) for n in (features, cells)]
    weights.append(net.weight(2, 2 * gates * cells))
    turned = net.add("Transpose", "x", perm=(1, 0, 2))
    y = net.add(op, turned, *weights, hidden_size=cells, direction="bidirectional", **attrs)
    net.add("Flatten", net.add("Transpose", y, perm=(2, 0, 1, 3)))
    net.gemm(5, 14 * cells, scale=0.1)
    return net.graph()


CELLS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru_linear": ("GRU", {"linear_before_reset": 1}),
    "rnn": ("RNN", {}),
}


@pytest.mark.parametrize("isa", isa_module.available())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_walks_of_several_samples_have_the_bits_of_single_ones(cell, dtype, isa, rng):
    op, attrs = CELLS[cell]
    graph = walking_net(op, **attrs)
    one = compiled(graph, False, isa=isa, dtype=dtype)
    many = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0], isa=isa, dtype=dtype)
    assert [engine._plans.at_once(True) for engine in (one, many)] == [1, MOST], "its steps read enough of R"
    for count in BATCHES:
        x = draw(graph, count, rng, dtype)
        y = rng.integers(0, 5, count)
        for threads in (1, 3):
            one.threads = many.threads = threads
            same(one.loss_and_grad(x, y), many.loss_and_grad(x, y))
            assert np.array_equal(one.logits(x), many.logits(x))


def test_a_walk_is_one_row_for_as_many_samples_as_there_are():
    engine = compile_graph(graph := walking_net("LSTM"), trainable=trainable(graph), logits=graph.outputs[0])
    training = engine._plans.get(1).training
    place = FAMILIES["lstm"].fields.names.index("samples")
    names = {"lstm": 2, "lstm_back": 2}  # directions
    walks = [number for number, kernel in enumerate(training.kernels) if kernel and kernel.family in names]
    assert [training.kernels[number].family for number in walks] == [
        name for name, many in names.items() for _ in range(many)
    ]
    assert (training.rows[walks, place] == 1).all(), "alone until a pass says how many there are"
    known = dict.fromkeys(training.open, 1)
    for samples in range(1, MOST + 1):
        rows = training.with_kernels(known, [], samples)
        assert len(rows) == training.row_count(samples)
        of_walks = rows[np.isin(rows[:, 0], training.rows[walks, 0])]
        assert of_walks[:, place].tolist() == [samples] * len(walks)


@pytest.mark.parametrize("way", ["lstm", "gru", "gru_linear", "rnn"])
def test_every_walk_does_what_it_means(way, rng):
    op, attrs = CELLS[way]
    graph = walking_net(op, **attrs)
    engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    x = rng.standard_normal((MOST + 1, 7, 9)).astype(np.float32)
    wrong, *_ = replay_run(engine, x, engine._targets(rng.integers(0, 5, len(x)), len(x)), "cross_entropy", True)
    assert wrong is None


def test_a_walk_reads_its_weights_in_every_step():
    found = []
    with pytest.MonkeyPatch.context() as patch:
        before = group._blocks
        patch.setattr(group, "_blocks", lambda rows: (found.append([*rows]), before(rows))[1])
        compile_graph(graph := walking_net("GRU", cells=16), trainable=trainable(graph), logits=graph.outputs[0])
    for walks, rows in zip((2, 4), found, strict=True):
        counts = [pieces.walked_weights(row) for row in rows]
        assert sorted(counts)[-walks:] == [7 * 3 * 16 * 16] * walks
        assert sum(counts) == walks * 7 * 3 * 16 * 16
        for block in group._blocks(rows):
            assert len({row.joint for row in block}) == 1, "a walk is of no block of other instructions"


def test_a_group_reads_a_piece_of_weights_for_all_its_samples():
    engine = compiled(wide_net(), True, winograd="direct")
    training = engine._plans.get(1).training
    assert training.samples == MOST
    names = kernels_by_address(engine._plans.library.isa.name, "float32")
    for family, field in (("conv", "weight"), ("gradient", "out")):
        numbers = training.rows[:, FAMILIES[family].fields.names.index(field)]
        mine = np.array([number > 0 and names[number].family == family for number in training.rows[:, 0].tolist()])
        pieces_met = np.unique(numbers[mine])
        assert len(pieces_met) > 10
        together = 0
        for piece in pieces_met:
            where = np.flatnonzero(mine & (numbers == piece))
            if len(where) == MOST:  # one that is not large lies among others
                together += (np.diff(where) == 1).all()
                assert training.sample[where].tolist() == [*range(MOST)]
        assert together > len(pieces_met) // 3


def test_the_first_sample_alone_sets_accumulators():
    training = compiled(wide_net(), True)._plans.get(1).training
    names = kernels_by_address(best().name, "float32")
    for number, sample in zip(training.rows, training.sample, strict=True):
        family = names[number[0]].family if number[0] else ""
        if family in SUMMING and sample:
            assert number[FAMILIES[family].fields.names.index("fresh")] == 0


def test_samples_are_as_many_as_memory_allows(monkeypatch):
    graph = wide_net()
    whole, alone = (compiled(graph, grouped)._plans.get(1).training for grouped in (True, False))
    assert (whole.samples, alone.samples) == (MOST, 1)
    assert alone.arena < whole.arena
    for most, samples in ((1 << 30, MOST), (500_000, 2), (1_000, 1)):
        monkeypatch.setattr(group, "MOST_BYTES", most)
        training = compiled(graph, True)._plans.get(1).training
        assert training.samples == samples
        assert 4 * (training.arena - alone.arena) < most + 100_000, (
            "what is kept of the samples, and where nothing fits"
        )


def test_a_group_saves_more_than_it_keeps(monkeypatch):
    large_everywhere(monkeypatch)
    kept, shared = [], []
    for name, found in (("_most_kept", kept), ("_large_weights", shared)):
        before = getattr(group, name)
        monkeypatch.setattr(
            group, name, lambda *args, before=before, found=found: (found.append(before(*args)), found[-1])[1]
        )
    graph = wide_net()
    compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
    just = shared[-1] / kept[-1]
    for least, samples in ((just - 0.01, MOST), (just, 1)):
        monkeypatch.setattr(group, "LEAST_SHARED", least)
        engine = compile_graph(graph, trainable=trainable(graph), logits=graph.outputs[0])
        assert engine._plans.at_once(True) == samples


def test_a_product_that_reads_another_is_no_part_of_it():
    a, b, c = (Tensor(8, 4, 4, 8) for _ in range(3))
    conv, copy = KernelName("conv", ConvTile(1, 1, 4, 8)), KernelName("depthwise", PixelTile(1, 8))

    def row(kernel, source, out):
        return Instruction(kernel, {"blocks": 1, "column": 64}, {"in": Place(source), "out": Place(out)})

    rows = [row(copy, a, b), row(conv, a, b), row(conv, a, b), row(conv, b, c), row(copy, c, a), row(copy, a, b)]
    assert [len(run) for run in group._products(rows)] == [1, 2, 1, 2]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("samples", [2, MOST + 1, 40])
def test_a_session_takes_what_is_said(samples, training, monkeypatch):
    sizes = []
    allocate = memory.allocate
    monkeypatch.setattr(memory, "allocate", lambda count: (sizes.append(count), allocate(count))[1])
    engine = compiled(wide_net(), True, threads=2)
    said = engine.footprint(samples, 2, training=training)
    sizes.clear()
    x = np.zeros((samples, 3, 24, 24), np.float32)
    engine.loss_and_grad(x, np.zeros(samples, int)) if training else engine.logits(x)
    # Scripts and contexts are the rest, whatever the network.
    assert 0 < sum(sizes) - (said.arenas + said.accumulators + said.instructions) < 1024


def test_what_is_described_is_what_runs():
    for grouped in (False, True):
        engine = compiled(wide_net(), grouped)
        sizes, plan = engine.sizes, engine._plans.get(1)
        assert (sizes.samples, sizes.training_samples) == ((MOST, MOST) if grouped else (1, 1))
        assert (sizes.forward, sizes.training) == (len(plan.forward.rows), len(plan.training.rows))
        assert sizes.arena_bytes == 4 * plan.training.arena
