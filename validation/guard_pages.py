"""Random and malformed networks, every buffer of the engine between two pages that no access survives.

python -m validation.guard_pages valid --networks 20000
python -m validation.guard_pages malformed --networks 5000

Each buffer that compiled code is given (arena, packed weights, factors, accumulators, tables, instructions, scripts,
input, targets, outputs, losses, gradients) ends at such a page, or begins at one; the first access outside kills the
process. So networks are run in processes of their own, batch by batch: one that dies names the network's seed, and
``--seed`` runs it alone. Networks take turns in instruction set, in the end that is guarded, in running in groups of
samples, as if their few weights were large, in sharing one image between threads, as if it were, and in computing
activations again for the gradients.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import InternalError, LierefError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd import memory
from lieref.model import executor
from lieref.model.engine import compile_graph, engine, group, pieces, share
from lieref.model.graph import Graph
from tests.model.engine.random_networks import (
    malformed_network,
    random_adapters,
    random_network,
    reference_output,
    weights_in_reach,
)
from tests.model.engine.random_sequences import random_sequence
from validation.record import environment, write_result

PAGE = mmap.PAGESIZE
BATCH = 400
"""Networks of one process."""

SAMPLES = (1, 2, 3, 5, 9, 17, 70, 130)
PROT_NONE = 0
LIBC = ctypes.CDLL(None, use_errno=True)
FINE = ("forward", "forward and gradients", "refused", "refused late")
"""What may come of a network."""

LARGE, LEAST_SHARED = (pieces.LARGE, pieces.PIECE), group.LEAST_SHARED
WORTH_SHARING = share.LEAST_PIECE, share.LEAST_SHARED

MALFORMED = 1 << 32
"""Seeds of malformed networks begin here."""


@dataclass(frozen=True)
class Case:
    """How a network is run: what follows from its seed."""

    seed: int

    @property
    def isa(self) -> str:
        return isa_module.available()[self.seed % len(isa_module.available())]

    @property
    def at_end(self) -> bool:
        return self.seed // len(isa_module.available()) % 2 == 0

    @property
    def grouped(self) -> bool:
        return self.seed // (2 * len(isa_module.available())) % 2 == 0

    @property
    def shared(self) -> bool:
        return self.seed // (4 * len(isa_module.available())) % 2 == 0

    @property
    def recomputation(self) -> int:
        """Which of the engine's, the last for any that it does not have; groups are off but for the first."""
        return (0, 0, 1, 9)[self.seed // (8 * len(isa_module.available())) % 4]

    @property
    def sequence(self) -> bool:
        return self.seed // (32 * len(isa_module.available())) % 2 == 1

    @property
    def malformed(self) -> bool:
        return self.seed >= MALFORMED


def guarded(size: int, at_end: bool) -> Array:
    """Return `size` bytes of zeros that end before a page without access, or begin behind one."""
    pages = -(-size // PAGE)
    area = mmap.mmap(-1, (pages + 2) * PAGE)
    everything = np.frombuffer(area, np.uint8)
    start = everything.ctypes.data
    for page in (start, start + (pages + 1) * PAGE):
        if LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = PAGE + (pages * PAGE - size if at_end else 0)
    return everything[first : first + size]


def place(array: Array, at_end: bool) -> Array:
    """Return a copy of an array between such pages."""
    found = guarded(array.nbytes, at_end).view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


class GuardedNumpy:
    """What the engine makes its own arrays with, outputs and losses."""

    def __init__(self, at_end: bool) -> None:
        self._at_end = at_end

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = float) -> Array:
        return place(np.empty(shape, dtype), self._at_end)

    def zeros(self, shape: Any, dtype: Any = float) -> Array:
        return place(np.zeros(shape, dtype), self._at_end)

    def ascontiguousarray(self, array: Any, dtype: Any = None) -> Array:
        return place(np.ascontiguousarray(array, dtype), self._at_end)


def run_one(case: Case) -> str:
    """Run one network forward and backward; return what came of it."""
    rng = np.random.default_rng(case.seed)
    make = random_sequence if case.sequence else random_network
    graph = malformed_network(rng, make(rng)) if case.malformed else make(rng)
    trainable, adapters = random_adapters(graph, rng) if not case.malformed or rng.random() < 0.5 else (frozenset(), {})
    if case.sequence:
        with suppress(LierefError):
            trainable &= weights_in_reach(graph)
    memory.allocate = lambda size: guarded(size, case.at_end)
    engine.np = GuardedNumpy(case.at_end)  # type: ignore[attr-defined, assignment]
    pieces.LARGE, pieces.PIECE = (16, 96) if case.grouped else LARGE
    group.LEAST_SHARED = -1.0 if case.grouped else LEAST_SHARED
    share.LEAST_PIECE, share.LEAST_SHARED = (1, 1) if case.shared else WORTH_SHARING
    dtype = str(rng.choice(["float32", "float32", "float64"]))
    winograd = str(rng.choice(["f2", "f4", "direct"]))
    try:
        net = compile_graph(
            graph, trainable=trainable, logits=graph.outputs[0], adapters=adapters, threads=int(rng.integers(1, 4)),
            winograd=winograd, dtype=dtype, isa=case.isa,
        )  # fmt: skip
    except InternalError:
        raise
    except LierefError:
        return "refused"
    if case.recomputation:
        net.recompute(case.recomputation)
    outcome = "forward"
    for _ in range(2):
        samples = int(rng.choice(SAMPLES[:5] if len(graph.inputs[0].shape) > 2 else SAMPLES))
        shape = (samples, *graph.inputs[0].shape[1:])
        ids = graph.inputs[0].dtype == "int64"
        x = rng.integers(0, 11, shape) if ids else rng.standard_normal(shape).astype(dtype)
        x = rng.integers(0, 256, x.shape).astype(np.uint8) if not ids and rng.random() < 0.2 else x
        z = net.logits(x)
        if not (adapters or case.malformed or agrees(graph, x, z)):
            return "other numbers than the reference"
        if trainable or adapters:
            outcome = "forward and gradients"
            for loss in ("cross_entropy", "mean_squared_error", lambda z, y: (0.0, z)):
                y = rng.integers(0, z.shape[1], samples) if loss == "cross_entropy" else z
                net.loss_and_grad(x, y, loss)
    return outcome


def agrees(graph: Graph, x: Array, z: Array) -> bool:
    """Whether outputs are those of the reference path, roughly: rounding has tests of its own.

    What rounding does to a sine of 65,025 the reference path says itself, in float32.
    """
    want = reference_output(graph, x).reshape(z.shape).astype(np.float64)
    size = np.abs(want).max(initial=1.0)
    rounded = executor.run(graph, x if graph.inputs[0].dtype == "int64" else x.astype(np.float32))[
        graph.outputs[0]
    ].reshape(z.shape)
    allowed = 2e-3 * size + 4 * np.abs(rounded - want).max(initial=0.0)
    return bool(not np.isfinite([want, rounded]).all() or np.allclose(z, want, rtol=0, atol=allowed))


def child(seeds: range) -> None:
    """Run some networks, and say before each which it is."""
    for seed in seeds:
        print(f"begin {seed}", flush=True)
        try:
            with np.errstate(all="ignore"):
                outcome = run_one(Case(seed))
        except InternalError as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        except LierefError as error:
            outcome = f"refused late: {type(error).__name__}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(outcome), flush=True)


def outcomes(seeds: range) -> Iterator[tuple[int, str]]:
    """Yield what comes of each network; a process that dies is followed by one for the rest."""
    start = seeds.start
    while start < seeds.stop:
        command = [sys.executable, "-m", "validation.guard_pages", "valid", "--child", str(start), str(seeds.stop)]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        found = [json.loads(line) for line in lines if line.startswith('"')]
        yield from zip(range(start, start + len(found)), found, strict=True)
        start += len(found)
        if done.returncode != 0 or not lines:
            text = done.stderr.strip().splitlines()
            yield start, f"killed: {done.returncode} {text[-1] if text else ''}"
            start += 1


def survey(first: int, count: int, jobs: int) -> dict[str, Any]:
    """Run so many networks and count what came of them."""
    batches = [range(i, min(i + BATCH, first + count)) for i in range(first, first + count, BATCH)]
    counts: Counter[str] = Counter()
    bad: list[dict[str, Any]] = []
    with ThreadPoolExecutor(jobs) as pool:
        for batch in pool.map(lambda seeds: list(outcomes(seeds)), batches):
            for seed, outcome in batch:
                kind = outcome.split(":")[0]
                counts[kind] += 1
                if kind not in FINE:
                    bad.append({"seed": seed, "isa": Case(seed).isa, "outcome": outcome})
            print(dict(counts), flush=True)
    return {"networks": sum(counts.values()), "outcomes": dict(counts), "bad": bad}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("valid", "malformed"))
    parser.add_argument("--networks", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="run this network alone, in this process")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(range(*options.child))
    elif options.seed is not None:
        child(range(options.seed, options.seed + 1))
    else:
        # A page without access must kill: else this run would show nothing.
        probe = "from validation.guard_pages import guarded; a = guarded(64, True); import ctypes; "
        probe += "ctypes.c_char.from_address(a.ctypes.data + 64).value"
        killed = subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode < 0
        came = environment()
        found = survey(MALFORMED if options.kind == "malformed" else 0, options.networks, options.jobs)
        about = {"pages_kill": killed, "isa": list(isa_module.available())}
        write_result(f"guard_pages_{options.kind}", {**came, **about, **found})


if __name__ == "__main__":
    main()
