"""The largest single allocation of a piece of work, seen by a library that is loaded before the C library's own."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("largest_allocation.c")
NAME = "liblargest_allocation.so"


def build(folder: Path) -> Path:
    """Compile the library into a folder, once, and return its path; a process sees it with ``LD_PRELOAD``."""
    path = folder / NAME
    if path.exists():  # processes may have it loaded
        return path
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(path), str(SOURCE)], check=True)
    return path


def counters() -> tuple[Callable[[], None], Callable[[], int]] | None:
    """Return the functions that forget and tell the largest allocation, None where the library is not loaded."""
    if NAME not in os.environ.get("LD_PRELOAD", ""):
        return None
    library = ctypes.CDLL(None)
    library.largest_allocation.restype = ctypes.c_size_t
    library.reset_largest_allocation.restype = None
    return library.reset_largest_allocation, library.largest_allocation
