"""Where a command may write: taken before any work is done, held until the result is in place."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lieref._atomic import check_new_folder
from lieref._lock import exclusive
from lieref.errors import DomainError

ADAPTER_NAMES = frozenset({"adapter_model.safetensors", "adapter_config.json"})


@contextmanager
def reserved_folder(command: str, out: Path, names: Collection[str], *, force: bool) -> Iterator[Collection[str]]:
    """Hold a new folder for a command, or with `force` one that holds nothing but files of these names.

    Yields
    ------
    collection of str
        What `write_folder` may replace there.

    Raises
    ------
    UsageError
        If `force` would help.
    DomainError
        If the folder cannot be written, or another command is writing it.
    """
    replaces = names if force else ()
    _check(out, names, replaces)
    with exclusive(out, command, "out"):
        _check(out, names, replaces)  # another run may just have finished
        yield replaces


@contextmanager
def reserved_file(command: str, path: Path, argument: str) -> Iterator[None]:
    """Hold a file for a command; a device or a pipe is nobody's.

    Raises
    ------
    UsageError
        If it is a folder, or lies in none.
    DomainError
        If its folder cannot be written, or another command is writing the file.
    """
    if path.is_dir():
        raise click.UsageError(f"{path} is a folder; name a file with --{argument}")
    if not path.parent.is_dir():
        raise click.UsageError(f"there is no folder {path.parent}; make it first, or name another --{argument}")
    if path.exists() and not path.is_file():
        yield
        return
    with exclusive(path, command, argument):
        yield


@contextmanager
def reserved_result(command: str, path: Path, argument: str, *, force: bool) -> Iterator[None]:
    """Hold a file that is a result: one that is there is kept, unless `force` replaces it; else `reserved_file`.

    Raises
    ------
    UsageError, DomainError
        As `reserved_file`, or if the file is there and `force` is false.
    """
    with reserved_file(command, path, argument):
        if path.is_file() and not force:
            raise click.UsageError(f"{path} exists; add --force to replace it, or name another --{argument}")
        yield


@contextmanager
def reserved_history(path: Path | None, out: Path, *, replaces: bool) -> Iterator[None]:
    """Hold the file that a run's record is written to while it trains, if there is to be one.

    Raises
    ------
    UsageError
        If it exists and `replaces` is false, lies in `out`, is a folder, or lies in none.
    DomainError
        If its ending is unknown, or it cannot be held.
    """
    if path is None:
        yield
        return
    from lieref.train.history_file import check_ending

    check_ending("finetune", "history", path)
    if out in Path(os.path.abspath(path)).parents:
        raise click.UsageError(
            f"{path} lies in {out}, which appears when all is done, with history.json; name a file beside it"
        )
    with reserved_file("finetune", path, "history"):
        if path.exists() and not replaces:
            raise click.UsageError(f"{path} exists; add --force to replace it, or name another --history")
        yield


def _check(out: Path, names: Collection[str], replaces: Collection[str]) -> None:
    try:
        check_new_folder(out, replaces)
    except DomainError:
        if not replaces and out.is_dir() and not out.is_symlink() and _can_be_replaced(out, names):
            raise click.UsageError(f"{out} is not empty: it holds a result; add --force to replace it") from None
        raise


def _can_be_replaced(out: Path, names: Collection[str]) -> bool:
    try:
        check_new_folder(out, names)
    except DomainError:
        return False
    return True
