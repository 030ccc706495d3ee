"""Records of trials in a folder that several processes and machines may write at once, and that survives their end.

Every writer has a file of its own, ``trials-HOST-PID-RANDOM.jsonl``, to which it appends whole lines; everybody reads
all of them. What the folder is of stands in ``study.json``, written once.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lieref._atomic import write_file
from lieref.errors import DomainError, FormatError, LierefWarning

STUDY_NAME = "study.json"
FORMAT = 1


class Ledger:
    """Records by the `id` of their trials.

    Parameters
    ----------
    folder : str or Path, optional
        Made where it is missing; None keeps the records in memory.
    identity : mapping, optional
        What the records are of, plain JSON values. A folder of something else is refused.

    Raises
    ------
    DomainError
        If the folder is of something else, or is no folder.
    FormatError
        If its ``study.json`` cannot be read.
    """

    def __init__(self, folder: str | Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._records: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()  # a runner may ask what is done in a thread of its own
        self._read_to: dict[Path, int] = {}
        self._torn: set[Path] = set()
        self._file: Path | None = None
        if self.folder is not None:
            _enter(self.folder, {"format": FORMAT, **(identity or {})})
            self.refresh()

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._records

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_shared(self) -> bool:
        """Whether others have written into the folder."""
        return any(path != self._file for path in self._read_to)

    def get(self, trial_id: str) -> dict[str, Any] | None:
        """Return the record of a trial, None where there is none."""
        return self._records.get(trial_id)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records, in the order they became known."""
        yield from list(self._records.values())

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep a record; it is on the disk when this returns. The first of a trial stays.

        Raises
        ------
        DomainError
            If it has no ``id``, or is not plain finite JSON.
        """
        if not isinstance(record.get("id"), str):
            raise DomainError(f"Ledger.add: `record` must have an id; got {list(record)[:8]}")
        try:
            line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise DomainError(f"Ledger.add: `record` must be plain finite JSON; {error}") from error
        with self._lock:
            if record["id"] in self._records:
                return
            if self.folder is not None:
                with self._own(self.folder).open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            self._records[record["id"]] = json.loads(line)

    def refresh(self) -> None:
        """Take in what others have written since; a last line that is not whole is left for later, and said once."""
        if self.folder is None:
            return
        with self._lock:
            for path in sorted(self.folder.glob("*.jsonl")):
                with path.open("rb") as file:
                    file.seek(self._read_to.get(path, 0))
                    data = file.read()
                whole, _, rest = data.rpartition(b"\n")
                for line in whole.split(b"\n"):
                    self._take(line, path)
                self._read_to[path] = self._read_to.get(path, 0) + len(data) - len(rest)
                if rest and path not in self._torn and path != self._file:
                    self._torn.add(path)
                    warnings.warn(
                        f"Ledger: the last line of {path} is not whole and is left out", LierefWarning, stacklevel=2
                    )

    def _take(self, line: bytes, path: Path) -> None:
        if not line.strip():
            return
        try:
            record = json.loads(line)
            self._records.setdefault(record["id"], record)
        except (ValueError, KeyError, TypeError, RecursionError):
            if path not in self._torn:
                self._torn.add(path)
                warnings.warn(f"Ledger: a line of {path} is no record and is left out", LierefWarning, stacklevel=3)

    def _own(self, folder: Path) -> Path:
        """Return the file that this ledger writes, with a name that no other writer has."""
        if self._file is None:
            host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())[:60] or "host"
            self._file = folder / f"trials-{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        return self._file


def _enter(folder: Path, identity: dict[str, Any]) -> None:
    """Make the folder and its ``study.json``, or check that it is of the same."""
    path = folder / STUDY_NAME
    if folder.exists() and not folder.is_dir():
        raise DomainError(f"Ledger: `folder` must be a folder; got {folder}, a file")
    if not path.exists():
        others = [p.name for p in folder.iterdir() if p.suffix == ".jsonl"] if folder.is_dir() else []
        if others:
            raise DomainError(f"Ledger: {folder} must hold {STUDY_NAME} beside its records; got {others[0]} alone")
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(identity, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n")
        return
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"Ledger: {path} must be readable JSON; {error}") from error
    if not isinstance(found, dict):
        raise FormatError(f"Ledger: {path} must hold a JSON object; got {str(found)[:40]}")
    wanted = json.loads(json.dumps(identity))
    if found != wanted:
        names = [key for key in sorted(set(found) | set(wanted)) if found.get(key) != wanted.get(key)]
        shown = ", ".join(
            f"{key} {str(found.get(key))[:20]} instead of {str(wanted.get(key))[:20]}" for key in names[:3]
        )
        raise DomainError(f"Ledger: {folder} must be of the same study; it has {shown}; name another folder")
