"""What memory one caller of an engine takes, from its programs alone: nothing is run for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lieref.model.engine.parts import parts, passes
from lieref.model.engine.plan import Plan, Plans
from lieref.model.engine.program import Program

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
    storage = plans.get(1).storage
    edges = parts(samples, flat, plans.gradient_size * itemsize)
    workers = min(threads, len(edges))
    one = plans.get(1)
    bound = [one.prepare_training, one.finish] if training else [one.prepare]
    for worker in range(workers):
        bound += [_program(plans.get(size), training) for size in _sizes(edges[worker::workers], flat)]
    packed = itemsize * (storage.weight_size + storage.base_size) + 2 * ALIGNMENT
    initializers = {
        name: plans.net.graph.initializers[name] for layer in plans.net.layers for name in layer.initializers
    }
    copied = sum(value.size for value in initializers.values() if value.dtype != plans.library.dtype)
    known = {id(program): program for plan in (one, *map(plans.get, _sizes(edges, flat))) for program in _all(plan)}
    return Footprint(
        arenas=sum(itemsize * program.arena + ALIGNMENT for program in bound),
        accumulators=len(edges) * (itemsize * storage.gradient_size + ALIGNMENT) if training else 0,
        weights=packed + itemsize * copied,
        factors=(3 * itemsize + 8) * (storage.factor_size + storage.numbers),
        instructions=sum(program.rows.nbytes for program in bound),
        programs=sum(program.rows.nbytes + program.table.nbytes for program in known.values()),
    )


def _program(plan: Plan, training: bool) -> Program:
    return plan.forward if plan.training is None or not training else plan.training


def _sizes(edges: Sequence[tuple[int, int]], flat: bool) -> set[int]:
    """Return the numbers of samples that are worked on at once."""
    return {span[2] for part in edges for span in passes(*part, flat)}


def _all(plan: Plan) -> list[Program]:
    programs = (plan.forward, plan.training, plan.prepare, plan.prepare_training, plan.finish)
    return [program for program in programs if program is not None]
