"""The words of a command as `argparse` reads them: with help, abbreviations, and a message for what is wrong."""

from __future__ import annotations

import argparse
from typing import Any

from lieref.adapter.store.command import JSON, STORE, VERBS, Option, Verb

PROGRAM = "python -m lieref.adapter.store"


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the verb and its options; exits for help, and with status 2 for wrong use."""
    if arguments and arguments[0] in VERBS:  # the parser of one verb alone is made where it comes first
        name, *rest = arguments
        return name, vars(_with_options(argparse.ArgumentParser(**_texts(name)), VERBS[name]).parse_args(rest))
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Signed adapters on a device, and always a way back.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        _with_options(verbs.add_parser(name, help=verb.summary, **_texts(name)), verb)
    values = vars(parser.parse_args(arguments))
    return values.pop("verb"), values


def _texts(name: str) -> dict[str, Any]:
    verb = VERBS[name]
    return {"prog": f"{PROGRAM} {name}", "description": f"{verb.summary} {verb.text}"}


def _with_options(parser: argparse.ArgumentParser, verb: Verb) -> argparse.ArgumentParser:
    for option in (*verb.options, STORE, JSON):
        _add(parser, option)
    return parser


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    if not option.name.startswith("-"):
        parser.add_argument(option.key, help=option.text, type=option.kind, metavar=option.name)
    elif option.kind is bool:
        parser.add_argument(option.name, help=option.text, action="store_true")
    else:
        parser.add_argument(
            option.name, help=option.text, type=option.kind, default=option.default, required=option.required,
            metavar=option.metavar,
        )  # fmt: skip
