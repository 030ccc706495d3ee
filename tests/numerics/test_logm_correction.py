"""The step that corrects the logarithm of SciPy: it must double the right digits, whatever SciPy gave."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from lieref.errors import DomainError
from lieref.numerics.expm import expm
from lieref.numerics.matrix_maps import logm

ROUGH = np.array([[0.3, 0.9, -0.2], [-0.5, 0.1, 0.4], [0.2, -0.7, -0.6]])


@pytest.mark.parametrize("error", [1e-4, 1e-6])
def test_an_error_is_squared(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log off by d x commutes with x, so what is left is d^2 |x|^2 / 2 and not d |x|."""
    monkeypatch.setattr(scipy.linalg, "logm", lambda a: (1 + error) * ROUGH)
    size = np.linalg.norm(ROUGH, 2)
    left = np.abs(logm(expm(ROUGH)) - ROUGH).max()
    assert left <= (error * size) ** 2 + 1e-14


def test_a_logarithm_that_stays_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scipy.linalg, "logm", lambda a: 1.1 * ROUGH)
    with pytest.raises(DomainError, match="accurate logarithm"):
        logm(expm(ROUGH))
