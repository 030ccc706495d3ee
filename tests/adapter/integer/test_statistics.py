"""Channels that are matched have the mean and deviation that they had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.integer import statistics
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, decode_update, encode_update
from lieref.adapter.integer.label_free import adapt_without_labels
from lieref.adapter.integer.model import load_integer
from lieref.adapter.integer.statistics import match_statistics
from lieref.errors import DomainError
from lieref.model import executor
from lieref.model.integer.as_float import FREE, as_float
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net


def test_every_channel_is_as_it_was(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator"))
    rng = np.random.default_rng(0)
    old = 0.5 * rng.standard_normal((40, 3, 9, 8)).astype(np.float32)
    new = (0.8 * old[::-1] + 0.2).astype(np.float32)
    found = match_statistics(model, old, new)
    patched = found.update.patched(model.integer)[0]
    before, after = (executor.run(as_float(graph), x) for graph, x in ((model.integer, old), (patched, new)))
    shifted = executor.run(as_float(model.integer), new)
    checked = 0
    for layer in model.integer_layers:
        r = found.factors[layer.weight.name]
        name = f"{next(n for n in model.integer.nodes if n.name == layer.node).outputs[0]}{FREE}"
        axes = tuple(axis for axis in range(before[name].ndim) if axis != 1)
        free = (r > 0.501) & (r < 1.999)  # not at the end of what is allowed
        for statistic in (np.mean, np.std):
            want, got, base = (statistic(values[name], axis=axes)[free] for values in (before, after, shifted))
            scale = np.std(before[name], axis=axes)[free]
            assert (np.abs(got - want) <= 0.02 * scale).all()
            checked += int((np.abs(base - want) > 0.05 * scale).sum())
    assert checked > 10


def test_nothing_to_match_moves_nothing_much(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qdq"))
    x = np.random.default_rng(0).standard_normal((20, 3, 9, 8)).astype(np.float32)
    found = match_statistics(model, x, x)
    assert all(np.abs(r - 1).max() < 1e-5 for r in found.factors.values())
    none = match_statistics(model, x, 0.5 * x, share=0.0)
    assert all(np.abs(r - 1).max() == 0 for r in none.factors.values())
    with pytest.raises(DomainError, match="at least 2"):
        match_statistics(model, x, x[:1])
    with pytest.raises(DomainError, match="share"):
        match_statistics(model, x, x, share=2.0)


@pytest.mark.filterwarnings("ignore::lieref.train.evidence.OneClassWarning")  # of a network that answers alike
def test_without_labels_the_confident_answers_are_learnt(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator"))
    rng = np.random.default_rng(0)
    old = rng.standard_normal((60, 3, 9, 8)).astype(np.float32)
    new = (0.7 * old + 0.3).astype(np.float32)
    before = model.integer.content
    found = adapt_without_labels(model, new, old, rounds=2, epochs=1, confidence=0.5)
    assert len(found.kept) == 2
    assert all(0 < share <= 1 for share in found.kept)
    assert found.update.method == "match-stats+self-training"
    assert model.integer.content == before
    assert not model.attached
    assert not found.update.integers
    files = encode_update(found.update, model.integer)
    again = decode_update(files[JSON_NAME], files[BIN_NAME], model.integer, "here")
    patched = again.patched(model.integer)[0]
    matched = model.patched(match_statistics(model, old, new).update).predict(new).max(axis=1).mean()
    assert model.patched(again).predict(new).max(axis=1).mean() > matched  # it says louder what it has learnt
    assert patched.digest == found.update.result_sha256
    with pytest.raises(DomainError, match="as sure as"):
        adapt_without_labels(model, new, rounds=1, confidence=1.0)


def test_a_sorted_set_is_drawn_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qdq"))
    x = np.random.default_rng(0).standard_normal((40, 3, 9, 8)).astype(np.float32)
    x += np.linspace(-1, 1, 40, dtype=np.float32)[:, None, None, None]
    monkeypatch.setattr(statistics, "SAMPLES", 10)
    stem = next(iter(statistics.matchable(model)))
    some, first = (statistics.moments_of(model, each)[stem][0] for each in (x, x[:10]))
    monkeypatch.setattr(statistics, "SAMPLES", 100)
    every = statistics.moments_of(model, x)[stem][0]
    assert np.abs(some - every).max() < 0.3 * np.abs(first - every).max()
