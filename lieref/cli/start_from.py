"""``finetune --from ADAPTER``: what the adapter fixes, and which options contradict it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from lieref.adapter.model import Model

WHERE = {
    "alpha": "--alpha", "method_options": "--option", "targets": "--target", "exclude": "--exclude",
    "blocks": "--blocks", "rank_pattern": "--rank-of", "alpha_pattern": "--alpha-of", "head": "--head",
    "features": "--features", "pool": "--pool",
}  # fmt: skip
"""Options that say what an adapter is made of, by their argument: all of it is in the adapter."""


def recorded(start: Path | None) -> dict[str, Any]:
    """Return what the adapter to start from says of itself, nothing without one; raises as `read_adapter` does."""
    from lieref.adapter.folder import read_adapter

    return {} if start is None else read_adapter(start)[1]["lieref"]


def check_options(start: Path, model: Model, known: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise `UsageError` for the first option on the command line that the adapter, which is loaded, contradicts.

    Parameters
    ----------
    start : Path
        Of the adapter, for messages.
    model : Model
    known : mapping
        What `recorded` returned.
    options : mapping
        Arguments of the command by name.
    """
    from lieref.cli.job import parse_classes

    context = click.get_current_context(silent=True)

    def given(name: str) -> bool:
        return context is not None and context.get_parameter_source(name) == ParameterSource.COMMANDLINE

    for name, option in WHERE.items():
        if given(name):
            raise click.UsageError(f"{option} says what an adapter is made of, and --from {start} has it; leave it out")
    # A new head is a part of the name; alone it is the method head.
    names = {
        model.method_name,
        model.method_name.removesuffix("+new-head"),
        model.method_name.replace("new-head", "head"),
    }
    if given("method") and options["method"] not in names:
        raise click.UsageError(f"--method {options['method']} contradicts --from {start}, which is {model.method_name}")
    ranks = sorted({rank for site in model.sites.values() if (rank := site.method.rank) is not None})
    if given("rank") and ranks != [options["rank"]]:
        said = ", ".join(map(str, ranks)) or "none"
        raise click.UsageError(f"--rank {options['rank']} contradicts --from {start}, whose rank is {said}")
    task, trained = options["task"][0], (known.get("task") or {}).get("name")
    if task is not None and trained is not None and task != trained:
        raise click.UsageError(f"--task {task} contradicts --from {start}, which was trained for {trained}")
    outputs = known.get("output")
    if options["outputs"] is not None and outputs is not None and {*options["outputs"]} != {*outputs}:
        said = ", ".join(outputs)
        raise click.UsageError(
            f"--output {', '.join(options['outputs'])} contradicts --from {start}, trained on {said}"
        )
    classes, asked = known.get("classes"), options["classes"]
    if asked is not None and (classes is not None or model.head is not None):
        number = len(classes) if classes is not None else model.head.classes if model.head is not None else 0
        if asked != str(number) and list(parse_classes(asked) or ()) != classes:
            said = str(number) if classes is None else ", ".join(classes)
            raise click.UsageError(f"--classes {asked} contradicts --from {start}, whose classes are {said}")


def started(start: Path, model: Model) -> str:
    """Return the line that says what a run begins with."""
    return (
        f"from {start}: {model.method_name}, its {model.num_trainable()} trained numbers as they are; optimiser and "
        "learning rate begin anew"
    )
