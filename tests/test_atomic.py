"""Whole or not at all: failed, killed and repeated writes."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lieref import _atomic as atomic
from lieref._atomic import LeftBehindWarning, NotFlushedWarning, check_new_folder, new_folder, write_file, write_folder
from lieref.errors import DomainError


def test_folder_is_written_with_parents(tmp_path: Path) -> None:
    write_folder(tmp_path / "deep" / "out", {"a": b"1", "b": b"22"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "deep" / "out").iterdir()} == {"a": b"1", "b": b"22"}


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_folder(tmp_path / "out", {"a": b"1"})
    assert (tmp_path / "out" / "a").read_bytes() == b"1"


def test_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    with pytest.raises(DomainError, match="which is not empty"):
        write_folder(tmp_path, {"a": b"1"})
    assert [p.name for p in tmp_path.iterdir()] == ["keep"]


@pytest.mark.parametrize("target", ["file", "file/below", "link"])
def test_file_or_link_in_the_way_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DomainError, match="must"):
        check_new_folder(tmp_path / target)
    with pytest.raises(DomainError, match="must"):
        write_folder(tmp_path / target, {"a": b"1"})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_for_a_folder_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DomainError, match="file, which is a file: name a folder"):
        write_folder(tmp_path / "file", NEW)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a"])
def test_names_with_a_path_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DomainError, match="plain file names"):
        write_folder(tmp_path / "out", {name: b"1"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int) -> None:
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="disk full"):
        write_folder(tmp_path / "out", {"a": b"1", "b": b"2"})
    assert not list(tmp_path.iterdir())


def held(folder: Path) -> dict[str, bytes] | None:
    """What a folder or a file holds, None where there is none."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else None


OLD, NEW = {"a": b"old"}, {"a": b"new", "b": b"2" * 1000}
WRITES: dict[str, Callable[[Path], None]] = {
    "new folder": lambda out: write_folder(out / "deep" / "out", NEW),
    "replaced folder": lambda out: write_folder(out, NEW, replaces={"a"}),
    "file": lambda out: write_file(out / "deep" / "out", NEW["a"]),
    "filled folder": lambda out: fill(out / "deep" / "out"),
}


def fill(out: Path) -> None:
    with new_folder(out) as partial:
        (partial / "below").mkdir()
        (partial / "below" / "a").write_bytes(b"new")


class FailingCall:
    """Makes one system call of many fail; counts them."""

    def __init__(self, patch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
        self.count, self.call, self.error = 0, call, error
        for name in ("open", "mkdir", "fsync", "rename", "replace"):
            patch.setattr(os, name, self.counted(getattr(os, name)))
        patch.setattr(builtins, "open", self.counted(open))

    def counted(self, original: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            self.count += 1
            if self.count == self.call:
                raise self.error
            return original(*args, **keywords)

        return call


WHOLE: dict[str, Any] = {
    "new folder": set(NEW), "replaced folder": set(NEW), "file": {"": b"new"}, "filled folder": {"below"}
}  # fmt: skip


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space left"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("write", WRITES)
def test_every_system_call_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, exchange: bool, error: BaseException
) -> None:
    """What was there and the error, or what was wanted, whole; what else is left is said."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # as slow as the disk
    if not exchange:
        monkeypatch.setattr(atomic.ctypes, "CDLL", lambda _: SimpleNamespace())
    for number in range(1, 60):
        out = tmp_path / str(number)
        if write == "replaced folder":
            write_folder(out, OLD)
        before, raised = held(out), None
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            failing = FailingCall(patch, number, error)
            try:
                WRITES[write](out)
            except type(error) as caught:
                raised = caught
        place = out if write == "replaced folder" else out / "deep" / "out"
        after = {p.name for p in place.iterdir()} if place.is_dir() else held(place)
        beside = [p for p in tmp_path.rglob("*") if ".partial-" in p.name or ".replaced-" in p.name]
        assert not beside or said[0].category is LeftBehindWarning
        for path in beside:
            path.rename(out / "seen")
        if raised is None:
            assert after == WHOLE[write]
        elif after != WHOLE[write]:
            assert held(out) == before
        assert not said or after == WHOLE[write]
        if failing.count < number:
            return
    raise AssertionError("the write never got through")


@pytest.mark.parametrize("write", ["new folder", "file"])
def test_folder_that_cannot_be_flushed_is_said_only_if_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    original = os.fsync

    def refusing(code: int) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").resolve() == (tmp_path / "x" / "deep"):
                raise OSError(code, os.strerror(code))
            original(descriptor)

        return fsync

    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))  # a file system without such a thing
    WRITES[write](tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "done")
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.warns(NotFlushedWarning, match="out is written, but the disk did not confirm it"):
        WRITES[write](tmp_path / "x")
    assert held(tmp_path / "x" / "deep" / "out") == held(tmp_path / "done" / "deep" / "out")


KILLED = """
import os, signal, sys
from lieref import _atomic as atomic
count = 0
for name in ("fsync", "mkdir", "open", "rename"):
    def counted(*args, original=getattr(os, name), **keywords):
        global count
        count += 1
        if count == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **keywords)
    setattr(os, name, counted)
atomic.write_folder(sys.argv[1], {"a": b"1" * 1000, "b": b"2"})
"""


def test_killed_write_leaves_the_whole_folder_or_none(tmp_path: Path) -> None:
    """SIGKILL before each system call of the write in turn, until the write gets through."""
    seen = set()
    for step in range(1, 30):
        out = tmp_path / str(step) / "out"
        process = subprocess.run([sys.executable, "-c", KILLED, str(out), str(step)], check=False)
        assert process.returncode in (0, -signal.SIGKILL)
        seen.add(out.exists())
        if out.exists():
            assert {p.name: len(p.read_bytes()) for p in out.iterdir()} == {"a": 1000, "b": 1}
        if process.returncode == 0:
            break
    else:
        raise AssertionError("the write never got through")
    assert seen == {True, False}


def test_next_write_removes_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, fresh = tmp_path / ".out.partial-old", tmp_path / ".out.partial-new"
    old.mkdir()
    (old / "a").write_text("half")
    os.utime(old, (0, 0))
    fresh.mkdir()
    write_folder(tmp_path / "out", {"a": b"1"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.partial-new", "out"]


def test_a_leftover_that_is_still_being_written_stays(tmp_path: Path) -> None:
    """A writer that was suspended for an hour goes on where it was; names are no patterns."""
    mine, others = tmp_path / ".[o].partial-0", tmp_path / ".o.partial-0"
    for path in (mine, others):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    with mine.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_file(tmp_path / "[o]", b"1")
        assert mine.exists()
    write_file(tmp_path / "[o]", b"1")
    assert not mine.exists()
    assert others.exists()


def test_one_of_many_writers_makes_the_folder(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    outcomes: list[Any] = []

    def write(number: int) -> None:
        start.wait()
        try:
            write_folder(tmp_path / "out", {"a": b"%d" % number, "b": b"%d" % number})
            outcomes.append(number)
        except DomainError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert held(tmp_path / "out") == {"a": b"%d" % winner, "b": b"%d" % winner}
    assert all("which is not empty" in outcome for outcome in outcomes if outcome != winner)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_only_files_that_may_be_replaced_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a": b"1"})
    with pytest.raises(DomainError, match="not empty: it holds a"):
        write_folder(out, {"a": b"2"}, replaces={"b"})
    write_folder(out, {"b": b"3"}, replaces={"a", "b"})
    assert held(out) == {"b": b"3"}
    for name, make in (("a", lambda p: p.mkdir()), ("a", lambda p: p.symlink_to(out / "b"))):
        make(out / name)
        with pytest.raises(DomainError, match="not empty: it holds a"):
            write_folder(out, {"a": b"2"}, replaces={"a", "b"})
        (out / name).rmdir() if not (out / name).is_symlink() else (out / name).unlink()


@pytest.mark.parametrize("name", ["n" * 240, "\N{SNOWMAN}" * 80, "a\0b", "a/" * 2000])
def test_names_that_no_file_system_has_are_refused_before_any_work(tmp_path: Path, name: str) -> None:
    for write in (lambda p: write_folder(p, NEW), lambda p: write_file(p, b""), check_new_folder):
        with pytest.raises(DomainError, match="must have a name of at most"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(DomainError, match="name a new folder inside it"):
        check_new_folder(tmp_path)


def test_relative_names_and_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    write_folder("../../c", NEW)
    write_folder("d/../e", NEW)
    write_file("../f", b"1")
    assert held(tmp_path / "c") == held(tmp_path / "a" / "b" / "e") == NEW
    assert (tmp_path / "a" / "f").read_bytes() == b"1"
    monkeypatch.chdir(tmp_path / "a")
    (tmp_path / "a" / "f").unlink()
    for folder in (".", "..", "/"):
        with pytest.raises(DomainError, match="must be"):
            check_new_folder(folder)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for folder in (".", "../empty"):
        with pytest.raises(DomainError, match="the working folder"):
            check_new_folder(folder)


def test_a_device_is_written_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    read: list[bytes] = []
    reader.start()
    write_file(tmp_path / "pipe", b"data")
    reader.join()
    assert read == [b"data"]
    assert (tmp_path / "pipe").is_fifo()


def test_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    write_file(target, b"old")
    write_file(target, b"new")
    assert target.read_bytes() == b"new"

    def fails(path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError("disk full")

    monkeypatch.setattr(atomic, "_write_and_flush", fails)
    with pytest.raises(OSError, match="disk full"):
        write_file(target, b"newer")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert target.read_bytes() == b"new"


def test_a_reader_keeps_the_old_file_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "state"
    write_file(path, b"old")
    with path.open("rb") as reader:
        write_file(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("lieref._atomic.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"

    def full_disk(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lieref._atomic.os.fsync", full_disk)
    for write in (lambda: write_file(path, b"new"), lambda: write_folder(tmp_path / "folder", NEW)):
        with pytest.raises(OSError, match="No space left on device") as error:
            write()
        assert error.value.filename in (str(path), str(tmp_path / "folder"))
    assert list(tmp_path.iterdir()) == [path]
