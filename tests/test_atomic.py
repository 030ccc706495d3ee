"""Whole or not at all: failed, killed and repeated writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lieref import _atomic as atomic
from lieref._atomic import check_new_folder, write_file, write_folder
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


KILLED = """
import os, signal, sys
from lieref import _atomic as atomic
count = 0
for name in ("fsync", "mkdir", "open"):
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
    assert list(tmp_path.iterdir()) == [path]
