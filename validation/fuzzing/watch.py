"""What came of one input: read, refused, or a fault with its place."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable

from validation.fuzzing.allocation import counters

SECONDS = 2.0
"""Processor time that one input may take."""


def place(error: BaseException) -> str:
    """Return the last line of lieref that an exception passed, else the last one."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if f"{os.sep}lieref{os.sep}" in frame.filename] or frames
    _, package, file = inside[-1].filename.rpartition(f"{os.sep}lieref{os.sep}")
    return f"{file if package else os.path.basename(file)}:{inside[-1].lineno} {inside[-1].name}"


class Watch:
    """Reads inputs and tells what came of each: ``read``, ``refused``, or a fault.

    A fault is an exception outside the family of LierefError, more than `SECONDS` of processor time, or one allocation
    beyond `limit`, which is seen where the library of `allocation` is loaded.

    Attributes
    ----------
    excess : int
        Bytes by which the largest allocation so far was over twice its input.
    """

    def __init__(self, read: Callable[[bytes], None], limit: Callable[[int], int]) -> None:
        from lieref.errors import LierefError

        self.excess = 0
        self._read, self._limit, self._family = read, limit, LierefError
        self._counters = counters()

    def __call__(self, data: bytes) -> str:
        """Return what came of an input."""
        if self._counters:
            self._counters[0]()
        begin = time.process_time()
        try:
            self._read(data)
            outcome = "read"
        except self._family:
            outcome = "refused"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{type(error).__name__} in {place(error)}"
        largest = self._counters[1]() if self._counters else 0
        self.excess = max(self.excess, largest - 2 * len(data))
        if time.process_time() - begin > SECONDS:
            return f"slow: {outcome} after more than {SECONDS:g} s"
        if largest > self._limit(len(data)):
            return f"allocation: {outcome} with one of more than {1 << largest.bit_length() - 1} bytes"
        return outcome
