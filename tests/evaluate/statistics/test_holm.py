from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lieref.errors import DomainError, ShapeError
from lieref.evaluate.statistics import holm


def test_the_example_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, then 0.04 which may not be below its forerunner
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-15)


def test_one_comparison_is_left_alone() -> None:
    assert holm([0.2]).tolist() == [0.2]


@given(some.lists(some.floats(0, 1), min_size=1, max_size=8), some.floats(0.001, 0.5))
def test_it_rejects_what_stepping_down_rejects(p: list[float], level: float) -> None:
    # Holm's procedure in words: reject the smallest while it is at most level over the number that are left
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - step) > level:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= level} == rejected


def test_what_are_no_probabilities_is_refused() -> None:
    for values in ([-0.1], [1.1], [np.nan]):
        with pytest.raises(DomainError, match="`p_values` must"):
            holm(values)
    with pytest.raises(ShapeError):
        holm([])
