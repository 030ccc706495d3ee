"""What commands print: one JSON object or a table on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lieref.evaluate.report import Report

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a few words."""


def print_json(report: dict[str, Any]) -> None:
    """Print one JSON object on stdout, in ASCII, which any terminal and any pipe can carry."""
    print(json.dumps(report, indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, header: bool = True) -> None:
    """Print a table on stdout; columns of numbers are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    # Whatever comes from a user is text: a name with brackets in it is no style.
    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=header)
    for number, column in enumerate(columns):
        numeric = all(row[number][:1] in "-+0123456789" for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    _print(table)


def print_reports(reports: Sequence[Report]) -> None:
    """Print the table of fine-tuning reports, the base first, on stdout."""
    from lieref.evaluate.report import rich_table

    _print(rich_table(reports))


def print_facts(title: str, facts: dict[str, object]) -> None:
    """Print a short list of names and values on stdout; of a file that nobody vouches for, they may hold anything."""
    from lieref._text import printable

    rows = [(printable(name), printable(str(value))) for name, value in facts.items()]
    print_table(title, ("name", "value"), rows, header=False)


def _print(table: Table) -> None:
    # Without a terminal there is no width to fit: a table in a file or a pipe is not cut.
    console_on(sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


def console_on(stream: TextIO, width: int | None = None) -> Console:
    """Return rich's console: NO_COLOR leaves out every style, and FORCE_COLOR, if that is not set, keeps them anywhere.

    Raises
    ------
    ImportError
        If rich is not installed.
    """
    from rich.console import Console

    return Console(file=stream, width=width, color_system=None if os.environ.get("NO_COLOR") else "auto")


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what others print while the block runs: through Python, or from C through the descriptor."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def say(text: str) -> None:
    """Print a line for people on stderr."""
    from lieref._text import printable

    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


@contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
    """Show progress on stderr while the block runs, with the time that is left: see `lieref.cli.live`.

    Machine code that has to be made first is said in it.
    """
    from lieref.cli.live import TimeLeft, left_text, live_line

    with live_line(description) as line:
        known, time_left = 0, TimeLeft(line.clock)

        def update(done: int, total: int, words: str) -> None:
            nonlocal known, time_left
            if total != known:  # another part of the work
                known, time_left = total, TimeLeft(line.clock)
            left = time_left.after(done, total) if done < total else None
            if line.due() or done >= total:
                said = f", {words}" if words else ""
                line.show(done, total, f"{description}: {done} of {total}{left_text(left)}{said}")

        yield update


@contextmanager
def working(description: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr that a block is at work, and for how long, where its parts cannot be counted.

    Yields a function that takes what is done next in a few words.
    """
    from lieref.cli.live import live_line

    with live_line(description) as line:

        def step(words: str) -> None:
            if line.moves or line.due():
                line.show(0, None, f"{description}: {words}")

        yield step


def wrote(what: str, *commands: str) -> None:
    """Print the last line of a command that wrote something: what and where it is, and what may come next."""
    from lieref._text import printable

    print(printable(f"{what}." + (f" Next: {', or '.join(commands)}" if commands else "")))


def word(path: object) -> str:
    """Return a path as one word of a command that is shown."""
    return shlex.quote(str(path))


def percent(fraction: float | None) -> str:
    """Return a fraction as percent with two digits, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def number(value: float | None) -> str:
    """Return a number with four digits, or a dash."""
    return "-" if value is None else f"{value:.4g}"
