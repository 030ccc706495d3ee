"""A working folder for a command, and the command line as a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from lieref.cli import main
from tests.cli.helpers import check_output, small_network, snapshot, write_data


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with base.onnx, train.npz and test.npz."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_network(), tmp_path / "base.onnx")
    write_data(tmp_path / "train.npz")
    write_data(tmp_path / "test.npz", seed=1)
    return tmp_path


@pytest.fixture
def run_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a command with --json and return the object it prints, which fits its schema; nothing else is on stdout."""

    def run(*arguments: object) -> dict[str, Any]:
        status = main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        report = json.loads(printed.out)
        assert isinstance(report, dict)
        check_output([*map(str, arguments)], report)
        return report

    return run


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with status 2 and one line, leaving every file as it was; return the line."""

    def run(*arguments: object) -> str:
        before = snapshot(Path.cwd())
        status = main([*map(str, arguments)])
        printed = capsys.readouterr()
        assert status == 2, printed.err
        assert printed.out == ""
        lines = [line for line in printed.err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert "defect" not in lines[0]
        assert snapshot(Path.cwd()) == before
        return lines[0]

    return run
