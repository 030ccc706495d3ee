"""``python -m paper_figures``: what it writes, and how it refuses."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import paper_figures.__main__ as command
from paper_figures.registry import FIGURES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with neither results nor data, which the command takes for both."""
    monkeypatch.setattr(command, "RESULTS", tmp_path / "none")
    monkeypatch.setattr(command, "data_folder", lambda given: None)
    return tmp_path


def test_one_figure_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["trainable_counts", "--out", str(tmp_path)]) == 0
    names = {f"trainable_counts.{suffix}" for suffix in ("pdf", "png", "csv", "json")} | {"index.html"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["no_such"], "NAME must be all or that of a figure; got 'no_such': one of mechanism"),
     (["matched_budget"], "got 'matched_budget': did you mean matched_budgets?"), ([], "Missing argument"),
     (["all", "--recompute", "--quick"], "leave out --quick"),
     (["sst2", "--recompute"], "needs the real models and data; add --data DIR")],
)  # fmt: skip
def test_wrong_use_is_one_line(
    nothing: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert command.main([*arguments, "--out", str(nothing / "out")]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (nothing / "out").exists()


@pytest.mark.parametrize("theirs", ["index.html", "trainable_counts.png", "trainable_counts.json"])
def test_what_others_wrote_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], theirs: str) -> None:
    (tmp_path / theirs).write_text("<title>Figures and claims</title>")
    assert command.main(["trainable_counts", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{theirs} is there and was not written by this command" in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [theirs]
    assert (tmp_path / theirs).read_text() == "<title>Figures and claims</title>"


def test_what_was_written_here_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "sst2.csv").write_text("no figure of this call")
    for _ in range(2):
        assert command.main(["trainable_counts", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "sst2.csv").read_text() == "no figure of this call"


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("mine")
    assert command.main(["trainable_counts", "--out", str(tmp_path / "pyproject.toml")]) == 2
    assert "pyproject.toml is a file; name a folder" in capsys.readouterr().err


def test_help_lists_every_name_on_a_line_of_its_own() -> None:
    lines = CliRunner().invoke(command.command, ["--help"]).output.splitlines()
    for name, entry in FIGURES.items():
        assert any(line.split() == [name, *entry.title.split()] for line in lines), name


def test_an_empty_panel_is_warned_of(nothing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["rank_capacity", "--quick", "--out", str(nothing / "out")]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("warning: rank_capacity, panel (c) is empty: ")]


def test_what_takes_long_says_its_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "SLOW", 0.01)
    with command.said_if_slow("sst2"):
        threading.Event().wait(0.2)
    assert capsys.readouterr().err == "drawing sst2 ...\n"
    monkeypatch.setattr(command, "SLOW", 60.0)
    with command.said_if_slow("sst2"):
        pass
    assert capsys.readouterr().err == ""


def test_a_slide_is_16_to_9_and_what_is_higher_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["exact_cost", "trainable_counts", "published_tables", "--slide", "--out", str(tmp_path)]) == 0
    assert "left out: published_tables, which is higher than a slide" in capsys.readouterr().err
    for name in ("exact_cost", "trainable_counts"):
        width, height = struct.unpack(">II", (tmp_path / f"{name}.png").read_bytes()[16:24])
        assert abs(width / height - 16 / 9) < 0.005, name
    assert not (tmp_path / "published_tables.png").exists()
    assert command.main(["published_tables", "--slide", "--out", str(tmp_path / "none")]) == 2
    assert "nothing was drawn: published_tables would not fit a slide" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_recompute_is_for_measured_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "data_folder", lambda given: tmp_path)
    assert command.main(["trainable_counts", "--recompute", "--out", str(tmp_path / "out")]) == 2
    assert "for figures that are drawn from measurements; got trainable_counts" in capsys.readouterr().err


def test_recompute_measures_before_it_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(words[1:])
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr("paper_figures.registry.subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(command, "data_folder", lambda given: tmp_path)
    out = tmp_path / "out"
    assert command.main(["sst2", "trainable_counts", "--recompute", "--out", str(out)]) == 0
    assert calls == [["-m", "validation.sst2", "--data", str(tmp_path), "--runs", str(out / "recomputed" / "sst2")]]


def test_a_measurement_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails = SimpleNamespace(run=lambda words, **_: subprocess.CompletedProcess(words, 3))
    monkeypatch.setattr("paper_figures.registry.subprocess", fails)
    monkeypatch.setattr(command, "data_folder", lambda given: tmp_path)
    assert command.main(["sst2", "--recompute", "--out", str(tmp_path / "out")]) == 2
    assert "ended with status 3; the same call goes on" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mechanism", "cost_growth", "matched_budgets"])
def test_what_is_not_there_is_an_error_by_name(nothing: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert command.main([name, "--out", str(nothing / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (nothing / "out").exists()


def test_all_draws_what_it_can_and_says_the_rest(nothing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = nothing / "out"
    assert command.main(["all", "--quick", "--out", str(out)]) == 0
    drawn = {path.stem for path in out.glob("*.pdf")}
    assert drawn == {"trainable_counts", "rank_capacity", "map_error", "published_tables"}
    left = {
        line.split()[2].rstrip(",") for line in capsys.readouterr().err.splitlines() if line.startswith("left out:")
    }
    assert left == set(FIGURES) - drawn
    page = (out / "index.html").read_text()
    assert page.count('class="absent"') == len(left)
    assert all(f'id="{name}"' in page for name in FIGURES)


def test_it_runs_as_a_module_without_a_traceback(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "paper_figures", "no_such", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
