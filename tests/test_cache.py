"""The cache of compiled code: whatever happens to its files or its folder costs time and one warning at most."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from lieref import _cache as cache
from lieref._cache import CacheWarning, cache_folder, read_cached, write_cached


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut to its digest": lambda path: path.write_bytes(path.read_bytes()[:32]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
    "another digest": lambda path: path.write_bytes(bytes(32) + path.read_bytes()[32:]),
    "junk": lambda path: path.write_bytes(os.urandom(100)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_file_is_not_read_and_replaced(folder: Path, damage: Callable[[Path], object]) -> None:
    write_cached("f", b"code\0")
    assert read_cached("f") == b"code\0"
    damage(folder / "f")
    assert read_cached("f") is None
    if not (folder / "f").is_fifo():
        write_cached("f", b"code\0")
        assert read_cached("f") == b"code\0"


def test_a_folder_in_the_place_of_a_file_is_said(folder: Path) -> None:
    (folder / "f" / "below").mkdir(parents=True)
    with pytest.warns(CacheWarning, match="must be a file"):
        write_cached("f", b"code")
    assert read_cached("f") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_what_cannot_be_written_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache, "write_file", refuse)
    with pytest.warns(CacheWarning) as said:
        write_cached("f", b"code")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_cached("g", b"code")
    assert [str(item.message) for item in said] == [
        f"compiled code cannot be kept in {folder} ({os.strerror(code)}), so that every start compiles it anew: set "
        "LIEREF_CACHE_DIR to a folder that can be written, or to nothing to do without"
    ]
    assert read_cached("f") is None


def test_a_file_in_the_way_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("")
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(folder / "below"))
    with pytest.warns(CacheWarning, match="below"):
        write_cached("f", b"code")
    assert read_cached("f") is None


def test_a_user_without_a_home_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LIEREF_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.warns(CacheWarning, match="no home folder"):
        write_cached("f", b"code")
    assert read_cached("f") is None


def test_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == folder
    monkeypatch.setenv("LIEREF_CACHE_DIR", "")
    assert cache_folder() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_cached("f", b"code")
    assert read_cached("f") is None
    monkeypatch.delenv("LIEREF_CACHE_DIR")
    monkeypatch.setenv("HOME", "/home/someone")
    for base, expected in (("/cache", "/cache/lieref"), ("relative", "/home/someone/.cache/lieref")):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert cache_folder() == Path(expected)
