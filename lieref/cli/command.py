"""What all commands have in common: examples first in their help, and the near name where one is wrong."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import click

from lieref._text import did_you_mean


class Choice(click.Choice[str]):
    """One of some words; of a wrong one the nearest is named."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word, or fail with all of them."""
        if value in self.choices:
            return str(value)
        self.fail(f"{value!r} is not one of {', '.join(self.choices)}{did_you_mean(value, self.choices)}", param, ctx)


class _Shown(click.Command):
    """Help with examples behind its first sentence, and options that know their neighbours.

    Parameters
    ----------
    examples : sequence of str
        Lines for a shell, each with ``  # a few words`` behind it where that helps.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, the examples, and the rest."""
        first, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(first)
        if self.examples:
            formatter.write_paragraph()
            formatter.write_heading("Examples")
            with formatter.indentation():
                room = formatter.width - formatter.current_indent
                for example in self.examples:
                    for line in example_lines(example, room):
                        formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if rest:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(rest)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; of an unknown option the nearest is named."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
            near = did_you_mean(error.option_name, [name for name in known if name.startswith("-")])
            raise click.UsageError(f"No such option {error.option_name!r}{near}", ctx) from None


class Command(_Shown):
    """A command of lieref."""


class Group(_Shown, click.Group):
    """A group of commands of lieref."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; of an unknown one the nearest is named."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            raise click.UsageError(f"No such command {name!r}{did_you_mean(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


def example_lines(example: str, width: int) -> list[str]:
    """Return the lines of an example that fit a width, as a shell takes them.

    What does not fit is broken before an option, and the words behind it come first, as a comment.
    """
    if len(example) <= width:
        return [example]
    line, _, note = example.partition("  # ")
    lines = [f"# {note}"] if note else []
    for part in re.findall(r"\S+(?: (?!-)\S+)*", line):
        if lines and not lines[-1].startswith("# ") and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part if not lines or lines[-1].startswith("# ") else f"    {part}")
    first = bool(note)
    return [*lines[:first], *(f"{each} \\" for each in lines[first:-1]), lines[-1]]
