"""Tables of classes, each imported when it is first asked for: who needs one loads no other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Generic, TypeVar

T = TypeVar("T")


class ClassTable(MutableMapping[str, type[T]], Generic[T]):
    """Classes by their names.

    Parameters
    ----------
    places : mapping of str to str
        ``MODULE:CLASS`` of each name.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._rows: dict[str, str | type[T]] = dict(places)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"

    def __getitem__(self, name: str) -> type[T]:
        row = self._rows[name]
        if not isinstance(row, str):
            return row
        module, _, attribute = row.partition(":")
        found: type[T] = getattr(importlib.import_module(module), attribute)
        self._rows[name] = found
        return found

    def __setitem__(self, name: str, cls: type[T]) -> None:
        self._rows[name] = cls

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
