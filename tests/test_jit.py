"""Compiled functions kept on disk: loaded when nothing has changed, compiled anew whatever else is there."""

from __future__ import annotations

import ast
import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lieref
from lieref import _cache as cache
from lieref import _jit as jit
from lieref._cache import CacheWarning
from lieref._jit import njit

ROOT = Path(lieref.__file__).parent


def increment(x: float) -> float:
    return x + 1.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path))
    return tmp_path


def loads() -> int:
    """Compile or load `increment` for floats and integers, and return how many were loaded."""
    compiled = njit(increment)
    assert (compiled(2.0), compiled(2)) == (3.0, 3.0)
    return sum(compiled.stats.cache_hits.values())


def signed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "no pickle": lambda data: signed(b"not a pickle"),
    "another pickle": lambda data: signed(pickle.dumps((1, 2, 3))),
    "a pickle of what is gone": lambda data: signed(b"cnumba.nothing\nnothing\n."),
}


def test_is_loaded_and_heals(folder: Path) -> None:
    assert loads() == 0
    files = sorted(folder.iterdir())
    assert len(files) == 2
    assert loads() == 2
    for spoil in SPOILED.values():
        path, data = files[0], files[0].read_bytes()
        path.write_bytes(spoil(data))
        assert loads() == 1
        assert path.read_bytes() != spoil(data)
        assert loads() == 2
    assert sorted(folder.iterdir()) == files


def test_a_full_disk_only_costs_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_file", full)
    for _ in range(2):
        if cache._said:
            assert loads() == 0
        else:
            with pytest.warns(CacheWarning, match="No space left on device"):
                assert loads() == 0
    assert not list(folder.iterdir())


def module(tmp_path: Path, name: str, text: str, **names: Any) -> Any:
    """A module of lieref with this source, and with names from others."""
    made = ModuleType(f"lieref.{name}")
    made.__file__ = str(tmp_path / f"{name}.py")
    Path(made.__file__).write_text(text)
    vars(made).update(names)
    exec(compile(text, made.__file__, "exec"), vars(made))
    return made


def test_a_function_is_known_by_all_it_is_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file, the functions it calls, also through modules, those these call, and constants from anywhere."""

    def digest(callee: str = "", other: str = "", own: str = "", constant: float = 1.0) -> frozenset[bytes]:
        jit._file_digest.cache_clear()
        deep = module(tmp_path, "deep", f"{other}\ndef deep(x): return x")
        mid = module(tmp_path, "mid", f"{callee}\ndef mid(x): return deep(x)", deep=deep.deep)
        top = module(tmp_path, "top", f"{own}\ndef top(x): return part.mid(x) + LIMIT", part=mid, LIMIT=constant)
        for made in (deep, mid, top):
            monkeypatch.setitem(sys.modules, made.__name__, made)
        return frozenset(jit._made_from(top.top, set()))

    variants = [digest(), digest(callee="#"), digest(other="#"), digest(own="#"), digest(constant=2.0)]
    assert len(set(variants)) == 5
    assert digest() == variants[0]


def test_there_is_one_way_to_compile() -> None:
    """Whoever imports Numba's own decorators has its cache, or none."""
    for path in ROOT.rglob("*.py"):
        if path == ROOT / "_jit.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            imported = isinstance(node, ast.ImportFrom) and node.module == "numba"
            names = {alias.name for alias in node.names} if imported else set()
            used = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "numba"
            names |= {node.attr} if used else set()
            assert not names & {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc"}, path
