"""A few hundred damaged files of every kind, and that a fault would be seen; `validation.fuzz` runs many more."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import FormatError
from validation import fuzz
from validation.fuzzing.kinds import KINDS, SHARES, Files, Kind

FILES = 60

# What numbers of the files do in NumPy on the way to a refusal, and libraries say of damaged files.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]()
    outcomes = {number: fuzz.run_file(kind, 0, number, tmp_path) for number in range(FILES)}
    assert {n: o for n, o in outcomes.items() if o not in ("read", "refused")} == {}
    assert "refused" in outcomes.values()


@pytest.mark.parametrize("name", KINDS)
def test_damage_repeats_and_differs(name: str) -> None:
    kind = KINDS[name]()
    made = [kind.make(fuzz._stream(name, 0, number)) for number in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_every_kind_has_its_share() -> None:
    assert set(SHARES) == set(KINDS)
    assert sum(SHARES.values()) == pytest.approx(1)


class Planted(Kind):
    name, spare_bytes, seeds = "csv", 0, [{"a": b"x"}]

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read

    def make(self, rng: np.random.Generator) -> Files:
        return {"a": rng.bytes(9)}

    def read(self, folder: Path, rng: np.random.Generator) -> None:
        assert len((folder / "a").read_bytes()) == 9
        self._read()


def refuse() -> None:
    raise FormatError("f: `x` must be y; got z")


def fail() -> None:
    raise KeyError("x")


def linger() -> None:
    begin = time.process_time()
    while time.process_time() < begin + 0.2:
        pass


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda: None, "read"),
        (refuse, "refused"),
        (fail, "KeyError in "),
        (linger, "slow: read"),
        (lambda: np.ones(2**25).sum(), "memory: read"),
    ],
    ids=["read", "refused", "another error", "slow", "memory"],
)
def test_faults_are_seen(
    read: Callable[[], Any], outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if outcome.startswith("memory") and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the memory of a process")
    if outcome.startswith("slow"):
        monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    assert fuzz.run_file(Planted(read), 0, 0, tmp_path).startswith(outcome)
