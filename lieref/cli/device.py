"""``lieref device``: the verbs of `lieref.adapter.store.command`, which a device without this command has as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lieref.adapter.store.command import JSON, STORE, VERBS, Option, Verb, perform, text_of
from lieref.cli.console import say


@click.group(short_help="Install signed adapters on a device, and roll them back.")
def device() -> None:
    """Signed adapters on a device: installed on trial, marked good, rolled back.

    \b
    lieref device init --store DIR --base BASE.onnx --trust KEYDIR
    lieref device install BUNDLE --store DIR
    lieref device start --store DIR         what the application runs, asked at each of its starts
    lieref device mark-good --store DIR     once it runs well

    Where nothing but NumPy is installed, the same verbs are: python -m lieref.adapter.store VERB --store DIR. Status 0
    is done, 3 is refused with `refused: SLUG` on stdout.
    """  # noqa: D301  click reads the control character


def _command(name: str, verb: Verb) -> click.Command:
    def run(store: Path, json: bool, **options: Any) -> int:
        answer = perform(name, store, options)
        for note in answer.notes:
            say(note)
        click.echo(text_of(answer, json))
        return answer.status

    params = [_param(option) for option in (*verb.options, STORE, JSON)]
    return click.Command(name, callback=run, params=params, help=f"{verb.summary} {verb.text}", short_help=verb.summary)


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
