"""One writer at a time: threads, processes, killed holders, and file systems that cannot."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lieref import _lock as lock_module
from lieref._lock import NoLockWarning, exclusive
from lieref.errors import DomainError

HOLDER = """
import sys, time
from lieref._lock import exclusive
with exclusive(sys.argv[1], "f", "out"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_writer_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with exclusive(out, "first", "out"):
        with pytest.raises(DomainError, match=rf"second: `out` must not be in use; .* by process {os.getpid()} on "):
            exclusive(out, "second", "out").__enter__()
        with exclusive(tmp_path / "other", "third", "out"):
            pass
    with exclusive(out, "second", "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(DomainError, match=f"by process {process.pid}"):
        exclusive(out, "f", "out").__enter__()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [p.name for p in tmp_path.iterdir()] == [".out.lock"]
    with exclusive(out, "f", "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_threads_are_kept_apart(tmp_path: Path) -> None:
    """Files are locked, removed and made again by many: never two inside at once, and everyone gets in."""
    inside, entered = 0, []

    def work() -> None:
        nonlocal inside
        done = 0
        while done < 20:
            try:
                with exclusive(tmp_path / "new" / "out", "f", "out"):
                    inside += 1
                    assert inside == 1
                    inside -= 1
                done += 1
            except DomainError:
                pass
        entered.append(done)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered == [20] * 4
    # A folder that one made while another was about to use it may stay.
    assert not [path for path in tmp_path.rglob("*") if path.name != "new"]


def test_folders_made_for_it_stay_if_they_are_used(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a" / "b" / "out", "f", "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())
    with exclusive(tmp_path / "a" / "b" / "out", "f", "out"):
        (tmp_path / "a" / "mine").write_text("")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["mine"]


def test_the_lock_is_dropped_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / "out", "f", "out"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DomainError, match=f"must lie in a folder that can be written; got .*: {os.strerror(code)}"):
        exclusive(tmp_path / "new" / "out", "f", "out").__enter__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["file/out", "dangling/out", "loop/out", f"{'n' * 300}/out"])
def test_what_is_no_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "below")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DomainError, match="must lie in a folder that can be written"):
        exclusive(tmp_path / where, "f", "out").__enter__()
    assert sorted(tmp_path.iterdir()) == before


def test_where_nothing_can_be_made_is_refused() -> None:
    with pytest.raises(DomainError, match="No such file or directory"):
        exclusive("/proc/self/fd/nowhere/out", "f", "out").__enter__()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / ".out.lock").symlink_to("mine")
    with pytest.raises(DomainError, match="must lie in a folder"):
        exclusive(tmp_path / "out", "f", "out").__enter__()
    assert (tmp_path / "mine").read_text() == "keep"


def test_without_locks_it_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(NoLockWarning, match="has no locks: never start two runs with one output there"),
        exclusive(tmp_path / "out", "f", "out"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_removed_while_it_is_taken_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the holder lets go and removes the file; another one may be made at once."""
    original, seen = lock_module.try_lock, []

    def slow(descriptor: int) -> None:
        seen.append(descriptor)
        if len(seen) < 3:
            (tmp_path / ".out.lock").unlink()
            if len(seen) == 2:
                (tmp_path / ".out.lock").write_text("another's")
        original(descriptor)

    monkeypatch.setattr(lock_module, "try_lock", slow)
    with exclusive(tmp_path / "out", "f", "out"):
        assert len(seen) == 3
        with (tmp_path / ".out.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_full_disk_costs_the_name_of_the_holder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(os, "write", full)
    with exclusive(tmp_path / "out", "f", "out"), pytest.raises(DomainError, match="by another process"):
        exclusive(tmp_path / "out", "f", "out").__enter__()
