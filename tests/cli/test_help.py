"""The help of every command: real examples before the options, and lines that fit a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import click
import pytest

from lieref.cli import app, main
from lieref.cli.command import Choice, Command, Group, example_lines

WIDTH = 80


def commands(command: click.Command = app.lieref, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every group and command below one."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(find((*path, name)), (*path, name))


def find(path: tuple[str, ...]) -> click.Command:
    command: click.Command = app.lieref
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def parsed(example: str) -> tuple[str, ...]:
    """Parse a line as the command line does, short of running it, and return the path of the command it names."""
    words = shlex.split(example, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    assert words[0] == "lieref"
    command, context, path, rest = app.lieref, None, (), words[1:]
    while True:
        if not isinstance(command, click.Group):
            command.make_context(path[-1], rest, parent=context)
            return path
        context = click.Context(command, parent=context, **command.context_settings)
        name, found, rest = command.resolve_command(context, rest)
        assert name is not None
        assert found is not None
        command, path = found, (*path, name)


EVERY = list(commands())


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_has_examples_that_parse_before_the_options_and_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert main([*path, "-h"]) == 0
    text = capsys.readouterr().out
    assert main([*path, "--help"]) == 0
    assert capsys.readouterr().out == text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    for markup in ("\b", "\\b", "``"):
        assert markup not in text
    command = find(path)
    assert isinstance(command, (Command, Group))
    assert 2 <= len(command.examples) <= 4
    assert 0 < text.index("Examples:") < text.index("Options:")
    for example in command.examples:
        assert parsed(example)[: len(path)] == path
        shown = example_lines(example, WIDTH - 4)
        assert all(f"  {line}\n" in text for line in shown)
        typed = "\n".join(shown).replace("\\\n", "")  # as a shell reads it
        assert shlex.split(typed, comments=True) == shlex.split(example, comments=True)


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_choice_names_what_is_near(path: tuple[str, ...]) -> None:
    for param in find(path).params:
        if isinstance(param.type, click.Choice):
            assert isinstance(param.type, Choice)


def test_a_long_example_is_broken_before_its_options() -> None:
    assert example_lines("lieref a b --long value --flag  # why", 20) == [
        "# why", "lieref a b \\", "    --long value \\", "    --flag"
    ]  # fmt: skip
