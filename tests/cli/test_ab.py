"""`lieref ab`: plan, test and look; and what is wrong with them, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lieref.cli import main
from lieref.evaluate.ab.planning import paired_images, smallest_gain, unpaired_images
from lieref.evaluate.ab.rates import rates_for
from tests.cli.helpers import small_network

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Four days of a test in which the new model has more right, as pairs and as two files of predictions."""
    generator = np.random.default_rng(6)
    for day in range(1, 5):
        y = generator.integers(0, 5, 150)
        a = np.where(generator.random(150) < 0.8, y, (y + 1) % 5)
        b = np.where((a != y) & (generator.random(150) < 0.5), y, a)
        names = [f"{day}-{place}" for place in range(150)]
        rows = zip(names, y, a, b, strict=True)
        Path(f"day{day}.csv").write_text("id,label,a,b\n" + "".join(f"{n},{t},{p},{q}\n" for n, t, p, q in rows))
    np.savez("a.npz", prediction=a, label=y)
    Path("b.json").write_text(json.dumps({"prediction": b.tolist()}))
    Path("copy.csv").write_bytes(Path("day1.csv").read_bytes())
    onnx.save(small_network(3), workplace / "new.onnx")
    return workplace


def test_a_plan_is_that_of_the_functions(folder: Path, run_json: RunJson) -> None:
    found = run_json("ab", "plan", "--accuracy", "90%", "--gain", "0.03", "--disagreement", "6%")
    assert found["images"] == paired_images(rates_for(0.9, 0.03, 0.06))
    assert [row["kind"] for row in found["rows"]] == ["least", "given", "independent", "most"]
    assert found["two_arms"]["images_each"] == unpaired_images(0.9, 0.03)
    assert found["looked_at"]["each"] == found["images"] // 20
    assert found["looked_at"]["ship"] > 0.9
    worst = run_json("ab", "plan", "--accuracy", "0.9", "--gain", "3%", "--per-day", "50")
    assert worst["kind"] == "most"
    assert worst["images"] > found["images"]
    assert worst["looked_at"]["each"] == 50


def test_the_inverse_of_a_plan(folder: Path, run_json: RunJson) -> None:
    found = run_json("ab", "plan", "--accuracy", "90%", "--images", "500", "--disagreement", "6%", "--power", "90%")
    assert found["gain"] == smallest_gain(500, 0.9, disagreement=0.06, power=0.9)
    assert found["asked"] == "images"
    assert {row["images"] for row in found["rows"]} == {500}


def test_a_plan_in_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ab", "plan", "--accuracy", "80%", "--gain", "10%"]) == 0
    printed = capsys.readouterr().out
    number = f"{paired_images(rates_for(0.8, 0.1)):,}"
    assert f"* {number} images show a gain of +10.00 points or more in at least 80 % of tests" in printed
    assert "add --disagreement" in printed
    assert main(["ab", "plan", "--accuracy", "80%", "--images", "150"]) == 0
    assert "Smallest gain: base 80 % right" in capsys.readouterr().out


def test_two_networks_and_the_pairs_they_leave(folder: Path, run_json: RunJson) -> None:
    found = run_json("ab", "test", "base.onnx", "new.onnx", "--data", "test.npz", "--save", "pairs.csv")
    right = [run_json("eval", name, "--data", "test.npz")["accuracy"] for name in ("base.onnx", "new.onnx")]
    assert [found["accuracy"][name]["accuracy"] for name in "ab"] == right
    assert found["difference"] == pytest.approx(right[1] - right[0])
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["p_mid"] <= found["p_exact"]
    assert found["shows"]["power"] == 0.8
    looked = run_json("ab", "look", "pairs.csv")
    assert (looked["images"], looked["only_a"], looked["only_b"]) == (24, found["only_a"], found["only_b"])
    assert looked["verdict"] == found["any_time"]["verdict"]
    assert found["saved"] == {"file": "pairs.csv", "columns": ["id", "label", "a", "b"]}


def test_images_that_are_saved_on_two_days_are_found(
    folder: Path, fails: Fails, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load("test.npz") as held:
        x, y = held["x"], held["y"]
    # day one, and a day two that brings one image of it again, one new image, and that one once more
    np.savez("one.npz", x=x[:12], y=y[:12])
    np.savez("two.npz", x=x[[20, 5, 20]], y=y[[20, 5, 20]])
    for day in ("one", "two"):
        assert main(["ab", "test", "base.onnx", "new.onnx", "--data", f"{day}.npz", "--save", f"{day}.csv"]) == 0
    printed = capsys.readouterr()
    assert "Saved to one.csv: 12 rows of id, label, a, b." in printed.out
    assert "two.npz holds 1 of its 3 images again" in printed.err
    ids = [line.partition(",")[0] for line in Path("one.csv").read_text().splitlines()]
    assert f"each image must count once; {ids[6]!r} is in one.csv and two.csv" in fails(
        "ab", "look", "one.csv", "two.csv"
    )
    assert run_json("ab", "look", "two.csv")["images"] == 3


def test_what_was_saved_is_kept(folder: Path, fails: Fails) -> None:
    before = Path("day1.csv").read_bytes()
    said = fails("ab", "test", "a.npz", "b.json", "--save", "day1.csv")
    assert "day1.csv exists; add --force to replace it" in said
    assert Path("day1.csv").read_bytes() == before
    assert main(["ab", "test", "a.npz", "b.json", "--save", "day1.csv", "--force"]) == 0
    assert Path("day1.csv").read_bytes() != before


def test_a_model_against_itself_is_warned_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ab", "test", "base.onnx", "./base.onnx", "--data", "test.npz"]) == 0
    assert "A and B are both base.onnx: a test of a model against itself" in capsys.readouterr().err
    assert main(["ab", "test", "base.onnx", "new.onnx", "--data", "test.npz"]) == 0
    assert "against itself" not in capsys.readouterr().err


def test_an_adapter_against_its_base(folder: Path, run_json: RunJson) -> None:
    train = ("finetune", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--epochs", "3", "--batch", "8")
    trained = run_json(*train, "--out", "adapter", "--rank", "2")
    found = run_json("ab", "test", "base.onnx", "base.onnx", "--adapter-b", "adapter", "--data", "test.npz")
    assert found["accuracy"]["a"]["accuracy"] == trained["base_accuracy"]
    assert found["accuracy"]["b"]["accuracy"] == trained["accuracy"]
    assert (found["a"], found["b"]) == ("base.onnx", "base.onnx + adapter")


def test_files_of_predictions(folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json("ab", "test", "a.npz", "b.json")
    held = np.genfromtxt("day4.csv", delimiter=",", skip_header=1, usecols=(1, 2, 3))
    right_a, right_b = held[:, 1] == held[:, 0], held[:, 2] == held[:, 0]
    assert (found["only_a"], found["only_b"]) == (0, int((right_b & ~right_a).sum()))
    assert found["shows"]["gain"] == smallest_gain(150, right_a.mean(), disagreement=(right_a != right_b).mean())
    assert main(["ab", "test", "a.npz", "b.json"]) == 0
    printed = capsys.readouterr().out
    assert "B is better than A beyond chance" in printed
    Path("near.json").write_text(json.dumps({"prediction": [*held[:140, 1].astype(int).tolist(), *[4] * 10]}))
    assert main(["ab", "test", "a.npz", "near.json"]) == 0
    printed = capsys.readouterr().out
    assert "no proof that they are equal" in printed
    assert "So many images show a gain of" in printed
    assert main(["ab", "test", "a.npz", "a.npz"]) == 0
    assert "So many images" not in capsys.readouterr().out


def test_two_arms(folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.csv").write_text("prediction,label\n" + "1,1\n" * 70 + "0,1\n" * 30)
    Path("other.csv").write_text("prediction,label\n" + "1,1\n" * 180 + "0,1\n" * 20)
    found = run_json("ab", "arms", "one.csv", "other.csv")
    assert found["accuracy"]["b"]["images"] == 200
    assert found["difference"] == pytest.approx(0.2)
    assert found["low"] > 0
    assert main(["ab", "arms", "other.csv", "one.csv"]) == 0
    assert "A is better than B beyond chance" in capsys.readouterr().out
    assert main(["ab", "arms", "one.csv", "one.csv"]) == 2
    assert "each file must be given once, for its images count once; got one.csv twice" in capsys.readouterr().err
    Path("alike.csv").write_text("prediction,label\n" + "1,1\n" * 71 + "0,1\n" * 29)
    assert main(["ab", "arms", "one.csv", "alike.csv"]) == 0
    assert "no proof that they are equal" in capsys.readouterr().out


def test_a_look_every_day(folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_json("ab", "look", "day1.csv", "--worth", "5%", "--level", "0.01")
    all_days = run_json("ab", "look", *(f"day{day}.csv" for day in range(1, 5)), "--worth", "5%", "--level", "0.01")
    assert all_days["looks"][0]["images"] == first["images"] == 150
    assert all_days["looks"][0]["low"] == first["low"]
    assert all_days["verdict"] == "ship"
    assert all_days["ahead"] is None
    place = all_days["decided_at"]["look"]
    assert all_days["decided_at"]["file"] == f"day{place}.csv"
    words = [look["word"] for look in all_days["looks"]]
    assert words == ["not yet"] * (place - 1) + ["ship"] * (5 - place)
    assert main(["ab", "look", *(f"day{day}.csv" for day in range(1, 5))]) == 0
    printed = capsys.readouterr().out
    assert "SHIP: B is better than A." in printed
    assert "the images since change nothing" in printed


def test_what_is_open_is_forecast(folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("label,a,b\n" + "1,1,1\n" * 40 + "1,0,1\n" * 3 + "1,1,0\n")
    ahead = run_json("ab", "look", "few.csv")["ahead"]
    assert ahead["ship"] + ahead["not_worth"] + ahead["worse"] + ahead["undecided"] == pytest.approx(1.0)
    assert ahead["ahead"] == 20 * 44
    assert main(["ab", "look", "few.csv"]) == 0
    assert "If images go on like these: half of the futures are decided" in capsys.readouterr().out


def test_worse_and_no_difference(folder: Path, run_json: RunJson) -> None:
    Path("worse.csv").write_text("label,a,b\n" + "1,1,1\n" * 40 + "1,1,0\n" * 30)
    assert run_json("ab", "look", "worse.csv")["verdict"] == "worse"
    Path("same.csv").write_text("label,a,b\n" + "1,1,1\n" * 2000)
    assert run_json("ab", "look", "same.csv")["verdict"] == "no difference worth it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "--accuracy", "90%", "--gain", "20%"), "ab plan: `gain` must be at most 0.1"),
        (("plan", "--accuracy", "90%", "--gain", "2%", "--disagreement", "1%"), "between the gain, 0.02, and 0.18"),
        (("plan", "--accuracy", "90%", "--gain", "2%", "--power", "4%"), "`power` must lie between the level"),
        (("plan", "--accuracy", "90%", "--gain", "2%", "--level", "0"), "`level` must lie between 0 and 1"),
        (("plan", "--accuracy", "90%"), "give one of them"),
        (("plan", "--accuracy", "90%", "--gain", "2%", "--images", "3"), "give one of them"),
        (("plan", "--accuracy", "90", "--gain", "2%"), "'90' is no share: at most 1, or 100%; did you mean 90%?"),
        (("plan", "--accuracy", "90%", "--gain", "1"), "'1' is a share of 1, all images; did you mean 1%?"),
        (("plan", "--accuracy", "90%", "--gain", "1.0"), "did you mean 1.0%?"),
        (("plan", "--accuracy", "nan", "--gain", "2%"), "'nan' is no share"),
        (("plan", "--accuracy", "x", "--gain", "2%"), "'x' is no share such as 0.9 or 90%"),
        (("plan", "--accuracy", "90%", "--images", "3"), "with 3 not even the largest"),
        (("test", "base.onnx", "a.npz", "--data", "test.npz"), "both be .onnx or .tflite models, or both files"),
        (("test", "base.onnx", "new.onnx"), "add --data"),
        (("test", "base.onnx", "new.onnx", "--data", "test.npz", "--labels", "a.npz"), "--labels is for files"),
        (("test", "base.onnx", "new.onnx", "--data", "none.npz"), "none.npz"),
        (("test", "a.npz", "b.json", "--data", "test.npz"), "--data is for two models"),
        (("test", "b.json", "b.json"), "must have the column label"),
        (("test", "a.npz", "day1.csv"), "ab test: day1.csv must have the column prediction"),
        (("test", "a.npz", "b.json", "--classes", "3"), "must be a class from 0 to 2; got 4"),
        (("test", "a.npz", "b.json", "--classes", "1"), "--classes must be 2 or more"),
        (("test", "a.npz", "b.json", "--save", "x.json"), "--save writes a .csv"),
        (("test", "a.npz", "b.json", "--save", "no/x.csv"), "there is no folder no"),
        (("test", "a.npz", "b.json", "--worth", "100%"), "`worth` must be below 1"),
        (("arms", "day1.csv", "a.npz"), "must have the column prediction"),
        (("arms", "a.npz", "b.json"), "must have the column label"),
        (("arms", "a.npz", "a.npz", "--level", "0"), "`level` must lie between 0 and 1"),
        (("look", "day1.csv", "day2.csv", "day1.csv"), "each file must be given once"),
        (
            ("look", "day1.csv", "./day1.csv"),
            "each file must be given once, for its images count once; got day1.csv twice",
        ),
        (("look", "day1.csv", "copy.csv"), "got day1.csv and copy.csv, which hold the same"),
        (("look", "a.npz"), "ab look: a.npz must have the columns label, a"),
        (("look", "none.csv"), "ab look: none.csv"),
        (("look", "day1.csv", "--level", "1"), "`level` must lie between 0 and 1"),
        (("look", "day1.csv", "--worth", "-1%"), "`worth` must be at least 0"),
        (("look",), "FILES"),
    ],
)
def test_bad_input_is_one_line(folder: Path, fails: Fails, arguments: tuple[str, ...], words: str) -> None:
    assert words in fails("ab", *arguments)
