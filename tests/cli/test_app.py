"""The command line's frame: exit status, one line an error, what is imported when."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import warnings

import click
import pytest

from lieref.cli import app, main
from lieref.cli.console import stdout_to_stderr
from lieref.errors import DomainError, MissingExtraError, VerificationError


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["lieref.cli", "lieref.cli.app", "lieref.__main__"])
def test_import_is_light(module: str) -> None:
    done = run_python(
        f"import sys, {module}; print([m for m in ('numba', 'onnx', 'scipy', 'rich') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_help_lists_every_command_and_stays_light(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in app.lieref.list_commands(click.Context(app.lieref)):
        assert f"\n  {name} " in listed
    code = (
        "import sys; from lieref.cli import main; from lieref.cli.app import COMMANDS; main(['--help'])\n"
        "heavy = {'numpy', 'numba', 'onnx', 'rich', *(place.split(':')[0] for place, _ in COMMANDS.values())}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    assert run_python(code).stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["methods"], "needs rich, which is not installed; install it with: pip install 'lieref[app]'"),
        (["inspect", "a.onnx"], "needs onnx, which is not installed; install it with: pip install 'lieref[app]'"),
    ],
)
def test_a_missing_extra_gives_the_install_command(arguments: list[str], words: str) -> None:
    done = run_python(
        "import sys\nfor name in ('rich', 'onnx'): sys.modules[name] = None\n"
        f"from lieref.cli import main; sys.exit(main({arguments}))"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f"{words}\n")
    assert done.stderr.count("\n") == 1


def test_missing_click_gives_the_install_command() -> None:
    done = run_python("import sys; sys.modules['click'] = None; from lieref.cli import main; sys.exit(main([]))")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the lieref command needs click, which is not installed; install it with: pip install 'lieref[app]'\n"
    )


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "lieref", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lieref, version ")


def test_no_command_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Usage: lieref")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense' (see: lieref --help)"),
        (["merge"], "Missing argument 'BASE'. (see: lieref merge --help)"),
        (["merge", "a", "b", "--outptu", "c"], "--outptu"),
        (["finetune", "a", "--seed", "-1"], "-1 is not in the range"),
        (["finetune", "a", "--batch", "0"], "0 is not in the range"),
        (["finetune", "a", "--lr", "fast"], "'fast' is neither auto nor a positive number"),
        (["finetune", "a", "--lr", "0"], "'0' is neither auto nor a positive number"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert words in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DomainError("f: `x` must be\n finite; got nan"), 2, "error: f: `x` must be finite; got nan"),
        (VerificationError("check_base: no"), 2, "error: check_base: no"),
        (MissingExtraError("the demo needs sklearn"), 1, "error: the demo needs sklearn"),
        (FileNotFoundError(2, "No such file or directory", "a.npz"), 2, "error: a.npz: No such file or directory"),
        (OSError(28, "No space left on device", "out"), 1, "error: out: No space left on device"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ZeroDivisionError("division by zero"), 1, "error: ZeroDivisionError: division by zero; this is a defect"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_is_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: failing)
    assert main(["failing"]) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.strip().startswith(line)
    assert printed.err.strip().count("\n") == 0
    assert "Traceback" not in printed.err


def test_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def warning() -> None:
        warnings.simplefilter("always")
        warnings.warn("more numbers than\n the kernel has", stacklevel=2)

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: warning)
    assert main(["warning"]) == 0
    assert capsys.readouterr().err == "warning: more numbers than the kernel has\n"


def test_each_note_is_printed_once_and_many_of_a_kind_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Note(UserWarning):
        pass

    @click.command()
    def noting() -> None:
        for _ in range(3):
            for number in range(82):
                warnings.warn(f"layer {number} is left out", Note, stacklevel=1)
            for number in range(6):
                warnings.warn(f"another thing, {number}", UserWarning, stacklevel=1)
        raise DomainError("f: `x` must be y; got z")

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: noting)
    for _ in range(2):  # each command on its own
        assert main(["noting"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            *(f"warning: layer {number} is left out" for number in range(4)),
            *(f"warning: another thing, {number}" for number in range(6)),
            "warning: and 78 more like these (Note)",
            "error: f: `x` must be y; got z",
        ]


@pytest.mark.parametrize("many", [app.MOST_OF_A_KIND, app.MOST_OF_A_KIND + 1])
def test_nothing_is_counted_that_was_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], many: int
) -> None:
    class Note(UserWarning):
        pass

    @click.command()
    def noting() -> None:
        for number in range(many):
            warnings.warn(f"layer {number} is left out", Note, stacklevel=1)

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: noting)
    assert main(["noting"]) == 0
    rest = ["warning: and 1 more like these (Note)"] if many > app.MOST_OF_A_KIND else []
    printed = [f"warning: layer {number} is left out" for number in range(app.MOST_OF_A_KIND)]
    assert capsys.readouterr().err.splitlines() == printed + rest


def test_what_libraries_log_is_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def logging_command() -> None:
        logging.getLogger("a.library").warning("its cache folder is not writable")

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: logging_command)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert main(["logging"]) == 0
    assert capsys.readouterr().err == ""
    assert logging.lastResort is not None


def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def failing() -> None:
        raise DomainError("x" * 10**6)

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: failing)
    assert main(["failing"]) == 2
    assert len(capsys.readouterr().err) < 2100


def test_interrupt_before_the_first_command_or_while_one_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", stop)
    assert main(["methods"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize(("error", "status"), [(AttributeError("half made"), 0), (KeyboardInterrupt(), 130)])
def test_what_fails_while_an_object_goes_away_prints_nothing_and_swallows_no_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    class Fragile:
        def __del__(self) -> None:
            raise error

    @click.command()
    def dropping() -> None:
        fragile = Fragile()
        del fragile
        for _ in range(1000 if status else 0):
            time.sleep(0.01)

    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: dropping)
    before = sys.unraisablehook
    assert main(["dropping"]) == status
    assert sys.unraisablehook is before
    assert "Traceback" not in capsys.readouterr().err


def test_what_others_print_goes_to_stderr_for_a_while(capfd: pytest.CaptureFixture[str]) -> None:
    with stdout_to_stderr():
        os.write(1, b"from C")
        print(" from Python")
    os.write(1, b"again")
    printed = capfd.readouterr()
    assert printed.out == "again"
    assert sorted(printed.err.split()) == ["C", "Python", "from", "from"]


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["methods"]) == 0
    assert main(["nonsense"]) == 2
    sys.stdout.close()
    sys.stderr.close()


def test_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m lieref --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_what_a_terminal_would_obey_is_shown_not_sent(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "\x1b[2Jgone\x07.onnx"]) == app.WRONG_USE
    error = capfd.readouterr().err
    assert error.isascii()
    assert error.removesuffix("\n").isprintable()
    assert r"\x1b[2Jgone\x07.onnx" in error
