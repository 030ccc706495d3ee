"""The libraries whose adapters are read, and how each is recognised."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from lieref._text import near_path
from lieref.adapter.exchange.factors import Foreign
from lieref.errors import FormatError


class Reader(Protocol):
    """A module that reads adapters of one library."""

    def recognises(self, path: Path) -> bool:
        """Tell whether a file or folder is an adapter of this library, by what lies where; raises nothing."""

    def read(self, path: Path) -> Foreign:
        """Read one; raises LierefError."""


@dataclass(frozen=True)
class Row:
    """Where a reader is, and what it reads."""

    module: str
    what: str


READERS = {
    "peft": Row("lieref.adapter.exchange.peft", "a folder with adapter_config.json and adapter_model.safetensors"),
    "lycoris": Row("lieref.adapter.exchange.lycoris", "one .safetensors file"),
}
"""By library; a module is imported when it is asked."""


def reader(name: str) -> Reader:
    """Return a reader by its key in `READERS`."""
    return cast(Reader, importlib.import_module(READERS[name].module))


def read_foreign(path: str | Path) -> Foreign:
    """Read an adapter of whichever library wrote it.

    Raises
    ------
    FormatError
        If there is nothing, or no reader recognises it.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"import: `adapter` must be a file or a folder; there is no {path}{near_path(path)}")
    for name in READERS:
        try:
            one = reader(name)
        except ModuleNotFoundError:
            continue
        if one.recognises(path):
            return one.read(path)
    known = "; ".join(f"{name}: {row.what}" for name, row in READERS.items())
    raise FormatError(f"import: `adapter` must be of a library that is read ({known}); got {path}")
