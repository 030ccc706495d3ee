"""``lieref schema``: the JSON Schema of what commands print with ``--json``."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import click

from lieref._text import did_you_mean
from lieref.cli.command import Command
from lieref.cli.console import print_json

NAME = "output.schema.json"
"""The file, in the folder of the command line's data."""


@click.command(
    cls=Command,
    examples=(
        "lieref schema merge",
        "lieref schema bundle verify",
        "lieref schema > lieref.schema.json  # of every command",
    ),
)
@click.argument("command", nargs=-1)
def schema(command: tuple[str, ...]) -> None:
    """Print the JSON Schema (draft 2020-12) of what COMMAND prints with --json, or of what every command does.

    A later version may add keys to an object; a key that is required keeps its name and meaning.
    """
    whole = read_schema()
    if not command:
        print_json(whole)
        return
    name = "-".join(command)
    known = commands_of(whole)
    if name not in known:
        raise click.UsageError(f"{' '.join(command)!r} prints nothing with --json{did_you_mean(name, known)}")
    print_json(of_command(whole, name))


def read_schema() -> dict[str, Any]:
    """Return the schema of every command."""
    found: dict[str, Any] = json.loads((resources.files("lieref.cli") / "data" / NAME).read_text(encoding="utf-8"))
    return found


def commands_of(whole: dict[str, Any]) -> list[str]:
    """Return the commands that the schema has, each by its words joined by hyphens."""
    return [each["$ref"].removeprefix("#/$defs/") for each in whole["anyOf"]]


def of_command(whole: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of one command, with the definitions that it refers to."""
    needed: list[str] = []
    wanted = [name]
    while wanted:
        each = wanted.pop()
        if each not in needed:
            needed.append(each)
            wanted += re.findall(r'"#/\$defs/([\w-]+)"', json.dumps(whole["$defs"][each]))
    definitions = {each: whole["$defs"][each] for each in sorted(needed)}
    return {"$schema": whole["$schema"], "$ref": f"#/$defs/{name}", "$defs": definitions}
