from __future__ import annotations

import pytest

from lieref.errors import DomainError
from lieref.evaluate.ab.rates import Rates, disagreement_of, rates_for


def test_how_often_they_differ() -> None:
    # 1,000 images, 900 right before and 910 after: 10 won, none lost; or 90 lost and 100 won
    assert disagreement_of("least", 0.9, 0.01) == 0.01
    assert disagreement_of("most", 0.9, 0.01) == pytest.approx(0.19)
    assert disagreement_of("independent", 0.9, 0.01) == pytest.approx(0.9 * 0.09 + 0.1 * 0.91)
    # a base that is right on 20 % cannot lose more than these
    assert disagreement_of("most", 0.2, 0.1) == pytest.approx(0.5)
    with pytest.raises(DomainError, match="`kind` must be one of least, independent, most"):
        disagreement_of("some", 0.9, 0.01)


@pytest.mark.parametrize(("accuracy", "gain", "differ"), [(0.9, 0.01, 0.05), (0.9, 0.01, "most"), (0.2, 0.1, "most"),
                                                          (0.0, 1.0, "least"), (0.99, 0.01, "most")])  # fmt: skip
def test_shares_give_accuracies_back(accuracy: float, gain: float, differ: float | str) -> None:
    rates = rates_for(accuracy, gain, differ)
    assert rates.gain == pytest.approx(gain)
    assert rates.lost <= min(accuracy, 1 - accuracy - gain) + 1e-12
    assert rates.won <= 1 - accuracy + 1e-12
    if not isinstance(differ, str):
        assert rates.disagreement == pytest.approx(differ)


@pytest.mark.parametrize(
    ("accuracy", "gain", "differ", "words"),
    [
        (0.95, 0.06, "most", "`gain` must be at most 0.05"),
        (0.9, 0.02, 0.01, "between the gain, 0.02, and 0.18"),
        (0.9, 0.02, 0.2, "between the gain"),
        (0.9, 0.0, "most", "`gain` must be above 0"),
        (0.9, -0.1, "most", "`gain` must be above 0"),
        (1.1, 0.1, "most", "`accuracy` must be at most 1"),
        (float("nan"), 0.1, "most", "`accuracy` must be finite"),
        (0.9, 0.02, float("nan"), "`disagreement` must be finite"),
    ],
)
def test_impossible_rates_are_refused(accuracy: float, gain: float, differ: float | str, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        rates_for(accuracy, gain, differ)


def test_shares_are_shares() -> None:
    with pytest.raises(DomainError, match="at most 1 together"):
        Rates(0.6, 0.5)
    with pytest.raises(DomainError, match="`lost` must be at least 0"):
        Rates(0.6, -0.5)
