"""JSON without its loose ends: no duplicate keys, no NaN or infinity, UTF-8 only, one way of writing it."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from lieref.adapter.fields import shown
from lieref.errors import FormatError

MAX_DEPTH = 64
"""Cap on objects and lists in one another: a configuration nests eight. Python parses some hundreds, but what goes over
the value later, to copy or to print it, may take several calls a level and end sooner."""


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Parameters
    ----------
    data : bytes
        UTF-8 text of one JSON object.
    what : str
        How error messages call it, such as a path.

    Raises
    ------
    FormatError
        If it is not UTF-8, not JSON, not an object, nested too deeply, or holds a key twice, a NaN, an infinity, a
        number that overflows float64 or an unpaired surrogate.
    """

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not a number of JSON")

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{shown(text)} overflows float64")
        return number

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ValueError(f"key {shown(twice)} appears twice")
        return result

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant, parse_float=finite
        )
        # An unpaired surrogate has no UTF-8 form: encoding it raises a ValueError.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
        if _is_deep(value):
            raise RecursionError
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FormatError(f"parse_json: `{what}` must be strict JSON; got {reason}") from None
    if not isinstance(value, dict):
        raise FormatError(f"parse_json: `{what}` must hold a JSON object; got {type(value).__name__}")
    return value


def _is_deep(value: Any) -> bool:
    """Tell whether a value nests more than `MAX_DEPTH` objects and lists."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, (dict, list)):
                inner.extend(item.values() if isinstance(item, dict) else item)
        if not inner:
            return False
        level = inner
    return any(isinstance(item, (dict, list)) for item in level)


def path_text(path: str | Path) -> str:
    r"""Return a path as text that JSON can hold, which not every path is; a byte that is no UTF-8 becomes ``\xff``."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no path of this system
        return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def format_json(value: dict[str, Any], *, depth: int | None = None, compact: bool = False) -> bytes:
    """Return `value` as UTF-8 JSON, indented by two, keys in the order given, with a newline at the end.

    With a `depth` what is nested deeper is on one line: entries of a long table take a third of the bytes. What is
    `compact` has no space and no newline at all.

    Raises
    ------
    FormatError
        If it holds a NaN, an infinity, or something JSON has no form for.
    """
    try:
        if compact:
            return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
        text = _text(value, 2) if depth is None else _lines(value, depth, "\n")
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise FormatError(f"format_json: `value` must be plain finite JSON; got {error}") from None


def _text(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)


def _lines(value: Any, depth: int, start: str) -> str:
    """Return JSON with a line for each item down to a depth; `start` begins a line."""
    if not value or not depth or not isinstance(value, (dict, list)):
        return _text(value)
    inner = f"{start}  "
    if isinstance(value, list):
        return f"[{inner}{f',{inner}'.join(_lines(item, depth - 1, inner) for item in value)}{start}]"
    items = [f"{_text(key)}: {_lines(item, depth - 1, inner)}" for key, item in value.items()]
    return f"{{{inner}{f',{inner}'.join(items)}{start}}}"
