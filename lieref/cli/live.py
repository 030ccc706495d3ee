"""Progress on stderr: one line that moves in a terminal, a line now and then elsewhere, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lieref._compiling import listening

if TYPE_CHECKING:
    from rich.console import Console

DRAWN_SECONDS = 0.2
"""Between two looks of the moving line."""

FIRST_SECONDS, SHARE, MOST_SECONDS = 5.0, 0.05, 60.0
"""Between two plain lines: 5 seconds at first, a twentieth of the time gone, a minute at most."""

BAR_WIDTH = 10

_QUIET = "lieref.quiet"


def _keep(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[_QUIET] = value


quiet_option = click.option(
    "--quiet", "-q", is_flag=True, expose_value=False, callback=_keep, help="No progress on stderr."
)


def is_quiet() -> bool:
    """Return whether the command that runs was given ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


class Line:
    """Where progress is shown; the clock says how often.

    Parameters
    ----------
    draw : callable or None
        Called with how much is done, of how much, and the words; None shows nothing.
    moves : bool
        Whether a look replaces the last one.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self, draw: Callable[[int, int | None, str], None] | None, moves: bool, clock: Callable[[], float] | None = None
    ) -> None:
        self._draw, self.moves = draw, moves
        self.clock = clock or time.monotonic
        self._began = self._last = self.clock()

    def due(self) -> bool:
        """Return whether it is time for another look."""
        if self._draw is None:
            return False
        now = self.clock()
        pace = DRAWN_SECONDS if self.moves else min(max(FIRST_SECONDS, SHARE * (now - self._began)), MOST_SECONDS)
        return now - self._last >= pace

    def show(self, done: int, total: int | None, words: str) -> None:
        """Show this now."""
        if self._draw is not None:
            self._last = self.clock()
            self._draw(done, total, words)


class TimeLeft:
    """How long the rest takes, at the mean pace since the first call.

    Parameters
    ----------
    clock : callable
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._origin: tuple[int, float] | None = None

    def after(self, done: int, total: int) -> float | None:
        """Return the seconds left; None at first, where nothing has been done since."""
        now = self._clock()
        if self._origin is None or done < self._origin[0]:
            self._origin = done, now
        first, began = self._origin
        return (now - began) / (done - first) * (total - done) if done > first else None


def left_text(seconds: float | None) -> str:
    """Return ", 3 min 20 s left", or nothing where it is not known."""
    return "" if seconds is None else f", {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return seconds in words, to two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@contextmanager
def live_line(description: str) -> Iterator[Line]:
    """Give the line of a block; what is compiled meanwhile is said in it where it moves."""
    console = None if is_quiet() else _terminal()
    if console is not None:
        with _moving(description, console) as line:
            yield line
        return
    from lieref.cli.console import say

    with listening(lambda _: None):
        yield Line(None if is_quiet() else lambda done, total, words: say(words), moves=False)


def _terminal() -> Console | None:
    """Return the terminal on stderr, None where it is none, or nothing can move in it, or rich is not installed.

    FORCE_COLOR is for colours: what is no terminal still gets plain lines.
    """
    if not sys.stderr.isatty():
        return None
    try:
        from lieref.cli.console import console_on

        console = console_on(sys.stderr)
    except ImportError:
        return None
    return None if console.is_dumb_terminal else console


@contextmanager
def _moving(description: str, console: Console) -> Iterator[Line]:
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (BarColumn(BAR_WIDTH), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape(description), total=None)

        def draw(done: int, total: int | None, words: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(words))

        with listening(lambda words: bar.update(task, description=escape(f"{description}: {words}"))):
            yield Line(draw, moves=True)
