"""Checkpoints: the same bits after any interruption, and no other run's state."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, blobs

from lieref.errors import DomainError, FormatError, VerificationError
from lieref.train.checkpoint import FILE_NAME
from lieref.train.epoch import Progress
from lieref.train.history import History
from lieref.train.loop import fit
from lieref.train.npz import read_npz, write_npz
from lieref.train.optimizer import SGD
from lieref.train.sample_tasks import Classes

SETTINGS: dict[str, Any] = {"epochs": 5, "batch_size": 16, "seed": 3}
VARIANTS = [
    {},
    {"optimizer": "sgd", "schedule": "constant"},
    {"validation": 0.25},
    {"learning_rate": "auto", "validation": 0.25, "warmup_steps": 4, "clip_norm": 0.1, "task": Classes(0.1)},
    {"average": True, "mixup": 0.4},
    {"average": 0.9, "validation": 0.25, "schedule": "constant"},
]


class StopError(Exception):
    pass


def stopping_at(step: int) -> Any:
    def stop(event: Progress) -> None:
        if event.step == step:
            raise StopError

    return stop


def outcome(model: SoftmaxRegression, history: History) -> tuple[Any, ...]:
    values = history.to_dict()
    del values["preparation_seconds"]
    for epoch in values["epochs"]:
        del epoch["seconds"], epoch["training_seconds"]
    return values, {name: array.tobytes() for name, array in model.parameters().items()}


def uninterrupted(**settings: Any) -> tuple[Any, ...]:
    model = SoftmaxRegression()
    return outcome(model, fit(model, *blobs(), **SETTINGS, **settings))


def interrupted_run(folder: Path, step: int = 11, **settings: Any) -> None:
    with pytest.raises(StopError):
        fit(SoftmaxRegression(), *blobs(), **SETTINGS, **settings, checkpoint=folder, progress=stopping_at(step))


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("step", [1, 8, 11, 15])
def test_resumed_run_ends_with_the_same_bits(settings: dict[str, Any], step: int, tmp_path: Path) -> None:
    interrupted_run(tmp_path / "run", step, **settings)
    model = SoftmaxRegression()
    history = fit(model, *blobs(), **SETTINGS, **settings, checkpoint=tmp_path / "run", resume=True)
    assert outcome(model, history) == uninterrupted(**settings)


def test_run_interrupted_twice_and_resumed_in_the_same_model(tmp_path: Path) -> None:
    model = SoftmaxRegression()
    for step in (6, 14):
        with pytest.raises(StopError):
            fit(model, *blobs(), **SETTINGS, checkpoint=tmp_path, resume=True, progress=stopping_at(step))
        assert not model.weights.any()
    history = fit(model, *blobs(), **SETTINGS, checkpoint=tmp_path, resume=True)
    assert outcome(model, history) == uninterrupted()


def test_best_epoch_before_the_interruption_is_kept(tmp_path: Path) -> None:
    x, y = blobs()
    wrong: dict[str, Any] = {**SETTINGS, "learning_rate": 0.01, "validation": (x, (y + 1) % 3)}
    whole, resumed = SoftmaxRegression(), SoftmaxRegression()
    expected = outcome(whole, fit(whole, x, y, **wrong))
    with pytest.raises(StopError):
        fit(SoftmaxRegression(), x, y, **wrong, checkpoint=tmp_path, progress=stopping_at(11))
    history = fit(resumed, x, y, **wrong, checkpoint=tmp_path, resume=True)
    assert history.best_epoch == 1
    assert outcome(resumed, history) == expected


def test_resuming_a_finished_run_gives_its_result_without_training(tmp_path: Path) -> None:
    first = SoftmaxRegression()
    fit(first, *blobs(), **SETTINGS, validation=0.25, checkpoint=tmp_path)
    again = SoftmaxRegression()
    history = fit(again, *blobs(), **SETTINGS, validation=0.25, checkpoint=tmp_path, resume=True)
    assert again.batches == []
    assert outcome(again, history) == uninterrupted(validation=0.25)


def test_threads_are_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    interrupted_run(tmp_path, threads=1)
    model = SoftmaxRegression()
    fit(model, *blobs(), **SETTINGS, checkpoint=tmp_path, resume=True, threads=2)


def test_statistics_are_estimated_again_on_resuming(tmp_path: Path) -> None:
    x, y = blobs()
    with pytest.raises(StopError):
        fit(SoftmaxRegression(wants_statistics=True), x, y, **SETTINGS, checkpoint=tmp_path, progress=stopping_at(11))
    resumed, whole = (SoftmaxRegression(wants_statistics=True) for _ in range(2))
    history = fit(resumed, x, y, **SETTINGS, checkpoint=tmp_path, resume=True)
    assert outcome(resumed, history) == outcome(whole, fit(whole, x, y, **SETTINGS))
    np.testing.assert_array_equal(resumed.statistics["feature_mean"], whole.statistics["feature_mean"])


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from toy_model import SoftmaxRegression, blobs
from lieref.train.loop import fit

def kill(event):
    if event.step == 11:
        os.kill(os.getpid(), signal.SIGKILL)

model, data = SoftmaxRegression(), blobs()
fit(model, *data, epochs=5, batch_size=16, seed=3, validation=0.25, checkpoint={folder!r}, progress=kill)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_process_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    script = KILLED.format(here=str(Path(__file__).parent), folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    model = SoftmaxRegression()
    history = fit(model, *blobs(), **SETTINGS, validation=0.25, checkpoint=tmp_path / "run", resume=True)
    assert len(model.batches) < 5 * 3
    assert outcome(model, history) == uninterrupted(validation=0.25)


X, Y = blobs()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"epochs": 6}, r"recipe epochs: the checkpoint has 5, this run 6"),
        ({"seed": 4}, r"recipe seed: the checkpoint has 3, this run 4"),
        ({"learning_rate": 0.1}, r"recipe learning_rate: the checkpoint has 0.04, this run 0.1"),
        ({"optimizer": SGD()}, r"recipe optimizer"),
        ({"task": Classes(0.5)}, r"recipe task label_smoothing: the checkpoint has 0.0, this run 0.5"),
        ({"x": X + 1}, "training data"),
        ({"y": Y[::-1]}, "training data"),
        ({"validation": 0.25}, "training data"),
        ({"validation": (X, Y)}, "validation data"),
        ({"model": SoftmaxRegression(base_sha256="1" * 64)}, "base"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_runs_checkpoint_is_refused(change: dict[str, Any], difference: str, tmp_path: Path) -> None:
    interrupted_run(tmp_path, learning_rate=0.04)
    saved = (tmp_path / FILE_NAME).read_bytes()
    arguments: dict[str, Any] = {"model": SoftmaxRegression(), "x": X, "y": Y, "learning_rate": 0.04}
    arguments |= SETTINGS | change
    model, x, y = (arguments.pop(name) for name in ("model", "x", "y"))
    with pytest.raises(VerificationError, match=rf"must belong to this run; another {difference}"):
        fit(model, x, y, **arguments, checkpoint=tmp_path, resume=True)
    assert not model.weights.any()
    assert (tmp_path / FILE_NAME).read_bytes() == saved


@pytest.mark.parametrize("version", [0, 2])
def test_a_checkpoint_of_another_order_of_sums_is_refused_by_name(version: int, tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    saved = (tmp_path / FILE_NAME).read_bytes()
    model = SoftmaxRegression()
    model.arithmetic = {"engine": "toy", "program": version}
    message = rf"must be of engine program {version}, .*; got program 1: finish that run with the lieref that began it"
    with pytest.raises(FormatError, match=message):
        fit(model, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)
    assert not model.weights.any()
    assert (tmp_path / FILE_NAME).read_bytes() == saved


def test_another_engine_is_another_run(tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    model = SoftmaxRegression()
    model.arithmetic = {"engine": "reference"}
    with pytest.raises(VerificationError, match="arithmetic engine: the checkpoint has toy, this run reference"):
        fit(model, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)


def test_other_adapters_or_initial_parameters_are_refused(tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    model = SoftmaxRegression()
    model.attached[0] = SimpleNamespace(method=SimpleNamespace(config=lambda: {"method": "toy", "r": 2}))
    model.attached[0].target_modules = None
    with pytest.raises(VerificationError, match="another methods"):
        fit(model, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)
    estimated = SoftmaxRegression()
    estimated.estimate_statistics(X)
    with pytest.raises(VerificationError, match="another statistics"):
        fit(estimated, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)
    moved = SoftmaxRegression()
    moved.weights += 1
    with pytest.raises(VerificationError, match="another initial parameters"):
        fit(moved, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)


def test_data_in_another_memory_order_is_the_same_data(tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    model = SoftmaxRegression()
    fit(model, np.asfortranarray(X), Y, **SETTINGS, checkpoint=tmp_path, resume=True)


def test_existing_checkpoint_is_never_overwritten_by_a_new_run(tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    saved = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(DomainError, match="without one, or resume=True"):
        fit(SoftmaxRegression(), X, Y, **SETTINGS, checkpoint=tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == saved
    (tmp_path / "file").write_text("")
    with pytest.raises(DomainError, match="must be a folder; got the file"):
        fit(SoftmaxRegression(), X, Y, **SETTINGS, checkpoint=tmp_path / "file")


def test_bad_arguments_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DomainError):
        fit(SoftmaxRegression(), X, Y + 1, checkpoint=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def tampered(meta: Any = None, **arrays: Any) -> Any:
    def tamper(path: Path) -> None:
        held = read_npz(path)
        if meta is not None:
            text = json.dumps(meta(json.loads(held["meta"].tobytes())))
            held["meta"] = np.frombuffer(text.encode(), np.uint8)
        held.update({name.replace("__", "/"): value for name, value in arrays.items()})
        path.write_bytes(write_npz({name: value for name, value in held.items() if value is not None}))

    return tamper


def renamed(group: str, name: str) -> Any:
    """Give one array of a group another name."""
    return tampered(
        meta=lambda meta: meta | {"names": meta["names"] | {group: [n * (n != name) for n in meta["names"][group]]}}
    )


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "must be a whole"),
        (lambda path: path.write_bytes(b""), "must be a whole"),
        (tampered(meta=lambda meta: {**meta, "format": 1}), "checkpoint of format 6; got 1: finish that run"),
        (tampered(meta=lambda meta: {"format": 6}), "must be a checkpoint of lieref"),
        (tampered(meta=lambda meta: {**meta, "names": []}), "must be a checkpoint of lieref"),
        (tampered(meta=lambda meta: {**meta, "names": {**meta["names"], "params": [[]]}}), "must be a checkpoint of"),
        (tampered(meta=lambda meta: {**meta, "history": {}}), "must be a checkpoint of lieref"),
        (tampered(meta=lambda meta: []), "must be a checkpoint of lieref"),
        (tampered(unknown__w=np.zeros(1)), "must hold no other arrays"),
        (tampered(optimizer__0=None), "must be a checkpoint of lieref"),
        (renamed("optimizer", "steps"), "`state` must be of this optimiser"),
        (renamed("params", "dense/w:full"), "must hold the parameters of the model"),
        (tampered(params__9=np.zeros(1)), "must hold no other arrays"),
    ],
)
def test_damaged_checkpoint_is_refused_and_nothing_changes(tamper: Any, message: str, tmp_path: Path) -> None:
    interrupted_run(tmp_path)
    tamper(tmp_path / FILE_NAME)
    model = SoftmaxRegression()
    with pytest.raises(FormatError, match=message):
        fit(model, X, Y, **SETTINGS, checkpoint=tmp_path, resume=True)
    assert not model.weights.any()
