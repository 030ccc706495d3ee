"""Figures that many tests look at, drawn once, and recorded results that tests may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from paper_figures.drawn import Drawn, Settings
from paper_figures.registry import draw
from paper_figures.results import RESULTS

NEED_DATA = {"mechanism", "sparsity"}
"""Without the real models and data they are absent; others draw what they can."""


@cache
def quick(name: str, data: Path | None) -> Drawn:
    return draw(name, Settings(data, RESULTS, quick=True))


@pytest.fixture(scope="session")
def drawn(request: pytest.FixtureRequest) -> Callable[[str], Drawn]:
    """Return a function that gives a figure by its name, quick, with real data where it needs them."""

    def give(name: str) -> Drawn:
        data = request.getfixturevalue("data_dir") if name in NEED_DATA else None
        return quick(name, data)

    return give


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a copy of the recorded results that figures read, to be changed."""
    folder = tmp_path / "results"
    folder.mkdir()
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, folder)
    return folder
