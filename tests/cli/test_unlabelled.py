"""``lieref finetune --unlabelled``: from the samples to the report, interrupted and refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lieref.adapter.folder import read_adapter
from lieref.cli import main
from lieref.train import loop
from tests.cli.helpers import CLASSES, small_network, write_data

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--unlabelled", "u.npz", "--epochs", "3", "--batch", "16",
         "--method", "full", "--lr", "0.05", "--augment", "none", "--threads", "1", "--out", "out")  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")


@pytest.fixture(autouse=True)
def sets(workplace: Path) -> None:
    """Sets whose classes differ clearly, one of them without labels."""
    for name, count, seed in (("train", 45, 0), ("u", 60, 1)):
        y = np.arange(count) % CLASSES
        x = np.random.default_rng(seed).normal(size=(count, 2, 6, 5)) + 2 * y[:, None, None, None]
        write_data(workplace / f"{name}.npz", x=x.astype(np.float32), y=y)
    with np.load("u.npz") as held:
        x = held["x"]
    np.savez("u.npz", x=x)


def adapter() -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in read_adapter("out")[0].items()}


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Interrupt the command after so many epochs of all its runs together."""
    original, done = loop.write_checkpoint, []

    def stopping(folder: Path, checkpoint: Any) -> None:
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(folder)
        original(folder, checkpoint)

    monkeypatch.setattr(loop, "write_checkpoint", stopping)


def test_the_report_says_what_became_of_them(run_json: RunJson) -> None:
    report = run_json(*TRAIN, "--test", "test.npz")
    found = report["unlabelled"]
    assert (found["samples"], found["teachers"], found["judged"], found["left_out"]) == (60, 3, 45, "")
    assert sum(found["balance"]) == found["confident"] > 0
    assert (report["method"], report["task"]["name"]) == ("norm-stats+full", "classes")
    statistics = [name for name in read_adapter("out")[0] if name.endswith(":statistic")]
    assert statistics == ["norm.mean:statistic", "norm.var:statistic"]


def test_one_line_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unlabelled: 60 samples")]
    assert len(said) == 1
    assert "statistics re-estimated" in said[0]
    assert "teachers agree on" in said[0]


@pytest.mark.parametrize("epochs", [4, 10])  # in the second of three teachers, and in the student
def test_an_interrupted_run_goes_on_to_the_same_bits(
    epochs: int, monkeypatch: pytest.MonkeyPatch, run_json: RunJson, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json(*TRAIN)
    whole = adapter()
    shutil.rmtree("out")
    with monkeypatch.context() as patch:
        stop_after(patch, epochs)
        assert main([*TRAIN]) == 130
    assert "--resume continues" in capsys.readouterr().err
    assert "add --resume" in fails(*TRAIN)
    assert "seed" in fails(*TRAIN, "--resume", "--seed", "1")
    with monkeypatch.context() as patch:  # a new run that does not come far leaves the earlier one
        stop_after(patch, 0)
        assert main([*TRAIN, "--force"]) == 130
    run_json(*TRAIN, "--resume")
    assert adapter() == whole
    assert not Path(".out.unfinished").exists()


def test_a_new_head(run_json: RunJson) -> None:
    report = run_json(*TRAIN, "--head", "new")
    assert report["unlabelled"]["left_out"] == ""
    assert report["method"] == "norm-stats+full+new-head"


def test_folders_of_images(workplace: Path, run_json: RunJson, fails: Fails) -> None:
    image_module = pytest.importorskip("PIL.Image")
    onnx.save(small_network(channels=3), workplace / "base.onnx")
    rng = np.random.default_rng(0)
    for number in range(36):
        pixels = rng.integers(0, 60, (6, 5, 3), np.uint8) + np.uint8(90 * (number % CLASSES))
        folder = workplace / "train" / "abc"[number % CLASSES]
        for target in (folder, workplace / "others"):
            target.mkdir(parents=True, exist_ok=True)
            image_module.fromarray(pixels).save(target / f"{number}.png")
        image_module.fromarray(pixels).save(workplace / "others" / f"again-{number}.png")
    options = ("--train", "train", "--unlabelled", "others", "--lr", "0.001")
    report = run_json(*TRAIN, *options)
    assert report["unlabelled"]["samples"] == 72
    assert "max_bytes raises the cap" in fails(*TRAIN, *options, "--out", "new", "--max-bytes", "5000")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--unlabelled", "gone.npz"), "there is no gone.npz"),
        (("--unlabelled", "."), "must hold an image"),
        (("--unlabelled", "base.onnx"), "an .npz with the array x, or a folder of images"),
        (("--unlabelled", "other.npz"), "must fit the model's input"),
        (("--unlabelled", "bytes.npz"), "must be floats in the units of `x`"),
        (("--task", "numbers", "--train", "numbers.npz"), "must be 'classes' for unlabelled samples; got 'numbers'"),
        (("--ignore-index", "0"), "no ignore_index"),
    ],
)
def test_what_is_refused(options: tuple[str, ...], words: str, workplace: Path, fails: Fails) -> None:
    np.savez("other.npz", x=np.zeros((4, 2, 9, 5), np.float32))
    np.savez("bytes.npz", x=np.zeros((4, 2, 6, 5), np.uint8))
    write_data(workplace / "numbers.npz", y=np.zeros((24, CLASSES)))
    assert words in fails(*TRAIN, *options)
