"""One function called for many items: in this process, in processes of this machine (joblib), or on a Dask cluster.

The engines are joblib's and Dask's. What is added is one meaning for all three: an item costs itself and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import lieref
from lieref._check import check_int, need
from lieref.errors import DomainError, LierefError

Item = TypeVar("Item")
Result = TypeVar("Result")

NEEDED = ("numpy", "scipy", "numba", "llvmlite")
"""Packages that decide about the last bits of a result."""

_ONE_AT_A_TIME = threading.Lock()
"""Held by the item that a process is at: a worker with several threads computes one item at a time, on one."""


class WorkerError(LierefError, RuntimeError):
    """What takes the place of a result where there is none, and what is raised where no worker can be had."""


def run_all(
    function: Callable[[Any, Item], Result],
    common: Any,
    items: Iterable[Item],
    *,
    jobs: int = 1,
    dask: str | None = None,
    retries: int = 2,
) -> Iterator[tuple[Item, Result | WorkerError]]:
    """Yield each item with ``function(common, item)``, in the order in which they are done.

    An item of which the worker dies (killed, out of memory) is tried again, the last time with no other at work; the
    others go on. An item for which `function` raises a `LierefError`, or which kills its workers every time, is yielded
    with a `WorkerError` that holds the message. Any other exception is raised here, and so is KeyboardInterrupt: what
    has not begun is then cancelled, and processes of this machine are ended (one on a cluster finishes its item).

    Every worker computes one item at a time, on one thread. Items are asked for as workers become free, so that an
    iterator may make them one after another.

    Parameters
    ----------
    function
        Of a module that the workers can import.
    common
        What all calls share; sent once to each process. It and the items are pickled where there are workers.
    items
        In the order in which they begin.
    jobs : int
        Processes on this machine; 1 is this process itself, and protects from nothing that kills it.
    dask : str, optional
        Address of a scheduler, for example ``tcp://10.0.0.1:8786``. Whoever can reach that address can run code on its
        workers: keep it inside a network you trust.
    retries : int
        At least 1: how often an item is tried again after its worker has died. On a cluster the scheduler decides
        (``distributed.scheduler.allowed-failures``, 3 by default).

    Raises
    ------
    DomainError
        If `jobs` or `retries` is below 1, or both `jobs` and `dask` are given, or the address is none.
    MissingExtraError
        If joblib or Dask is needed and not installed.
    WorkerError
        While items are asked for: if no scheduler or worker answers in 10 seconds, if the scheduler goes away, or a
        worker has other versions of lieref, Python, NumPy, SciPy, Numba or llvmlite, which would give other bits.
    """
    check_int("run_all", "jobs", jobs, low=1)
    check_int("run_all", "retries", retries, low=1)
    if dask is not None:
        if jobs != 1:
            raise DomainError(f"run_all: `jobs` must be left out where `dask` names a cluster; got {jobs}")
        need("distributed", "sweep", "running on a Dask cluster")
        from lieref.evaluate.on_dask import on_dask

        return on_dask(function, common, items, dask)
    if jobs == 1:
        return _here(function, common, items)
    need("joblib", "sweep", "running in several processes")
    from lieref.evaluate.on_processes import on_processes

    return on_processes(function, common, items, jobs, retries)


def call(function: Callable[[Any, Item], Result], common: Any, item: Item) -> Result | WorkerError:
    """Return what the function gives for an item, or why it refuses it."""
    with _ONE_AT_A_TIME:
        try:
            return function(common, item)
        except LierefError as error:
            return WorkerError(str(error))


@functools.cache
def versions() -> dict[str, str]:
    """Return what this process computes with: the versions that decide about the bits of a result."""
    found = {"lieref": f"{lieref.__version__} ({_digest_of_sources()[:12]})"}
    found["Python"] = ".".join(platform.python_version_tuple()[:2])
    for name in NEEDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _digest_of_sources() -> str:
    folder = Path(lieref.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _here(
    function: Callable[[Any, Item], Result], common: Any, items: Iterable[Item]
) -> Iterator[tuple[Item, Result | WorkerError]]:
    for item in items:
        yield item, call(function, common, item)
