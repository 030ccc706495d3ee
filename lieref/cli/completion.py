"""``lieref completion``, and the names that a shell completes; each table is imported when its names are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from lieref.cli.command import Choice, Command

VARIABLE = "_LIEREF_COMPLETE"
"""What the script of a shell sets when it asks for words."""

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command(
    cls=Command,
    examples=(
        "lieref completion bash > ~/.local/share/bash-completion/completions/lieref",
        "lieref completion zsh > ~/.zfunc/_lieref  # with fpath+=~/.zfunc",
        "lieref completion fish > ~/.config/fish/completions/lieref.fish",
    ),
)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options, names of methods and files.

    A shell reads it from the folder in the example, where it looks by itself, in every session from the next on.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choices are those that click has
    made = kind(ctx.find_root().command, {}, "lieref", VARIABLE)
    click.echo(made.source_template % made.source_vars())


def completing(names: Callable[[], Iterable[str]]) -> Completer:
    """Return what completes one of some names, or behind a comma the next of several."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(begun)]

    return complete


def _methods() -> Iterable[str]:
    from lieref.adapter.integer.methods import INTEGER_METHODS
    from lieref.param.registry import METHODS

    return dict.fromkeys(("auto", *METHODS, *INTEGER_METHODS))


def _float_methods() -> Iterable[str]:
    from lieref.param.registry import METHODS

    return METHODS


def _semantics() -> Iterable[str]:
    from lieref.op.integer.semantics import SEMANTICS

    return SEMANTICS


def _profiles() -> Iterable[str]:
    from lieref.conformance.profile import PROFILES

    return PROFILES


def _formats() -> Iterable[str]:
    from lieref.adapter.integer.c_update import FORMAT
    from lieref.adapter.out.registry import FORMATS

    return (*FORMATS, FORMAT)


METHOD, FLOAT_METHOD, FORMAT_NAME = completing(_methods), completing(_float_methods), completing(_formats)
SEMANTICS_NAME, PROFILE_NAME = completing(_semantics), completing(_profiles)
