"""A program bound to memory of its own, and its entries in scripts."""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lieref._types import Array
from lieref.kernel.simd.memory import address_of, aligned, integers
from lieref.kernel.simd.row import CONTEXT, ENTRY, STOP
from lieref.model.engine.instruction import Callback
from lieref.model.engine.packed_weights import PackedWeights
from lieref.model.engine.program import Program


class Span(NamedTuple):
    """Samples that an entry runs, from `begin` on, `step` at once; `fresh` is 1 where it sets the sums over samples."""

    begin: int
    end: int
    step: int
    fresh: int


ONCE = Span(0, 1, 1, 1)
"""What has nothing to do with samples."""


@dataclass
class State:
    """What the rows of a call that are Python functions read beside the arena, and what they raised.

    Attributes
    ----------
    packed : PackedWeights
        Its initializers in use: replaced where it stands, when it is in no other hands.
    request : int64 array
        Of the run; its `STOP` ends the run.
    failures : list of BaseException
    """

    packed: PackedWeights
    request: Array
    failures: list[BaseException] = field(default_factory=list)


class Call:
    """A program bound to an arena of its own.

    Parameters
    ----------
    program : Program
    packed : PackedWeights
        What it computes with, until `use` is called.
    addresses : dict of str to int
        Further entries of the context; those that change from run to run are the script's to fill in.
    request : int64 array
        Of the runs it takes part in.
    """

    def __init__(
        self, program: Program, dtype: str, packed: PackedWeights, addresses: dict[str, int], request: Array
    ) -> None:
        self.program = program
        self.state = State(packed, request)
        arena = aligned(program.arena, dtype)
        known = {
            **addresses, **packed.addresses, "arena": address_of(arena), "table": address_of(program.table)
        }  # fmt: skip
        self._context = integers(known.get(name, 0) for name in CONTEXT)
        self._callbacks = [_entry_point(function, arena, self.state) for function in program.functions.values()]
        self._rows: dict[tuple[int, ...], Array] = {}
        self._memory = arena, packed  # what the addresses point to

    def use(self, packed: PackedWeights) -> None:
        """Compute with other weights from now on."""
        for name, address in packed.addresses.items():
            self._context[CONTEXT.index(name)] = address
        self.state.packed = packed
        self._memory = self._memory[0], packed

    def entry(self, span: Span, kernels: dict[str, int] | None = None, gradients: int = 0, parts: int = 0) -> Entry:
        """Return the entry of a script that runs the samples of a span.

        Parameters
        ----------
        kernels : dict of str to int, optional
            Addresses of the program's open rows.
        gradients, parts : int
            Where the accumulators are, and the list of those of all parts.
        """
        key = (*(kernels.values() if kernels else ()), min(span.step, self.program.samples))
        if key not in self._rows:
            own = [ctypes.cast(callback, ctypes.c_void_p).value or 0 for callback in self._callbacks]
            self._rows[key] = self.program.with_kernels(kernels or {}, own, span.step)
        rows = self._rows[key]
        numbers = {
            "context": address_of(self._context), "gradients": gradients, "parts": parts, "rows": address_of(rows),
            "row_count": len(rows), **span._asdict(),
        }  # fmt: skip
        return Entry(self, [numbers[name] for name in ENTRY])


@dataclass(frozen=True)
class Entry:
    """A call and the integers of its entry in a script, by the names in `ENTRY`."""

    call: Call
    numbers: list[int]


def _entry_point(function: Callback, arena: Array, state: State) -> Any:
    """Return a row's function as a kernel.

    A kernel is handed a row and a context; a C function that declares the first alone leaves the other be.
    """
    generator = _called_back(function, arena, state)
    next(generator)
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(generator.send)


def _called_back(function: Callback, arena: Array, state: State) -> Generator[None, int, None]:
    """Call the function each time that a number is sent, and end the run at the first thing that is raised.

    Nothing can be raised through compiled code, so it is kept for whoever has started the run. A generator and not a
    function: an interruption that has come while compiled code ran is raised at the first instruction of what is called
    next, and here that lies inside the `try`.
    """
    while True:
        try:
            while True:
                yield
                function(arena, state.packed.values)
        except GeneratorExit:
            return
        except BaseException as error:
            state.failures.append(error)
            state.request[STOP] = 1
