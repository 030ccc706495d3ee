"""``lieref device``: the verbs of `lieref.adapter.store.command`, which a device without this command has as well."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from lieref.adapter.store.command import JSON, STORE, VERBS, Option, Verb, perform, text_of
from lieref.cli.command import Command, Group
from lieref.cli.console import say, working


@click.group(
    cls=Group,
    examples=(
        "lieref device init --store store --base base.onnx --trust keys",
        "lieref device install bundle --store store",
        "lieref device start --store store  # what to run, asked at each start",
        "lieref device mark-good --store store  # once it runs well",
    ),
)
def device() -> None:
    """Signed adapters on a device: installed on trial, marked good, rolled back.

    Where nothing but NumPy is installed, the same verbs are: python -m lieref.adapter.store VERB --store DIR. Status 0
    is done, 3 is refused with `refused: SLUG` on stdout.
    """


EXAMPLES = {
    "init": ("lieref device init --store store --base base.onnx --trust keys/root.json",
             "lieref device init --store store --base base.onnx --trust keys --tries 5"),
    "install": ("lieref device install bundle --store store",
                "lieref device install bundle --store store --self-test ./self_test",
                "lieref device install bundle --store store --dry-run"),
    "status": ("lieref device status --store store", "lieref device status --store store --json"),
    "start": ("lieref device start --store store", "lieref device start --store store --json"),
    "mark-good": ("lieref device mark-good --store store",
                  "lieref device mark-good --store store --slot 1f0a...  # what start --json gave"),
    "rollback": ("lieref device rollback --store store", "lieref device rollback --store store --to-base"),
    "history": ("lieref device history --store store", "lieref device history --store store --json"),
    "trust": ("lieref device trust keys/2.root.json --store store",
              "lieref device trust keys/2.root.json --store store --json"),
}  # fmt: skip
"""Verb -> lines for a shell."""


def _command(name: str, verb: Verb) -> click.Command:
    def run(store: Path, json: bool, **options: Any) -> int:
        command = options.get("self_test")
        if command is not None:  # it prints on stderr itself
            say(f"the self-test {command} may take {options['self_test_seconds']:g} s")
        with nullcontext() if command is not None or name != "install" else working("device install"):
            answer = perform(name, store, options)
        for note in answer.notes:
            say(note)
        click.echo(text_of(answer, json))
        return answer.status

    params = [_param(option) for option in (*verb.options, STORE, JSON)]
    return Command(
        name, callback=run, params=params, help=f"{verb.summary}\n\n{verb.text}", short_help=verb.summary,
        examples=EXAMPLES[name],
    )  # fmt: skip


def _param(option: Option) -> click.Parameter:
    kind = click.Path(path_type=Path) if option.kind is Path else option.kind
    if not option.name.startswith("-"):
        return click.Argument([option.key], type=kind, metavar=option.name)
    if option.kind is bool:
        return click.Option([option.name], is_flag=True, help=option.text)
    return click.Option(
        [option.name, option.key], type=kind, help=option.text, default=option.default, required=option.required,
        metavar=option.metavar, show_default=option.default is not None,
    )  # fmt: skip


for _name, _verb in VERBS.items():
    device.add_command(_command(_name, _verb))
