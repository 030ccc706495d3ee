"""``lieref report``, ``finetune --report`` and the pages of ``compare``: what they say, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.cli import main
from lieref.evaluate.report.decoding import page_of
from tests.cli.helpers import CLASSES

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--epochs", "2", "--batch", "8", "--method", "scale")
TESTED = (*TRAIN, "--test", "test.npz")
COMPARE = ("compare", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", "--epochs", "1",
           "--methods", "scale,lora", "--ranks", "1", "--lr", "default", "--seeds", "2")  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


def test_finetune_writes_the_page_and_report_writes_it_again(workplace: Path, run_json: RunJson) -> None:
    report = run_json(*TESTED, "--out", "out", "--report", "R.html", "--seed", "3")
    assert main(["report", "out", "--out", "again.html"]) == 0
    assert Path("again.html").read_bytes() == Path("R.html").read_bytes()
    assert {path.name for path in Path("out").iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "report.json", "history.json",
    }  # fmt: skip
    text = Path("R.html").read_text(encoding="utf-8")
    assert "lieref finetune base.onnx --train train.npz" in re.sub("<[^>]*>", "", text)
    assert report["base_sha256"] in text
    assert report["samples_sha256"]["train"]["x"] in text


def test_what_finetune_counts_is_what_its_networks_answer(workplace: Path, run_json: RunJson) -> None:
    report = run_json(*TESTED, "--out", "out", "--method", "liera", "--lr", "0.1")
    data = np.load("test.npz")
    model = lieref.load("base.onnx")
    found = {}
    for name in ("base", "adapted"):
        answers = model.predict(data["x"]).argmax(axis=1)
        found[name] = answers == data["y"]
        counts = report["test_outcomes"][name]["classes"]
        assert counts["confusion"] == [
            [int(((data["y"] == row) & (answers == column)).sum()) for column in range(CLASSES)]
            for row in range(CLASSES)
        ]
        assert counts["right"] == [counts["confusion"][number][number] for number in range(CLASSES)]
        low, high = report["test_outcomes"][name]["interval"]
        assert low < found[name].mean() < high
        model.load_adapter("out")
    paired = report["test_outcomes"]["paired"]
    assert paired["only_base"] == (found["base"] & ~found["adapted"]).sum()
    assert paired["only_adapted"] == (~found["base"] & found["adapted"]).sum()
    base, adapted = lieref.load("base.onnx").graph.initializers, model.adapted_tensors()
    assert [each["tensor"] for each in report["moved"]] == list(adapted)
    for each in report["moved"]:
        change = adapted[each["tensor"]].astype(float) - base[each["tensor"]]
        assert each["change_norm"] == pytest.approx(np.sqrt((change**2).sum()))
        assert each["signs_kept"] == each["nonzero"]  # the exponential keeps every sign
    assert report["flops"] > 0
    assert report["inference_flops"] > 0


def test_the_page_may_lie_in_the_folder(workplace: Path, run_json: RunJson, fails: Fails) -> None:
    run_json(*TESTED, "--out", "out", "--report", "out/report.html")
    assert "<h1" in Path("out/report.html").read_text(encoding="utf-8")
    run_json(*TESTED, "--out", "out", "--report", "out/report.md", "--force")
    assert not Path("out/report.html").exists()
    assert Path("out/report.md").read_text(encoding="utf-8").startswith("# Fine-tuning: base.onnx")
    assert "is called report.html or report.md; got report.json" in fails(
        *TESTED, "--out", "other", "--report", "other/report.json"
    )


@pytest.mark.parametrize("end", ["html", "md", "json"])
def test_each_form_of_a_run_without_a_test_set(workplace: Path, run_json: RunJson, end: str) -> None:
    run_json(*TRAIN, "--out", "out", "--report", f"r.{end}")
    assert "nothing was tested" in Path(f"r.{end}").read_text(encoding="utf-8")


def test_other_tasks_and_heads_have_a_page(workplace: Path, run_json: RunJson) -> None:
    run_json(*TESTED, "--out", "head", "--head", "new", "--report", "head.md")
    assert "The base has no answers to compare with." in Path("head.md").read_text()
    data = np.load("train.npz")
    np.savez("numbers.npz", x=data["x"], y=np.zeros((len(data["x"]), CLASSES), np.float32))
    np.savez("more.npz", x=data["x"] + 1, y=np.zeros((len(data["x"]), CLASSES), np.float32))
    run_json(*TRAIN[:2], "--train", "numbers.npz", "--test", "more.npz", *TRAIN[4:], "--task", "numbers", "--out", "n",
             "--report", "n.md")  # fmt: skip
    assert "| rmse |" in Path("n.md").read_text()


def test_a_choice_has_a_page(workplace: Path, run_json: RunJson) -> None:
    given = ("--test", "test.npz", "--method", "auto", "--out", "out", "--report", "R.md")
    report = run_json(*TESTED[:4], *given)
    text = Path("R.md").read_text(encoding="utf-8")
    rows = text.partition("### Candidates\n\n")[2].partition("\n\n")[0].split("\n")[2:]
    assert len(rows) == len(report["choice"]["candidates"]) > 1
    assert sum("★" in row for row in rows) == 1


def test_a_page_that_cannot_be_written_is_refused_before_any_work(workplace: Path, fails: Fails) -> None:
    assert "must end in .html, .md, .json" in fails(*TESTED, "--out", "out", "--report", "r.pdf")
    assert "there is no folder" in fails(*TESTED, "--out", "out", "--report", "none/r.html")
    Path("r.html").write_text("mine")
    assert "is there already; add --force" in fails(*TESTED, "--out", "out", "--report", "r.html")
    Path("folder.html").mkdir()
    assert "is a folder" in fails(*TESTED, "--out", "out", "--report", "folder.html")


def test_compare_leaves_pages(workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(*COMPARE)
    names = {path.name for path in Path("out").iterdir() if path.suffix != ".jsonl"}
    assert names == {"study.json", "comparison.json", "report.html", "report.md"}
    assert main(["report", "out", "--out", "again.html"]) == 0
    assert Path("again.html").read_bytes() == Path("out/report.html").read_bytes()
    capsys.readouterr()
    assert main(["report", "out/comparison.json"]) == 0
    assert capsys.readouterr().out == Path("out/report.md").read_text(encoding="utf-8")
    assert result["command"] == " ".join(["lieref", *COMPARE, "--json"])
    scale = result["rows"][1]
    test = np.load("test.npz")["y"]
    assert scale["classes"]["samples"] == (2 * np.bincount(test)).tolist()
    assert sum(scale["classes"]["right"]) == round(sum(scale["values"]) * len(test))
    assert len(scale["curve"]["mean"]) == 1
    assert {each["tensor"] for each in scale["moved"]} >= {"conv.weight", "head.weight"}
    assert result["rows"][0]["moved"] == []
    again = run_json(*COMPARE, "--resume")
    assert again["command"] == result["command"]
    run_json(*COMPARE, "--force", "--seeds", "1")
    assert "No decision yet" in Path("out/report.md").read_text()


def test_trials_of_before_are_gone_on_with(workplace: Path, run_json: RunJson) -> None:
    """A ledger of a version that recorded neither classes nor what moved."""
    whole = run_json(*COMPARE)
    (path,) = Path("out").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{name: value for name, value in line.items() if name not in ("classes", "moved")} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    result = run_json(*COMPARE, "--resume")
    for row, other in zip(result["rows"], whole["rows"], strict=True):
        assert row["classes"] is row["moved"] is None
        assert row["curve"] == other["curve"]
        assert row["mean"] == other["mean"]


def test_report_as_json_is_a_report(workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    run_json(*TESTED, "--out", "out")
    page = page_of(run_json("report", "out"), "it")
    assert main(["report", "out", "--out", "page.json"]) == 0
    assert capsys.readouterr().out == f"The report is in page.json: {page.decision.headline}.\n"
    assert page_of(run_json("report", "page.json"), "it") == page
    assert page_of(run_json("report", "out", "--out", "page.md"), "it") == page


def test_what_report_refuses(workplace: Path, run_json: RunJson, fails: Fails) -> None:
    Path("empty").mkdir()
    assert "it is empty" in fails("report", "empty", "--out", "r.html")
    assert "there is no such folder or file: none" in fails("report", "none", "--out", "r.html")
    Path("half.json").write_text('{"format": 1, "rows": [')
    assert "must be strict JSON" in fails("report", "half.json", "--out", "r.html")
    run_json(*TESTED, "--out", "out")
    assert "must end in" in fails("report", "out", "--out", "r.txt")
    Path("r.html").write_text("mine")
    assert "is there already; add --force" in fails("report", "out", "--out", "r.html")
    assert main(["report", "out", "--out", "r.html", "--force"]) == 0
    assert Path("r.html").read_text(encoding="utf-8") != "mine"
