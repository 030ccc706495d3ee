"""How large an adapter of a plan will be, known before anything is trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from lieref.errors import LierefWarning
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem
from lieref.evaluate.trial import attach

_SAMPLES = 2
"""Enough for the statistics to have their shapes."""


@dataclass(frozen=True)
class Size:
    """What is trained, and the adapter's files in bytes."""

    trainable: int
    update_bytes: int


def size_of(problem: Problem, plan: Plan, seed: int = 0) -> Size:
    """Return how large an adapter will be: that of the untrained one, whose numbers take as many bytes.

    Raises
    ------
    LierefError
        As `attach` does where a method has no meaning for the network.
    """
    from lieref.adapter.folder import encode_adapter
    from lieref.model.samples import own_layout

    if plan.method == BASE:
        return Size(0, 0)
    model = problem.model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        attach(problem, model, plan, seed)
        trainable = model.num_trainable()
        if model.wants_statistics:
            model.estimate_statistics(problem.x[:_SAMPLES], layout=own_layout(model.input_shape))
        model.task = problem.task.to_dict()
        files = encode_adapter(*model.adapter_state())
    model.unload()
    return Size(trainable, sum(map(len, files.values())))
