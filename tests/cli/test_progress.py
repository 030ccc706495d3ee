"""That commands which may take long say so: how far they are, for how long yet, and where colours and moves belong."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from lieref.cli import console, live, main
from tests.cli.test_help import EVERY, find

QUICK = {
    ("ab", "arms"), ("ab", "look"), ("ab", "plan"), ("bundle", "keygen"), ("bundle", "rotate"), ("bundle", "show"),
    ("bundle", "sign"), ("completion",), ("plot",), ("report",), ("roi",), ("schema",),
}  # fmt: skip
"""Commands that do nothing long, besides those of `device`, whose options are those of the program without click."""


def test_whatever_may_take_long_can_be_told_to_be_quiet() -> None:
    leaves = [path for path in EVERY if not isinstance(find(path), click.Group) and path[0] != "device"]
    loud = {path for path in leaves if not any("--quiet" in param.opts for param in find(path).params)}
    assert loud == QUICK


@pytest.mark.parametrize("quiet", [False, True])
def test_cases_are_counted_with_the_time_left(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    clock = iter(range(0, 10**6, 5))
    monkeypatch.setattr(live.time, "monotonic", lambda: float(next(clock)))
    backend = "lieref.conformance.reference:run"
    assert main(["golden", "check", "--backend", backend, "--family", "hadamard", *["--quiet"] * quiet]) == 0
    said = capsys.readouterr().err
    assert ("golden check: 1 of " in said and " left, hadamard_f" in said) != quiet
    assert not quiet or said == ""


def test_what_has_no_count_is_said_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    with console.working("merge") as step:
        step("reading")
        now[0] = 6.0
        step("writing")
    assert capsys.readouterr().err == "merge: writing\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "stream", "styled"),
    [
        ({}, io.StringIO, False),
        ({}, Terminal, True),
        ({"NO_COLOR": "1"}, Terminal, False),
        ({"NO_COLOR": ""}, Terminal, True),
        ({"FORCE_COLOR": "1"}, io.StringIO, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, io.StringIO, False),
        ({"TERM": "dumb"}, Terminal, False),
    ],
)
def test_styles_are_for_terminals_and_who_forces_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], stream: type[io.StringIO], styled: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    console.print_table("Title", ("a", "b"), [("1", "x")])
    assert ("\x1b[" in out.getvalue()) == styled
    assert "Title" in out.getvalue()


def test_forced_colours_move_nothing_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert live._terminal() is None
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert live._terminal() is not None
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert live._terminal() is None, "without rich, plain lines"


def test_the_last_line_says_what_was_written_and_what_is_next(
    workplace: Path, capsys: pytest.CaptureFixture[str], run_json: Callable[..., dict[str, Any]]
) -> None:
    run_json("finetune", "base.onnx", "--train", "train.npz", "--out", "an adapter", "--epochs", "1")
    assert main(["merge", "base.onnx", "an adapter", "-o", "merged.onnx"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "The merged model is merged.onnx. Next: lieref eval merged.onnx --data TEST"
    assert main(["plot", "an adapter", "-o", "run.svg"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The figure is run.svg."
