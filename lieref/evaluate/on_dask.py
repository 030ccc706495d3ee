"""Items on a Dask cluster, by the address of its scheduler."""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from lieref.errors import DomainError
from lieref.evaluate.workers import WorkerError, call, versions

SECONDS_TO_ANSWER = 10
"""Within which a scheduler must answer, and have a worker."""

SECONDS_WITHOUT_WORKERS = 60
"""After which a cluster that has lost all its workers is given up."""


def on_dask(
    function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], address: str
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its result, as `run_all` says."""
    with _quiet(), _connected(address) as client:
        cluster = _Cluster(client, address, function, common)
        source = enumerate(items)
        try:
            more = True
            while more or cluster.running:
                while more and cluster.has_room():
                    following = next(source, None)
                    more = following is not None
                    if following is not None:
                        cluster.submit(*following)
                if cluster.running:
                    yield cluster.next_done()
        finally:
            cluster.cancel()


class _Cluster:
    """The items that are at work on a cluster.

    `common` goes to it as the result of a task, which is made again where all workers that hold it have died; what is
    scattered would be lost.
    """

    def __init__(self, client: Any, address: str, function: Callable[[Any, Any], Any], common: Any) -> None:
        self.client = client
        self.address = address
        self.function = function
        self.token = f"lieref-{uuid.uuid4().hex}"
        self.check_versions()
        self.common = client.submit(pickle.loads, pickle.dumps(common, protocol=5), key=self.token)
        self.running: dict[int, tuple[Any, Any]] = {}
        self.done: SimpleQueue[int] = SimpleQueue()
        self.seen = time.monotonic()

    def workers(self) -> dict[str, Any]:
        """Return the workers as the scheduler last told."""
        found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return found

    def has_room(self) -> bool:
        """Tell whether another item may be sent: one for each worker, so that none is lost with the item before it."""
        return len(self.running) < max(1, len(self.workers()))

    def submit(self, index: int, item: Any) -> None:
        """Send an item."""
        future = self.client.submit(
            _call, versions(), self.function, self.common, item, key=f"{self.token}-{index}", pure=False
        )
        self.running[index] = item, future
        future.add_done_callback(lambda _: self.done.put(index))

    def next_done(self) -> tuple[Any, Any]:
        """Return the next item that is done, with its result."""
        while True:
            try:
                index = self.done.get(timeout=1)
                break
            except Empty:
                self.check_alive()
        item, future = self.running.pop(index)
        if future.status == "finished":
            result = future.result()
            if isinstance(result, _OtherVersions):
                raise WorkerError(result.text)
            return item, result
        if future.status == "cancelled":
            raise WorkerError(f"run_all: the scheduler at {self.address} went away")
        error = future.exception()
        if type(error).__name__ == "KilledWorker":
            deaths = error.allowed_failures + 1
            return item, WorkerError(f"run_all: the workers of this item died all {deaths} times it was tried")
        raise error

    def check_alive(self) -> None:
        """Raise `WorkerError` if there is nobody left to wait for."""
        if self.client.status not in ("running", "connecting"):
            raise WorkerError(f"run_all: the scheduler at {self.address} went away")
        if self.workers():
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > SECONDS_WITHOUT_WORKERS:
            raise WorkerError(
                f"run_all: the scheduler at {self.address} has had no worker for {SECONDS_WITHOUT_WORKERS} seconds"
            )

    def check_versions(self) -> None:
        """Raise `WorkerError` unless every worker computes with what this process computes with."""
        for worker, found in self.client.run(versions, on_error="return").items():
            if isinstance(found, Exception):
                raise WorkerError(f"run_all: worker {worker} must have lieref installed; got {found}")
            _check_same(worker, versions(), found)

    def cancel(self) -> None:
        """Take back what has not begun."""
        with contextlib.suppress(Exception):  # where the scheduler is gone there is nothing to take back
            self.client.cancel([future for _, future in self.running.values()], force=True)
        self.running.clear()


class _OtherVersions:
    """What a worker gives back that has joined later, with other versions."""

    def __init__(self, text: str) -> None:
        self.text = text


def _call(expected: dict[str, str], function: Callable[[Any, Any], Any], common: Any, item: Any) -> Any:
    from distributed import get_worker

    try:
        _check_same(get_worker().address, expected, versions())
    except WorkerError as error:
        return _OtherVersions(str(error))
    return call(function, common, item)


def _check_same(worker: str, expected: dict[str, str], found: dict[str, str]) -> None:
    others = [name for name in expected if found.get(name) != expected[name]]
    if others:
        here, there = (", ".join(f"{name} {of.get(name)}" for name in others) for of in (expected, found))
        raise WorkerError(f"run_all: worker {worker} must have the versions of this process, {here}; got {there}")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    import distributed

    client: Any = distributed.Client.__new__(distributed.Client)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions of Dask's own packages
            client.__init__(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except BaseException as error:
        with contextlib.suppress(Exception):  # a client that is never closed waits at the end, for a loop that is gone
            client.close(timeout=2)
        if isinstance(error, ValueError):
            rule = "an address such as tcp://10.0.0.1:8786"
            raise DomainError(f"run_all: `dask` must be {rule}; got {address} ({error})") from None
        if isinstance(error, (OSError, TimeoutError)):
            rule = f"the address of a scheduler that answers in {SECONDS_TO_ANSWER} s"
            raise WorkerError(f"run_all: `dask` must be {rule}; got {address}") from None
        raise
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_TO_ANSWER)
        except TimeoutError:
            raise WorkerError(
                f"run_all: the scheduler at {address} must have a worker; start one: dask worker {address}"
            ) from None
        yield client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own log off the terminal: what matters of it is raised, or yielded."""
    import dask

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    loggers = [logger for logger in map(logging.getLogger, names) if not logger.disabled]
    for logger in loggers:
        logger.disabled = True
    try:
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            yield
    finally:
        for logger in loggers:
            logger.disabled = False
