"""Images in fixed chunks over threads: the same bits for any number of threads."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from lieref._threads import make_lock
from lieref._types import FloatArray

CHUNKS = 8
"""A batch is cut into at most this many parts. It depends on nothing but the batch, so neither does a result."""

_QUEUES: dict[int, SimpleQueue[_Job]] = {}
_QUEUES_LOCK = make_lock()


def chunk_bounds(count: int) -> list[tuple[int, int]]:
    """Return the half-open ranges that cut `count` images into at most `CHUNKS` non-empty parts."""
    chunks = min(count, CHUNKS)
    return [(count * i // chunks, count * (i + 1) // chunks) for i in range(chunks)]


def for_each_chunk(work: Callable[[int, int, int], None], count: int, threads: int) -> None:
    """Call ``work(chunk, first, last)`` for each part of `count` images, on `threads` threads.

    `work` must release the global interpreter lock to gain anything, and must write to places of its own chunk only.
    """
    bounds = chunk_bounds(count)
    if threads == 1 or len(bounds) <= 1:
        for chunk, (first, last) in enumerate(bounds):
            work(chunk, first, last)
        return

    def part(chunk: int) -> Callable[[], None]:
        return lambda: work(chunk, *bounds[chunk])

    run_all([part(chunk) for chunk in range(len(bounds))], threads)


def run_all(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run tasks that write no memory of another: on this thread, and on up to `threads` - 1 others that are free.

    This thread takes what no other has begun, so that callers who share the threads never wait for each other's tasks.
    The first error is raised once no task runs any more; an interruption stops the tasks that have not begun.
    """
    if threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    jobs = [_Job(task) for task in tasks[1:]]
    queue = _queue(threads - 1)
    try:
        for job in jobs:
            queue.put(job)
        tasks[0]()
        for job in reversed(jobs):
            if job.take():
                job.task()
    except BaseException:
        for job in jobs:
            if not job.take():
                job.wait()
        raise
    begun = [job for job in jobs if not job.take()]
    for job in begun:
        job.wait()
    for job in begun:
        if job.error is not None:
            raise job.error


# Not an executor of the standard library: a signal that comes while one takes a task or gives one back may leave its
# locks taken, and the next call waits for ever. Here whatever changes hands does so in one step of the interpreter.
class _Job:
    """A task that one thread does: who takes it first."""

    def __init__(self, task: Callable[[], None]) -> None:
        self.task = task
        self.error: BaseException | None = None
        self._owner: dict[str, int] = {}
        self._working = threading.Lock()
        self._working.acquire()

    def take(self) -> bool:
        """Return whether this thread is to do it, or has taken it before."""
        me = threading.get_ident()
        return self._owner.setdefault("thread", me) == me

    def run(self) -> None:
        """Do it, and keep what it raises for who waits."""
        try:
            self.task()
        except BaseException as error:
            self.error = error
        finally:
            self._working.release()

    def wait(self) -> None:
        """Wait until another thread has done it."""
        with self._working:
            pass


def _work(queue: SimpleQueue[_Job]) -> None:
    """Do whatever comes that nobody has taken."""
    while True:
        job = queue.get()
        if job.take():
            job.run()
        del job  # it keeps memory alive


def _queue(threads: int) -> SimpleQueue[_Job]:
    """Return the queue that so many threads wait at."""
    with _QUEUES_LOCK:
        if threads not in _QUEUES:
            queue: SimpleQueue[_Job] = SimpleQueue()
            for _ in range(threads):
                _thread.start_new_thread(_work, (queue,))  # `threading.Thread` has locks of that kind too
            _QUEUES[threads] = queue
        return _QUEUES[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_QUEUES.clear)  # a fork has no threads of its parent


def tree_sum(parts: FloatArray) -> FloatArray:
    """Return the sum over the first axis, pairing neighbours level by level; the order depends on the length only."""
    while len(parts) > 1:
        paired = parts[0 : len(parts) - 1 : 2] + parts[1::2]
        if len(parts) % 2:
            paired[-1] += parts[-1]
        parts = paired
    total: FloatArray = parts[0]
    return total
