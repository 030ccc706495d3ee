"""Images in fixed chunks over threads: the same bits for any number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from lieref._threads import make_lock
from lieref._types import FloatArray

CHUNKS = 8
"""A batch is cut into at most this many parts. It depends on nothing but the batch, so neither does a result."""

_POOLS: dict[int, ThreadPoolExecutor] = {}
_POOLS_LOCK = make_lock()


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
    pool = _pool(threads - 1)
    others: list[Future[None]] = []
    try:
        for task in tasks[1:]:
            others.append(pool.submit(task))  # one by one: an interruption must find those that have begun
        tasks[0]()
        for task, other in zip(tasks[:0:-1], others[::-1], strict=True):
            if other.cancel():
                task()
    except BaseException:
        wait([other for other in others if not other.cancel()])
        raise
    begun = [other for other in others if not other.cancelled()]
    wait(begun)
    for other in begun:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _POOLS_LOCK:
        if threads not in _POOLS:
            _POOLS[threads] = ThreadPoolExecutor(threads, thread_name_prefix="lieref")
        return _POOLS[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOLS.clear)  # a fork has no threads of its parent


def tree_sum(parts: FloatArray) -> FloatArray:
    """Return the sum over the first axis, pairing neighbours level by level; the order depends on the length only."""
    while len(parts) > 1:
        paired = parts[0 : len(parts) - 1 : 2] + parts[1::2]
        if len(parts) % 2:
            paired[-1] += parts[-1]
        parts = paired
    total: FloatArray = parts[0]
    return total
