"""What is loaded when it is first used: the public names of a module, old names among them, and tables of classes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeVar

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


def public_names(
    module: str, places: Mapping[str, str], old: Mapping[str, tuple[str, str]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a module.

    Parameters
    ----------
    module : str
        Its `__name__`.
    places : mapping of str to str
        Where each public name is: ``MODULE:NAME``, or the full name of a module.
    old : mapping of str to (str, str)
        Names of the version before: what each is called now, for the warning, and where it is. Using one gives a
        `DeprecationWarning`, every time: Python shows it once for each line that does.
    """
    former = old or {}

    def get(name: str) -> Any:
        if name in places:
            value = load(places[name])
            setattr(sys.modules[module], name, value)
            return value
        if name in former:
            import warnings

            new, place = former[name]
            text = f"{module}.{name} is now {new}; the next version has no other name for it"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return load(place)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get, lambda: sorted(getattr(sys.modules[module], "__all__", places))


def load(place: str) -> Any:
    """Return what is at ``MODULE:NAME``, or the module of a full name."""
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
