"""LLVM's locks across forks.

LLVM may be at work in a thread that a fork does not have; nobody would let go of its lock in the child. So a fork waits
until LLVM is at rest: each lock is taken before, and let go on both sides.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import binding


def hold_in_forks(lock: Any) -> None:
    """Take a lock before each fork, the one given last first, and let it go in parent and child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.__enter__, after_in_parent=lambda: _let_go(lock), after_in_child=lambda: _let_go(lock)
        )


def _let_go(lock: Any) -> None:
    lock.__exit__(None, None, None)


hold_in_forks(binding.ffi.lib._lock)
