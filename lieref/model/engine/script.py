"""Scripts: what one run of the engine calls, in one list that compiled code goes through by itself.

A training step of a small network takes 200 microseconds, and each way from Python into compiled code and back costs
several. So the entries of a step are written down once, and a step changes the numbers of a `REQUEST`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence

from lieref._types import Array
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.memory import address_of, integers
from lieref.kernel.simd.row import REQUEST
from lieref.model.engine.call import Entry

_NUMBERS = struct.Struct("=qqqqdq")
"""A request and its stop; ten times as fast to write as an array is."""


class Runner:
    """The compiled loop, and the request it takes; one for all scripts of a session.

    Attributes
    ----------
    run : callable
        Takes the addresses of a script and of the request.
    request : int64 array
        In the order of `REQUEST`, then `STOP`; its address is `address`.
    arrays : tuple of array
        What its addresses point to: threads may still use it after an interruption.
    """

    def __init__(self, library: Library) -> None:
        self.run: Callable[[int, int], None] = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
            library.address("run")
        )
        self.request = integers([0] * (len(REQUEST) + 1))
        self.address = address_of(self.request)
        self._numbers = self.request.data
        self.arrays: tuple[Array | None, ...] = ()

    def set(self, images: Array, targets: Array, logits: Array, losses: Array | None, scale: float) -> None:
        """Set what the next runs read and write; see `REQUEST`."""
        self.arrays = images, targets, logits, losses
        _NUMBERS.pack_into(
            self._numbers, 0, address_of(images), address_of(targets), address_of(logits),
            0 if losses is None else address_of(losses), scale, 0,
        )  # fmt: skip


class Script:
    """Entries that run one after the other."""

    def __init__(self, runner: Runner, entries: Sequence[Entry]) -> None:
        self._runner = runner
        self._entries = entries  # they keep alive what the numbers point to
        self._failures = [entry.call.state.failures for entry in entries if entry.call.program.functions]
        self._array: Array = integers([len(entries), *(n for entry in entries for n in entry.numbers)])
        self._address = address_of(self._array)

    def __call__(self) -> None:
        """Run all entries; raise the first error of a row that is a Python function."""
        self._runner.run(self._address, self._runner.address)
        for failures in self._failures:
            if failures:
                raise failures[0]
