"""The sweep of AdamW on every instruction set, through the optimiser, with a rest beyond whole vectors."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.kernel import adamw
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.adamw import SETTINGS
from lieref.train.optimizer import AdamW


@pytest.fixture(params=isa_module.available())
def isa(request, monkeypatch):
    monkeypatch.setenv("LIEREF_ISA", request.param)
    adamw._sweep.cache_clear()
    yield request.param
    adamw._sweep.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_follows_the_formula(isa, dtype, rng):
    theta = rng.standard_normal(37).astype(dtype)
    p, m, v = theta.astype("f8"), np.zeros(37), np.zeros(37)
    optimizer = AdamW(beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1)
    for t in range(1, 6):
        g = rng.standard_normal(37).astype(dtype)
        optimizer.step({"theta": theta}, {"theta": g}, 0.05)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g.astype("f8") ** 2
        p = p * (1 - 0.05 * 0.1) - 0.05 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
    assert np.allclose(theta, p, rtol=0, atol=40 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
def test_stays_inside_its_arrays(isa, dtype, count, rng):
    """Between a number and a NaN: one that is read spoils the last elements, one that is written is gone."""
    fenced = rng.standard_normal((4, count + 64)).astype(dtype)
    fenced[3] = np.abs(fenced[3])
    before = fenced.copy()
    fenced[:, 32 + count :] = before[:, 32 + count :] = np.nan
    settings = dict(zip(SETTINGS, (0.9, 0.1, 0.99, 0.01, 0.999, 0.01, 1.0, 1e-6), strict=True))
    parameter, gradient, first, second = (row[32 : 32 + count] for row in fenced)
    adamw.update_adamw(parameter, gradient, first, second, **settings)
    inside = np.zeros(fenced.shape, bool)
    inside[[0, 2, 3], 32 : 32 + count] = True
    assert np.array_equal(fenced[~inside], before[~inside], equal_nan=True)
    assert np.isfinite(fenced[inside]).all()
    assert (fenced[inside] != before[inside]).all()
