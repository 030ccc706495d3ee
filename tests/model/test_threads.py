"""One model and many threads: who predicts, who trains, what a fork finds, and what a copy shares."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.errors import BusyError
from lieref.train.loss import CrossEntropy
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

SIZES = (1, 2, 7, 40, 300)
METHOD = ("liera", "dora")
"""One that the engine computes, and one that is computed outside."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return saved(residual_net(), tmp_path)


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((60, 3, 9, 8)).astype(np.float32), rng.integers(0, 5, 60)


def elsewhere(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in another thread; raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def moved(model: lieref.Model) -> lieref.Model:
    for parameter in model.parameters().values():
        parameter += 0.05
    return model


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["compiled", "reference", "float64"])
def test_threads_predict_with_one_model(path: str, rng: np.random.Generator, kind: str, threads: int) -> None:
    """Everything is made on first use by whichever thread comes first: engines, sessions, compiled code."""
    dtype = "float64" if kind == "float64" else "float32"
    batches = [rng.standard_normal((n, 3, 9, 8)).astype(dtype) for n in SIZES]
    alone = moved(lieref.load(path, dtype=dtype).attach("liera"))
    model = moved(lieref.load(path, dtype=dtype).attach("liera"))
    alone.engine = model.engine = "reference" if kind == "reference" else "f2"
    alone.threads, model.threads = 1, threads
    wanted = [alone.predict(x) for x in batches]
    start = threading.Barrier(4)

    def caller(first: int) -> int:
        start.wait()
        rounds = 20 if kind == "compiled" else 2
        return sum(
            np.array_equal(model.predict(batches[k]), wanted[k])
            for i in range(rounds * len(SIZES))
            for k in [(first + i) % len(SIZES)]
        ) - rounds * len(SIZES)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(caller, range(4))) == [0] * 4


@pytest.mark.parametrize("method", METHOD)
def test_a_fit_is_seen_when_it_is_done(path: str, data: Any, method: str) -> None:
    x, y = data
    model = moved(lieref.load(path).attach(method))
    before, seen = model.predict(x), []

    def progress(_: Any) -> None:
        seen.append(elsewhere(lambda: model.predict(x)))

    lieref.fit(model, x, y, epochs=2, batch_size=20, seed=0, validation=(x, y), progress=progress)
    assert len(seen) == 6
    assert all(np.array_equal(outputs, before) for outputs in seen)
    after = model.predict(x)
    assert not np.array_equal(after, before)
    assert np.array_equal(elsewhere(lambda: model.predict(x)), after)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("method", METHOD)
def test_an_interrupted_fit_changes_nothing(path: str, data: Any, method: str, error: type[BaseException]) -> None:
    x, y = data
    model = moved(lieref.load(path).attach("norm-stats").attach(method))
    before = model.predict(x)

    def progress(at: Any) -> None:
        elsewhere(lambda: model.predict(x))
        raise error

    with pytest.raises(error) as kept:
        lieref.fit(model, x, y, epochs=2, batch_size=20, seed=0, progress=progress)
    assert kept.tb is not None
    assert np.array_equal(model.predict(x), before)
    assert np.array_equal(elsewhere(lambda: model.predict(x)), before)
    history = elsewhere(lambda: lieref.fit(model, x, y, epochs=1, seed=0))
    assert len(history.epochs) == 1, "nobody trains any more"


CHANGES: dict[str, Callable[[lieref.Model, Any, Any, Path], Any]] = {
    "fit": lambda model, x, y, folder: lieref.fit(model, x, y, epochs=1),
    "loss_and_grad": lambda model, x, y, folder: model.loss_and_grad(x, y, CrossEntropy()),
    "attach": lambda model, x, y, folder: model.attach("bias"),
    "unload": lambda model, x, y, folder: model.unload(),
    "estimate_statistics": lambda model, x, y, folder: model.estimate_statistics(x),
    "load_adapter": lambda model, x, y, folder: model.load_adapter(folder / "kept"),
    "add_weighted_adapter": lambda model, x, y, folder: model.add_weighted_adapter([folder / "kept"], [0.5]),
    "merge_and_unload": lambda model, x, y, folder: model.merge_and_unload(),
    "save_adapter": lambda model, x, y, folder: model.save_adapter(folder / "new"),
    "adapted_tensors": lambda model, x, y, folder: model.adapted_tensors(),
    "copy": lambda model, x, y, folder: copy.copy(model),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_thread_at_a_time_trains_or_changes(path: str, data: Any, tmp_path: Path, change: str) -> None:
    x, y = data
    model = moved(lieref.load(path).attach("liera"))
    model.save_adapter(tmp_path / "kept")
    before = {name: parameter.copy() for name, parameter in model.parameters().items()}
    errors = []

    def progress(at: Any) -> None:
        if at.step == 0:
            return  # compiling: the model is not yet taken
        with pytest.raises(BusyError, match=f"^{change}: the model must .* another thread is in fit$") as error:
            elsewhere(lambda: CHANGES[change](model, x, y, tmp_path))
        errors.append(error)

    lieref.fit(model, x, y, epochs=1, batch_size=30, seed=0, progress=progress)
    assert len(errors) == 2
    other = lieref.load(path).load_adapter(tmp_path / "kept")
    lieref.fit(other, x, y, epochs=1, batch_size=30, seed=0)
    for name, parameter in other.parameters().items():
        assert np.array_equal(model.parameters()[name], parameter), "the refused call left its mark"
        assert not np.array_equal(before[name], parameter)
    elsewhere(lambda: CHANGES[change](model, x, y, tmp_path))


def test_predictions_while_adapters_come_and_go(path: str, data: Any, tmp_path: Path) -> None:
    x, _ = data
    model = lieref.load(path)
    base = model.predict(x)
    moved(model.attach("liera")).save_adapter(tmp_path / "kept")
    adapted, stop = model.predict(x), threading.Event()
    assert not np.array_equal(adapted, base)

    def caller() -> int:
        wrong = 0
        while not stop.is_set():
            outputs = model.predict(x)
            wrong += not (np.array_equal(outputs, base) or np.array_equal(outputs, adapted))
        return wrong

    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(caller) for _ in range(3)]
        for _ in range(20):
            model.unload()
            model.load_adapter(tmp_path / "kept")
        stop.set()
        assert [future.result() for future in found] == [0, 0, 0]


FORK = """
import os, sys, threading, warnings
import numpy as np
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here
import lieref

model = lieref.load(sys.argv[1]).attach("liera")
model.threads, model.engine = 2, sys.argv[2]
for parameter in model.parameters().values():
    parameter += 0.05
x = np.random.default_rng(0).standard_normal((40, 3, 9, 8)).astype(np.float32)
y = np.arange(40) % 5
want = model.predict(x)
stop = threading.Event()

def work():
    while not stop.is_set():
        model.predict(x)

threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
failed = 0
for _ in range(5):
    child = os.fork()
    if child == 0:
        right = np.array_equal(model.predict(x), want)
        lieref.fit(model, x, y, epochs=1, seed=0)
        os._exit(0 if right and not np.array_equal(model.predict(x), want) else 1)
    failed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    failed += not np.array_equal(model.predict(x), want)
stop.set()
[thread.join() for thread in threads]
raise SystemExit(failed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts processes another way")
@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_parent_and_child_of_a_fork_predict_and_train(path: str, engine: str) -> None:
    """In a process of its own, whose other threads are in the model when it forks."""
    assert subprocess.run([sys.executable, "-c", FORK, path, engine], timeout=120).returncode == 0


COPIES: dict[str, Callable[[lieref.Model], lieref.Model]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("method", [*METHOD, "lora", "bias"])
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_adapters_of_its_own(path: str, data: Any, how: str, method: str) -> None:
    x, y = data
    model = lieref.load(path).attach("norm-stats").attach(method)
    model.estimate_statistics(x)
    moved(model)
    want, grads = model.predict(x), model.loss_and_grad(x, y, CrossEntropy())[2]
    twin = COPIES[how](model)
    assert type(twin) is type(model)
    assert type(twin.parameters()) is type(model.parameters()), "trained arrays lie in one memory, or do not"
    assert np.array_equal(twin.predict(x), want)
    assert twin.method_name == model.method_name
    found = twin.loss_and_grad(x, y, CrossEntropy())[2]
    assert all(np.array_equal(found[name], grad) for name, grad in grads.items())
    lieref.fit(twin, x, y, epochs=1, seed=0)
    twin.unload().attach("scale")
    assert np.array_equal(model.predict(x), want)
    assert set(model.parameters()) == set(grads)
    moved(model)
    assert not np.array_equal(model.predict(x), want)


def test_a_deep_copy_has_a_base_of_its_own(path: str) -> None:
    model = lieref.load(path)
    name, array = next((n, v) for n, v in model.graph.initializers.items() if v.ndim == 4)
    assert copy.copy(model).graph.initializers[name] is array
    twin = copy.deepcopy(model).graph.initializers[name]
    assert np.array_equal(twin, array)
    assert not np.shares_memory(twin, array)
