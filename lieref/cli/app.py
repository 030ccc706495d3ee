"""The group of commands, loaded one by one, and the one place where an error becomes a line and an exit status."""

from __future__ import annotations

import _thread
import errno
import importlib
import io
import logging
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from lieref import __version__
from lieref._text import one_line
from lieref.cli.command import Group
from lieref.cli.extras import extra_of, install_line
from lieref.errors import LierefError, LierefWarning, MissingExtraError

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_BAD_PATHS = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS),
}

MOST_OF_A_KIND = 4
"""Warnings of one kind that are printed one by one; of more their number is."""

MOST_LETTERS = 2000
"""A longer line, such as one that holds a pattern from a file, is cut."""

# Command -> module and attribute, and what it does; a module is imported when its command is asked for.
COMMANDS = {
    "demo": ("lieref.cli.demo:demo", "See it work: four methods on a small network, no download."),
    "finetune": ("lieref.cli.finetune:finetune", "Train an adapter for an ONNX model and report on it."),
    "compare": (
        "lieref.cli.compare:compare",
        "Compare methods on one job: accuracy, bytes, latency.",
    ),
    "fleet": ("lieref.cli.fleet:fleet", "Adapt one base to every device of a fleet."),
    "plot": ("lieref.cli.plot:plot", "Draw loss and accuracy of training runs from their files."),
    "report": ("lieref.cli.report:report", "Show a run, a comparison or a fleet as one page."),
    "eval": ("lieref.cli.eval:evaluate", "Measure a model on labelled data."),
    "predict": ("lieref.cli.predict:predict", "Say the classes of images, vectors or arrays."),
    "ab": ("lieref.cli.ab:ab", "Plan and judge A/B tests of two models."),
    "roi": ("lieref.cli.roi:roi", "What updates of a fleet cost, what they bring, and what decides."),
    "merge": ("lieref.cli.merge:merge", "Write base and adapter as one ordinary ONNX model."),
    "carry": ("lieref.cli.carry:carry", "Put a float adapter into a quantised file of the same network."),
    "export": ("lieref.cli.export:export", "Write an adapter in the formats of others."),
    "import": ("lieref.cli.import_:import_", "Read an adapter of PEFT or LyCORIS."),
    "bundle": ("lieref.cli.bundle:bundle", "Make keys, and sign adapters for devices."),
    "device": ("lieref.cli.device:device", "Install signed adapters on a device, and roll them back."),
    "inspect": ("lieref.cli.inspect:inspect", "Show what a model, an adapter folder or an update holds."),
    "methods": (
        "lieref.cli.methods:methods",
        "List the methods, explain one, or show which parts go together.",
    ),
    "golden": ("lieref.cli.golden:golden", "Export golden vectors, and judge ports by them."),
    "doctor": ("lieref.cli.doctor:doctor", "Check the installation: versions, CPU, cache, and golden values."),
    "schema": ("lieref.cli.schema:schema", "Print the JSON Schema of what commands print with --json."),
    "completion": ("lieref.cli.completion:completion", "Print the script with which a shell completes commands."),
}


class LazyGroup(Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module."""
        if cmd_name not in COMMANDS:
            return None
        place, short_help = COMMANDS[cmd_name]
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.short_help = short_help
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


EPILOG = (
    "Exit status: 0 done, 1 failed, 2 wrong use or bad input, 3 a bundle refused, 130 interrupted. With --json a "
    "command prints one JSON object on stdout; lieref schema describes it. NO_COLOR=1 leaves out colours. Where "
    "something is slow or odd: lieref doctor."
)


@click.group(
    cls=LazyGroup,
    examples=(
        "lieref demo  # see it work, no download",
        "lieref finetune base.onnx --train train.npz --test test.npz --out adapted",
        "lieref merge base.onnx adapted -o merged.onnx",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(__version__, prog_name="lieref")
def lieref() -> None:
    """Fine-tune ONNX networks with LieRA and its relatives, on a CPU."""


def run(arguments: Sequence[str] | None) -> int:
    """Run one command and return its exit status; nothing but the status and text on stderr comes of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal has no letters for is shown with escapes instead of failing.
        sys.stdout.reconfigure(errors="backslashreplace")
    notes = _Notes()
    with warnings.catch_warnings(), _unraisable(), _unlogged():
        warnings.showwarning = notes.show
        # What lieref tells its user; what libraries tell their developers stays out.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            try:
                given = list(sys.argv[1:] if arguments is None else arguments)
                # What was asked for stands in the report of what came of it.
                status = lieref.main(given, prog_name="lieref", standalone_mode=False, obj=tuple(given))
            finally:
                notes.count()  # before the error, which is the last line
            sys.stdout.flush()
            return status if isinstance(status, int) else DONE
        except BrokenPipeError:
            # The reader has gone; Python must not complain about it again when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else FAILED
        except BaseException as error:
            return _report(error)


@contextmanager
def _unraisable() -> Iterator[None]:
    """Keep Python from printing a traceback of what fails where nothing can be raised, as in `__del__`.

    An object that Ctrl-C left half made fails so when it goes away. A Ctrl-C that falls into such a place counts.
    """

    again: list[threading.Timer] = []

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # A moment later, when this thread is somewhere else.
            again.append(threading.Timer(0.01, _thread.interrupt_main))
            again[-1].start()

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the log of libraries from stderr where nobody has asked for it: what a user must know comes as a warning."""
    before, logging.lastResort = logging.lastResort, logging.NullHandler()
    try:
        yield
    finally:
        logging.lastResort = before


def _report(error: BaseException) -> int:
    """Print what went wrong as one line and return the exit status."""
    status, text = FAILED, f"{type(error).__name__}: {error}; this is a defect of lieref, please report it"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show(sys.stderr)
        return WRONG_USE
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        status, text = INTERRUPTED, "interrupted"
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "lieref"
        status, text = WRONG_USE, f"{error.format_message()} (see: {command} --help)"
    elif isinstance(error, click.ClickException):
        status, text = error.exit_code, error.format_message()
    elif isinstance(error, MissingExtraError):
        text = str(error)
    elif isinstance(error, ModuleNotFoundError) and (extra := extra_of(error.name or "")):
        package = str(error.name).partition(".")[0]
        text = f"this command needs {package}, which is not installed; install it with: {install_line(extra)}"
    elif isinstance(error, LierefError):
        status, text = WRONG_USE, str(error)
    elif isinstance(error, OSError) and error.errno in _BAD_PATHS:
        status, text = WRONG_USE, f"{error.filename or 'working folder'}: {error.strerror}; check the path"
    elif isinstance(error, OSError):
        text = f"{error.filename or 'input or output'}: {error.strerror or error}"
    elif isinstance(error, MemoryError):
        text = "out of memory; a smaller --batch needs less"
    _print_line("error", text)
    return status


class _Notes:
    """The warnings of one command: each text once, when it comes; of many of one kind the first and their number."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Take the place of `warnings.showwarning`."""
        with self._lock:
            text = str(message)
            if text in self._seen:
                return
            self._seen.add(text)
            if category in (UserWarning, LierefWarning):  # of no kind in particular
                _print_line("warning", text)
                return
            self._kinds[category.__name__] += 1
            if self._kinds[category.__name__] <= MOST_OF_A_KIND:
                _print_line("warning", text)

    def count(self) -> None:
        """Print how many were not printed."""
        for kind, number in self._kinds.items():
            if number > MOST_OF_A_KIND:
                _print_line("warning", f"and {number - MOST_OF_A_KIND} more like these ({kind})")


def _print_line(kind: str, text: Any) -> None:
    line = one_line(text)
    line = line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]} ..."
    print(f"{kind}: {line}", file=sys.stderr)
