"""``lieref compare`` of a quantised file: its rows, those of its float twin, and the semantics that judge them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lieref.cli.compare_job import float_methods, read_problem

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel
    from lieref.adapter.model import Model
    from lieref.evaluate.compare.budget import Entry
    from lieref.evaluate.problem import Problem

_NOT_OF_IT = ("text", "outputs", "task")
"""Arguments that say of data or network what a quantised file does not have."""

Read = tuple["IntegerModel", "Problem", "Model | None", "Problem | None", "list[Entry]"]


def read_quantised(
    base: Path,
    *,
    float_base: Path | None,
    semantics: tuple[str, ...],
    methods: str | None,
    train: Path,
    test: Path,
    forget: Path | None,
    head: str,
    float_only: dict[str, Any],
    given: dict[str, Any],
    **reading: Any,
) -> Read:
    """Return the model and problem of a quantised file, those of its twin, and the entries.

    Parameters
    ----------
    float_base : Path or None
        The float twin.
    float_only : dict
        Arguments of `matched`.
    given : dict
        By the option's name, what was given of options that float networks alone have.

    Raises
    ------
    UsageError
        If an option does not go with a quantised file.
    LierefError
        If file, twin and data do not fit each other.
    """
    from lieref.adapter.integer.methods import INTEGER_METHODS
    from lieref.evaluate.compare.quantised_entries import quantised_entries
    from lieref.evaluate.integer import USUAL
    from lieref.evaluate.quantised import is_quantised
    from lieref.model.integer.reader import read_integer

    _check_options(base, float_base, head=head, given=given, **{name: reading[name] for name in _NOT_OF_IT})
    form = read_integer(base).format
    judged = semantics or (USUAL[form],)
    data = (train, test, forget)
    model, problem = read_problem(base, *data, head=head, **reading, semantics=judged)
    assert is_quantised(model)  # the file is one
    _check_runs(model, problem)
    if float_base is None:
        names = list(INTEGER_METHODS) if methods is None else _names(methods)
        return model, problem, None, None, quantised_entries(model, None, names)
    twin, of_twin = read_problem(float_base, *data, head=head, **reading, semantics=judged, into=problem.base)
    _check_twin(model, problem, float_base, of_twin)
    names = [*INTEGER_METHODS, *float_methods(twin, None)] if methods is None else _names(methods)
    return model, problem, twin, of_twin, quantised_entries(model, twin, names, **float_only)


def _names(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _check_options(
    base: Path, float_base: Path | None, *, head: str, given: dict[str, Any], text: Any, outputs: Any, task: Any
) -> None:
    from lieref.cli.text_options import TextOptions
    from lieref.model.integer.reader import is_integer_file

    if head == "new":
        raise click.UsageError(f"{base} is a quantised file, whose outputs stay; leave out --head new")
    if outputs or text != TextOptions():
        raise click.UsageError(f"{base} is a quantised file, of images or numbers and one output; leave out options of "
                               "texts and --output")  # fmt: skip
    if task[0] not in (None, "classes"):
        raise click.UsageError(
            f"{base} is a quantised file, which is compared by its classes; leave out --task {task[0]}"
        )
    named = next((name for name, value in given.items() if value not in (None, (), {})), None)
    if named is not None and float_base is None:
        raise click.UsageError(
            f"{named} is for methods of float networks, and {base} is a quantised file; leave it out, or add --float "
            "BASE.onnx"
        )
    if float_base is not None and is_integer_file(float_base):
        raise click.UsageError(f"--float is for the network in real numbers; {float_base} is a quantised file")


def _check_runs(model: IntegerModel, problem: Problem) -> None:
    """Raise unless the file has classes, and an integer reference in every semantics."""
    from lieref.errors import UnsupportedError
    from lieref.evaluate.integer import check_runs

    if not problem.task.has_labels or np.asarray(problem.y_test).ndim != 1:
        raise UnsupportedError(
            f"compare: a quantised file must have one class for each sample; got the task {problem.task.name!r}, which "
            "finetune and eval take"
        )
    check_runs("compare", model, problem.x, problem.semantics)


def _check_twin(model: IntegerModel, problem: Problem, path: Path, of_twin: Problem) -> None:
    """Raise unless a float network is the one that was quantised, and reads the samples as the file does."""
    from lieref.adapter.integer.carry import carry
    from lieref.adapter.model import load
    from lieref.errors import UnsupportedError

    wide = load(path, dtype="float64", **of_twin.load)
    try:
        carry(model.integer, wide.graph, wide.graph, "base")
    except UnsupportedError as error:
        why = str(error).removeprefix("carry: ")
        raise UnsupportedError(f"compare: {path} must be the float twin of {problem.name}; {why}") from None
    real = model.arranged("compare", problem.x[:8])
    if not np.array_equal(real, np.asarray(of_twin.x[:8], real.dtype)):
        raise UnsupportedError(
            f"compare: samples must be real numbers, which file and twin read alike; got {problem.x.dtype}, the "
            "integers of the file's input"
        )
