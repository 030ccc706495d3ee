"""``lieref predict``: classes and scores of everything that holds samples, as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import lieref
from lieref.cli import main
from lieref.train.table import read_features
from tests.cli.helpers import small_network, write_data


@pytest.fixture
def photos(workplace: Path) -> Path:
    onnx.save(small_network(channels=3), workplace / "colour.onnx")
    rng = np.random.default_rng(0)
    for number, size in enumerate(((20, 31), (40, 9), (6, 5))):
        path = workplace / "shots" / "deep" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return workplace


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_arrays_and_tables_say_the_same(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.load("test.npz")["x"]
    scores = lieref.load("base.onnx").predict(x)
    rows = [",".join(map(repr, sample.ravel().tolist())) for sample in x]
    Path("plain.csv").write_text("\n".join(rows))
    Path("labelled.csv").write_text("\n".join(f"{row},dog" for row in rows))
    Path("headed.csv").write_text(
        "\n".join(["label," + ",".join(f"f{i}" for i in range(60)), *(f"7,{row}" for row in rows)])
    )
    for name in ("test.npz", "plain.csv", "labelled.csv", "headed.csv"):
        assert main(["predict", "base.onnx", name, "--top", "2", "--classes", "ant,bee,cat"]) == 0
        printed = capsys.readouterr()
        assert ("is the label, and left out" in printed.err) == (name in ("labelled.csv", "headed.csv"))
        found = read(printed.out)
        assert [one["sample"] for one in found] == [str(i) for i in range(24) for _ in range(2)]
        assert {one["file"] for one in found} == {name}
        assert [one["rank"] for one in found] == ["1", "2"] * 24
        order = np.argsort(-scores, axis=1)[:, :2]
        assert [one["class"] for one in found] == [("ant", "bee", "cat")[i] for i in order.ravel()]
        np.testing.assert_allclose([float(one["score"]) for one in found], np.take_along_axis(scores, order, 1).ravel())


def test_images_folders_and_files_together(photos: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    report = run_json("predict", "colour.onnx", "shots/deep/2.png", "shots", "--preprocess", "unit", "--top", "9")
    files = [f"shots/deep/{n}.png" for n in (2, 0, 1, 2)]
    assert [one["file"] for one in report["predictions"]] == files
    assert report["preprocessing"] == "resize=cover,crop=6x5,scale=255,mean=0,std=1,channels=rgb,layout=nchw"
    first, *_, last = report["predictions"]
    assert first["sample"] is None
    assert first["top"] == last["top"]
    pixels = np.asarray(Image.open("shots/deep/2.png"), np.float32)[np.newaxis] / np.float32(255)
    scores = lieref.load("colour.onnx").predict(pixels)[0]
    assert {said["class"]: said["score"] for said in first["top"]} == pytest.approx(
        {str(i): float(score) for i, score in enumerate(scores)}, rel=1e-5
    )
    alone = run_json("predict", "colour.onnx", "shots/deep/2.png")  # of the network's size: bytes as they are
    assert "scale=1," in alone["preprocessing"]


def test_an_adapter_brings_names_and_preprocessing(photos: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    for name in ("ant", "bee", "cat"):
        Path("sorted", name).mkdir(parents=True)
        Path("sorted", name, "0.png").write_bytes(Path("shots/deep/0.png").read_bytes())
    run = ["finetune", "colour.onnx", "--train", "sorted", "--out", "out", "--epochs", "1", "--method", "scale"]
    run_json(*run, "--preprocess", "imagenet")
    adapted = run_json("predict", "colour.onnx", "shots", "--adapter", "out")
    assert adapted["method"] == "scale"
    assert {said["class"] for one in adapted["predictions"] for said in one["top"]} <= {"ant", "bee", "cat"}
    assert main(["merge", "colour.onnx", "out", "-o", "merged.onnx"]) == 0


def test_files_appear_whole_and_are_kept(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["predict", "base.onnx", "test.npz"]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert main([*given, "--out", "found.csv"]) == 0
    assert main([*given, "--out", "found.json"]) == 0
    out = capsys.readouterr()
    assert out.out == ""
    assert "24 samples: found.csv" in out.err
    assert Path("found.csv").read_text() == printed
    assert len(json.loads(Path("found.json").read_text())["predictions"]) == 24
    Path("found.csv").write_text("mine")
    assert main([*given, "--out", "found.csv"]) == 2
    assert Path("found.csv").read_text() == "mine"
    assert main([*given, "--out", "found.csv", "--force"]) == 0
    assert Path("found.csv").read_text() == printed


def test_rubbish(photos: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.jpg").write_text("hello")
    Path("short.csv").write_text("1,2,3\n4,5,6")
    Path("empty").mkdir()
    for arguments, words in (
        (["colour.onnx", "nothing.png"], "there is no nothing.png"),
        (["colour.onnx", "base.onnx"], "must be images, folders of them, .npz or .csv; got base.onnx"),
        (["colour.onnx", "empty"], "must hold an image"),
        (["colour.onnx", "shots"], "--preprocess says how images become numbers"),
        (["base.onnx", "shots"], "the model must take images of 1 or 3 channels"),
        (["base.onnx", "short.csv"], "must fit the model's input"),
        (["base.onnx", "test.npz", "--classes", "a,b"], "`classes` must name the 3 outputs; got 2"),
        (["base.onnx", "test.npz", "--out", "found.txt"], "--out must end in .csv or .json"),
    ):
        assert words in fails("predict", *arguments), arguments
    assert main(["predict", "colour.onnx", "text.jpg", "--preprocess", "raw"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "its first bytes are of none of" in printed.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "width", "shape", "left"),
    [
        ("1,2\n3,4\n", None, (2, 2), None),
        ("a,b\n3,4\n", None, (1, 2), None),
        ("1,2,x\n3,4,y\n", 2, (2, 2), "3"),
        ("Label,a\nx,4\n", 1, (1, 1), "Label"),
        ("5\n6\n", 1, (2, 1), None),
    ],
)
def test_tables_without_targets(
    text: str, width: int | None, shape: tuple[int, int], left: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    x, said = read_features(tmp_path / "t.csv", width)
    assert (x.shape, said) == (shape, left)


def test_numbers_are_listed_in_order(workplace: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    write_data(workplace / "numbers.npz", y=np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32))
    run_json("finetune", "base.onnx", "--train", "numbers.npz", "--task", "numbers", "--out", "out", "--epochs", "1")
    report = run_json("predict", "base.onnx", "test.npz", "--adapter", "out")
    assert report["task"] == "numbers"
    assert [[said["class"] for said in one["top"]] for one in report["predictions"]] == [["0", "1", "2"]] * 24
