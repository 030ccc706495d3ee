"""The options that say what a network is trained for or measured by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.command import Choice

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.train.task import Task

TASK_NAMES = ("classes", "multilabel", "numbers", "dense", "tokens", "sequence")
"""The keys of `TASKS`, which is not imported before a command runs."""


def parse_weights(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Return the numbers in ``1,2.5,4``; None where nothing was given."""
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 1,2.5,4", ctx, param) from None


def parse_outputs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, float] | None:
    """Return the outputs in ``NAME`` or ``NAME=W`` with their weights, None where nothing was given."""
    found: dict[str, float] = {}
    for text in value:
        name, equals, weight = text.rpartition("=")
        try:
            name, number = (name, float(weight)) if equals else (text, 1.0)
        except ValueError:
            name, number = text, 1.0  # a name may hold the sign
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", ctx, param)
        found[name] = number
    return found or None


output_option = click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="NAME[=W]",
    callback=parse_outputs,
    help="Output that is trained, with the weight of its loss; repeatable.  [default: the first, if only it fits]",
)

_OPTIONS = (
    click.option("--task", type=Choice(TASK_NAMES), help="What is learnt.  [default: the adapter's, or classes]"),
    click.option("--class-weights", callback=parse_weights, metavar="W,W", help="Of classes, dense, multilabel."),
    click.option("--label-smoothing", type=click.FloatRange(0, 1), help="Of classes, dense and tokens."),
    click.option("--positive-weights", callback=parse_weights, metavar="W,W", help="Of multilabel, one an output."),
    click.option("--ignore-index", type=int, help="Target that is left out; the id of padding for tokens."),
    click.option("--blank", type=click.IntRange(min=0), help="Of sequence: the class that is no label.  [default: 0]"),
)
_SETTINGS = ("class_weights", "label_smoothing", "positive_weights", "ignore_index", "blank")


def task_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets one argument `task`: a name or None, and the settings given."""

    @functools.wraps(command)
    def run(*args: Any, task: str | None, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _SETTINGS}
        settings = {name: value for name, value in given.items() if value is not None}
        return command(*args, task=(task, settings), **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def chosen_task(model: Model, task: tuple[str | None, dict[str, Any]]) -> Task:
    """Return the task that the options ask for; what they leave open is that of the model's adapter, or classes.

    Raises
    ------
    DomainError
        If the task has no such setting, or it is out of range.
    """
    from lieref.train.task_registry import make_task

    name, settings = task
    known = dict(model.task or {"name": "classes"})
    known.pop("outputs", None)
    if name in (None, known["name"]):
        return make_task(**{"task": known.pop("name"), **known, **settings})
    return make_task(str(name), **settings)
