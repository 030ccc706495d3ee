"""Peak memory on systems that tell it in their own ways."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lieref.errors import UnsupportedError
from lieref.evaluate import memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it in /proc")
def test_linux_tells_it_in_kibibytes() -> None:
    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    before, bytes_, after = peak(), memory.peak_rss_mb() * 1e6, peak()
    assert before <= bytes_ + 0.5
    assert bytes_ - 0.5 <= after


@pytest.mark.parametrize(("system", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_others_tell_it_in_their_unit(system: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(memory, "Path", lambda name: Path("/no such folder") / name[1:])
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=123_456))
    assert memory.peak_rss_mb() == 123_456 * unit / 1e6


def test_windows_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda name: Path("/no such folder") / name[1:])
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UnsupportedError, match="Windows"):
        memory.peak_rss_mb()
