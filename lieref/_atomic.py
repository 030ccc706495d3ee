"""Files and folders that are there whole or not at all, also after a crash or a power cut.

Everything is written under a hidden name beside the target, flushed to the disk, and then renamed: on one file system a
rename happens entirely or not at all. Flushing the parent folder makes the rename itself last; where only that fails,
what was written is there and whole, so that it is a warning and not an error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lieref._lock import make_folders, try_lock
from lieref.errors import DomainError, LierefWarning

# A writer locks what it has just made within milliseconds; older and not locked means left by one that was killed.
_LEFTOVER_SECONDS = 10.0
# What file systems allow for a name, less the most that is added to it here.
_NAME_BYTES = 255 - len("..replaced-01234567")
# Linux's for a path with its end, less what is added to it here and the files of a folder.
_PATH_BYTES = 3800
# Of a file system that cannot flush folders at all.
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


class NotFlushedWarning(LierefWarning):
    """A file or folder is written whole, but the disk did not confirm that it would survive a power cut."""


class LeftBehindWarning(LierefWarning):
    """A folder that is of no use any more could not be removed."""


def check_new_folder(folder: str | Path, replaces: Collection[str] = ()) -> Path:
    """Return `folder` as an absolute path if `write_folder` may create it.

    Parameters
    ----------
    folder : path
        Absent, empty, or with nothing in it but files that may be replaced.
    replaces : collection of str
        Names of those files.

    Raises
    ------
    DomainError
        If it is a file, holds something else, cannot be replaced, or its parent is not a folder.
    """
    _check_name("write_folder", "folder", Path(folder))
    path = Path(os.path.abspath(folder))
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        kind = "not a folder" if path.is_symlink() or not path.is_file() else "a file: name a folder"
        raise DomainError(f"write_folder: `folder` must be a new or empty folder; got {path}, which is {kind}")
    if path.is_dir():
        kept = next((p for p in path.iterdir() if p.name not in replaces or p.is_symlink() or not p.is_file()), None)
        if kept is not None:
            raise DomainError(
                f"write_folder: `folder` must be a new or empty folder; got {path}, which is not empty: it holds "
                f"{kept.name}"
            )
        if os.path.ismount(path) or path.samefile("."):
            raise DomainError(
                "write_folder: `folder` must be neither a mount point nor the working folder, which cannot be "
                f"replaced; got {path}: name a new folder inside it"
            )
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise DomainError(f"write_folder: `folder` must lie in a folder; got {path}, but {parent} is a file")
            break
    return path


def write_folder(folder: str | Path, files: Mapping[str, bytes], *, replaces: Collection[str] = ()) -> None:
    """Create a folder with these files, all of them or nothing.

    Parameters
    ----------
    folder : path
        See `check_new_folder`; missing parents are made.
    files : mapping of str to bytes
        Plain file names, no separators.
    replaces : collection of str
        Names of files that may be there: a folder of these alone is replaced whole.

    Raises
    ------
    DomainError
        If the folder exists and is not empty, or a name is not a plain file name.

    Warns
    -----
    NotFlushedWarning
        See there.
    """
    for name in files:
        if name in {"", ".", ".."} or Path(name).name != name:
            raise DomainError(f"write_folder: `files` must have plain file names; got {name!r}")
    with _appearing(folder, replaces) as partial:
        for name, data in files.items():
            _write_and_flush(partial / name, data)


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Give a hidden folder to fill with files and folders; it becomes `folder` when the block ends without an error.

    Raises and warns as `write_folder` does.
    """
    with _appearing(folder, ()) as partial:
        yield partial
        for root, _, names in os.walk(partial, topdown=False):
            for name in names:
                with open(Path(root, name), "r+b") as file:
                    os.fsync(file.fileno())
            flush_folder(Path(root))


@contextmanager
def _appearing(folder: str | Path, replaces: Collection[str]) -> Iterator[Path]:
    """Give a hidden folder to fill with what is flushed already; see `write_folder`."""
    path = check_new_folder(folder, replaces)
    made = make_folders(path.parent)
    _remove_leftovers(path)
    partial, old = _partial_name(path), None
    try:
        partial.mkdir()
        with _in_use(partial):
            yield partial
            flush_folder(partial)
            if not _rename_folder(partial, path):
                check_new_folder(path, replaces)
                old = _swap(partial, path)
    except BaseException as error:
        _remove_tree(partial, ignore_errors=True)
        _remove_empty(made)
        _name_file(error, path)
        raise
    try:
        _confirm(path)
    finally:
        if old is not None:
            remove_folder(old)


def write_file(path: str | Path, data: bytes) -> None:
    """Create or replace one file: a reader sees the old bytes or the new ones, never a mixture.

    A device or a pipe is written, not replaced.

    Raises
    ------
    DomainError
        If the path is a folder.

    Warns
    -----
    NotFlushedWarning
        See there.
    """
    _check_name("write_file", "path", Path(path))
    target = Path(os.path.abspath(path))
    if target.is_dir():
        raise DomainError(f"write_file: `path` must be a file; got the folder {target}")
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    made = make_folders(target.parent)
    _remove_leftovers(target)
    partial = _partial_name(target)
    try:
        _write_and_flush(partial, data)
        partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        _remove_empty(made)
        _name_file(error, target)
        raise
    _confirm(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder that has done its duty, if it is there; a failure is said, for it costs nothing but space."""
    try:
        _remove_tree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        text = f"{folder} is no longer needed, but cannot be removed ({error.strerror}): remove it"
        warnings.warn(text, LeftBehindWarning, stacklevel=3)
    except BaseException:
        _remove_tree(folder, ignore_errors=True)
        raise


def _remove_tree(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder and all in it; `shutil`, with the compressors that it loads, is rarely needed."""
    import shutil

    shutil.rmtree(folder, ignore_errors=ignore_errors)


def _check_name(function: str, argument: str, path: Path) -> None:
    """Refuse what no file system has a name for, before anything is written."""
    text = str(path)
    if "\0" in text or len(os.fsencode(path.name)) > _NAME_BYTES or len(os.fsencode(text)) > _PATH_BYTES:
        raise DomainError(
            f"{function}: `{argument}` must have a name of at most {_NAME_BYTES} bytes, none of them zero, in a path "
            f"of at most {_PATH_BYTES}; got {text[:100]!r}"
        )


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.urandom(4).hex()}")


def _remove_leftovers(path: Path) -> None:
    """Remove what an earlier write to the same target left when it was killed."""
    prefix = f".{path.name}.partial-"
    with suppress(OSError):
        for leftover in [p for p in path.parent.iterdir() if p.name.startswith(prefix)]:
            # A writer that takes long, or was suspended, still holds its lock.
            if time.time() - leftover.lstat().st_mtime > _LEFTOVER_SECONDS:
                with _in_use(leftover, strict=True):
                    _remove_tree(leftover) if leftover.is_dir() else leftover.unlink()


def _name_file(error: BaseException, path: Path) -> None:
    """Say in an error of the system what was being written; a full disk does not."""
    if isinstance(error, OSError) and error.errno is not None:
        error.filename, error.filename2 = str(path), None


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that are empty, the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _in_use(path: Path, *, strict: bool = False) -> Iterator[None]:
    """Hold the lock on a file or folder that is being written; without `strict` go on where there are no locks.

    Raises
    ------
    OSError
        If `strict` and the lock cannot be had.
    """
    descriptor = None
    try:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try_lock(descriptor)
        except OSError:
            if strict:
                raise
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _write_and_flush(path: Path, data: bytes) -> None:
    with open(path, "xb") as file, _in_use(path):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(descriptor)


def _confirm(path: Path) -> None:
    """Flush the folder in which `path` has just appeared; a failure is said, for what was written is there."""
    try:
        flush_folder(path.parent)
    except OSError as error:
        text = f"{path} is written, but the disk did not confirm it ({error.strerror}): copy it before a power cut"
        warnings.warn(text, NotFlushedWarning, stacklevel=4)


def _rename_folder(partial: Path, path: Path) -> bool:
    """Rename a folder to a name that is free or an empty folder's, and tell whether it was: in one step.

    Windows never replaces a folder, hence the empty one is removed first there.
    """
    if os.name == "nt":
        with suppress(OSError):
            path.rmdir()
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _swap(new: Path, path: Path) -> Path:
    """Put a folder in the place of another and return where that is now.

    In one step on Linux, elsewhere in two, of which the first is taken back if the second fails.
    """
    exchange = getattr(ctypes.CDLL(None), "renameat2", None) if os.name != "nt" else None
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange is not None and exchange(here, os.fsencode(new), here, os.fsencode(path), swap) == 0:
        return new
    # Never taken for a leftover: should the process be killed here, this is the only copy.
    old = path.with_name(f".{path.name}.replaced-{os.urandom(4).hex()}")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    return old
