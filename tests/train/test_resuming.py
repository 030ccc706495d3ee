"""Runs of real networks, stopped at every step and resumed in another model: bit for bit the whole run.

And no checkpoint of a run that differs in anything on which a bit of the adapter's files depends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.model import Model
from lieref.errors import VerificationError
from lieref.kernel.simd.isa import available
from lieref.train import loop
from lieref.train.epoch import Progress
from lieref.train.history import History
from tests.model.encoder_net import ROWS, encoder_net
from tests.model.nets import residual_net, saved
from tests.model.task_nets import learnable, two_output_net

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

COUNT = 20


class StopError(Exception):
    pass


def images() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(2).normal(size=(COUNT, 3, 9, 8)).astype(np.float32)
    return x, np.arange(COUNT) % 5


def pictures(folder: Path, *, head: bool = False, **options: Any) -> Model:
    """Statistics are estimated, then two methods are trained, one with dropout; with a head of its own or not."""
    model = lieref.load(saved(residual_net(), folder))
    new = lieref.NewHead(5, "f", False) if head else None
    options = {"r": 2, "lora_alpha": 3.0, "lora_dropout": 0.3, **options}
    model.attach("lora", target_modules=["stem", "point"], head=new, **options)
    return model.attach("liera", target_modules=["down"]).attach("norm-stats")


def two_outputs(folder: Path) -> Model:
    path = saved(two_output_net(fitting=True), folder)
    return lieref.load(path, output={"y": 1.0, "other": 0.5}).attach("liera")


def sentences(folder: Path) -> Model:
    path = saved(encoder_net(None, inputs=("input_ids", "attention_mask")), folder)
    return lieref.load(path, padding_id=0).attach("full")


def rows() -> tuple[Any, Any]:
    x = learnable("classes", count=COUNT)
    return x["x"], {"y": x["y"], "other": x["y"] % 3}


def ids() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(3).integers(0, ROWS, (COUNT, 5)), np.arange(COUNT) % 2


PLAIN: dict[str, Any] = {"epochs": 3, "batch_size": 8, "augment": (), "validation": 0.25, "learning_rate": 0.05}
MOVED = PLAIN | {"augment": ("flip", "shift(1)"), "warmup_steps": 2, "clip_norm": 0.5, "seed": 5}
RUNS: dict[str, tuple[Callable[[Path], Model], Callable[[], Any], dict[str, Any]]] = {
    "images": (pictures, images, MOVED),
    "a new head": (lambda folder: pictures(folder, head=True), images, MOVED),
    "averaged, mixed": (pictures, images, MOVED | {"average": 0.8, "mixup": 0.5}),
    "searched rate, momentum": (pictures, images, PLAIN | {"learning_rate": "auto", "optimizer": "sgd"}),
    "two outputs": (two_outputs, rows, PLAIN | {"schedule": "constant"}),
    "sentences": (sentences, ids, PLAIN),
}


def outcome(model: Model, history: History) -> tuple[Any, ...]:
    """Return all that is written of a run, but times."""
    values = history.to_dict()
    del values["preparation_seconds"]
    for epoch in values["epochs"]:
        del epoch["seconds"], epoch["training_seconds"]
    tensors, config = model.adapter_state()
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()}, config, values


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    make, data, settings = RUNS[name]
    steps: list[Progress] = []
    model = make(tmp_path)
    expected = outcome(model, lieref.fit(model, *data(), **settings, progress=steps.append))
    assert len({step.epoch for step in steps if step.phase == "training"}) == settings["epochs"]
    # Everywhere in one run; in the others once in an epoch, and in the search before the first.
    stops = range(len(steps)) if name == "images" else [0, len(steps) // 2, len(steps) - 1]
    for stop in stops:
        folder, seen = tmp_path / str(stop), []

        def stopping(step: Progress, stop: int = stop, seen: list[Progress] = seen) -> None:
            seen.append(step)
            if len(seen) == stop + 1:
                raise StopError

        with pytest.raises(StopError):
            lieref.fit(make(tmp_path), *data(), **settings, checkpoint=folder, progress=stopping)
        model = make(tmp_path)
        assert outcome(model, lieref.fit(model, *data(), **settings, checkpoint=folder, resume=True)) == expected


@pytest.mark.parametrize("after", [False, True])
def test_a_run_stopped_before_or_after_a_checkpoint_ends_with_the_same_bits(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pictures(tmp_path)
    expected = outcome(model, lieref.fit(model, *images(), **MOVED))
    write, resumed = loop.write_checkpoint, 0
    while True:
        written: list[int] = []

        def stopping(folder: Any, checkpoint: Any, written: list[int] = written) -> None:
            if after:
                write(folder, checkpoint)
            written.append(len(checkpoint.history.epochs))
            # Before it: each run writes one; after it: none gets further than one.
            if len(written) == (1 if after else 2):
                raise StopError
            if not after:
                write(folder, checkpoint)

        monkeypatch.setattr(loop, "write_checkpoint", stopping)
        model = pictures(tmp_path)
        try:
            history = lieref.fit(model, *images(), **MOVED, checkpoint=tmp_path / "run", resume=True)
        except StopError:
            resumed += 1
            continue
        break
    assert resumed >= 2
    assert outcome(model, history) == expected


def loaded(folder: Path, **options: Any) -> Model:
    path = saved(encoder_net(None, inputs=("input_ids", "attention_mask"), places=None), folder)
    return lieref.load(path, **{"padding_id": 0, "input_shapes": {"input_ids": [5]}, **options})


def named(model: Model, *classes: str) -> Model:
    model.classes = classes
    return model


def outputs(folder: Path, output: Any) -> Model:
    return lieref.load(saved(two_output_net(fitting=True), folder), output=output)


def texts(**options: Any) -> Callable[[Path], Model]:
    return lambda folder: loaded(folder, **options).attach("full")


def layers(**options: Any) -> Callable[[Path], Model]:
    return lambda folder: pictures(folder, **options)


CHANGES: dict[str, tuple[Callable[[Path], Model], Callable[[Path], Model], Callable[[], Any], str]] = {
    "id of padding": (texts(), texts(padding_id=1), ids, "configuration padding_id"),
    "shapes of inputs": (texts(), texts(input_shapes={}), ids, "configuration input_shapes"),
    "order of the classes": (
        lambda folder: named(loaded(folder).attach("full"), "a", "b"),
        lambda folder: named(loaded(folder).attach("full"), "b", "a"),
        ids,
        "configuration classes",
    ),
    "the output": (
        lambda folder: outputs(folder, "y").attach("bias"),
        lambda folder: outputs(folder, "other").attach("bias"),
        lambda: (rows()[0], rows()[1]["other"]),
        "configuration outputs",
    ),
    "alpha of a layer": (
        layers(alpha_pattern={"stem": 8}), layers(alpha_pattern={"stem": 9}), images, "configuration tensors stem.we"
    ),
    "another seed of the same numbers": (
        lambda folder: loaded(folder).attach("full", seed=0),
        lambda folder: loaded(folder).attach("full", seed=1),
        ids,
        "configuration seeds",
    ),
}  # fmt: skip


def stopped_run(make: Callable[[Path], Model], data: Callable[[], Any], folder: Path) -> None:
    def stop(step: Progress) -> None:
        if step.epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        lieref.fit(make(folder), *data(), **PLAIN, checkpoint=folder / "run", progress=stop)


@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_noticed(name: str, tmp_path: Path) -> None:
    make, other, data, difference = CHANGES[name]
    stopped_run(make, data, tmp_path)
    with pytest.raises(VerificationError, match=f"must belong to this run; another {difference}"):
        lieref.fit(other(tmp_path), *data(), **PLAIN, checkpoint=tmp_path / "run", resume=True)
    lieref.fit(make(tmp_path), *data(), **PLAIN, checkpoint=tmp_path / "run", resume=True)


def test_other_frozen_factors_are_noticed(tmp_path: Path) -> None:
    def make(folder: Path) -> Model:
        return lieref.load(saved(residual_net(), folder)).attach("pissa", r=2)

    stopped_run(make, images, tmp_path)
    other = make(tmp_path)
    frozen = other.frozen_parameters()
    assert {name.partition(":")[2] for name in frozen} == {"start_a", "start_b"}
    next(iter(frozen.values()))[...] *= 2
    with pytest.raises(VerificationError, match="must belong to this run; another frozen parameters"):
        lieref.fit(other, *images(), **PLAIN, checkpoint=tmp_path / "run", resume=True)


def test_another_instruction_set_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(available()) < 2:
        pytest.skip("this CPU has one instruction set")
    stopped_run(pictures, images, tmp_path)
    monkeypatch.setitem(os.environ, "LIEREF_ISA", available()[1])
    message = f"instruction set: the checkpoint has {available()[0]}, this run {available()[1]}"
    with pytest.raises(VerificationError, match=message):
        lieref.fit(pictures(tmp_path), *images(), **PLAIN, checkpoint=tmp_path / "run", resume=True)
