"""``python -m lieref.adapter.store VERB --store DIR``: the store where nothing but Python and NumPy is installed."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from lieref._text import one_line
from lieref.adapter.store.command import FAILED, INTERRUPTED, JSON, STORE, VERBS, WRONG_USE, Verb, perform, text_of
from lieref.errors import LierefError


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
    """Return the verb and its options."""
    if arguments and arguments[0] in VERBS:
        plain = plain_options(VERBS[arguments[0]], arguments[1:])
        if plain is not None:
            return arguments[0], plain
    from lieref.adapter.store.parser import parse  # which brings argparse, with gettext, locale and shutil

    return parse(arguments)


def plain_options(verb: Verb, words: list[str]) -> dict[str, Any] | None:
    """Return the options of a verb where every word is plain, as `parse` would; None where that has to read them.

    Plain is ``--name value``, ``--flag`` and an argument, each once and spelt in full, no value with a dash in front.
    """
    known = {option.name: option for option in (*verb.options, STORE, JSON)}
    arguments = iter([option for name, option in known.items() if not name.startswith("-")])
    found: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        named = word.startswith("-")
        option = known.get(word) if named else next(arguments, None)
        if option is None or option.key in found:
            return None
        if option.kind is bool:
            found[option.key] = True
            continue
        value = next(left, "-") if named else word
        if value.startswith("-"):
            return None
        try:
            found[option.key] = option.kind(value)
        except ValueError:
            return None
    if any(option.required and option.key not in found for option in known.values()):
        return None
    return {option.key: found.get(option.key, option.absent) for option in known.values()}


def _say(kind: str, text: Any) -> None:
    print(f"{kind}: {one_line(text)}", file=sys.stderr)


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    _say("warning", message)


if __name__ == "__main__":
    raise SystemExit(main())
