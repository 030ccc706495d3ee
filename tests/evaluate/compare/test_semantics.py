"""Changes between semantics, against intervals computed otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from lieref.evaluate.compare.runs import Runs
from lieref.evaluate.compare.semantics import by_semantics
from lieref.evaluate.judge import pack_bits

NAMES = ("pc", "device")


def runs(right: np.ndarray, changed: np.ndarray, *, fixed: bool = False) -> Runs:
    """Return runs whose first semantics are all right."""
    records: dict[int, dict[str, Any]] = {}
    for seed, (one, other) in enumerate(zip(right, changed, strict=True)):
        of = {"pc": {"right": pack_bits(np.ones_like(one)), "changed": None},
              "device": {"right": pack_bits(one), "changed": pack_bits(other)}}  # fmt: skip
        records[seed] = {"semantics": of}
    return Runs("a", records, "accuracy", False, fixed)


def test_one_run_has_wilsons_interval() -> None:
    changed = np.zeros((1, 50), bool)
    changed[0, :4] = True
    (row,) = by_semantics([runs(~changed, changed, fixed=True)], NAMES)["rows"]
    wilson = binomtest(4, 50).proportion_ci(method="wilson")
    found = row["changed"]["device"]
    assert (found["count"], found["of"], found["share"]["mean"]) == (4, 50, 0.08)
    assert (found["share"]["low"], found["share"]["high"]) == pytest.approx((wilson.low, wilson.high))
    assert row["accuracy"]["device"]["mean"] == pytest.approx(46 / 50)
    assert row["accuracy"]["pc"]["mean"] == 1.0


def test_of_several_seeds_the_mean_is_said_with_both_sources_of_chance() -> None:
    rng = np.random.default_rng(3)
    changed = rng.random((3, 400)) < 0.03
    (row,) = by_semantics([runs(~changed, changed)], NAMES)["rows"]
    found = row["changed"]["device"]
    assert found["count"] == pytest.approx(changed.sum() / 3)
    wilson = binomtest(int(changed.sum()), 1200).proportion_ci(method="wilson")
    # Seeds of one file are no independent samples: the interval is no narrower than that of 1,200 of them.
    assert found["share"]["high"] - found["share"]["low"] >= 0.999 * (wilson.high - wilson.low)
    assert found["share"]["low"] < changed.mean() < found["share"]["high"]


def test_none_that_changed_may_still_be_some() -> None:
    changed = np.zeros((2, 40), bool)
    (row,) = by_semantics([runs(~changed, changed)], NAMES)["rows"]
    share = row["changed"]["device"]["share"]
    assert (share["mean"], share["low"]) == (0.0, 0.0)
    assert 0.05 < share["high"] < 0.2


def test_a_row_without_a_run_is_left_out() -> None:
    assert by_semantics([Runs("a", {}, "accuracy", False)], NAMES) == {"first": "pc", "others": ["device"], "rows": []}
