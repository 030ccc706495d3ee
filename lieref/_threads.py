"""Locks that a forked process finds free, and what one thread at a time may have to itself.

A fork has none of its parent's other threads, so nobody would ever let go of what they held. What such a lock guards
must therefore be right, or marked as unfinished, at every moment: a fork or an interruption may come between any two.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

from lieref.errors import BusyError

_LOCKS: weakref.WeakSet[threading.RLock] = weakref.WeakSet()


def make_lock() -> threading.RLock:
    """Return a re-entrant lock; taken by ``with``, no interruption leaves it held."""
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def _free() -> None:
    for lock in list(_LOCKS):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # what the standard library's own locks do


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)


class Use:
    """That a thread has something to itself: a context, which ends on leaving, or when nothing holds it any more.

    Attributes
    ----------
    doing : str
        Function at work.
    before : object
        What other threads are to see meanwhile; None where they see things as they are.
    """

    __slots__ = ("__weakref__", "_of", "before", "doing", "owner")

    def __init__(self, of: Exclusive, doing: str, before: Any) -> None:
        self._of = of
        self.doing = doing
        self.before = before
        self.owner = _me()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._of._end(self)


class Exclusive:
    """Something that one thread at a time may have to itself; the same thread may take it again inside.

    It knows its user by a weak reference, so that no interruption on the way leaves it taken for good.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = make_lock()
        self._use: Callable[[], Use | None] = _nobody

    def take(self, doing: str, before: Any = None) -> Use:
        """Return the use of this thread, for ``with``.

        Raises
        ------
        BusyError
            If another thread has it.
        """
        with self._lock:
            use = self._use()
            if use is None or use.owner[0] != os.getpid():  # a fork has no threads of its parent
                use = Use(self, doing, before)
                self._use = weakref.ref(use)
            elif use.owner != _me():
                raise BusyError(
                    f"{doing}: {self._name} must be trained or changed by one thread at a time; got a call while "
                    f"another thread is in {use.doing}"
                )
            else:
                use = Use(self, doing, before)
            return use

    def of_another(self) -> Use | None:
        """Return the use of another thread, or of one that a fork has left behind; None where there is none."""
        use = self._use()
        return None if use is None or use.owner == _me() else use

    def _end(self, use: Use) -> None:
        if self._use() is use:
            self._use = _nobody


def _me() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _nobody() -> None:
    return None
