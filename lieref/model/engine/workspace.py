"""The memory a plan works in: packed weights, and an arena for each thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.simd.memory import address_of, aligned
from lieref.kernel.simd.row import CONTEXT, ENTRY
from lieref.model.engine.plan import Plan
from lieref.model.engine.program import Program

Span = tuple[int, int, int, int]
"""First sample, end, samples at once, and 1 where the sums over samples start anew."""

ONCE: Span = (0, 1, 1, 1)


@dataclass
class Call:
    """A program bound to its memory.

    Attributes
    ----------
    program : Program
    context : int64 array
        Base addresses by the names in `CONTEXT`; those that change from run to run are the script's to fill in.
    memory : list of array
        What the addresses point to.
    rows : dict of tuple to array
        The program's rows by the kernels chosen for the open ones.
    """

    program: Program
    context: Array
    memory: list[Array]
    rows: dict[tuple[int, ...], Array] = field(default_factory=dict)

    def entry(self, span: Span, kernels: dict[str, int] | None = None, gradients: int = 0, parts: int = 0) -> Entry:
        """Return the entry of a script that runs the samples of a span.

        Parameters
        ----------
        kernels : dict of str to int, optional
            Addresses of the program's open rows.
        gradients, parts : int
            Where the accumulators are, and the list of those of all parts.
        """
        key = tuple(kernels.values()) if kernels else ()
        rows = self.rows.setdefault(key, self.program.with_kernels(kernels or {}))
        begin, end, step, fresh = span
        numbers = {
            "context": address_of(self.context), "gradients": gradients, "parts": parts, "rows": address_of(rows),
            "row_count": len(rows), "begin": begin, "end": end, "step": step, "fresh": fresh,
        }  # fmt: skip
        return Entry(self, [numbers[name] for name in ENTRY])


@dataclass(frozen=True)
class Entry:
    """A call and the integers of its entry in a script, by the names in `ENTRY`."""

    call: Call
    numbers: list[int]


def bind(program: Program, dtype: str, addresses: dict[str, int]) -> Call:
    """Return a program bound to an arena of its own and to base addresses."""
    arena = aligned(program.arena, dtype)
    known = {**addresses, "arena": address_of(arena), "table": address_of(program.table)}
    return Call(program, np.array([known.get(name, 0) for name in CONTEXT], np.int64), [arena])


class PackedWeights:
    """Packed weights, and what fills them; one for all plans of a network, which differ in the pixels they work on.

    Attributes
    ----------
    weights, bases : flat arrays
        What the kernels read; adapted weights before adaptation.
    addresses : dict of str to int
        Entries of the context: the weights and their bases, the factors of adapters.
    prepared : list of bool
        Whether the packs that are computed from others are up to date, for inference and for training.
    prepare : list of Call
        What computes them.
    finish : Call
        What makes the gradients from the sums over the samples.
    """

    def __init__(self, plan: Plan, dtype: str, addresses: dict[str, int]) -> None:
        self._storage = plan.storage
        size = plan.storage.weight_size + 64
        self.weights = aligned(size, dtype)
        self.bases = aligned(size, dtype) if plan.storage.adapters else self.weights
        for (number, count), offset in plan.storage.constants.items():
            self.weights[offset : offset + count] = number
        self.addresses = {**addresses, "weights": address_of(self.weights), "bases": address_of(self.bases)}
        self.prepared = [False, False]
        self.prepare = [bind(program, dtype, self.addresses) for program in (plan.prepare, plan.prepare_training)]
        self.finish = bind(plan.finish, dtype, self.addresses)

    def pack(self, weights: dict[str, FloatArray], changed: Iterable[str]) -> None:
        """Copy the changed weights into the kernels' layouts; an adapted one is then the base."""
        self.prepared = [False, False]
        changed = set(changed)
        for derived in self._storage.derived:
            if changed & set(derived.affine.names):
                vector = derived.affine.vectors(weights, derived.channels)[derived.part]
                self.weights[derived.offset : derived.offset + derived.channels] = vector
        flat = {name: np.append(weights[name].ravel(), 0) for name in changed}
        for pack in self._storage.packs:
            if pack.name in flat:
                memory = self.bases if pack.name in self._storage.adapters else self.weights
                np.take(flat[pack.name], pack.index, out=memory[pack.offset :][: pack.index.size], mode="wrap")


class Workspace:
    """The programs of a plan, each bound to an arena for each thread."""

    def __init__(self, plan: Plan, dtype: str, packed: PackedWeights) -> None:
        self.plan = plan
        self._dtype = dtype
        self._packed = packed
        self._calls: dict[tuple[int, bool], Call] = {}

    def call(self, worker: int, training: bool) -> Call:
        """Return the program of a thread, bound to its own arena."""
        found = self._calls.get((worker, training))
        if found is None:
            program = self.plan.training if training else self.plan.forward
            assert program is not None  # the engine has checked that there is something to train
            found = self._calls[worker, training] = bind(program, self._dtype, self._packed.addresses)
        return found
