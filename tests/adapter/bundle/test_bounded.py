"""Reading a file up to a cap: no more memory than the file, and nothing of one that grows meanwhile."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from lieref.adapter.bundle import bounded
from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.refusal import BundleRefused

CAP = 2**28


@pytest.mark.parametrize("size", [0, 1, 5000, 2**17])
def test_memory_is_that_of_the_file_and_not_of_the_cap(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "f", CAP) == bytes(size)
        assert tracemalloc.get_traced_memory()[1] < 2 * size + 2**16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [5, 6])
def test_the_cap_is_the_last_size_that_is_read(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    if size == 5:
        assert read_regular(tmp_path / "f", 5) == bytes(5)
        return
    with pytest.raises(BundleRefused, match=r"must have at most 5 bytes; got .* of 6") as refusal:
        read_regular(tmp_path / "f", 5)
    assert refusal.value.slug == "size"


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(bytes(9))
    real = os.fstat

    def before(descriptor: int) -> SimpleNamespace:
        return SimpleNamespace(st_mode=real(descriptor).st_mode, st_size=8)

    monkeypatch.setattr(bounded.os, "fstat", before)
    with pytest.raises(BundleRefused, match="for it grows") as refusal:
        read_regular(tmp_path / "f", CAP)
    assert refusal.value.slug == "size"
