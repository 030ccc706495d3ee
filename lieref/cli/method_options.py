"""Options of ``finetune`` that are read with care: a rate, and names with values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lieref.param.targets import FIELDS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def parse_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    """Return ``auto``, a positive number, or None where nothing was given."""
    if value in (None, "auto"):
        return value
    try:
        rate = float(value or "")
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise click.BadParameter(f"{value!r} is neither auto nor a positive number", ctx, param)
    return rate


def method_settings(examples: str) -> Callable[[Decorated], Decorated]:
    """Return the options ``--rank``, ``--alpha`` and ``--option`` of one method; `examples` are of the last."""

    def decorate(command: Decorated) -> Decorated:
        for option in (
            click.option(
                "--option", "method_options", multiple=True, callback=parse_options, metavar="NAME=VALUE",
                help=f"Another option of the method, repeatable: {examples}.",
            ),
            click.option(
                "--alpha", type=click.FloatRange(min=0, min_open=True),
                help="Scaling alpha / rank.  [default: the method's]",
            ),
            click.option(
                "--rank", "--r", type=click.IntRange(min=1), help="Rank of the factors.  [default: the method's]"
            ),
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


def parse_options(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """Return ``{"lora_dropout": 0.1}`` of ``lora_dropout=0.1``; what is no number, true, false or null is text."""
    found: dict[str, Any] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not (name.isidentifier() and sign and text) or name in found:
            raise click.BadParameter(f"{value!r} is no name and value such as lora_dropout=0.1, once each", ctx, param)
        if name in ("r", "lora_alpha", "method", "options", *FIELDS, "rank_pattern", "alpha_pattern"):
            raise click.BadParameter(f"{name} is no option of a method alone; see --help", ctx, param)
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
