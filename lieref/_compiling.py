"""Who is told when machine code has to be made, which takes seconds once and is kept: see `lieref._cache`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]


class _Listeners(threading.local):
    """Those of each thread: who listens is told by the thread that compiles."""

    def __init__(self) -> None:
        self.known: list[Listener] = []


_LISTENERS = _Listeners()


def tell(what: str) -> None:
    """Tell the last listener of this thread what is about to be compiled; without one, a terminal on stderr."""
    text = f"compiling {what} (once after installation)"
    if _LISTENERS.known:
        _LISTENERS.known[-1](text)
    elif sys.stderr.isatty():
        print(f"lieref: {text}", file=sys.stderr)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a function be called with one line before anything is compiled in this thread while the block runs.

    It is called under the locks of who compiles, so it must not wait for another thread.
    """
    _LISTENERS.known.append(listener)
    try:
        yield
    finally:
        _LISTENERS.known.pop()
