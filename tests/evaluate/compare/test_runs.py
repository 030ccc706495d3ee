"""Runs paired by seed and sample: against statistics computed otherwise, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

import lieref
from lieref.evaluate.compare.runs import Runs, metric_of, paired, spread
from lieref.evaluate.judge import pack_bits, pack_floats


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def right(rows: np.ndarray, label: str = "a", fixed: bool = False) -> Runs:
    records: dict[int, dict[str, Any]] = {
        seed: {"metrics": {"accuracy": float(row.mean())}, "loss": 1.0, "right": pack_bits(row), "losses": None}
        for seed, row in enumerate(rows)
    }
    return Runs(label, records, "accuracy", False, fixed)


def losses(rows: np.ndarray) -> Runs:
    packed = {
        seed: {"metrics": {}, "loss": float(row.mean()), "right": None, "losses": pack_floats(row)}
        for seed, row in enumerate(rows)
    }
    return Runs("a", packed, "loss", True)


def test_one_seed_has_mcnemar_alone(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 1, 200)) < [[[0.8]], [[0.6]]]
    test = paired(right(a), right(b, "b"))
    assert test is not None
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert test["p_mcnemar"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert test["difference"] == pytest.approx((only_a - only_b) / 200)
    assert test["low"] is test["high"] is test["p"] is None
    assert test["against"] == "b"


def test_seeds_are_paired_and_a_seed_that_failed_is_left_out(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 3, 400)) < [[[0.9]], [[0.6]]]
    one, other = right(a), right(b)
    whole = paired(one, other)
    assert whole is not None
    assert whole["seeds"] == 3
    assert whole["low"] < whole["difference"] < whole["high"]
    assert whole["difference"] == pytest.approx(a.mean() - b.mean())
    # 0.3 of a standard error of 0.017 is 18 of them; with as few as 2 degrees of freedom that is p = 0.003.
    assert whole["p"] < 0.01
    del other.records[1]
    part = paired(one, other)
    assert part is not None
    assert part["difference"] == pytest.approx(a[[0, 2]].mean() - b[[0, 2]].mean())
    assert paired(one, right(b[:0])) is None


def test_the_base_stands_for_every_seed(rng: np.random.Generator) -> None:
    a, base = rng.random((3, 100)) < 0.7, rng.random((1, 100)) < 0.5
    one = paired(right(a), right(base, fixed=True))
    other = paired(right(base, fixed=True), right(a))
    assert one is not None
    assert other is not None
    assert one["seeds"] == other["seeds"] == 3
    assert one["difference"] == pytest.approx(a.mean() - base.mean())
    assert other["difference"] == pytest.approx(-one["difference"])


def test_losses_are_paired_over_seeds_and_less_is_better(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 4, 50))
    test = paired(losses(a), losses(b))
    assert test is not None
    # float32 in the records
    assert test["difference"] == pytest.approx(b.mean() - a.mean(), rel=1e-5)
    assert test["basis"] == "seeds and samples"
    assert [test["low"], test["high"]] == test["loss"]
    assert test["low"] < test["difference"] < test["high"]
    assert test["p_mcnemar"] is None
    # without a loss of each sample the seeds alone tell
    one, other = losses(a), losses(b)
    one.records[0]["losses"] = None
    test = paired(one, other)
    assert test is not None
    assert test["basis"] == "seeds"
    assert test["p"] == pytest.approx(ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue, rel=1e-4)


def test_runs_that_no_seed_changes_are_judged_by_the_samples(rng: np.random.Generator) -> None:
    """Where all seeds give one network, their agreement is no evidence: what there is, is a paired t of the samples."""
    a, b = rng.random((2, 1, 50)).repeat(3, axis=1)
    b = a + np.float32(0.001) * rng.normal(size=50)
    test = paired(losses(a), losses(b))
    assert test is not None
    assert test["p"] == pytest.approx(ttest_rel(b[0].astype(np.float32), a[0].astype(np.float32)).pvalue, rel=1e-3)
    assert 0.01 < test["p"] < 0.99
    for runs in (one := losses(a), other := losses(b)):
        for record in runs.records.values():
            record["losses"] = None
    test = paired(one, other)
    assert test is not None
    assert test["difference"] != 0.0
    assert test["low"] is test["high"] is test["p"] is None


def test_equal_runs_are_not_told_apart(rng: np.random.Generator) -> None:
    rows = rng.random((3, 50))
    test = paired(losses(rows), losses(rows))
    assert test is not None
    assert (test["difference"], test["p"]) == (0.0, 1.0)


def test_spread_of_one_has_no_ends() -> None:
    assert spread([]) == {"mean": None, "low": None, "high": None}
    assert spread([0.5]) == {"mean": 0.5, "low": None, "high": None}
    # Student's 95 % of one degree of freedom: 12.706 times the standard error, here 0.1
    found = spread([0.4, 0.6])
    assert found["high"] == pytest.approx(0.5 + 12.7062047 * 0.1)


def test_metric_of_a_task() -> None:
    assert metric_of(lieref.make_task("classes"), {"accuracy": 0.5}) == ("accuracy", False)
    assert metric_of(lieref.make_task("classes"), {"y.accuracy": 0.5, "z.accuracy": 0.1}) == ("y.accuracy", False)
    assert metric_of(lieref.make_task("numbers"), {"rmse": 0.5}) == ("loss", True)
    assert metric_of(lieref.make_task("multilabel"), {"f1": 0.5, "accuracy": 0.9}) == ("f1", False)
