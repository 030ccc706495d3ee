"""Options of ``finetune`` that keep what is trained near the base, by its distance in the algebra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lieref.cli.choosing import AUTO


def near_base_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options."""
    for option in (
        click.option(
            "--trust-region",
            type=click.FloatRange(min=0, min_open=True),
            metavar="RADIUS",
            help="Largest |xi| of each adapted tensor, its distance from the base; what goes beyond is brought back.",
        ),
        click.option(
            "--algebra-decay",
            type=click.FloatRange(min=0, min_open=True),
            metavar="LAMBDA",
            help="Add LAMBDA/2 times the sum of |xi|^2 to the objective: decay to the base, by the distance from it.",
        ),
    ):
        command = option(command)
    return command


def check_near_base(method: str, **given: float | None) -> None:
    """Raise `click.UsageError` where the method is still to be chosen: that would be without them."""
    asked = [name for name, value in given.items() if value is not None]
    if method == AUTO and asked:
        raise click.UsageError(
            f"--{asked[0].replace('_', '-')} is for a method that is named; --method auto chooses one"
        )
