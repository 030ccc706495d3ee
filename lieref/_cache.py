"""Compiled code kept between runs, in one folder of the user's: found again only if every byte is as it was written.

A cache may cost time and nothing else: a file that is missing, damaged or of no use is compiled anew and replaced, and
a folder that cannot be written is said once. Files carry their SHA-256 in front: a damaged one is never executed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

from lieref._atomic import write_file
from lieref.errors import LierefError, LierefWarning

_DIGEST_BYTES = 32
_said: set[str] = set()


class CacheWarning(LierefWarning):
    """Compiled code cannot be kept, so that every start compiles it anew."""


def cache_folder() -> Path | None:
    """Return where compiled code is kept: LIEREF_CACHE_DIR, or the user's cache folder; None if that is empty.

    Raises
    ------
    OSError
        If the user has no home.
    """
    named = os.environ.get("LIEREF_CACHE_DIR")
    if named is not None:
        return Path(named) if named else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # others are to be ignored, as that convention says
        return Path(base) / "lieref"
    try:
        return Path.home() / ".cache" / "lieref"
    except RuntimeError as error:
        raise OSError("this user has no home folder") from error


def read_cached(name: str) -> bytes | None:
    """Return what was written under this name, or None if there is nothing, or something else."""
    try:
        folder = cache_folder()
        path = None if folder is None else folder / name
        data = path.read_bytes() if path is not None and path.is_file() else b""
    except OSError:
        return None
    body = data[_DIGEST_BYTES:]
    return body if body and hashlib.sha256(body).digest() == data[:_DIGEST_BYTES] else None


def write_cached(name: str, body: bytes) -> None:
    """Keep bytes under a name for the next start.

    Warns
    -----
    CacheWarning
        Once in a process, if they cannot be kept.
    """
    folder = None
    try:
        folder = cache_folder()
        if folder is not None:
            write_file(folder / name, hashlib.sha256(body).digest() + body)
    except (OSError, LierefError) as error:
        where = str(folder or "the user's cache folder")
        if where not in _said:
            _said.add(where)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            text = (
                f"compiled code cannot be kept in {where} ({reason}), so that every start compiles it anew: set "
                "LIEREF_CACHE_DIR to a folder that can be written, or to nothing to do without"
            )
            warnings.warn(text, CacheWarning, stacklevel=2)
