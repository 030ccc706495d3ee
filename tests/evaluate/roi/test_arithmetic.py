from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lieref.errors import DomainError, DTypeError
from lieref.evaluate.roi.arithmetic import Case, break_even, lines_of, net_of_first_year, sensitivity

CASE = Case(devices=1000, update_bytes=6000, link_cost=0.5, updates=4, decisions=200, error_value=0.05, gain=0.012,
            images=500, image_cost=0.2, hours=2, hour_cost=1.5, setup=2000)  # fmt: skip


def test_every_line_by_hand() -> None:
    found = {line.name: (pytest.approx(line.value), line.unit) for line in lines_of(CASE)}
    assert found == {
        "sent for an update": (6.0, "MB"),
        "transfer of an update": (3.0, ""),
        "labels of an update": (100.0, ""),
        "machine of an update": (3.0, ""),
        "cost of an update": (106.0, ""),
        "cost a year": (424.0, ""),
        "decisions a year": (73_000_000.0, "decisions"),
        "errors avoided a year": (876_000.0, "errors"),
        "value a year": (43_800.0, ""),
        "net a year": (43_376.0, ""),
        "net of the first year": (41_376.0, ""),
    }
    assert net_of_first_year(CASE) == pytest.approx(41_376.0)
    formulas = {line.name: line.formula for line in lines_of(CASE)}
    assert formulas["sent for an update"] == "1,000 devices * 6,000 bytes / 10^6"
    assert formulas["errors avoided a year"] == "73,000,000 * 1.2 points / 100"


def test_break_even_is_where_value_is_cost() -> None:
    found = break_even(CASE)
    assert found.gain is not None
    assert found.update_days is not None
    assert found.setup_days is not None
    at = {line.name: line.value for line in lines_of(replace(CASE, gain=found.gain))}
    assert at["net a year"] == pytest.approx(0.0, abs=1e-6)
    # value of a day is 120
    assert found.update_days == pytest.approx(106 / 120)
    assert found.setup_days == pytest.approx(2000 / (43_376 / 365))
    assert break_even(replace(CASE, setup=0.0)).setup_days is None


@pytest.mark.parametrize("change", [{"gain": 0.0}, {"gain": -0.01}, {"error_value": 0.0}, {"decisions": 0.0}])
def test_what_brings_nothing_never_pays(change: dict[str, float]) -> None:
    found = break_even(replace(CASE, **change))  # type: ignore[arg-type]
    assert (found.update_days, found.setup_days) == (None, None)
    assert (found.gain is None) == ("gain" not in change)
    assert net_of_first_year(replace(CASE, **change)) < 0  # type: ignore[arg-type]
    assert break_even(replace(CASE, link_cost=1e9)).gain is None  # more than all errors are worth


def test_sensitivity_varies_one_input_at_a_time() -> None:
    swings = {swing.name: swing for swing in sensitivity(CASE, 2.0)}
    assert len(swings) == 12
    for name, swing in swings.items():
        assert (swing.low, swing.high) == (getattr(CASE, name) / 2, getattr(CASE, name) * 2)
    assert swings["gain"].net_low == pytest.approx(21_900 - 424 - 2000)
    assert swings["gain"].net_high == pytest.approx(87_600 - 424 - 2000)
    assert swings["updates"].net_high == pytest.approx(43_800 - 848 - 2000)
    assert swings["setup"].width == pytest.approx(3000)
    ordered = [swing.width for swing in sensitivity(CASE)]
    assert ordered == sorted(ordered, reverse=True)


def test_an_interval_of_the_gain_takes_the_place_of_the_factor() -> None:
    known = replace(CASE, gain_low=0.002, gain_high=0.02)
    (swing,) = [swing for swing in sensitivity(known) if swing.name == "gain"]
    assert (swing.low, swing.high) == (0.002, 0.02)
    assert swing.net_low == pytest.approx(net_of_first_year(replace(CASE, gain=0.002)))
    # a gain of 0 that may be one
    none = replace(CASE, gain=0.0, gain_low=-0.01, gain_high=0.01)
    assert any(swing.name == "gain" for swing in sensitivity(none))
    assert all(swing.name != "gain" for swing in sensitivity(replace(CASE, gain=0.0)))


def test_varied_inputs_stay_in_range() -> None:
    for case in (replace(CASE, gain=0.8), replace(CASE, gain=-0.8), replace(CASE, devices=1, updates=0.01),
                 replace(CASE, link_cost=1e15)):  # fmt: skip
        for swing in sensitivity(case, 3.0):
            assert swing.low <= swing.high
            if swing.name == "gain":
                assert -1 <= swing.low <= swing.high <= 1
            if swing.name == "devices":
                assert swing.low >= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"devices": 0}, "`devices` must be 1 to"),
        ({"link_cost": -0.5}, "`link_cost` must be at least 0"),
        ({"image_cost": float("nan")}, "`image_cost` must be finite; got nan"),
        ({"error_value": float("inf")}, "`error_value` must be finite"),
        ({"updates": 0.0}, "`updates` must be at least 0.01"),
        ({"gain": 1.5}, "`gain` must be at most 1"),
        ({"gain": float("nan")}, "`gain` must be finite"),
        ({"hour_cost": 1e16}, "`hour_cost` must be at most"),
        ({"gain_low": 0.0}, "both or not at all"),
        ({"gain_low": 0.02, "gain_high": 0.03}, "`gain` must lie between its ends, 0.02 and 0.03; got 0.012"),
    ],
)
def test_impossible_cases_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DomainError, match=words):
        replace(CASE, **change)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(DTypeError, match="`devices` must be an integer"):
        replace(CASE, devices=1.5)  # type: ignore[arg-type]
    for factor in (1.0, 0.5, float("nan"), 1e6):
        with pytest.raises(DomainError, match="`factor` must be"):
            sensitivity(CASE, factor)
