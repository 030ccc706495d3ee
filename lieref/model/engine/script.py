"""Scripts: what one run of the engine calls, in one list that compiled code goes through by itself.

A training step of a small network takes 200 microseconds, and each way from Python into compiled code and back costs
several. So the entries of a step are written down once, and a step changes the five numbers of a `REQUEST`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.memory import address_of
from lieref.kernel.simd.row import REQUEST
from lieref.model.engine.workspace import Entry


class Runner:
    """The compiled loop, and the request it takes; one for all scripts of an engine.

    Attributes
    ----------
    run : callable
        Takes the addresses of a script and of the request.
    request : int64 array
        In the order of `REQUEST`; its address is `address`.
    """

    def __init__(self, library: Library) -> None:
        self.run: Callable[[int, int], None] = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
            library.address("run")
        )
        self.request = np.zeros(len(REQUEST), np.int64)
        self.address = address_of(self.request)


class Script:
    """Entries that run one after the other."""

    def __init__(self, runner: Runner, entries: Sequence[Entry]) -> None:
        self._runner = runner
        self._entries = entries  # they keep alive what the numbers point to
        programs = [entry.call.program for entry in entries]
        self._failures = [program.failures for program in programs if program.callbacks]
        self._array: Array = np.array([len(entries), *(n for entry in entries for n in entry.numbers)], np.int64)
        self._address = address_of(self._array)

    def __call__(self) -> None:
        """Run all entries; raise the first error of a row that is a Python function."""
        self._runner.run(self._address, self._runner.address)
        for failures in self._failures:
            if failures:
                error = failures[0]
                failures.clear()
                raise error
