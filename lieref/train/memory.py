"""A run within a limit of memory: what it takes is known before its first step.

Fewer threads take less, and what is computed again instead of kept takes less again.
"""

from __future__ import annotations

import re
import warnings
from fractions import Fraction

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


class RecomputationWarning(LierefWarning):
    """A limit of memory leaves no room for all activations: some are computed again for the gradients."""


def parse_bytes(limit: int | str) -> int:
    """Return a number of bytes, given as such or as text such as "64MB" or "1.5 GiB".

    Raises
    ------
    DomainError
        If it is neither, or not above zero.
    """
    if not isinstance(limit, str):
        return check_int("fit", "memory_limit", limit, low=1)
    # Longer numbers are no size of a memory; a fraction keeps every byte, which a float does not from 2^53 on.
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]*)\s*", limit)
    if found is None or found[2] not in UNITS or not Fraction(found[1]):
        raise DomainError(f"fit: `memory_limit` must be bytes, or text such as '64MB' or '1.5GiB'; got {limit!r}")
    return int(Fraction(found[1]) * UNITS[found[2]])


def within(
    model: Trainable,
    optimizer: Optimizer,
    samples: int,
    threads: int,
    limit: int,
    *,
    predicts: bool,
    kept: int = 0,
    averages: bool = False,
) -> tuple[int, int]:
    """Return how many threads and which of the model's recomputations keep a run within a limit of bytes.

    They are the most threads, at most `threads`, that need no recomputation; where one thread needs some, the least
    that does. Data, file, libraries and interpreter are not counted: no setting of a run changes what they take.

    Parameters
    ----------
    model : Trainable
    optimizer : Optimizer
    samples : int
        Of a batch.
    threads : int
    limit : int
    predicts : bool
        Whether the run predicts too, before or between its steps.
    kept : int
        Bytes of outputs that are kept for the metrics.
    averages : bool
        Whether a moving average of the parameters is kept; it changes places with them while it is judged.

    Raises
    ------
    DomainError
        If one thread takes more; the message says how much, for what, and what the smallest batches take.
    UnsupportedError
        If the model does not know what it takes.

    Warns
    -----
    FewerThreadsWarning, RecomputationWarning
    """
    parameters = sum(array.nbytes for array in model.parameters().values())
    own = {"optimiser and copies of the parameters": (len(optimizer.slots) + COPIES + 2 * averages) * parameters}
    own |= {"outputs kept for the metrics": kept}

    def needed(batch: int, count: int, level: int) -> dict[str, int]:
        return {**model.training_memory(batch, count, predicts=predicts, recomputation=level), **own}

    for count in range(threads, 0, -1):
        if sum(needed(samples, count, 0).values()) <= limit:
            if count < threads:
                text = f"fit: memory_limit leaves room for {count} of {threads} threads; the numbers stay the same"
                warnings.warn(text, FewerThreadsWarning, stacklevel=3)
            return count, 0
    levels = model.recomputations
    for level in range(1, len(levels)):
        if sum(needed(samples, 1, level).values()) <= limit:
            how = "takes samples one by one, which reads large weights for each"
            if levels[level].layers:
                how = f"computes {levels[level].layers} layers again for their gradients, which takes about "
                how += f"{levels[level].cost:.0%} more time"
            one = "" if threads == 1 else "trains on 1 thread and "
            text = f"fit: to keep memory_limit it {one}{how}; the numbers stay the same"
            warnings.warn(text, RecomputationWarning, stacklevel=3)
            return 1, level
    least = min((needed(samples, 1, level) for level in range(len(levels))), key=lambda parts: sum(parts.values()))
    smallest = min(sum(needed(1, 1, level).values()) for level in range(len(levels)))
    parts = ", ".join(f"{what} {size:,}" for what, size in least.items() if size)
    raise DomainError(
        f"fit: `memory_limit` must be at least {sum(least.values()):,} bytes for batches of {samples}, or {smallest:,} "
        f"for batches of 1; got {limit:,} ({parts})"
    )
