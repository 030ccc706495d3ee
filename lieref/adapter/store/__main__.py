"""``python -m lieref.adapter.store VERB --store DIR``: the store where nothing but Python and NumPy is installed."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from lieref._text import one_line
from lieref.adapter.store.command import (
    FAILED,
    INTERRUPTED,
    JSON,
    STORE,
    VERBS,
    WRONG_USE,
    Option,
    Verb,
    perform,
    text_of,
)
from lieref.errors import LierefError

PROGRAM = "python -m lieref.adapter.store"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path goes out as the bytes that the system knows it by, which need not be letters of any encoding.
        sys.stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors())
    verb, values = _parsed(sys.argv[1:] if arguments is None else list(arguments))
    as_json = values.pop("json")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show
            warnings.simplefilter("always", UserWarning)
            answer = perform(verb, values.pop("store"), values)
        for note in answer.notes:
            print(note, file=sys.stderr)
        print(text_of(answer, as_json), flush=True)
        return answer.status
    except KeyboardInterrupt:
        _say("error", "interrupted")
        return INTERRUPTED
    except LierefError as error:
        _say("error", error)
        return WRONG_USE
    except OSError as error:
        _say("error", f"{error.filename or 'input or output'}: {error.strerror or error}")
        return FAILED
    except MemoryError:
        _say("error", "out of memory")
        return FAILED


def _parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the verb and its options; the parser of one verb alone is made where it comes first."""
    if arguments and arguments[0] in VERBS:
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


def _say(kind: str, text: Any) -> None:
    print(f"{kind}: {one_line(text)}", file=sys.stderr)


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    _say("warning", message)


if __name__ == "__main__":
    raise SystemExit(main())
