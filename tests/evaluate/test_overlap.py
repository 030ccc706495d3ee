"""Samples in two sets are found, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.evaluate.overlap import check_apart, overlap
from tests.evaluate.jobs import samples

X, _ = samples(12, 0)
OTHER, _ = samples(9, 1)


def test_counted() -> None:
    assert overlap(X, OTHER) == 0
    assert overlap(X, np.concatenate([OTHER, X[[3, 3, 5]]])) == 3
    assert overlap(X, X.astype(np.float64)) == 0
    assert check_apart("compare", X, np.concatenate([OTHER, X[:2]])) == 2
    assert check_apart("compare", X, X[4:6]) == 2


@pytest.mark.parametrize("test", [X, X[::-1]])
def test_the_same_samples_are_refused(test: np.ndarray) -> None:
    with pytest.raises(DomainError, match="`test` must be other samples than `train`"):
        check_apart("compare", X, test)
