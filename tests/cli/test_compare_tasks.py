"""``lieref compare`` of what is no set of images with classes: other tasks, several outputs or inputs, texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.cli.test_several_inputs import network, samples
from tests.model.encoder_net import encoder_net
from tests.model.task_nets import NETS, learnable, two_output_net
from tests.train.texts import write_tokenizer

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
SHORT = ("compare", "net.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", "--epochs", "2",
         "--methods", "lora,full", "--ranks", "1", "--lr", "default", "--seeds", "2", "--augment", "none")  # fmt: skip
METRIC = {
    "classes": "accuracy", "multilabel": "f1", "numbers": "loss", "dense": "mean_iou", "tokens": "loss",
    "sequence": "edit_distance_rate",
}  # fmt: skip
pytestmark = [
    pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning"),
    pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("task", NETS)
def test_each_task_is_compared_by_its_metric(folder: Path, run_json: RunJson, task: str) -> None:
    onnx.save(NETS[task](), "net.onnx")
    np.savez("train.npz", **learnable(task))
    np.savez("test.npz", **learnable(task, seed=1))
    result = run_json(*SHORT, "--task", task)
    base, lora, full = result["rows"]
    assert result["metric"] == METRIC[task]
    assert result["task"]["name"] == task
    assert [row["failed"] for row in (base, lora, full)] == [[], [], []]
    better = full["against"]["difference"] > 0
    assert better == ((full["mean"] < lora["mean"]) if result["less_is_better"] else (full["mean"] > lora["mean"])) or (
        full["mean"] == lora["mean"]
    )
    assert 0 <= full["against"]["p"] <= 1
    assert (full["against"]["p_mcnemar"] is None) == (task != "classes")


def test_several_outputs(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(two_output_net(), "net.onnx")
    for seed, name in enumerate(("train", "test")):
        x = learnable("numbers", seed=seed)["x"]
        np.savez(f"{name}.npz", x=x, y_y=x[:, :4] ** 2, y_other=np.stack([x[:, :3], -x[:, 2:]], axis=2))
    result = run_json(*SHORT, "--task", "numbers", "--output", "y", "--output", "other=0.5")
    assert [row["failed"] for row in result["rows"]] == [[], [], []]
    assert result["metric"] == "loss"


def test_an_output_that_is_not_said_is_asked_for(folder: Path, fails: Fails) -> None:
    onnx.save(two_output_net(fitting=True), "net.onnx")
    for seed, name in enumerate(("train", "test")):
        x = learnable("classes", seed=seed)["x"]
        np.savez(f"{name}.npz", x=x, y=np.arange(len(x)) % 3)
    assert "which output is trained must be said" in fails(*SHORT)


def test_several_inputs(folder: Path, run_json: RunJson) -> None:
    onnx.save(network("facts"), "net.onnx")
    data = samples("facts")
    for name, part in (("train", slice(0, 15)), ("test", slice(15, 24))):
        named = {"y" if key == "labels" else key: value[part] for key, value in data.items()}
        np.savez(f"{name}.npz", **named)
    result = run_json(*SHORT)
    assert [row["failed"] for row in result["rows"]] == [[], [], []]


def test_texts(folder: Path, run_json: RunJson) -> None:
    pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    onnx.save(encoder_net(), "net.onnx")
    write_tokenizer(Path("t.json"))
    for name, words in (("train", ("the", "a film", "the film")), ("test", ("a", "film", "the a"))):
        lines = [f"{word} {('bad', 'good')[k % 2]}\t{k % 2}" for k, word in enumerate(words * 4)]
        Path(f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(lines) + "\n")
    sets = ("--train", "train.tsv", "--test", "test.tsv", "--tokenizer", "t.json")
    result = run_json(*SHORT, *sets)
    assert [row["failed"] for row in result["rows"]] == [[], [], []]
    assert result["samples"] == {"train": 12, "test": 12, "original": None}
