"""The options that choose layers, the same for every command that attaches a method."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

MOST_BLOCKS = 10_000
"""So many blocks no network has."""


def parse_blocks(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return the numbers in ``0,2,5-7``, None where nothing was given."""
    if value is None:
        return None
    numbers: list[int] = []
    for part in value.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        known = all(word.isascii() and word.isdecimal() and int(word) < MOST_BLOCKS for word in (first, last or first))
        if not known or bool(dash) != bool(last) or int(last or first) < int(first):
            raise click.BadParameter(f"{value!r} is no list of blocks such as 0,2,5-7", ctx, param)
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def parse_pattern(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, int] | dict[str, float]:
    """Return ``{"fc1": 8}`` of ``fc1=8``: whole numbers for ranks, others for alphas."""
    kind = int if param.name == "rank_pattern" else float
    found: dict[str, Any] = {}
    for value in values:
        pattern, sign, number = value.rpartition("=")
        try:
            found[pattern] = kind(number)
        except ValueError:
            sign = ""
        if not (pattern and sign and math.isfinite(found[pattern]) and found[pattern] > 0):
            raise click.BadParameter(f"{value!r} is no pattern and a positive number, such as fc1=8", ctx, param)
    return found


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--target``, ``--exclude``, ``--blocks``, ``--rank-of`` and ``--alpha-of`` to a command."""
    for option in (
        click.option(
            "--alpha-of",
            "alpha_pattern",
            multiple=True,
            callback=parse_pattern,
            metavar="PATTERN=X",
            help="Alpha of the layers a pattern names.",
        ),
        click.option(
            "--rank-of",
            "rank_pattern",
            multiple=True,
            callback=parse_pattern,
            metavar="PATTERN=R",
            help="Rank of the layers a pattern names, repeatable; the first that names a layer counts.",
        ),
        click.option(
            "--blocks",
            callback=parse_blocks,
            metavar="0,2,5-7",
            help="Only layers of these blocks: blocks.3.fc1 is in 3.",
        ),
        click.option("--exclude", multiple=True, metavar="PATTERN", help="Layers to leave as they are, repeatable."),
        click.option(
            "--target",
            "targets",
            multiple=True,
            metavar="PATTERN",
            help="Layers to adapt, repeatable: a name or its end, shell pattern, re:EXPRESSION, all-linear, all-conv; "
            "to see what it takes: lieref inspect MODEL --target PATTERN.  [default: all]",
        ),
    ):
        command = option(command)
    return command
