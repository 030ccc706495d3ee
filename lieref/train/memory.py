"""A run within a limit of memory: what it takes is known before its first step, and fewer threads take less."""

from __future__ import annotations

import re
import warnings

from lieref._check import check_int
from lieref.errors import DomainError, LierefWarning
from lieref.train._protocol import Trainable
from lieref.train.optimizer import Optimizer

UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

COPIES = 4
"""Of all parameters beside the optimiser's: their gradient, their values before the run, once to put them back and once
for threads that predict meanwhile, and of the best epoch."""


class FewerThreadsWarning(LierefWarning):
    """A limit of memory leaves room for fewer threads than were asked for."""


def parse_bytes(limit: int | str) -> int:
    """Return a number of bytes, given as such or as text such as "64MB" or "1.5 GiB".

    Raises
    ------
    DomainError
        If it is neither, or not above zero.
    """
    if not isinstance(limit, str):
        return check_int("fit", "memory_limit", limit, low=1)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", limit)
    if found is None or found[2] not in UNITS or not float(found[1]):
        raise DomainError(f"fit: `memory_limit` must be bytes, or text such as '64MB' or '1.5GiB'; got {limit!r}")
    return int(float(found[1]) * UNITS[found[2]])


def threads_within(model: Trainable, optimizer: Optimizer, samples: int, threads: int, limit: int) -> int:
    """Return the most threads, at most `threads`, with which a run stays within a limit of bytes.

    Data, file, libraries and interpreter are not counted: no setting of a run changes what they take.

    Parameters
    ----------
    model : Trainable
    optimizer : Optimizer
    samples : int
        Of a batch.
    threads : int
    limit : int

    Raises
    ------
    DomainError
        If one thread takes more; the message says how much, for what, and what the smallest batches take.
    UnsupportedError
        If the model does not know what it takes.

    Warns
    -----
    FewerThreadsWarning
    """
    parameters = sum(array.nbytes for array in model.parameters().values())
    own = {"optimiser and copies of the parameters": (len(optimizer.slots) + COPIES) * parameters}

    def needed(batch: int, count: int) -> dict[str, int]:
        return {**model.training_memory(batch, count), **own}

    for count in range(threads, 0, -1):
        if sum(needed(samples, count).values()) <= limit:
            if count < threads:
                text = f"fit: memory_limit leaves room for {count} of {threads} threads; the numbers stay the same"
                warnings.warn(text, FewerThreadsWarning, stacklevel=3)
            return count
    least, smallest = needed(samples, 1), sum(needed(1, 1).values())
    parts = ", ".join(f"{what} {size:,}" for what, size in least.items() if size)
    raise DomainError(
        f"fit: `memory_limit` must be at least {sum(least.values()):,} bytes for batches of {samples}, or {smallest:,} "
        f"for batches of 1; got {limit:,} ({parts})"
    )
