"""Regular files alone: one read up to a cap, no link followed; or a digest. No pipe is waited for, no device read."""

from __future__ import annotations

import errno
import os
import stat
from hashlib import file_digest
from pathlib import Path

from lieref._text import near_path
from lieref.adapter.bundle.refusal import BundleRefused

# Where a system lacks one of these, what it is for is checked by `fstat` alone.
_FLAGS = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def read_regular(path: str | Path, cap: int, *, folder: int | None = None, missing: str = "missing-file") -> bytes:
    """Return what is in a regular file.

    Parameters
    ----------
    path : path
    cap : int
        Most bytes that are read.
    folder : int, optional
        Descriptor of the folder in which `path` is a name, so that the folder cannot be exchanged meanwhile.
    missing : str
        Slug of a file that cannot be read.

    Raises
    ------
    BundleRefused
        ``link``: if it is none; ``size``: if it is larger than the cap or grows; `missing`: if it cannot be read.
    """
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_regular(path, "a link or a socket") from None
        near = near_path(Path(path)) if error.errno == errno.ENOENT and folder is None else ""
        text = f"read_regular: `path` must be readable; got {path}: {error.strerror}{near}"
        raise BundleRefused(missing, text) from None
    except ValueError as error:  # a zero byte in the name
        raise BundleRefused(missing, f"read_regular: `path` must be readable; got {path!r}: {error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path, "a folder, a device or a pipe")
        if status.st_size > cap:
            raise _too_large(path, cap, f"{status.st_size}")
        with open(descriptor, "rb", closefd=False) as file:
            # One more than there should be: memory is taken for all that is asked for, not for what comes.
            data = file.read(status.st_size + 1)
    except OSError as error:
        text = f"read_regular: `path` must be readable; got {path}: {error.strerror}"
        raise BundleRefused(missing, text) from None
    finally:
        os.close(descriptor)
    if len(data) > status.st_size:
        raise _too_large(path, cap, "more, for it grows")
    return data


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256, in hexadecimal, of a regular file or of the one that a link leads to.

    Raises
    ------
    OSError
        If it cannot be read, or is a folder, a device or a pipe.
    """
    descriptor = os.open(path, _FLAGS & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file_digest(file, "sha256").hexdigest()
    finally:
        os.close(descriptor)


def _not_regular(path: str | Path, got: str) -> BundleRefused:
    return BundleRefused("link", f"read_regular: `path` must be a regular file; got {path}, {got}")


def _too_large(path: str | Path, cap: int, got: str) -> BundleRefused:
    return BundleRefused("size", f"read_regular: `path` must have at most {cap} bytes; got {path} of {got}")
