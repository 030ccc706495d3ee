"""A model of what a disk holds after a power cut: what was flushed, and of the rest any part.

Stricter than any file system in use, and as strict as POSIX lets one be: the bytes of a file last once the file is
flushed, a name once its folder is; of what was not flushed any blocks of any file may have arrived, and any of the
changes of a folder, whatever their order. A rename inside one folder is one change.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.tracer import Call

BLOCK = 512
"""Bytes that a disk writes whole."""

# What Python does that changes no file; of a call that is in neither list nobody knows.
_HARMLESS = {
    *("read", "pread64", "stat", "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
    *("getdents64", "readlink", "fcntl", "flock", "ioctl", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk"),
    *("rt_sigaction", "rt_sigprocmask", "getpid", "gettid", "kill", "uname", "getrandom", "futex", "getcwd"),
    *("clock_gettime", "clock_nanosleep", "gettimeofday", "prlimit64", "exit_group"),
}


@dataclass(frozen=True)
class Write:
    """Bytes written into a file at an offset."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    """A file cut or extended to a length."""

    file: int
    length: int


@dataclass(frozen=True)
class Names:
    """One change of a folder: names that go, and names that come with what they stand for."""

    folder: int
    gone: tuple[str, ...]
    new: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Flush:
    """A file or a folder that was flushed."""

    node: int


Operation = Write | Resize | Names | Flush


class Disk:
    """Files and folders by number, from a folder as it is now; number 0 is the folder itself.

    Attributes
    ----------
    operations : list of Operation
        What `replay` found, in order.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, int]] = {}
        self.operations: list[Operation] = []
        self._count = 0
        self._read(root)
        # As the process sees it: every change applied.
        self._seen = {number: dict(names) for number, names in self.folders.items()}
        self._sizes = {number: len(data) for number, data in self.files.items()}

    def _read(self, path: Path) -> int:
        number, self._count = self._count, self._count + 1
        if path.is_dir():
            self.folders[number] = {}
            for below in sorted(path.iterdir()):
                self.folders[number][below.name] = self._read(below)
        else:
            self.files[number] = path.read_bytes()
        return number

    def replay(self, calls: Iterable[Call]) -> list[int]:
        """Append the operations of a trace; return how many there are after each call.

        Raises
        ------
        ValueError
            At a call whose effect is not known.
        """
        opened: dict[int, tuple[int, int, bool]] = {}  # descriptor -> node, offset, append
        after = []
        for call in calls:
            self._apply(call, opened)
            after.append(len(self.operations))
        return after

    def _apply(self, call: Call, opened: dict[int, tuple[int, int, bool]]) -> None:
        name, arguments = call.name, call.arguments
        if name in _HARMLESS or call.result < 0:
            return
        if name in ("open", "openat"):
            self._open(call, opened)
        elif name == "close":
            opened.pop(arguments[0], None)
        elif name in ("write", "pwrite64"):
            if arguments[0] in opened:
                node, offset, append = opened[arguments[0]]
                if name == "write":
                    offset = self._sizes[node] if append else offset
                    opened[arguments[0]] = (node, offset + call.result, append)
                else:
                    offset = arguments[3]
                self.operations.append(Write(node, offset, call.data[: call.result]))
                self._sizes[node] = max(self._sizes[node], offset + call.result)
        elif name == "lseek":
            if arguments[0] in opened:
                node, _, append = opened[arguments[0]]
                opened[arguments[0]] = (node, call.result, append)
        elif name == "ftruncate":
            if arguments[0] in opened:
                self._resize(opened[arguments[0]][0], arguments[1])
        elif name in ("fsync", "fdatasync"):
            if arguments[0] in opened:
                self.operations.append(Flush(opened[arguments[0]][0]))
        elif name in ("rename", "renameat", "renameat2"):
            self._rename(call, opened)
        elif name in ("mkdir", "mkdirat"):
            self._make(self._place(call, 0, opened), folder=True)
        elif name in ("unlink", "unlinkat", "rmdir"):
            place = self._place(call, 0, opened)
            if place is not None:
                self._change(Names(place[0], (place[1],)))
        else:
            raise ValueError(f"what {name} does to a disk is not known")

    def _open(self, call: Call, opened: dict[int, tuple[int, int, bool]]) -> None:
        flags = call.arguments[1 if call.name == "open" else 2]
        place = self._place(call, 0, opened)
        if place is None:
            return
        folder, name = place
        node = folder if name == "" else self._seen[folder].get(name)
        if node is None:
            node = self._make(place, folder=False)
        elif flags & os.O_TRUNC and node in self._sizes:
            self._resize(node, 0)
        opened[call.result] = (node, 0, bool(flags & os.O_APPEND))

    def _rename(self, call: Call, opened: dict[int, tuple[int, int, bool]]) -> None:
        old, new = self._place(call, 0, opened), self._place(call, 1, opened)
        if old is None and new is None:
            return
        if old is None or new is None or old[0] != new[0]:
            raise ValueError(f"a rename from one folder to another: {call.paths}")
        names = self._seen[old[0]]
        if call.name == "renameat2" and call.arguments[4] & 2:  # exchange
            self._change(Names(old[0], (), {old[1]: names[new[1]], new[1]: names[old[1]]}))
        else:
            self._change(Names(old[0], (old[1],), {new[1]: names[old[1]]}))

    def _make(self, place: tuple[int, str] | None, *, folder: bool) -> int:
        if place is None:
            return -1
        number, self._count = self._count, self._count + 1
        if folder:
            self.folders[number], self._seen[number] = {}, {}
        else:
            self.files[number], self._sizes[number] = b"", 0
        self._change(Names(place[0], (), {place[1]: number}))
        return number

    def _change(self, change: Names) -> None:
        _rename_in(self._seen[change.folder], change)
        self.operations.append(change)

    def _resize(self, node: int, length: int) -> None:
        self.operations.append(Resize(node, length))
        self._sizes[node] = length

    def _place(self, call: Call, which: int, opened: dict[int, tuple[int, int, bool]]) -> tuple[int, str] | None:
        """Return the folder and the name that a path of a call means, None if it lies elsewhere."""
        path = call.paths[which]
        at = call.name in ("openat", "mkdirat", "unlinkat", "renameat", "renameat2")
        where = call.arguments[2 * which if call.name.startswith("rename") else 0] if at else None
        if at and where in opened and not path.startswith("/"):
            return opened[where][0], path
        full = os.path.abspath(path)
        if full == str(self.root):
            return 0, ""
        if not full.startswith(f"{self.root}/"):
            return None
        folder = 0
        *above, name = full[len(str(self.root)) + 1 :].split("/")
        for part in above:
            folder = self._seen[folder][part]
        return folder, name

    def after_power_cut(self, done: int, rng: random.Random, target: Path) -> None:
        """Write into `target` what the disk may hold when the power goes after `done` operations.

        One choice of many, drawn by `rng`; `target` must not exist.
        """
        files, folders = dict(self.files), {number: dict(names) for number, names in self.folders.items()}
        waiting: dict[int, list[Operation]] = {}
        for operation in self.operations[:done]:
            node = _node(operation)
            if isinstance(operation, Flush):
                for change in waiting.pop(node, []):
                    _settle(change, files, folders)
            else:
                waiting.setdefault(node, []).append(operation)
        for node, changes in waiting.items():
            for change in _arrived(changes, rng, node in folders):
                _settle(change, files, folders)
        _materialise(target, 0, files, folders)


def _node(operation: Operation) -> int:
    if isinstance(operation, Names):
        return operation.folder
    return operation.node if isinstance(operation, Flush) else operation.file


def _arrived(changes: list[Operation], rng: random.Random, folder: bool) -> list[Operation]:
    """Choose what of the changes that were not flushed has reached the disk."""
    way = rng.randrange(4)
    if way == 0:
        return []
    if way == 1:
        return changes
    if way == 2:  # in order, up to some point
        return changes[: rng.randrange(len(changes) + 1)]
    if folder:
        return [change for change in changes if rng.random() < 0.5]
    return [part for change in changes for part in _torn(change, rng)]


def _torn(change: Operation, rng: random.Random) -> list[Operation]:
    """Return some blocks of a write; the length of the file may have grown without them."""
    if not isinstance(change, Write):
        return [change] if rng.random() < 0.5 else []
    parts: list[Operation] = []
    if rng.random() < 0.5:
        parts.append(Write(change.file, change.offset, bytes(len(change.data))))
    for begin in range(0, len(change.data), BLOCK):
        if rng.random() < 0.5:
            parts.append(Write(change.file, change.offset + begin, change.data[begin : begin + BLOCK]))
    return parts


def _settle(change: Operation, files: dict[int, bytes], folders: dict[int, dict[str, int]]) -> None:
    if isinstance(change, Write):
        old = files[change.file].ljust(change.offset, b"\0")
        files[change.file] = old[: change.offset] + change.data + old[change.offset + len(change.data) :]
    elif isinstance(change, Resize):
        files[change.file] = files[change.file][: change.length].ljust(change.length, b"\0")
    elif isinstance(change, Names):
        _rename_in(folders[change.folder], change)


def _rename_in(names: dict[str, int], change: Names) -> None:
    for name in change.gone:
        names.pop(name, None)
    names.update(change.new)


def _materialise(path: Path, node: int, files: dict[int, bytes], folders: dict[int, dict[str, int]]) -> None:
    if node in files:
        path.write_bytes(files[node])
        return
    path.mkdir()
    for name, below in folders[node].items():
        _materialise(path / name, below, files, folders)
