"""The memory of one caller: arenas, accumulators and scripts, on programs that all callers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.parallel import run_all
from lieref.kernel.simd.memory import address_of, aligned, integers
from lieref.model.engine.call import ONCE, Call, Entry, Span
from lieref.model.engine.packed_weights import PackedWeights
from lieref.model.engine.parts import passes
from lieref.model.engine.plan import Plans
from lieref.model.engine.program import Program
from lieref.model.engine.script import Runner, Script, SharedScript
from lieref.model.engine.share import SharedProgram, share

MOST_JOBS = 32
"""Scripts that are kept, the last made: one for each batch size, element type and loss, with and without gradients."""


class Task(NamedTuple):
    """What a run does with its samples.

    Attributes
    ----------
    loss : str
        A kernel of `LOSSES`.
    training : bool
        Whether gradients are wanted.
    scale : float
        Factor of the squared error.
    """

    loss: str = "logits"
    training: bool = False
    scale: float = 1.0


FORWARD = Task()


@dataclass(frozen=True)
class Job:
    """What a run does, written down for one number of samples.

    Attributes
    ----------
    stages : list of list of Script, or of list of SharedScript
        One stage after the other, the scripts of a stage on a thread each: what adapts weights, the samples of each
        thread, what makes gradients of their sums. Where there is one part, all threads may share its script.
    accumulators : int64 array
        How many parts, and where the accumulators of each are.
    """

    stages: list[list[Script] | list[SharedScript]]
    accumulators: Array


class Session:
    """Memory and threads of one caller.

    One that was interrupted, or failed, is not used again: some of its threads may still be at work, on memory that
    they keep alive.

    Parameters
    ----------
    plans : Plans
    packed : PackedWeights
        What it computes with, until `use` is called.
    factors : dict of str to int
        Entries of the context for the factors of adapters.
    threads : int
        At most so many.
    """

    def __init__(self, plans: Plans, packed: PackedWeights, factors: dict[str, int], threads: int) -> None:
        self.packed = packed
        self.plans = plans
        self._factors = factors
        self.threads = threads
        self._runner = Runner(plans.library)
        self._calls: dict[tuple[int, int] | str, Call] = {}
        self._shared: dict[bool, SharedProgram | None] = {}
        self._accumulators = self._runner.accumulators
        self._jobs: dict[tuple[int, bool, str, bool], Job] = {}

    def use(self, packed: PackedWeights) -> None:
        """Compute with other weights from now on."""
        if packed is not self.packed:
            self.packed = packed
            for call in self._calls.values():
                call.use(packed)

    def run(self, x: Array, targets: Array, out: Array, losses: Array | None, task: Task) -> Array | None:
        """Run all samples through a program, in fixed parts; return the accumulators of the gradients.

        They are those of the first part, to which the others have been added. Gradients of factors are not among them,
        but in the caller's `theta_bar`: see `Factors`.
        """
        key = len(x), x.itemsize == 1, task.loss, task.training
        job = self._jobs.get(key)
        if job is None:
            if len(self._jobs) >= MOST_JOBS:
                self._jobs.pop(next(iter(self._jobs)))
            job = self._jobs[key] = self._make_job(*key)
        self._runner.set(x, targets, out, losses, task.scale)
        for scripts in job.stages:
            if isinstance(scripts[0], SharedScript):
                scripts[0].start()
            if len(scripts) == 1:
                scripts[0]()
            else:
                run_all(scripts, len(scripts))
        return self._accumulators[0] if task.training else None

    def prepare(self, training: bool) -> None:
        """Compute the packed weights that follow from others."""
        Script(self._runner, [self._prepare(training).entry(ONCE)])()

    def _make_job(self, samples: int, bytes_in: bool, loss: str, training: bool) -> Job:
        """Return the scripts for a number of samples, their element type and a loss."""
        plans = self.plans
        kernels = plans.open_kernels(bytes_in, loss)
        edges = plans.parts(samples, training)
        at_once = plans.at_once(training)
        spans = [passes(begin, end, at_once) for begin, end in edges]
        sums = [address_of(self._sums(part)) if training else 0 for part in range(len(edges))]
        accumulators = integers([len(edges), *sums])
        together = self._share(samples, training, kernels, sums[0]) if len(edges) == 1 else []
        workers = 0 if together else min(self.threads, len(edges))
        work: list[list[Entry]] = []
        for worker in range(workers):
            mine = [(span, sums[part]) for part in range(worker, len(edges), workers) for span in spans[part]]
            calls = [self._call(span.step, worker, training) for span, _ in mine]
            work.append([call.entry(span, kernels, where) for call, (span, where) in zip(calls, mine, strict=True)])
        # Factors change before every run, other weights seldom.
        prepare = [self._prepare(training).entry(ONCE)] if plans.adapters else []
        collect = [self._collect().entry(ONCE, None, sums[0], address_of(accumulators))] if training else []

        def scripts(stage: list[list[Entry]]) -> list[Script]:
            return [Script(self._runner, entries) for entries in stage if entries]

        # One thread goes through all of it at once; several meet before and after the samples.
        stages: list[list[Script] | list[SharedScript]] = [
            scripts([prepare]), together or scripts(work), scripts([collect])
        ]  # fmt: skip
        if workers == 1:
            stages = [scripts([[*prepare, *work[0], *collect]])]
        return Job([stage for stage in stages if stage], accumulators)

    def _share(self, samples: int, training: bool, kernels: dict[str, int], sums: int) -> list[SharedScript]:
        """Return the script of one part for each thread, none where its samples are not shared."""
        if self.threads == 1 or self.plans.net.flat:
            return []
        if training not in self._shared:
            self._shared[training] = share(self.plans.program(1, training), self.threads)
        shared = self._shared[training]
        if shared is None:
            return []
        key = "shared training" if training else "shared"
        if key not in self._calls:  # one for all numbers of samples, which `use` finds
            self._calls[key] = self._bind(shared.program)
        entry = self._calls[key].entry(Span(0, samples, 1, 1), kernels, sums)
        return [SharedScript(self._runner, entry, shared, samples)] * self.threads

    def _call(self, samples: int, worker: int, training: bool) -> Call:
        """Return the program for so many samples at once, bound to a thread's own arena."""
        program = self.plans.program(samples, training)
        key = id(program), worker
        if key not in self._calls:
            self._calls[key] = self._bind(program)
        return self._calls[key]

    def _prepare(self, training: bool) -> Call:
        key = "prepare training" if training else "prepare"
        if key not in self._calls:
            plan = self.plans.get(1)
            self._calls[key] = self._bind(plan.prepare_training if training else plan.prepare)
        return self._calls[key]

    def _collect(self) -> Call:
        if "collect" not in self._calls:
            self._calls["collect"] = self._bind(self.plans.get(1).collect)
        return self._calls["collect"]

    def _bind(self, program: Program) -> Call:
        return Call(program, self.plans.library.dtype, self.packed, self._factors, self._runner.request)

    def _sums(self, part: int) -> Array:
        """Return the gradient accumulators of a part."""
        while part >= len(self._accumulators):
            self._accumulators.append(aligned(self.plans.gradient_size, self.plans.library.dtype))
        return self._accumulators[part]


def gradients_of(plans: Plans, shapes: Mapping[str, FloatArray], total: Array | None) -> dict[str, FloatArray]:
    """Return the gradient of each trainable initializer in ONNX layout, but for adapted ones; zero for an empty batch.

    Parameters
    ----------
    shapes : mapping of str to array
        Arrays of the initializers' shapes.
    total : array or None
        Accumulators over all samples; None where there is none.
    """
    found: dict[str, FloatArray] = {}
    for accumulator in plans.get(1).storage.accumulators:
        like = shapes[accumulator.name]
        own = np.zeros(like.shape, like.dtype) if total is None else accumulator.read(total).reshape(like.shape)
        found[accumulator.name] = found[accumulator.name] + own if accumulator.name in found else own
    return found
