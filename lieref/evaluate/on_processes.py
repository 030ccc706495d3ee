"""Items in processes of this machine, by joblib (loky)."""

from __future__ import annotations

import functools
import pickle
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from pathlib import Path
from typing import Any

from lieref.errors import LierefWarning
from lieref.evaluate.workers import WorkerError, call

COMMON = "common"
"""File of what all calls share, in the folder of a call of `on_processes`; beside it one a begun item, its number."""

EARLY = 3
"""Deaths one after another before any item was begun, after which items pay: processes that die at once never would."""


def on_processes(
    function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], jobs: int, retries: int
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its result, as `run_all` says.

    Where a process dies, joblib ends the others too and does not tell whose item it was: those at work are all tried
    again, and after `retries` - 1 times each by itself, so that none pays for another. An item that no process had
    begun does not pay either: a process may have died before, idle since an earlier call.
    """
    from joblib.externals.loky import get_reusable_executor

    with tempfile.TemporaryDirectory(prefix="lieref-") as folder:
        (Path(folder) / COMMON).write_bytes(pickle.dumps(common, protocol=5))
        pool = _Pool(function, folder, items, jobs)
        try:
            deaths: dict[int, int] = {}
            while pool.more():
                try:
                    yield from pool.run()
                    continue
                except BrokenProcessPool:
                    pass
                warnings.warn("run_all: a worker died; what was at work is tried again", LierefWarning, stacklevel=2)
                for index in pool.died():
                    deaths[index] = deaths.get(index, 0) + 1
                    if deaths[index] >= retries:
                        yield pool.alone(index)
        except BaseException:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


class _Pool:
    """Items that wait, and those at work.

    joblib asks for the next item in a thread of its own, so what `items` raises is kept for the thread of the caller.
    """

    def __init__(self, function: Callable[[Any, Any], Any], folder: str, items: Iterable[Any], jobs: int) -> None:
        self.function = function
        self.folder = folder
        self.jobs = jobs
        self.source = enumerate(items)
        self.working: dict[int, Any] = {}
        self.exhausted = False
        self.error: BaseException | None = None
        self.early = 0

    def more(self) -> bool:
        """Tell whether there is an item left that is not done."""
        return bool(self.working) or not self.exhausted

    def died(self) -> list[int]:
        """Return the items that a process had begun when one died, those handed out where that goes on without any."""
        begun = [index for index in self.working if self._forget(index)]
        self.early = 0 if begun else self.early + 1
        return sorted(begun if self.early < EARLY else self.working)

    def run(self) -> Iterator[tuple[Any, Any]]:
        """Yield what is done: first those that had begun, then the others."""
        again = sorted(self.working.items())
        for index, result in self._parallel(self.jobs)(self._tasks(chain(again, self.source))):
            yield self.working.pop(index), result
        if self.error is not None:
            raise self.error

    def alone(self, index: int) -> tuple[Any, Any]:
        """Return an item with the result of a process that has nothing beside it."""
        item = self.working.pop(index)
        for _ in range(EARLY):
            try:
                ((_, result),) = self._parallel(2)([self._task(index, item)])  # one job would be this process
            except BrokenProcessPool:
                if self._forget(index):
                    break
            else:
                return item, result
        return item, WorkerError("run_all: the process of this item died every time it was tried, also with no other")

    def _forget(self, index: int) -> bool:
        """Tell whether a process had begun an item, once."""
        try:
            (Path(self.folder) / str(index)).unlink()
        except FileNotFoundError:
            return False
        return True

    def _tasks(self, source: Iterable[tuple[int, Any]]) -> Iterator[Any]:
        try:
            for index, item in source:
                self.working[index] = item
                yield self._task(index, item)
            self.exhausted = True
        except Exception as error:
            self.exhausted, self.error = True, error

    def _task(self, index: int, item: Any) -> Any:
        from joblib import delayed

        return delayed(_call)(self.folder, self.function, index, item)

    def _parallel(self, jobs: int) -> Any:
        from joblib import Parallel, parallel_config

        with parallel_config(backend="loky", inner_max_num_threads=1):
            return Parallel(n_jobs=jobs, pre_dispatch=jobs, batch_size=1, return_as="generator_unordered")


def _call(folder: str, function: Callable[[Any, Any], Any], index: int, item: Any) -> tuple[int, Any]:
    # Ctrl-C goes to every process of a terminal: this one is ended by its parent, without a traceback of its own.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    (Path(folder) / str(index)).touch()
    return index, call(function, _common(folder), item)


@functools.lru_cache(maxsize=1)
def _common(folder: str) -> Any:
    return pickle.loads((Path(folder) / COMMON).read_bytes())
