"""Frozen dataclasses that cost little to define: a device defines some forty of them whenever it starts.

``dataclasses.dataclass(frozen=True)`` compiles six methods for each class, a millisecond on a small machine. Here they
are written once. To all else the class is a dataclass: `fields`, `replace`, `asdict` and ``match`` work. A class from
which a dataclass of the standard library is to be derived takes its decorator from there, for frozen dataclasses of the
two kinds do not mix.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool) -> Any:
        """Return the decorator of a frozen dataclass: there are no others, and every field is an argument."""
        if frozen is not True:
            raise TypeError(f"dataclass: `frozen` must be True; got {frozen!r}")
        return _frozen


def _frozen(cls: Any) -> Any:
    cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    cls._FIELDS = {field.name: field for field in dataclasses.fields(cls)}
    cls._POSITIONAL = tuple(name for name, field in cls._FIELDS.items() if not field.kw_only)
    for name in _METHODS:
        if name not in vars(cls):
            setattr(cls, name, vars(_Methods)[name])
    return cls


class _Methods:
    """What every class gets that does not write it itself."""

    _FIELDS: dict[str, dataclasses.Field[Any]]
    _POSITIONAL: tuple[str, ...]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields, positional = self._FIELDS, self._POSITIONAL
        given = dict(zip(positional, values, strict=False))
        if len(values) > len(positional) or given.keys() & named.keys() or named.keys() - fields.keys():
            raise TypeError(f"{type(self).__name__}: arguments must be {', '.join(fields)}, each once; "
                            f"got {len(values)} and {', '.join(named) or 'none by name'}")  # fmt: skip
        given |= named
        # In the order of the fields, those left out with their defaults.
        self.__dict__.update({name: given[name] if name in given else _default(self, fields[name]) for name in fields})
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, field in self._FIELDS.items() if field.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> Any:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_values(self))

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__")


def _default(record: Any, field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise TypeError(f"{type(record).__name__}: argument {field.name} must be given; got none")


def _values(record: Any) -> tuple[Any, ...]:
    return tuple([record.__dict__[name] for name, field in record._FIELDS.items() if field.compare])
