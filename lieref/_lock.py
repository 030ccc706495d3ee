"""One writer at a time: a lock on an output that is gone with the process that holds it, however that ends.

The lock is the operating system's on an open file beside the output. A file that a killed process left behind is not
locked: the next writer takes it over.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lieref.errors import DomainError, LierefWarning

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Each round needs another process that lets go between two system calls of this one.
_ROUNDS = 100
# Windows keeps others from reading what is locked, and the text at the beginning is for them.
_LOCKED_BYTE = 2**20
_REFUSED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EEXIST),
    errno.ENOENT,  # where nothing can be made, such as /proc
}
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}


class InUseError(DomainError):
    """Another writer is at work."""


class NoLockWarning(LierefWarning):
    """A file system cannot lock files, so that nothing keeps two runs from writing the same output."""


def try_lock(descriptor: int) -> None:
    """Lock an open file until it is closed.

    Raises
    ------
    BlockingIOError
        If another open file has the lock, in this process or in another one.
    OSError
        If the file system has no locks.
    """
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    else:
        # flock, not lockf: it keeps two threads of one process apart too, and closing another descriptor of the same
        # file does not drop it.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def exclusive(target: str | Path, function: str, argument: str, *, lock: str | Path | None = None) -> Iterator[None]:
    """Keep every other writer of `target` out while the block runs, in this process and in others.

    Missing folders above the lock are made, and removed again where they stay empty.

    Parameters
    ----------
    target : path
        What is going to be written.
    function, argument : str
        For the messages: who writes, and how its user calls the target.
    lock : path, optional
        The file to lock; ``.NAME.lock`` beside `target` by default.

    Raises
    ------
    InUseError
        If another writer is at work.
    DomainError
        If the folder cannot be written.

    Warns
    -----
    NoLockWarning
        If the file system has no locks.
    """
    target = Path(os.path.abspath(target))
    path = target.with_name(f".{target.name}.lock") if lock is None else Path(lock)
    made: list[Path] = []
    try:
        try:
            descriptor = _open_locked(path, made)
        except BlockingIOError as error:
            raise InUseError(
                f"{function}: `{argument}` must not be in use; {target} is being written {error}"
            ) from None
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise DomainError(
                f"{function}: `{argument}` must lie in a folder that can be written; got {target}: {error.strerror}"
            ) from error
        try:
            yield
        finally:
            # Removed while it is locked: whoever opened it meanwhile finds that it is no longer the file of that name.
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)
            if os.name == "nt":
                with suppress(OSError):
                    path.unlink()
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _open_locked(path: Path, made: list[Path]) -> int:
    """Return a descriptor that has the lock; folders made on the way are put first into `made`.

    Raises `BlockingIOError`, with who holds it as its text.
    """
    missing: FileNotFoundError | None = None
    for _ in range(_ROUNDS):
        try:
            made[:0] = make_folders(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError as error:
            missing = error  # another process removed a folder that it had made; or nothing can be made here at all
            continue
        try:
            if _lock_is_ours(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise missing or BlockingIOError("by many processes")


def _sign(descriptor: int) -> None:
    """Write into the lock who holds it; a full disk costs that text only."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"by process {os.getpid()} on {platform.node()} since {time.ctime()}".encode())


def _lock_is_ours(descriptor: int, path: Path) -> bool:
    """Lock the open file and tell whether it still is the file of that name."""
    try:
        try_lock(descriptor)
    except BlockingIOError:
        os.lseek(descriptor, 0, os.SEEK_SET)
        raise BlockingIOError(os.read(descriptor, 200).decode(errors="replace") or "by another process") from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        text = f"the file system of {path.parent} has no locks: never start two runs with one output there"
        warnings.warn(text, NoLockWarning, stacklevel=5)
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def make_folders(folder: Path) -> list[Path]:
    """Make a folder with its parents, and return those that were missing, the deepest first."""
    missing: list[Path] = []
    for path in (folder, *folder.absolute().parents):
        if path.is_dir():
            break
        missing.append(path)
    made: list[Path] = []
    try:
        for path in reversed(missing):
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise
            else:
                made.insert(0, path)
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise
    return made
