"""The folder of a bundle: three regular files and nothing else, none larger than its cap, read only when it is due.

Which three says what it holds; the signed statement must say the same.

What is there and how large is looked at first, without reading. The envelope is read then; the other two only up to the
size that a trusted key has signed, so that a device never takes into memory what nobody vouches for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.dsse import MAX_ENVELOPE_BYTES
from lieref.adapter.bundle.kinds import ADAPTER, KINDS, Kind
from lieref.adapter.bundle.kinds import ENVELOPE_NAME as ENVELOPE_NAME
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.fields import shown

NAMES = ADAPTER.names
"""Of the bundle of an adapter."""
ALL_NAMES = frozenset(name for kind in KINDS for name in kind.names)
CAPS = {
    **{name: cap for kind in KINDS for name, cap in zip(kind.files, kind.caps, strict=True)},
    ENVELOPE_NAME: MAX_ENVELOPE_BYTES,
}
"""Most bytes of each file."""


class BundleFolder:
    """A folder that holds what a bundle must hold, opened once, so that it cannot be exchanged while it is read.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    kind : Kind
        By the names that are there.

    Raises
    ------
    BundleRefused
        ``missing-file``, ``unexpected-file``, ``link`` or ``size``.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        # None where the system cannot open names in a folder that is open.
        self._descriptor: int | None = None
        try:
            if not self._path.is_dir():
                raise BundleRefused("missing-file", f"verify_bundle: `path` must be the folder of a bundle; got {path}")
            if os.open in os.supports_dir_fd and os.scandir in os.supports_fd:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            self.kind = self._find_kind()
            for name in self.kind.names:
                self._check_file(name)
        except (OSError, ValueError) as error:
            self.close()
            text = f"verify_bundle: `path` must be the folder of a bundle; got {path}: {error}"
            raise BundleRefused("missing-file", text) from None
        except BundleRefused:
            self.close()
            raise

    def read(self, name: str, most: int) -> bytes:
        """Return one of the files, if it has no more bytes than `most`; raises as `read_regular` does."""
        return read_regular(self._place(name), min(most, CAPS[name]), folder=self._descriptor)

    def close(self) -> None:
        """Close the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self, name: str) -> str | Path:
        return self._path / name if self._descriptor is None else name

    def _find_kind(self) -> Kind:
        """Refuse a folder that lacks one of the files or holds anything else; one that holds millions is not listed."""
        found: set[str] = set()
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as entries:
            for entry in entries:
                found.add(entry.name)
                if entry.name not in ALL_NAMES:
                    break
        kind = kind_of(found)
        listed = ", ".join(kind.names)
        strange = sorted(found.difference(kind.names))
        if strange:
            text = f"verify_bundle: a bundle must hold {listed} and nothing else; got {shown(strange[0])}"
            raise BundleRefused("unexpected-file", text)
        missing = [name for name in kind.names if name not in found]
        if missing:
            raise BundleRefused("missing-file", f"verify_bundle: a bundle must hold {listed}; got no {missing[0]}")
        return kind

    def _check_file(self, name: str) -> None:
        status = os.stat(self._place(name), dir_fd=self._descriptor, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise BundleRefused(
                "link", f"verify_bundle: {name} must be a regular file; got a link, a folder, a device or a pipe"
            )
        if status.st_size > CAPS[name]:
            raise BundleRefused(
                "size", f"verify_bundle: {name} must have at most {CAPS[name]} bytes; got {status.st_size}"
            )


def kind_of(names: Collection[str]) -> Kind:
    """Return the kind of bundle that files of these names belong to: that of the first it has a file of its own of."""
    return next((kind for kind in KINDS if any(name in names for name in kind.files)), ADAPTER)
