"""Images in fixed chunks over threads: the same bits for any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from lieref._types import FloatArray

CHUNKS = 8
"""A batch is cut into at most this many parts. It depends on nothing but the batch, so neither does a result."""


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
    tasks = [_pool(threads).submit(work, chunk, first, last) for chunk, (first, last) in enumerate(bounds)]
    for task in tasks:
        task.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lieref-kernel")


def tree_sum(parts: FloatArray) -> FloatArray:
    """Return the sum over the first axis, pairing neighbours level by level; the order depends on the length only."""
    while len(parts) > 1:
        paired = parts[0 : len(parts) - 1 : 2] + parts[1::2]
        if len(parts) % 2:
            paired[-1] += parts[-1]
        parts = paired
    total: FloatArray = parts[0]
    return total
