"""What a run puts back in a model if it fails, an interruption included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lieref._types import Params
from lieref.train._protocol import Trainable
from lieref.train.task import Task


def copies(params: Params) -> Params:
    """Return copies of arrays."""
    return {name: parameter.copy() for name, parameter in params.items()}


def assign(params: Params, values: Params) -> None:
    """Write values into the live parameters; names that are missing keep theirs."""
    for name, value in values.items():
        params[name][...] = value


@contextmanager
def reading(model: Trainable, task: Task) -> Iterator[None]:
    """Let the model's logits be what the task reads; as before if anything fails."""
    before = model.reading
    model.reading = task.reads
    try:
        yield
    except BaseException:
        model.reading = before
        raise


@contextmanager
def all_or_nothing(model: Trainable, threads: int | None, recomputation: int | None) -> Iterator[None]:
    """Run with so many threads, and put the model back as it was if anything fails."""
    sites, params = model.sites, {**model.parameters(), **model.frozen_parameters()}
    before = copies(params)
    statistics, wants_statistics = dict(model.statistics), model.wants_statistics
    threads_before, recomputation_before = model.threads, model.recomputation
    if threads is not None:
        model.threads = threads
    if recomputation is not None:
        model.recomputation = recomputation
    try:
        yield
    except BaseException:
        model.sites = sites
        assign(params, before)
        model.statistics, model.wants_statistics = statistics, wants_statistics
        raise
    finally:
        model.threads, model.recomputation = threads_before, recomputation_before
