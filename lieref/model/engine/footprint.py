"""What memory one caller of an engine takes, from its programs alone: nothing is run for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lieref.kernel.simd.memory import PAGE_BYTES
from lieref.kernel.simd.row import ROW_LENGTH
from lieref.model.engine.parts import passes
from lieref.model.engine.plan import Plan, Plans
from lieref.model.engine.program import Program
from lieref.model.engine.share import share

ROW_BYTES = 8 * ROW_LENGTH

ALIGNMENT = 64
"""Bytes of an array for its alignment."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that a caller takes, its own arrays apart.

    Attributes
    ----------
    arenas : int
        Activations and their gradients, one arena a thread for each number of samples at once.
    accumulators : int
        Sums of the gradients, of every part of a batch.
    weights : int
        Packed, and copies of the initializers that are of another type than the engine's; the others are the network's.
    factors : int
        Of adapters, as the kernels read them.
    instructions : int
        With the addresses of the caller's memory.
    programs : int
        The same without them, and the tables they read, which all callers share.
    """

    arenas: int = 0
    accumulators: int = 0
    weights: int = 0
    factors: int = 0
    instructions: int = 0
    programs: int = 0

    @property
    def total(self) -> int:
        """The sum."""
        return sum(getattr(self, field.name) for field in fields(self))


def footprint(plans: Plans, samples: int, threads: int, training: bool) -> Footprint:
    """Return what a caller takes for batches of so many samples.

    Parameters
    ----------
    plans : Plans
    samples, threads : int
    training : bool
        Whether gradients are wanted.
    """
    itemsize, flat = np.dtype(plans.library.dtype).itemsize, plans.net.flat
    one = plans.get(1)
    storage = one.storage
    edges = plans.parts(samples, training)
    workers = min(threads, len(edges))
    bound = [one.prepare_training, one.collect] if training else [one.prepare]
    rows = sum(len(program.rows) for program in bound)
    shared = share(plans.program(1, training), threads) if len(edges) == 1 and not flat else None
    meetings = 0
    if shared is not None:  # cut, and cut with the addresses of the memory
        bound.append(shared.program)
        rows += 2 * len(shared.program.rows)
        meetings = 8 * (len(shared.pieces) + (1 + 2 * samples) * len(shared.phases))
        workers = 0
    for worker in range(workers):
        sizes = _sizes(plans, edges[worker::workers], training)
        programs = {size: plans.program(size, training) for size in sizes}
        bound += {id(program): program for program in programs.values()}.values()
        rows += sum(program.row_count(size) for size, program in programs.items())
    # Of the bases, only the pages that hold some take memory.
    based = [pack.layout.size for pack in storage.packs if pack.copied and pack.name in storage.adapters]
    bases = sum(itemsize * size + PAGE_BYTES for size in based)
    packed = itemsize * storage.weight_size + min(bases, itemsize * storage.base_size) + 2 * ALIGNMENT
    initializers = {
        name: plans.net.graph.initializers[name] for layer in plans.net.layers for name in layer.initializers
    }
    copied = sum(value.size for value in initializers.values() if value.dtype != plans.library.dtype)
    made = [plans.get(size) for size in _sizes(plans, edges, training)] if flat else []
    known = {id(program): program for plan in (one, *made) for program in _all(plan)}
    return Footprint(
        arenas=sum(itemsize * program.arena + ALIGNMENT for program in bound),
        accumulators=len(edges) * (itemsize * storage.gradient_size + ALIGNMENT) if training else 0,
        weights=packed + itemsize * copied,
        factors=(3 * itemsize + 8) * (storage.factor_size + storage.numbers),
        instructions=ROW_BYTES * rows + meetings,
        programs=sum(program.rows.nbytes + program.table.nbytes for program in known.values()),
    )


def _sizes(plans: Plans, edges: Sequence[tuple[int, int]], training: bool) -> set[int]:
    """Return the numbers of samples that are worked on at once."""
    return {span.step for part in edges for span in passes(*part, plans.at_once(training))}


def _all(plan: Plan) -> list[Program]:
    programs = (plan.forward, plan.training, plan.prepare, plan.prepare_training, plan.collect)
    return [program for program in programs if program is not None]
