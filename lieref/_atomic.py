"""Files and folders that are there whole or not at all, also after a crash or a power cut.

Everything is written under a hidden name beside the target, flushed to the disk, and then renamed: on one file system a
rename happens entirely or not at all. Flushing the parent folder makes the rename itself last.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lieref.errors import DomainError

# A write takes well under a second, so what is older was left by a process that was killed.
_LEFTOVER_SECONDS = 600.0


def check_new_folder(folder: str | Path) -> Path:
    """Return `folder` as a path if `write_folder` may create it: absent, or an empty folder.

    Raises
    ------
    DomainError
        If it is a file, is not empty, or its parent is not a folder.
    """
    path = Path(folder)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise DomainError(f"write_folder: `folder` must be a new or empty folder; got {path}, which is not a folder")
    if path.is_dir() and any(path.iterdir()):
        raise DomainError(f"write_folder: `folder` must be a new or empty folder; got {path}, which is not empty")
    for parent in path.absolute().parents:
        if parent.exists():
            if not parent.is_dir():
                raise DomainError(f"write_folder: `folder` must lie in a folder; got {path}, but {parent} is a file")
            break
    return path


def write_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Create a folder with these files, all of them or nothing.

    Parameters
    ----------
    folder : path
        Absent or empty; missing parents are made.
    files : mapping of str to bytes
        Plain file names, no separators.

    Raises
    ------
    DomainError
        If the folder exists and is not empty, or a name is not a plain file name.
    """
    path = check_new_folder(folder)
    for name in files:
        if name in {"", ".", ".."} or Path(name).name != name:
            raise DomainError(f"write_folder: `files` must have plain file names; got {name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = _partial_name(path)
    partial.mkdir()
    try:
        for name, data in files.items():
            _write_and_flush(partial / name, data)
        _flush_folder(partial)
        if os.name == "nt" and path.is_dir():
            path.rmdir()
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _flush_folder(path.parent)


def write_file(path: str | Path, data: bytes) -> None:
    """Create or replace one file: a reader sees the old bytes or the new ones, never a mixture.

    Raises
    ------
    DomainError
        If the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise DomainError(f"write_file: `path` must be a file; got the folder {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    partial = _partial_name(target)
    try:
        _write_and_flush(partial, data)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")


def _remove_leftovers(path: Path) -> None:
    """Remove what an earlier write to the same target left when it was killed."""
    for leftover in path.parent.glob(f".{path.name}.partial-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _write_and_flush(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
