"""A report read back from the plain values that `Page.to_dict` gave."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, cast

from lieref._text import printable
from lieref.errors import FormatError
from lieref.evaluate.report.content import BLOCKS, FORMAT, VERSION, Page


def page_of(values: dict[str, Any], what: str) -> Page:
    """Return the page of plain values.

    Parameters
    ----------
    values : dict
        JSON values.
    what : str
        How messages call them, such as a path.

    Raises
    ------
    FormatError
        If they are of another format or version, or a field is missing, unknown, or not of its kind.
    """
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        found = f"{values.get('format')!r:.40} of version {values.get('version')!r:.40}"
        raise FormatError(f"report: {what} must be a {FORMAT} of version {VERSION}; got {printable(found)}")
    own = {name: value for name, value in values.items() if name not in ("format", "version")}
    try:
        return cast(Page, _read(Page, own, "page"))
    except (TypeError, ValueError) as error:
        raise FormatError(f"report: {what} must hold what a report does; {printable(str(error))[:200]}") from None


def _read(wanted: Any, value: Any, where: str) -> Any:
    """Return a value as the type that an annotation asks for."""
    if is_dataclass(wanted):
        return _record(cast(type, wanted), value, where)
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return _one_of(parts, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{where} must be a list")
        if parts[-1] is Ellipsis:
            return tuple(_read(parts[0], each, f"{where}[{n}]") for n, each in enumerate(value))
        return tuple(_read(part, each, where) for part, each in zip(parts, value, strict=True))
    right = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
    if not right or (isinstance(value, bool) and wanted is not bool):
        raise TypeError(f"{where} must be {wanted.__name__}")
    return value


def _one_of(parts: tuple[Any, ...], value: Any, where: str) -> Any:
    blocks = [part for part in parts if is_dataclass(part)]
    if blocks:
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or BLOCKS.get(kind) not in blocks:
            raise TypeError(f"{where} must be a known block")
        return _record(BLOCKS[kind], {name: each for name, each in value.items() if name != "kind"}, where)
    for part in parts:
        try:
            return _read(part, value, where)
        except TypeError:
            pass
    raise TypeError(f"{where} must be one of its kinds")


def _record(wanted: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{where} must be an object")
    hints = typing.get_type_hints(wanted)
    names = {field.name for field in fields(wanted)}
    if value.keys() != names:
        raise TypeError(f"{where} must have the fields {', '.join(sorted(names))}")
    return wanted(**{name: _read(hints[name], each, f"{where}.{name}") for name, each in value.items()})
