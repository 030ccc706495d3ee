"""The two locks of a store: one installer at a time, and one change of the state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lieref._lock import InUseError, exclusive
from lieref.adapter.store.refusal import StoreRefused
from lieref.adapter.store.state_file import STATE_NAME, read_state

WAIT_SECONDS = 10.0
"""How long a change of the state waits for another one, which takes milliseconds."""
_PAUSE_SECONDS = 0.005

INSTALL_LOCK = "install.lock"
STATE_LOCK = "state.lock"


def only_installer(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of whoever installs; refused as ``busy`` where another one does."""
    return _held(folder, INSTALL_LOCK, "install", 0.0)


def only_changer(folder: Path, verb: str) -> AbstractContextManager[None]:
    """Hold the lock of whoever changes the state; refused as ``busy`` after `WAIT_SECONDS`."""
    return _held(folder, STATE_LOCK, verb, WAIT_SECONDS)


@contextmanager
def _held(folder: Path, name: str, verb: str, seconds: float) -> Iterator[None]:
    """Hold a lock of the store while the block runs; refused as ``busy`` if it cannot be had in time."""
    if not (folder / STATE_NAME).is_file():
        read_state(folder)  # which says why; or else a folder would be made for the lock
    end = time.monotonic() + seconds
    while True:
        lock = exclusive(folder, verb, "store", lock=folder / name)
        try:
            lock.__enter__()
        except InUseError as error:
            if time.monotonic() >= end:
                raise StoreRefused("busy", str(error)) from None
            time.sleep(_PAUSE_SECONDS)
            continue
        break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
