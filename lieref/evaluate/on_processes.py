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


def on_processes(
    function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], jobs: int, retries: int
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its result, as `run_all` says.

    Where a process dies, joblib ends the others too and does not tell whose item it was: those at work are all tried
    again, and after `retries` - 1 times each by itself, so that none pays for another.
    """
    from joblib.externals.loky import get_reusable_executor

    with tempfile.TemporaryDirectory(prefix="lieref-") as folder:
        path = Path(folder) / "common"
        path.write_bytes(pickle.dumps(common, protocol=5))
        pool = _Pool(function, str(path), items, jobs)
        try:
            deaths: dict[int, int] = {}
            while pool.more():
                try:
                    yield from pool.run()
                    continue
                except BrokenProcessPool:
                    pass
                warnings.warn("run_all: a worker died; what was at work is tried again", LierefWarning, stacklevel=2)
                for index in pool.at_work():
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

    def __init__(self, function: Callable[[Any, Any], Any], path: str, items: Iterable[Any], jobs: int) -> None:
        self.function = function
        self.path = path
        self.jobs = jobs
        self.source = enumerate(items)
        self.working: dict[int, Any] = {}
        self.exhausted = False
        self.error: BaseException | None = None

    def more(self) -> bool:
        """Tell whether there is an item left that is not done."""
        return bool(self.working) or not self.exhausted

    def at_work(self) -> list[int]:
        """Return which items have begun and are not done."""
        return sorted(self.working)

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
        try:
            ((_, result),) = self._parallel(2)([self._task(index, item)])  # one job would be this process
        except BrokenProcessPool:
            result = WorkerError("run_all: the process of this item died every time it was tried, also with no other")
        return item, result

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

        return delayed(_call)(self.path, self.function, index, item)

    def _parallel(self, jobs: int) -> Any:
        from joblib import Parallel, parallel_config

        with parallel_config(backend="loky", inner_max_num_threads=1):
            return Parallel(n_jobs=jobs, pre_dispatch=jobs, batch_size=1, return_as="generator_unordered")


def _call(path: str, function: Callable[[Any, Any], Any], index: int, item: Any) -> tuple[int, Any]:
    # Ctrl-C goes to every process of a terminal: this one is ended by its parent, without a traceback of its own.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return index, call(function, _common(path), item)


@functools.lru_cache(maxsize=1)
def _common(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())
