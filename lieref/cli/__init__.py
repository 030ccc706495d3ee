"""The `lieref` command: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 2 wrong use or bad input, 1 anything else.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows ``lieref``; ``sys.argv[1:]`` by default.
    """
    try:
        from lieref.cli.app import run
    except ImportError as error:
        package = (error.name or "a package").split(".")[0]
        print(
            f"error: the lieref command needs {package}, which is not installed; "
            "install it with: pip install 'lieref[app]'",
            file=sys.stderr,
        )
        return 1
    return run(arguments)
