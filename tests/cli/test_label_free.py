"""A quantised file adapted from samples without labels at the command line, alone and beside labelled ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lieref.cli import main
from tests.cli.helpers import small_network, write_data
from tests.model.integer.quantised import quantised

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")


def sure_network(seed: int = 0) -> onnx.ModelProto:
    """Return the small network with logits so far apart that some of its answers are sure."""
    proto = small_network(seed)
    (head,) = [each for each in proto.graph.initializer if each.name == "head.weight"]
    head.CopyFrom(onnx.numpy_helper.from_array(8 * onnx.numpy_helper.to_array(head), head.name))
    return proto


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with base.onnx, int8.onnx, sets with and without labels."""
    monkeypatch.chdir(tmp_path)
    onnx.save(sure_network(), tmp_path / "base.onnx")
    path = quantised(sure_network(), tmp_path, "qoperator", name="image", shape=(2, 6, 5))
    path.rename(tmp_path / "int8.onnx")
    write_data(tmp_path / "train.npz", count=48)
    write_data(tmp_path / "test.npz", seed=1)
    rng = np.random.default_rng(7)
    old = rng.standard_normal((40, 2, 6, 5)).astype(np.float32)
    np.savez(tmp_path / "old.npz", x=old)
    np.savez(tmp_path / "u.npz", x=0.6 * rng.standard_normal((60, 2, 6, 5)).astype(np.float32) + 0.2)
    return tmp_path


def command(*options: str, out: str = "update") -> list[str]:
    return ["finetune", "int8.onnx", "--augment", "none", "--out", out, *options]


def test_from_unlabelled_samples_and_the_float_network(run_json: RunJson) -> None:
    report = run_json(*command("--unlabelled", "u.npz", "--float", "base.onnx", "--test", "test.npz"))
    assert report["method"] == "match-stats"
    said = report["statistics"]
    assert (said["kind"], said["samples"], said["original_samples"], said["layers"]) == ("float network", 60, None, 1)
    assert said["lowest_factor"] < said["highest_factor"]
    assert "own_answers" not in report  # they would add nothing
    assert (report["unlabelled_samples"], report["train_samples"], report["changed"]["weights"]) == (60, 0, 0)
    assert report["clipping"]["base"] != {}
    assert json.loads(Path("update/report.json").read_text()) == report
    assert len(json.loads(Path("update/history.json").read_text())["epochs"]) == report["epochs"] == 0
    merged = run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    assert merged["sha256"] == report["result_sha256"]
    assert Path("new.onnx").stat().st_size == Path("int8.onnx").stat().st_size


def test_original_samples_say_what_is_forgotten(run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json(*command("--unlabelled", "u.npz", "--original", "old.npz", "--epochs", "1"))
    assert (report["statistics"]["kind"], report["statistics"]["original_samples"]) == ("original samples", 40)
    assert 0 < report["original_kept"] <= 1
    assert report["accuracy"] is None
    own = report["own_answers"]
    assert [sum(each) for each in own["balance"]] == own["kept"]
    assert len(own["kept"]) == 2
    assert len(json.loads(Path("update/history.json").read_text())["epochs"]) == report["epochs"] == 1
    with np.load("u.npz") as held:
        x = held["x"]
    np.savez("train2.npz", x=x, y=np.arange(60) % 3)
    both = run_json(*command("--train", "train2.npz", "--original", "old.npz", "--epochs", "1", out="both"))
    assert both["method"] == "match-stats+tied-scale"
    # The same samples, whether or not they have labels, are matched in the same way.
    assert both["statistics"]["highest_factor"] == report["statistics"]["highest_factor"]


def test_nothing_to_match_with_leaves_its_own_answers(run_json: RunJson) -> None:
    report = run_json(*command("--unlabelled", "u.npz", "--codes"))
    assert report["method"] == "tied-scale"
    assert "statistics" not in report
    assert report["payload_bytes"] == 4 + 7
    assert run_json("merge", "int8.onnx", "update", "-o", "new.onnx")["sha256"] == report["result_sha256"]


def test_each_round_of_own_answers_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("--unlabelled", "u.npz", "--epochs", "2")) == 0
    (line,) = (each for each in capsys.readouterr().err.splitlines() if each.startswith("tied-scale: "))
    assert line.startswith("tied-scale: round 2 of 2, epoch 2 of 2, loss")


def test_labelled_and_unlabelled_samples_together(run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "--train",
        "train.npz",
        "--unlabelled",
        "train.npz",
        "--float",
        "base.onnx",
        "--epochs",
        "2",
        "--lr",
        "0.05",
    )
    report = run_json(*command(*given, "--test", "test.npz"))
    assert report["method"] == "match-stats+tied-scale"
    assert (report["unlabelled"]["samples"], report["unlabelled"]["teachers"]) == (48, 3)
    assert (report["train_samples"], report["statistics"]["samples"]) == (48, 48)
    assert main(command("--train", "train.npz", "--unlabelled", "train.npz", "--codes", out="plain")) == 0
    assert "channels that are not brought back first" in capsys.readouterr().err
    plain = json.loads(Path("plain/report.json").read_text())
    assert (plain["method"], plain["payload_bytes"]) == ("tied-scale", 4 + 7)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--train"),
        (("--unlabelled", "u.npz", "--original", "old.npz", "--float", "base.onnx"), "twice"),
        (("--unlabelled", "u.npz", "--float", "base.onnx", "--codes"), "--codes"),
        (("--unlabelled", "u.npz", "--validation", "0.2"), "--validation"),
        (("--unlabelled", "u.npz", "--patience", "2"), "--patience"),
        (("--unlabelled", "u.npz", "--float", "base.onnx", "--epochs", "2"), "--epochs"),
        (("--unlabelled", "u.npz", "--float", "base.onnx", "--augment", "flip"), "--augment is for training"),
        (("--unlabelled", "u.npz", "--augment", "turn"), "separated by commas; got turn"),
        (("--unlabelled", "u.npz", "--method", "bias", "--codes"), "--codes"),
        (("--unlabelled", "u.npz", "--task", "numbers"), "classes"),
        (("--unlabelled", "u.npz", "--float", "other.onnx"), "the one that was quantised"),
        (("--unlabelled", "u.npz", "--float", "int8.onnx"), "is quantised"),
        (("--unlabelled", "u.npz", "--float", "folded.onnx"), "BatchNormalization"),
        (("--unlabelled", "u.npz", "--float", "none.onnx"), "none.onnx"),
        (("--unlabelled", "one.npz", "--float", "base.onnx"), "at least 2"),
        (("--unlabelled", "nan.npz"), "nan"),
        (("--unlabelled", "shape.npz"), "(4, 3, 6, 5)"),
        (("--unlabelled", "empty"), "must hold an image"),
        (("--unlabelled", "u.npz", "--original", "bytes.npz"), "uint8"),
    ],
)
def test_what_does_not_go_is_one_line(options: tuple[str, ...], word: str, files: Path, fails: Fails) -> None:
    x = np.ones((4, 2, 6, 5), np.float32)
    onnx.save(sure_network(3), files / "other.onnx")
    (files / "plain_qoperator.onnx").replace(files / "folded.onnx")
    (files / "empty").mkdir()
    for name, value in (("one", x[:1]), ("nan", x * np.nan), ("bytes", x.astype(np.uint8)),
                        ("shape", np.ones((4, 3, 6, 5), np.float32))):  # fmt: skip
        np.savez(files / f"{name}.npz", x=value)
    assert word in fails(*command(*options))


def test_a_float_network_is_not_matched(fails: Fails) -> None:
    given = ("finetune", "base.onnx", "--train", "train.npz", "--out", "x")
    assert "--original" in fails(*given, "--original", "old.npz")
    assert "--float" in fails(*given, "--float", "base.onnx")
    assert "--train" in fails("finetune", "base.onnx", "--unlabelled", "u.npz", "--out", "x")


def test_original_images_are_seen_as_in_training(run_json: RunJson, fails: Fails) -> None:
    given = ("--unlabelled", "u.npz", "--original", "old.npz")
    plain = run_json(*command(*given, "--epochs", "1"))
    turned = run_json(*command(*given, "--trained-with", "rotate(15),shift(1),flip", out="turned"))
    assert turned["statistics"]["trained_with"] == "rotate(15),shift(1),flip"
    # Turned images are smoother: channels are to deviate less.
    assert turned["statistics"]["highest_factor"] < plain["statistics"]["highest_factor"]
    assert "rotate" in fails(*command(*given, "--trained-with", "twirl", out="x"))
    line = fails(*command("--train", "train.npz", "--trained-with", "flip", out="x"))
    assert "--unlabelled" in line
    seen = run_json(*command("--unlabelled", "u.npz", "--epochs", "1", "--trained-with", "shift(1)", out="seen"))
    bare = run_json(*command("--unlabelled", "u.npz", "--epochs", "1", out="bare"))
    assert seen["own_answers"]["trained_with"] == "shift(1)"
    assert seen["own_answers"]["kept"] != bare["own_answers"]["kept"]
    both = ("--train", "train.npz", "--unlabelled", "train.npz", "--trained-with", "shift(2)")
    assert "--trained-with" in fails(*command(*both, out="x"))
