"""`lieref roi`: the arithmetic, the picture, and what is wrong with them, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lieref.cli import main
from tests.evaluate.report.results import comparison

RunJson = Callable[..., dict[str, Any]]
CASE = ("roi", "--devices", "1000", "--link-cost", "0.5", "--updates", "4", "--images", "500", "--image-cost", "0.2",
        "--hours", "2", "--hour-cost", "1.5", "--decisions", "200", "--error-value", "0.05")  # fmt: skip
GIVEN = ("--bytes", "6000", "--gain", "1.2%")


def test_it_is_the_arithmetic(workplace: Path, run_json: RunJson) -> None:
    found = run_json(*CASE, *GIVEN, "--currency", "CHF", "--setup", "2000")
    values = {line["name"]: line["value"] for line in found["lines"]}
    assert values["cost of an update"] == pytest.approx(106.0)
    assert values["net a year"] == pytest.approx(43_376.0)
    assert found["net_of_first_year"] == pytest.approx(41_376.0)
    assert found["break_even"]["gain"] == pytest.approx(424 / 3_650_000)
    assert found["currency"] == "CHF"
    assert {swing["name"] for swing in found["sensitivity"][:3]} == {"decisions", "error_value", "gain"}


def test_in_words_with_a_picture(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, start in (("roi.png", b"\x89PNG"), ("roi.svg", b"<?xml")):
        assert main([*CASE, *GIVEN, "--gain-low", "0.1%", "--gain-high", "2%", "--plot", name, "--setup", "100"]) == 0
        assert (workplace / name).read_bytes().startswith(start)
    printed = capsys.readouterr().out
    assert "1,000 devices * 6,000 bytes / 10^6" in printed
    assert "With a gain of +0.10 to +2.00 points the net of the first year is 3,126 to 72,476 EUR." in printed
    assert "Updates pay from a gain of 0.0116 points on" in printed
    assert "The set-up is earned back after 0.841 days." in printed
    assert "The picture is roi.svg." in printed


def test_a_picture_that_is_there_is_kept(workplace: Path, fails: Callable[..., str]) -> None:
    Path("roi.svg").write_text("mine")
    assert "roi.svg exists; add --force to replace it" in fails(*CASE, *GIVEN, "--plot", "roi.svg")
    assert Path("roi.svg").read_text() == "mine"
    assert main([*CASE, *GIVEN, "--plot", "roi.svg", "--force"]) == 0
    assert Path("roi.svg").read_bytes().startswith(b"<?xml")


def test_what_never_pays_is_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CASE, "--bytes", "6000", "--gain=-1%", "--setup", "5"]) == 0
    printed = capsys.readouterr().out
    assert "An update never earns what it costs." in printed
    assert "The set-up is never earned back." in printed
    assert main([*CASE, "--bytes", "1e13", "--gain", "1%"]) == 0
    assert "No gain of accuracy pays for the updates." in capsys.readouterr().out
    free = ("roi", "--devices", "1", "--updates", "1", "--decisions", "1", "--error-value", "1", "--bytes", "1")
    assert main([*free, "--gain", "1%"]) == 0
    assert "Updates cost nothing here: any gain pays for them." in capsys.readouterr().out
    assert main([*free, "--gain=-1%"]) == 0
    printed = capsys.readouterr().out
    assert "Updates cost nothing here, but without a gain of accuracy they bring nothing." in printed
    assert "any gain" not in printed
    assert "never earns" not in printed


def test_a_comparison_by_its_folder_that_says_keep_is_warned_of(
    workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    result = comparison()
    Path("compared").mkdir()
    Path("compared/comparison.json").write_text(json.dumps(result))
    whole = run_json(*CASE, "--from", "compared")["inputs"]
    assert whole == run_json(*CASE, "--from", "compared/comparison.json")["inputs"]
    assert whole["gain"] == 0.0725
    assert main([*CASE, "--from", "compared"]) == 0
    assert "warning" not in capsys.readouterr().err
    for row in result["rows"]:
        if row["over_base"]:
            row["over_base"]["p_holm"] = 0.2
    Path("compared/comparison.json").write_text(json.dumps(result))
    assert main([*CASE, "--from", "compared"]) == 0
    said = capsys.readouterr().err
    assert said.startswith('warning: the report of compared says "Keep the base": ')
    assert said.count("\n") == 1
    assert main([*CASE, "--from", "compared", "--gain", "1%"]) == 0
    assert capsys.readouterr().err == ""


def test_a_report_gives_what_is_left_open(workplace: Path, run_json: RunJson) -> None:
    report = {"base_accuracy": 0.9, "accuracy": 0.92, "update_bytes": 5000, "train_seconds": 1800.0}
    Path("report.json").write_text(json.dumps(report))
    case = tuple(part for part in CASE if part not in ("--hours", "2"))
    inputs = run_json(*case, "--from", "report.json")["inputs"]
    assert (inputs["gain"], inputs["update_bytes"], inputs["hours"]) == (pytest.approx(0.02), 5000, 0.5)
    Path("test.json").write_text(json.dumps({"only_a": 1, "only_b": 5, "difference": 0.02, "low": 0.0, "high": 0.03}))
    found = run_json(*CASE, "--from", "test.json", "--bytes", "10")
    assert (found["inputs"]["gain_low"], found["inputs"]["gain_high"], found["inputs"]["hours"]) == (0.0, 0.03, 2.0)
    assert found["net_of_first_year_between"][0] < 0 < found["net_of_first_year_between"][1]
    # the interval belongs to the gain of the report
    assert run_json(*CASE, "--from", "test.json", *GIVEN)["inputs"]["gain_low"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*CASE, "--bytes", "6000"), "missing --gain"),
        (CASE, "missing --bytes and --gain"),
        ((*CASE, *GIVEN, "--devices", "0"), "`devices` must be 1 to"),
        ((*CASE, *GIVEN, "--image-cost", "-1"), "`image_cost` must be at least 0.0; got -1"),
        ((*CASE, *GIVEN, "--error-value", "nan"), "`error_value` must be finite; got nan"),
        ((*CASE, *GIVEN, "--updates", "0"), "`updates` must be at least 0.01"),
        ((*CASE, *GIVEN, "--gain", "120%"), "no share"),
        ((*CASE, "--bytes", "6000", "--gain", "1"), "did you mean 1%?"),
        ((*CASE, *GIVEN, "--from", "."), "roi: . must hold comparison.json"),
        ((*CASE, *GIVEN, "--gain-low", "1%"), "both or not at all"),
        ((*CASE, *GIVEN, "--factor", "1"), "`factor` must be above 1"),
        ((*CASE, *GIVEN, "--plot", "x.pdf"), "--plot draws a .png or .svg"),
        ((*CASE, *GIVEN, "--plot", "no/x.png"), "there is no folder no"),
        ((*CASE, *GIVEN, "--method", "lora"), "name it with --from"),
        ((*CASE, *GIVEN, "--from", "none.json"), "roi: none.json must be a readable file"),
        ((*CASE, *GIVEN, "--from", "train.npz"), "train.npz"),
    ],
)
def test_bad_input_is_one_line(
    workplace: Path, fails: Callable[..., str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in fails(*arguments)
