from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import multinomial as trinomial
from scipy.stats import norm

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.statistics import paired_share_interval

Z = norm.ppf(0.975)


def test_published_intervals() -> None:
    # complete response before and after consolidation, airways before and after transplantation: the tables and
    # intervals in M. W. Fagerland, S. Lydersen and P. Laake, Statistical analysis of contingency tables, chapter 8
    found = paired_share_interval(6, 16, 161)
    assert (round(found.mean, 4), round(found.low, 4), round(found.high, 4)) == (-0.0621, -0.1240, -0.0054)
    found = paired_share_interval(1, 7, 21)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)


def statistic(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic with the likelihood maximised by search, not by formula."""

    def loss(q: float) -> float:
        shares = np.array([q + difference, q, 1 - 2 * q - difference])
        return -float(np.sum(np.array([b, c, n - b - c]) * np.log(np.maximum(shares, 1e-300))))

    low, high = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (b - c - n * difference) / np.sqrt(n * (2 * q + difference - difference**2))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (3, 9, 30), (40, 20, 160), (1, 1, 8), (250, 300, 9000)])
def test_ends_are_where_the_score_test_is_at_its_level(b: int, c: int, n: int) -> None:
    found = paired_share_interval(b, c, n)
    for end, z in ((found.low, Z), (found.high, -Z)):
        expected = brentq(lambda d, z=z: statistic(b, c, n, d) - z, end - 0.03, end + 0.03)
        assert end == pytest.approx(expected, abs=2e-6)


def test_it_leaves_out_no_difference_exactly_where_mcnemar_rejects() -> None:
    for b in range(30):
        for c in range(1, 30):
            z = (b - c) / np.sqrt(b + c)
            found = paired_share_interval(b, c, 200)
            assert (found.low > 0) == (z > Z)
            assert (found.high < 0) == (z < -Z)


def test_where_none_or_all_differ_it_has_a_width() -> None:
    for n in (1, 10, 10_000, 10**9):
        none, all_of_them = paired_share_interval(0, 0, n), paired_share_interval(n, 0, n)
        assert none.high == pytest.approx(Z**2 / (n + Z**2), rel=1e-6)
        assert none.low == -none.high
        assert (all_of_them.low, all_of_them.high) == (pytest.approx((n - Z**2) / (n + Z**2), abs=1e-9), 1.0)
        assert paired_share_interval(0, n, n).low == -1.0


@pytest.mark.parametrize(("won", "lost"), [(0.08, 0.04), (0.2, 0.2), (0.05, 0.02), (0.3, 0.1)])
def test_exact_coverage(won: float, lost: float) -> None:
    # every table of 100 images with its probability: no simulation
    n = 100
    covered = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            p = trinomial.pmf([b, c, n - b - c], n, [won, lost, 1 - won - lost]) if near(b, c, n, won, lost) else 0.0
            if p > 1e-9:
                found = paired_share_interval(b, c, n)
                covered += float(p) * (found.low <= won - lost <= found.high)
    assert 0.93 <= covered <= 0.97


def near(b: int, c: int, n: int, won: float, lost: float) -> bool:
    return abs(b - n * won) < 6 * np.sqrt(n * won) + 2 and abs(c - n * lost) < 6 * np.sqrt(n * lost) + 2


def test_bad_counts_are_refused() -> None:
    with pytest.raises(DomainError, match="`only_b` must be 0 to 3; got 4"):
        paired_share_interval(7, 4, 10)
    with pytest.raises(DomainError, match="`samples` must be at least 1"):
        paired_share_interval(0, 0, 0)
    with pytest.raises(DomainError, match="confidence"):
        paired_share_interval(1, 0, 10, confidence=1.0)
    with pytest.raises(DTypeError, match="integer"):
        paired_share_interval(1.5, 0, 10)  # type: ignore[arg-type]
