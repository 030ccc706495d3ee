"""The words of a command as `argparse` reads them: with help, abbreviations, and a message for what is wrong."""

from __future__ import annotations

import argparse
from functools import cache
from typing import Any

from lieref.adapter.store.command import JSON, STORE, VERBS, Option

PROGRAM = "python -m lieref.adapter.store"


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the verb and its options; exits for help, and with status 2 for wrong use."""
    values = vars(_parser().parse_args(arguments))
    return values.pop("verb"), values


@cache
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Signed adapters on a device, and always a way back.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.summary, description=f"{verb.summary} {verb.text}")
        for option in (*verb.options, STORE, JSON):
            _add(one, option)
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
