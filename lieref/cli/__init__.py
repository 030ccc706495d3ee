"""The `lieref` command: parse, call, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 2 wrong use or bad input, 130 Ctrl-C, 1 anything else.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows ``lieref``; ``sys.argv[1:]`` by default.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started without it
            setattr(sys, name, open(os.devnull, "w"))
    try:
        from lieref.cli.app import run

        return run(arguments)
    except KeyboardInterrupt:  # while modules are loaded, or once more while the first one is answered
        print("error: interrupted", file=sys.stderr)
        return 130
    except ImportError as error:
        package = (error.name or "a package").split(".")[0]
        print(
            f"error: the lieref command needs {package}, which is not installed; "
            "install it with: pip install 'lieref[app]'",
            file=sys.stderr,
        )
        return 1
