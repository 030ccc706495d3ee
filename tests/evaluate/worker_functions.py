"""What the workers of the tests do: they import this file."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from lieref.errors import DomainError


class Item(NamedTuple):
    number: int
    does: str = ""
    flag: str = ""


def scaled(common: dict[str, Any], item: Item) -> tuple[int, int, str | None]:
    """Return a number, the process, and its BLAS threads; or do what the item says."""
    if item.does == "refuse":
        raise DomainError(f"scaled: `item` must be another; got {item.number}")
    if item.does == "fail":
        raise ZeroDivisionError("of the function")
    if item.does == "die" or (item.does == "die once" and not Path(item.flag).exists()):
        if item.flag:
            Path(item.flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if item.does == "rest":
        time.sleep(0.2)
    if item.does == "wait":
        Path(item.flag).write_text(str(os.getpid()))
        time.sleep(60)
    return common["factor"] * item.number, os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS")
