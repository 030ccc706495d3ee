"""``lieref finetune --from ADAPTER``: an adapter is trained further, and what contradicts it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.folder import read_adapter
from lieref.train.data import load_data
from tests.cli.helpers import snapshot

RunJson = Callable[..., dict[str, Any]]
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--batch", "8", "--augment", "none")
pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")


@pytest.fixture
def first(workplace: Path, run_json: RunJson) -> Path:
    run_json(*TRAIN, "--epochs", "2", "--method", "lora", "--rank", "2", "--option", "use_rslora=true",
             "--target", "head",
             "--seed", "3", "--lr", "0.02", "--out", "first")  # fmt: skip
    return workplace / "first"


def test_it_goes_on_where_the_adapter_is(
    workplace: Path, first: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(first)
    report = run_json(*TRAIN, "--epochs", "1", "--from", "first", "--test", "train.npz", "--seed", "5", "--lr", "0.01",
                      "--out", "second")  # fmt: skip
    model = lieref.load("base.onnx")
    base = run_json("eval", "base.onnx", "--data", "train.npz")
    assert report["base_accuracy"] == base["accuracy"]
    assert report["from"]["adapter"] == "first"
    assert (
        report["from"]["metrics"]
        == run_json("eval", "base.onnx", "--adapter", "first", "--data", "train.npz")["metrics"]
    )
    assert report["from"]["tensors_sha256"] == read_adapter("first")[1]["lieref"]["tensors_sha256"]
    assert (report["method"], report["rank"]) == ("lora", 2)
    data = load_data("train.npz")
    model.load_adapter("first")
    lieref.fit(model, data.x, data.y, epochs=1, batch_size=8, learning_rate=0.01, augment=(), seed=5)
    tensors, config = read_adapter("second")
    assert all(np.array_equal(tensors[name], value) for name, value in model.parameters().items())
    old = read_adapter("first")[1]["lieref"]
    assert [config["lieref"][key] for key in ("methods", "sites")] == [old[key] for key in ("methods", "sites")]
    assert snapshot(first) == before
    same = run_json(*TRAIN, "--epochs", "1", "--from", "first", "--method", "lora", "--rank", "2", "--seed", "5",
                    "--lr", "0.01", "--out", "third")  # fmt: skip
    assert all(np.array_equal(tensors[name], value) for name, value in read_adapter("third")[0].items())
    assert same["from"]["metrics"] is None


def test_it_says_what_begins_anew(
    workplace: Path, first: Path, capsys: pytest.CaptureFixture[str], run_json: RunJson
) -> None:
    from lieref.cli import main

    capsys.readouterr()
    assert main([*TRAIN, "--epochs", "1", "--from", "first", "--out", "second"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("from first")]
    assert len(said) == 1
    assert said[0].endswith("trained numbers as they are; optimiser and learning rate begin anew")


@pytest.mark.parametrize(("options", "words"), [
    (("--method", "liera"), "--method liera contradicts --from first, which is lora"),
    (("--rank", "3"), "--rank 3 contradicts --from first, whose rank is 2"),
    (("--alpha", "1"), "--alpha says what an adapter is made of"),
    (("--option", "use_rslora=true"), "--option says what"),
    (("--target", "head"), "--target says what"),
    (("--exclude", "fc*"), "--exclude says what"),
    (("--blocks", "0"), "--blocks says what"),
    (("--rank-of", "fc=3"), "--rank-of says what"),
    (("--alpha-of", "fc=3"), "--alpha-of says what"),
    (("--head", "new"), "--head says what"),
    (("--task", "numbers"), "--task numbers contradicts --from first, which was trained for classes"),
])  # fmt: skip
def test_what_contradicts_it_is_refused(
    workplace: Path, first: Path, fails: Callable[..., str], options: tuple[str, ...], words: str
) -> None:
    before = snapshot(workplace)
    assert words in fails(*TRAIN, "--epochs", "1", "--from", "first", "--out", "second", *options)
    assert snapshot(workplace) == before


def test_a_head_and_statistics_come_along(workplace: Path, run_json: RunJson, fails: Callable[..., str]) -> None:
    run_json(*TRAIN, "--epochs", "1", "--method", "lora", "--head", "new", "--classes", "a,b,c", "--out", "first")
    report = run_json(*TRAIN, "--epochs", "1", "--from", "first", "--classes", "a,b,c", "--test", "train.npz",
                      "--out", "second")  # fmt: skip
    assert report["method"] == "lora+new-head"
    assert report["base_accuracy"] is None, "the base has no such classes"
    assert report["from"]["metrics"]["accuracy"] >= 0
    assert report["classes"] == ["a", "b", "c"]
    refused = fails(*TRAIN, "--epochs", "1", "--from", "first", "--classes", "a,b,d", "--out", "third")
    assert "--classes a,b,d contradicts --from first, whose classes are a, b, c" in refused


def test_another_base_is_refused(workplace: Path, first: Path, fails: Callable[..., str]) -> None:
    import onnx

    from tests.cli.helpers import small_network

    onnx.save(small_network(seed=4), "other.onnx")
    assert "base" in fails("finetune", "other.onnx", *TRAIN[2:], "--epochs", "1", "--from", "first", "--out", "second")
    assert "folder" in fails(*TRAIN, "--epochs", "1", "--from", "absent", "--out", "second")
