"""The README files stay in step with the code: methods, tasks, commands and the session they show."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from lieref.cli.app import COMMANDS
from lieref.cli.demo_data import BASE_MODEL, load_digits
from lieref.cli.methods import markdown_table
from lieref.train.task_registry import TASKS
from tests.readmes import ALL, README, ROOT, between, blocks, prose, shell

CLI = ROOT / "lieref" / "cli" / "README.md"
METHODS = ROOT / "lieref" / "param" / "README.md"
DATA = ROOT / "lieref" / "train" / "README.md"


def test_method_table_is_that_of_the_registry() -> None:
    assert between(METHODS, "methods") == markdown_table(), (
        f"put the output of `lieref methods --markdown` into {METHODS}"
    )


def test_task_table_is_that_of_the_registry() -> None:
    section = prose(DATA).partition("## Tasks\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)`(?: \(default\))? \| ([^|]+) \|", section, re.MULTILINE))
    assert list(rows) == list(TASKS)
    assert {name: task.gives or "anything" for name, task in TASKS.items()} == {
        name: gives.removeprefix("scores ") for name, gives in rows.items()
    }


def commands(path: Path) -> set[str]:
    """Return the commands that a file names in backticks, or that a line of its shell begins with."""
    pasted = "\n".join(block.text for block in blocks(path) if block.language == "sh")
    return set(re.findall(r"`lieref ([a-z]+)", prose(path))) | set(
        re.findall(r"^lieref ([a-z]+)", pasted, re.MULTILINE)
    )


def test_commands_named_exist_and_all_are_named() -> None:
    for path in ALL:
        assert commands(path) <= set(COMMANDS), path
    assert set(COMMANDS) - commands(README) - commands(CLI) == set(), f"give them a row in {CLI}"


def test_the_session_runs(tmp_path: Path) -> None:
    demo = tmp_path / "lieref-demo"
    demo.mkdir()
    shutil.copy(BASE_MODEL, demo / "base.onnx")
    for name, part in zip(("train", "test"), load_digits()[1:], strict=True):
        np.savez(demo / f"{name}.npz", x=part.x[:40], y=part.y[:40])
    (session,) = (block.text for block in blocks(CLI) if "lieref-demo" in block.text)
    shell(session, tmp_path)
    assert {"adapted", "adapted.html", "run.csv", "run.png"} <= {path.name for path in tmp_path.iterdir()}
