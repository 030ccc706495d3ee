"""``lieref finetune --head new``: one command to other classes, and what is refused before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

from lieref.cli import main
from tests.cli.helpers import small_network, snapshot, write_data
from tests.model.nets import make_onnx

RunJson = Callable[..., dict[str, Any]]
TRAIN = (
    "finetune",
    "base.onnx",
    "--train",
    "new.npz",
    "--epochs",
    "20",
    "--batch",
    "8",
    "--out",
    "out",
    "--head",
    "new",
)
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


@pytest.fixture
def place(workplace: Path) -> Path:
    """The base has three classes; these data have five, which differ by their mean."""
    rng = np.random.default_rng(1)
    y = np.arange(60) % 5
    x = (rng.normal(size=(60, 2, 6, 5)) + 2 * y[:, None, None, None]).astype(np.float32)
    write_data(workplace / "new.npz", x=x, y=y)
    return workplace


@pytest.mark.parametrize("method", ["liera", "head", "full", "norm-stats+lora"])
def test_one_command_to_other_classes(place: Path, run_json: RunJson, method: str) -> None:
    base = (place / "base.onnx").read_bytes()
    report = run_json(*TRAIN, "--test", "new.npz", "--method", method, "--classes", "v,w,x,y,z")
    assert report["base_accuracy"] is None
    assert report["accuracy"] > 0.25
    assert report["classes"] == ["v", "w", "x", "y", "z"]
    assert report["method"] == ("new-head" if method == "head" else f"{method}+new-head")
    assert {key: report["head"][key] for key in ("classes", "features", "size")} == {
        "classes": 5, "features": "e", "size": 4,
    }  # fmt: skip
    assert report["head"]["learning_rate"] == pytest.approx(
        0.4 * np.sqrt(160 / 395 * 8 / 128)
    )  # 0.8 / sqrt(4); 160 steps of 8
    adapted = run_json("eval", "base.onnx", "--adapter", "out", "--data", "new.npz")
    assert (adapted["accuracy"], adapted["classes"]) == (report["accuracy"], report["classes"])
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx")
    scores = onnxruntime.InferenceSession("merged.onnx").run(None, {"image": np.load("new.npz")["x"]})[0]
    assert scores.shape == (60, 5)
    assert np.mean(scores.argmax(axis=1) == np.load("new.npz")["y"]) == report["accuracy"]
    assert run_json("inspect", "merged.onnx")["classes"] == report["classes"]
    assert run_json("inspect", "base.onnx")["features"] == "e"
    assert run_json("inspect", "out")["head"]["features"] == "e"
    assert (place / "base.onnx").read_bytes() == base


def test_classes_come_from_the_data(place: Path, run_json: RunJson) -> None:
    assert run_json(*TRAIN)["head"]["classes"] == 5
    assert run_json(*TRAIN, "--classes", "7", "--force")["head"]["classes"] == 7
    onnx.save(small_network(channels=1), place / "grey.onnx")
    rng = np.random.default_rng(0)
    for number in range(22):  # sorted as text 10 stands before 2, which a new head does not mind
        folder = place / "images" / f"{number % 11}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (6, 5), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    sets = ("--train", "images", "--test", "images")
    report = run_json("finetune", "grey.onnx", *sets, "--epochs", "1", "--out", "grey", "--head", "new")
    assert report["classes"] == sorted(str(number) for number in range(11))
    assert report["head"]["classes"] == 11


def test_the_learning_rate_that_is_searched_keeps_the_proportion(place: Path, run_json: RunJson) -> None:
    usual = run_json(*TRAIN)
    found = run_json(*TRAIN, "--force", "--lr", "auto")
    assert len(json.loads((place / "out" / "history.json").read_text())["trials"]) >= 3
    for report in (usual, found):
        assert report["head"]["learning_rate"] / report["lr"] == pytest.approx(0.4 / 0.02)  # 0.8 / sqrt(4), and LieRA's


def test_threads_change_no_bit(place: Path, run_json: RunJson) -> None:
    for out, threads in (("a", 1), ("b", 2)):
        run_json(*TRAIN, "--out", out, "--threads", threads)
    a, b = ((place / out / "adapter_model.safetensors").read_bytes() for out in ("a", "b"))
    assert a == b


def test_resumed_runs_give_the_same_bits(
    place: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the same head: ``d`` holds the numbers of ``e``, with axes of one entry."""
    import lieref.train.loop as loop

    run_json(*TRAIN)
    whole = (place / "out" / "adapter_model.safetensors").read_bytes()
    plain, calls = loop._add_epoch, []

    def stopping(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(loop, "_add_epoch", stopping)
    assert main([*TRAIN, "--force"]) == 130
    monkeypatch.setattr(loop, "_add_epoch", plain)
    assert main([*TRAIN, "--force", "--resume", "--features", "d"]) == 2
    assert "another head features" in capsys.readouterr().err
    run_json(*TRAIN, "--force", "--resume")
    assert (place / "out" / "adapter_model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--features", "nowhere"), "got 'nowhere'"),
        (("--features", "c"), "one vector a sample; c is 4 x 6 x 5; pool=True, --pool"),
        (("--features", "image", "--pool"), "must depend on a layer that can be adapted"),
        (("--classes", "1"), "`classes` must be at least 2"),
        (("--classes", "one"), "two or more different names"),
        (("--classes", "3"), "`y` must be 0 to 2; got 3"),
        (("--classes", "a,b,c"), "`y` must be 0 to 2; got 3"),
        (("--classes", "a,b,a"), "`classes` must differ"),
        (("--task", "numbers"), "--head new is for classes"),
        (("--target", "head"), "'head' matches none of"),
    ],
)
def test_refusals_write_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    before = snapshot(place)
    assert main([*TRAIN, *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert words in line
    assert snapshot(place) == before


def test_what_it_reads_needs_a_new_head(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in (("--features", "e"), ("--pool",)):
        assert main([*TRAIN[:-2], *option]) == 2
        assert "add --head new" in capsys.readouterr().err


def test_a_number_and_names_that_differ_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], "layer", transB=1)]
    onnx.save(make_onnx(nodes, {"w": np.ones((4, 2), np.float32)}, ["N", 2], "y", ["N", 4]), place / "vector.onnx")
    lines = ["a,b,c", *(f"{n}.0,1.5,{name}" for n, name in enumerate(["cat", "dog", "cat", "dog"]))]
    (place / "words.csv").write_text("\n".join(lines))
    assert (
        main(["finetune", "vector.onnx", "--train", "words.csv", "--out", "o", "--head", "new", "--classes", "3"]) == 2
    )
    assert "the number of classes in words.csv, 2 (cat, dog), or their names; got 3" in capsys.readouterr().err


def test_targets_that_are_no_classes_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(place / "new.npz", y=np.linspace(0, 1, 24))
    assert main([*TRAIN]) == 2
    assert "must be numbers of classes from 0 for a new head; got float64" in capsys.readouterr().err


def test_the_line_of_a_head_says_what_it_replaces(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert "new head: 5 classes from e (4 numbers a sample), in place of head" in captured.err
    assert json.loads(captured.out)["method"] == "liera+new-head"
