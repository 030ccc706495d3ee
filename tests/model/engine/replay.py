"""Run what the engine has written down, instruction by instruction, beside what the instructions mean."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.memory import address_of, integers
from lieref.kernel.simd.row import CONTEXT, ENTRY, float_bits
from lieref.model.engine.call import ONCE
from lieref.model.engine.session import Session
from tests.kernel.simd.fenced import CALL, differences
from tests.kernel.simd.meaning import MEANINGS
from tests.kernel.simd.state import State


@lru_cache
def kernels_by_address(isa, dtype):
    """Every kernel of a library by where its machine code is."""
    known = library(isa, dtype)
    names = [KernelName(name, tile) for name, f in FAMILIES.items() for tile in f.tiles(known.isa, dtype)]
    return {known.address(name): name for name in names}


def replay(program, rows, names, memories, context, constants):
    """Run a program and stop at the first instruction that does something else than it means.

    Each instruction is run by its machine code on the memories and by its meaning on a copy of what it finds there.

    Parameters
    ----------
    program : Program
    rows : int64 array
        Its rows, with all kernels filled in.
    names : dict of int to KernelName
        Kernels by their addresses.
    memories : dict of str to array
        By their names in the context. They hold afterwards what the compiled program has left there.
    context : dict of str to number or list
        "image", "fresh", "scale", and as "parts" the names of the memories that are summed.
    constants : dict of str to array
        What rows that are Python functions read beside the arena; they are called as they are.

    Returns
    -------
    str or None
        Number, kernel and what is wrong of the first instruction that differs.
    """
    where = {name: address_of(array) for name, array in memories.items()}
    parts = integers([len(context["parts"]), *(where[name] for name in context["parts"])])
    known = {**where, "parts": address_of(parts), "table": address_of(program.table)}
    known |= {"image": context["image"], "fresh": context["fresh"], "scale": float_bits(context["scale"])}
    run = integers(known.get(name, 0) for name in CONTEXT)
    for number, row in enumerate(rows):
        if number in program.functions:
            program.functions[number](memories["arena"], constants)
            continue
        kernel = names[int(row[0])]
        ints = dict(zip(FAMILIES[kernel.family].fields.names, row.tolist(), strict=False))
        before = {name: array.copy() for name, array in memories.items()}
        seen = {name: (array, 0) for name, array in before.items()}
        state = State(memories["weights"].dtype.name, seen, context)
        writes = MEANINGS[kernel.family](ints, kernel.tile, program.table, state)
        CALL(int(row[0]))(address_of(row), address_of(run))
        for wrong in differences(before, memories, dict.fromkeys(memories, 0), writes):
            return f"instruction {number}, {kernel.family} {tuple(kernel.tile)}: {wrong}"
    return None


def replay_run(engine, x, targets, loss, training, scale=1.0):
    """Replay all programs that one run of an engine goes through, as its session has written them down.

    Returns
    -------
    str or None
        The first difference.
    out, losses : array
    total : array or None
        The accumulators of the gradients.
    """
    plans, packed, dtype = engine._plans, engine._packed, engine._plans.library.dtype
    names = kernels_by_address(plans.library.isa.name, dtype)
    packed.fill()
    session = Session(plans, packed, engine._factors.addresses, 1)
    out, losses = np.zeros((len(x), engine.classes), dtype), np.zeros(len(x))
    session._runner.set(x, targets, out, losses, scale)
    job = session._make_job(len(x), x.itemsize == 1, loss, training)
    entries = [entry for stage in job.stages for script in stage for entry in script._entries]
    if not plans.adapters:
        entries.insert(0, session._prepare(training).entry(ONCE))
    sums = {address_of(array): f"accumulators {i}" for i, array in enumerate(session._accumulators)}
    shared = {
        **engine._factors._alive, "weights": packed._weights, "bases": packed._bases, "images": x.reshape(-1),
        "targets": targets.reshape(-1), "logits": out.reshape(-1), "losses": losses,
        **dict(zip(sums.values(), session._accumulators, strict=True)),
    }  # fmt: skip
    for entry in entries:
        of = dict(zip(ENTRY, entry.numbers, strict=True))
        own = sums.get(of["gradients"])
        memories = {**shared, "arena": entry.call._memory[0]}
        if own is not None:
            memories["gradients"] = memories.pop(own)
        context = {"scale": scale, "parts": ["gradients" if name == own else name for name in sums.values()]}
        (rows,) = [rows for rows in entry.call._rows.values() if address_of(rows) == of["rows"]]
        for turn, sample in enumerate(range(of["begin"], of["end"], of["step"])):
            context |= {"image": sample, "fresh": of["fresh"] if turn == 0 else 0}
            wrong = replay(entry.call.program, rows, names, memories, context, packed.values)
            if wrong:
                return wrong, out, losses, None
    return None, out, losses, session._accumulators[0] if training else None
