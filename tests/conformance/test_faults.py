"""The harness earns its trust: seeded faults found at every scale, and no false alarm."""

from __future__ import annotations

import pytest

from lieref.conformance import verdict
from tests.conformance import faults

NEEDED = {1.0: 126, 1e-3: 129, 1e-6: 130}


@pytest.mark.parametrize("scale", faults.SCALES)
def test_convolution_faults_are_found(scale: float) -> None:
    found, missed = faults.conv_score(scale)
    assert found["lieref"] >= NEEDED[scale], missed
    assert found["lieref"] > found["onnx"]
    # At scale 1 a tight fixed tolerance finds as much, at the price of the false alarms below.
    assert scale == 1.0 or found["lieref"] > found["assert_close"]


@pytest.mark.parametrize("scale", faults.SCALES)
def test_faults_inside_the_bound_are_found_by_the_means(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    found = faults.subtle_score(scale)
    assert found["operands of 18 bits"] >= 8
    assert found["truncated sums"] >= 4
    monkeypatch.setattr(verdict, "_LEAST_SAMPLE", 10**9)
    without = faults.subtle_score(scale)
    assert without["operands of 18 bits"] <= 4, "the rules for the mean must be what finds these"
    assert without["truncated sums"] == 0


def test_fixed_tolerances_miss_what_is_small() -> None:
    found, _ = faults.conv_score(1e-6)
    assert found["lieref"] - found["assert_close"] > 70
    assert found["lieref"] - found["onnx"] > 40


def test_correct_convolutions_raise_no_alarm() -> None:
    alarms, total = faults.false_alarms()
    assert total == 150
    assert alarms["lieref"] == 0
    assert alarms["np.allclose"] > 20
    assert alarms["assert_close"] > 10


@pytest.mark.parametrize(("norm", "needed"), [(1e-3, 70), (0.1, 115)])
def test_exponential_faults_are_found(norm: float, needed: int) -> None:
    found, alarms, faulty, correct = faults.exp_score(norm)
    assert (faulty, correct) == (132, 24)
    assert alarms["lieref"] == 0
    assert found["lieref"] >= needed
    assert found["lieref"] > max(found["assert_close"], found["onnx"])
