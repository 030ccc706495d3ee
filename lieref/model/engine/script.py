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
from lieref.kernel.simd.run import SHARED
from lieref.model.engine.call import Entry
from lieref.model.engine.share import SharedProgram

_NUMBERS = struct.Struct("=qqqqdq")
"""A request and its stop; ten times as fast to write as an array is."""


class Runner:
    """The compiled loops, and the request it takes; one for all scripts of a session.

    Attributes
    ----------
    run, shared_run : callable
        Each takes the addresses of a script and of the request.
    request : int64 array
        In the order of `REQUEST`, then `STOP`; its address is `address`.
    arrays : tuple of array
        What its addresses point to.
    accumulators : list of array
        What the entries of all scripts add to. Threads may still use both after an interruption, when nobody but their
        scripts holds the session's memory.
    """

    def __init__(self, library: Library) -> None:
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self.run: Callable[[int, int], None] = kind(library.address("run"))
        self.shared_run: Callable[[int, int], None] = kind(library.address("shared_run"))
        self.request = integers([0] * (len(REQUEST) + 1))
        self.address = address_of(self.request)
        self._numbers = self.request.data
        self.arrays: tuple[Array | None, ...] = ()
        self.accumulators: list[Array] = []

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


class SharedScript:
    """One entry that several threads run together: each calls it, once `start` has been called.

    Parameters
    ----------
    runner : Runner
    entry : Entry
        Of a call of the program that is shared.
    shared : SharedProgram
    images : int
        Passes of the entry.
    """

    def __init__(self, runner: Runner, entry: Entry, shared: SharedProgram, images: int) -> None:
        self._runner = runner
        phases = len(shared.phases) - 1
        self._state = integers([0] * (2 * phases * images))
        numbers = {
            "phase_count": phases, "phases": address_of(shared.phases), "pieces": address_of(shared.pieces),
            "state": address_of(self._state), "rest": _REST.value or 0,
        }  # fmt: skip
        self._memory = entry, shared  # they keep alive what the numbers point to
        self._array: Array = integers([1, *entry.numbers, *(numbers[name] for name in SHARED)])
        self._address = address_of(self._array)

    def start(self) -> None:
        """Forget the last run; no thread may be in it."""
        self._state.fill(0)

    def __call__(self) -> None:
        """Do what is left to do, with the others who have called."""
        self._runner.shared_run(self._address, self._runner.address)


def _let_others_run() -> ctypes.c_void_p:
    """Return the address of the system's function that gives the processor to a thread that waits for it."""
    if hasattr(ctypes, "windll"):
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p)
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p)


_REST = _let_others_run()
