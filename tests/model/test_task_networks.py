"""The engine and the reference path compute the loss of every task, its outputs and gradients alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.train.task_registry import TASKS, make_task
from tests.model.nets import saved
from tests.model.task_nets import NETS, learnable

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "classes": ({"label_smoothing": 0.1, "class_weights": (0.5, 2.0, 1.0, 3.0)}, {"ignore_index": 2}),
    "multilabel": (
        {"positive_weights": (0.5, 2.0, 1.0, 3.0)},
        {"class_weights": (2.0, 0.5, 1.5, 1.0), "ignore_index": -1},
    ),
    "dense": ({"ignore_index": 1},),
}
CASES = [(task, settings) for task in TASKS for settings in ({}, *SETTINGS.get(task, ()))]


@pytest.mark.parametrize(("task", "settings"), CASES, ids=lambda v: v if isinstance(v, str) else "+".join(v))
def test_engine_and_reference_agree(task: str, settings: dict[str, Any], tmp_path: Path) -> None:
    path, chosen, data = saved(NETS[task](), tmp_path), make_task(task, **settings), learnable(task)
    x, y = data["x"], data.get("y")
    if settings.get("ignore_index") == -1 and y is not None:
        y[3:9, 1] = -1
    found = []
    for engine in ("f2", "reference"):
        model = lieref.load(path).attach("full")
        model.engine, model.reading = engine, chosen.reads
        for array in model.parameters().values():
            array += np.float32(0.25)
        logits = model.logits(x)
        targets = chosen.targets("test", x, y, logits.shape[1:])
        value, given, grads = model.loss_and_grad(x, targets, chosen.loss)
        assert given.shape == logits.shape
        found.append({"value": np.array(value), "logits": logits, "given": given, "out": model.predict(x), **grads})
        if engine == "f2" and not settings:
            assert model.choice.speed.kind == "compiled"
    compiled, plain = found
    assert set(compiled) == set(plain)
    for name, want in plain.items():
        # Sums of some hundred float32 products on either side.
        np.testing.assert_allclose(compiled[name], want, rtol=0, atol=1e-5 * max(1e-3, float(np.abs(want).max())))


@pytest.mark.parametrize("final", ["", "Softmax", "Sigmoid"])
def test_what_predict_returns_does_not_depend_on_what_is_read(final: str, tmp_path: Path) -> None:
    from tests.model.task_nets import row_net

    model, x = lieref.load(saved(row_net("Sigmoid"), tmp_path)), learnable("classes")["x"]
    probabilities = model.predict(x)
    model.reading = final
    np.testing.assert_allclose(model.predict(x), probabilities, atol=1e-6)
    logits = np.log(probabilities) - np.log1p(-probabilities) if final == "Sigmoid" else probabilities
    np.testing.assert_allclose(model.logits(x), logits, atol=1e-5)


def test_a_copy_reads_what_its_model_reads(tmp_path: Path) -> None:
    import copy
    import pickle

    model = lieref.load(saved(NETS["multilabel"](), tmp_path)).attach("lora", r=1)
    model.reading, x = "Sigmoid", learnable("multilabel")["x"]
    for twin in (copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert twin.reading == "Sigmoid"
        np.testing.assert_array_equal(twin.logits(x), model.logits(x))


@pytest.mark.parametrize("engine", ["f2", "reference"])
@pytest.mark.parametrize("task", ["classes", "multilabel", "numbers"])
def test_the_gradient_of_several_outputs_is_the_sum_of_theirs(task: str, engine: str, tmp_path: Path) -> None:
    from lieref.train.several_outputs import SeveralOutputs, task_for
    from tests.model.task_nets import two_output_net

    rng = np.random.default_rng(0)
    path, chosen, x = saved(two_output_net(fitting=True), tmp_path), make_task(task), learnable("classes")["x"]
    draw = {
        "classes": lambda classes: rng.integers(0, classes, len(x)),
        "multilabel": lambda classes: rng.integers(0, 2, (len(x), classes)),
        "numbers": lambda classes: rng.standard_normal((len(x), classes)),
    }[task]
    targets, weights = {"other": draw(3), "y": draw(4)}, {"other": 0.5, "y": 2.0}
    value, sums, outputs = 0.0, {}, {}
    for name, weight in weights.items():
        model = lieref.load(path, output=name).attach("lora", r=2, target_modules=["hidden"])
        model.engine, model.reading = engine, chosen.reads
        y = chosen.targets("test", x, targets[name], model.logits(x).shape[1:])
        part, outputs[name], grads = model.loss_and_grad(x, y, chosen.loss)
        value += weight * part
        sums = {key: sums.get(key, 0.0) + weight * grad for key, grad in grads.items()}
    model = lieref.load(path, output=weights).attach("lora", r=2, target_modules=["hidden"])
    model.engine, model.reading = engine, chosen.reads
    several = task_for(model, chosen, x.shape[1:])
    assert isinstance(several, SeveralOutputs)
    several, rows = several.with_targets("test", x, targets)
    total, logits, grads = model.loss_and_grad(x, rows, several.loss)
    np.testing.assert_allclose(logits, np.concatenate([*outputs.values()], axis=1), atol=1e-5)
    assert total == pytest.approx(value, rel=1e-6)
    assert set(grads) == set(sums)
    for key, want in sums.items():
        np.testing.assert_allclose(grads[key], want, rtol=0, atol=1e-5 * float(np.abs(want).max()))
    np.testing.assert_allclose(model.predict(x), lieref.load(path, output="other").predict(x), atol=1e-5)
    assert model.engine == engine


def test_layers_of_all_trained_outputs_are_adapted(tmp_path: Path) -> None:
    from tests.model.task_nets import two_output_net

    path = saved(two_output_net(fitting=True), tmp_path)
    adapted = {
        output: set(lieref.load(path, output=weights).attach("lora", r=1).sites)
        for output, weights in {"y": "y", "other": "other", "both": {"y": 1.0, "other": 1.0}}.items()
    }
    assert adapted == {"y": {"w", "v"}, "other": {"w", "u"}, "both": {"w", "u", "v"}}
