"""``python -m lieref`` is the `lieref` command."""

import sys

from lieref.cli import main

if __name__ == "__main__":
    sys.exit(main())
