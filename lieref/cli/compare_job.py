"""The job of a comparison: base, data and task, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref.cli.console import say
from lieref.cli.task_options import chosen_task
from lieref.cli.text_options import TextOptions, without_padding

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.evaluate.problem import Problem
    from lieref.train.data import Dataset

METHODS = ("norm-stats", "scale", "ia3", "lora", "liera", "norm-stats+scale", "norm-stats+liera", "full")
"""Compared where no methods are named; those with norm-stats where the network has BatchNormalization."""


def read_problem(
    base: Path,
    train: Path,
    test: Path,
    forget: Path | None,
    *,
    head: str,
    features: str | None,
    pool: bool,
    outputs: dict[str, float] | None,
    task: tuple[str | None, dict[str, Any]],
    text: TextOptions,
    layout: str | None,
    classes: str | None,
    max_bytes: int | None,
    preprocess: str | None = None,
    **fields: Any,
) -> tuple[Model, Problem]:
    """Read base and data, say what is to be said of them, and return the model and the problem.

    `fields` are further ones of `Problem`.
    """
    from lieref.cli import job
    from lieref.cli.doubts import look_at_base
    from lieref.cli.loading import load_for
    from lieref.errors import DomainError
    from lieref.evaluate.judge import check_targets
    from lieref.evaluate.overlap import check_apart
    from lieref.evaluate.problem import make_problem
    from lieref.model.mask_inputs import describe

    model = load_for(base, train, text, outputs)
    chosen = chosen_task(model, task)
    wanted: list[Any] = []

    def give_head(data: Dataset) -> None:
        wanted.append(job.new_head(data, train, classes=classes, features=features, pool=pool))
        model.attach("head", head=wanted[0])

    given: dict[str, Any] = {"task": chosen, "max_bytes": max_bytes, "text": text}
    given |= {"preprocess": preprocess, "at_once": True}
    give = give_head if head == "new" else None
    training, testing = job.load_sets(model, train, test, layout, classes=classes, give_head=give, **given)
    assert testing is not None  # a path was given
    original = None if forget is None else job.load_samples(forget, model, layout, classes=training.classes, **given)
    if model.derived_inputs:
        say(describe(model.derived_inputs, model.padding_id))
    for samples in (training, testing, original):
        if samples is not None and samples.described:
            say(samples.described)
    if len(testing.x) < 2:
        raise DomainError(f"compare: {test} must hold at least 2 samples; got {len(testing.x)}")
    both = check_apart("compare", training.x, testing.x)
    if both:
        say(f"{both:,} of the {len(testing.x):,} test samples are training samples too: they flatter every method")
    chosen = without_padding(chosen, (training.text or {}).get("padding"))
    look_at_base(model, training, chosen, "none", 0)
    model.unload()
    problem = make_problem(
        base,
        model,
        training.x,
        training.y,
        task=chosen,
        x_test=testing.x,
        y_test=testing.y,
        x_other=None if original is None else original.x,
        y_other=None if original is None else original.y,
        head=wanted[0] if wanted else None,
        classes=training.classes,
        **fields,
    )
    check_targets("compare", problem)
    return model, problem


def float_methods(model: Model, methods: str | None) -> list[str]:
    """Return the methods asked for, or those of `METHODS` that the network has a meaning for."""
    if methods is not None:
        return [name.strip() for name in methods.split(",") if name.strip()]
    if any(node.op == "BatchNormalization" for node in model.graph.nodes):
        return list(METHODS)
    say("the network has no BatchNormalization: methods with norm-stats are left out")
    return [name for name in METHODS if not name.startswith("norm-stats")]
