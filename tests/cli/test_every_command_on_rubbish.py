"""Every command, with rubbish for each of its files and numbers: one line, a documented status, nothing left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lieref.cli import main
from lieref.cli.app import DONE, WRONG_USE
from tests.cli.helpers import snapshot
from tests.cli.test_help import EVERY, find

FILES = ("missing", "folder", "empty.npz", "text.onnx", os.fsdecode(b"no\xfftext.onnx"), "")
NUMBERS = ("-1", "nan", "9" * 30)
REFUSED = 3
KNOWN = {"format_name": "onnx", "accuracy": "90%"}
"""Values of options that are required, and neither files nor numbers."""

QUICKLY = ("--family", "hadamard")
"""Few golden cases."""

LEAVES = [path for path in EVERY if not isinstance(find(path), click.Group) and path != ("demo",)]


@pytest.fixture
def rubbish(workplace: Path) -> Path:
    (workplace / "folder").mkdir()
    (workplace / "empty.npz").write_bytes(b"")
    (workplace / "text.onnx").write_text("no network\n" * 9)
    return workplace


def is_number(param: click.Parameter) -> bool:
    return isinstance(param.type, (click.types.IntParamType, click.types.FloatParamType))


def usual(param: click.Parameter) -> str:
    """Return a value for what is required, which is good by itself where it is no file."""
    if isinstance(param.type, click.Path):
        written = param.name in ("out", "output", "folder")
        return "out" if written else "train.npz" if param.name in ("train", "test", "data") else "base.onnx"
    if isinstance(param.type, click.Choice):
        return str(param.type.choices[0])
    return "1" if is_number(param) else KNOWN.get(str(param.name), "x")


def lines(path: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield the command with one value of rubbish, and what it needs beside that."""
    params = find(path).params
    for wrong in params:
        for value in FILES if isinstance(wrong.type, click.Path) else NUMBERS if is_number(wrong) else ():
            options, arguments = [], []
            for param in params:
                if param is not wrong and not param.required:
                    continue
                given = value if param is wrong else usual(param)
                if isinstance(param, click.Argument):
                    arguments.append(given)
                else:
                    options += [max(param.opts, key=len), given]
            yield [*path, *(QUICKLY if path[0] == "golden" else ()), *options, "--", *arguments]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_rubbish_is_refused_in_one_line_and_leaves_nothing(
    rubbish: Path, capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
) -> None:
    before = snapshot(rubbish)
    for line in lines(path):
        status = main(line)
        printed = capsys.readouterr()
        errors = [text for text in printed.err.splitlines() if text.startswith("error: ")]
        if status == DONE or (path == ("golden", "check") and printed.out):  # a verdict on outputs that are not there
            for name in snapshot(rubbish).keys() - before.keys():
                shutil.rmtree(rubbish / name) if (rubbish / name).is_dir() else (rubbish / name).unlink(missing_ok=True)
        elif status == REFUSED:
            assert printed.out.startswith("refused: "), line
        else:
            assert status == WRONG_USE, (line, printed.err)
            assert len(errors) == 1, (line, printed.err)
            assert printed.out == "", line
        assert "Traceback" not in printed.err, line
        assert "defect" not in printed.err, line
        assert snapshot(rubbish) == before, line
