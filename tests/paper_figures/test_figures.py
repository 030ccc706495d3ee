"""The figures say what the mathematics says, and are drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paper_figures.map_error import errors
from paper_figures.rank_capacity import RANK, SIZE, ranks

ROOT = Path(__file__).parents[2]


def test_map_errors_are_the_closed_forms() -> None:
    x = np.array([-0.5, -0.1, 0.25])
    exact = np.exp(x)
    np.testing.assert_allclose(errors("taylor1", x), np.abs(1 + x - exact) / exact, rtol=1e-12)
    np.testing.assert_allclose(errors("taylor2", x), np.abs(1 + x + x**2 / 2 - exact) / exact, rtol=1e-11)
    np.testing.assert_allclose(errors("cayley", x), np.abs((1 + x / 2) / (1 - x / 2) - exact) / exact, rtol=1e-10)


def test_rank_capacity_is_what_theory_allows() -> None:
    base = [1, 2, 4, 48]
    assert ranks("lora", base) == [RANK] * 4
    assert ranks("liera-taylor1", base) == [min(RANK * b, SIZE) for b in base]
    assert ranks("liera", base) == [SIZE] * 4


@pytest.mark.parametrize("name", ["map_error", "rank_capacity"])
def test_figures_are_drawn(tmp_path: Path, name: str) -> None:
    subprocess.run([sys.executable, "-m", "paper_figures", name, "--out", str(tmp_path)], check=True, cwd=ROOT)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
