"""The stored core set of golden vectors, made again from nothing and compared byte by byte.

    python -m validation.golden_set [--write]

With --write the stored set is replaced. Takes about two minutes; needs the extra `test`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from lieref.conformance.generate import generate
from lieref.conformance.vectors import core_path, read_vectors, write_vectors


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of a folder by relative name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def main(write: bool) -> int:
    """Make the set and print how it compares; return the exit status."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "vectors"
        write_vectors(made, generate())
        new, old = files(made), files(core_path()) if core_path().exists() else {}
        different = sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))
        if write:
            shutil.rmtree(core_path(), ignore_errors=True)
            shutil.copytree(made, core_path())
    cases = len(read_vectors()[0])
    size = sum(map(len, new.values()))
    print(f"{cases} cases, {len(new)} files, {size} bytes, {time.process_time() - start:.0f} s of processor time")
    print("\n".join(different) if different else "the same bytes")
    return 0 if write or not different else 1


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
