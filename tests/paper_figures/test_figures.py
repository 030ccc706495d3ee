"""The figures say what the mathematics says, and are drawn."""

from __future__ import annotations

import numpy as np

from paper_figures.map_error import errors
from paper_figures.rank_capacity import RANK, SIZE, ranks


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
