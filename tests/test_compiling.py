"""Who is told that machine code is made: the thread that makes it, its last listener."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref import _cache as cache
from lieref._compiling import listening, tell
from lieref._jit import njit
from lieref.cli.console import progress_bar
from lieref.kernel.simd.isa import best
from lieref.kernel.simd.machine_code import Library
from lieref.model import choice
from lieref.train.epoch import Progress
from lieref.train.loop import fit
from tests.model.nets import residual_net, saved
from tests.train.toy_model import SoftmaxRegression, blobs


def test_the_last_listener_of_the_thread_is_told() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with listening(outer.append):
        with listening(inner.append):
            tell("a")
            other = threading.Thread(target=tell, args=("nobody's",))
            other.start()
            other.join()
        tell("b")
    tell("c")
    assert inner == ["compiling a (once after installation)"]
    assert outer == ["compiling b (once after installation)"]


def test_nobody_listens_and_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell("a")
    with progress_bar("work"):
        tell("b")
    assert capsys.readouterr() == ("", "")


def double(x: float) -> float:
    return 2 * x


def test_what_is_compiled_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path))
    told: list[str] = []
    with listening(told.append):
        for _ in range(2):
            assert njit(double)(1.5) == 3.0
            Library(best(), "float32").address("adamw")
    assert told == [
        "compiling double (once after installation)",
        f"compiling the adamw kernels for {best().name} (once after installation)",
    ]


def test_fit_tells_its_progress_before_all_else() -> None:
    events: list[Progress] = []
    model = SoftmaxRegression()
    model.compiles_first = True
    fit(model, *blobs(), epochs=2, batch_size=30, seed=0, progress=events.append)
    first, *steps = events
    assert first.phase == "compiling (once after installation)"
    assert (first.epoch, first.step, first.epochs, first.total_steps) == (0, 0, 2, 1)
    assert math.isnan(first.loss)
    assert [(event.phase, event.step) for event in steps] == [("training", step) for step in (1, 2, 3, 4)]


def test_a_network_compiles_first_where_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lieref.load(saved(residual_net(), tmp_path))
    monkeypatch.setattr(choice, "library", lambda isa, dtype: Library(best(), dtype))
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path))
    assert model.compiles_first
    model.engine = "reference"
    assert not model.compiles_first
    model.engine = "f2"
    monkeypatch.undo()
    model.predict(np.ones((1, 3, 9, 8), np.float32))
    assert not model.compiles_first
