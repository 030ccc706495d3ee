"""Conclusions say what the numbers bear: better, worse, or not told apart."""

from __future__ import annotations

from typing import Any

import pytest

from lieref.evaluate.compare.sentences import amount, conclusions


def outcome(difference: float, p: float, against: str = "lora") -> dict[str, Any]:
    return {
        "against": against, "difference": difference, "low": difference - 0.01, "high": difference + 0.01, "p": p,
        "p_holm": p, "p_mcnemar": p, "p_mcnemar_holm": p,
    }  # fmt: skip


def row(label: str, mean: float | None, **more: Any) -> dict[str, Any]:
    own = {
        "label": label, "method": label, "mean": mean, "merit": mean, "against": None, "over_base": outcome(0.05, 1e-6),
        "forgotten": None, "update_bytes": 100, "bundle_bytes": None,
    }  # fmt: skip
    return {**own, **more}


ROWS = [
    row("base", 0.70, over_base=None),
    row("scale", 0.78, bundle_bytes=4000, against=outcome(-0.02, 0.2)),
    row("lora", 0.80, bundle_bytes=9000),
    row("liera", 0.81, bundle_bytes=9100, against=outcome(0.01, 0.03)),
    row("full", 0.75, bundle_bytes=90_000, against=outcome(-0.05, 1e-9)),
    row("atoms", None, against=None, over_base=None),
]
PAIRS = {("lora", "scale"): (0.02, 0.2), ("liera", "scale"): (0.03, 0.04), ("full", "scale"): (-0.03, 0.3),
         ("liera", "lora"): (0.005, 0.4), ("liera", "full"): (0.06, 1e-9)}  # fmt: skip


def against(one: str, other: str) -> dict[str, Any] | None:
    return outcome(*PAIRS[one, other]) if (one, other) in PAIRS else None


def said(rows: list[dict[str, Any]] = ROWS, **options: Any) -> list[str]:
    given = {"metric": "accuracy", "baseline": "lora", "seeds": 5, "against": against, "base": "base"}
    return conclusions(rows, **{**given, **options})


def test_against_the_baseline() -> None:
    assert said()[0] == (
        "By the paired test (p below 0.05 after Holm's correction), better than lora: liera (+1.00 points, 95 % "
        "interval 0.00 to 2.00); worse than lora: full (-5.00 points, 95 % interval -6.00 to -4.00); not told apart "
        "from lora: scale."
    )


def test_cheap_methods_are_beaten_only_after_the_correction() -> None:
    # 0.04 is the smallest of three p-values, so 0.12 after Holm.
    assert said()[1] == (
        "Nothing beats scale (78.00 %), beyond chance; liera is ahead (+3.00 points, 95 % interval 2.00 to 4.00; p = "
        "0.12 after Holm's correction for 3 methods)."
    )


def test_what_to_ship_is_no_worse_than_a_point() -> None:
    assert said()[-1] == (
        "Best on these samples: liera (81.00 %); within 1 point of it and not told apart (p from 0.05, uncorrected): "
        "lora. The smallest update among them is lora, 9,000 bytes as a signed bundle."
    )


def test_forgetting_names_the_ends() -> None:
    rows = [{**each, "forgotten": {"mean": lost}} for each, lost in zip(ROWS[1:4], (0.02, -0.01, 0.0), strict=True)]
    assert "On the original data scale loses most, 2.00 points, and lora gains 1.00 points." in said(rows)
    rows = [{**each, "forgotten": {"mean": lost}} for each, lost in zip(ROWS[1:4], (0.02, 0.01, 0.0), strict=True)]
    assert "On the original data scale loses most, 2.00 points, and liera least, 0.00 points." in said(rows)
    rows = [{**each, "forgotten": {"mean": lost}} for each, lost in zip(ROWS[1:4], (-0.02, -0.01, -0.03), strict=True)]
    text = "On the original data nothing is lost: liera gains most, 3.00 points, and lora least, 1.00 points."
    assert text in said(rows)


def test_below_the_base_is_said() -> None:
    rows = [ROWS[0], {**ROWS[1], "over_base": outcome(-0.01, 0.5)}, ROWS[2]]
    assert any("Below the base on average: scale." in text for text in said(rows))


def test_one_seed_refuses_intervals() -> None:
    assert said(seeds=1)[0].startswith("One seed: intervals and tests over seeds are refused")
    assert "McNemar's, of one seed" in said(seeds=1)[1]


def test_nothing_is_said_of_nothing() -> None:
    assert said([row("lora", None)]) == []


@pytest.mark.parametrize(
    ("metric", "value", "signed", "text"),
    [
        ("accuracy", 0.5, False, "50.00 %"), ("accuracy", -0.005, True, "-0.50 points"),
        ("y.f1", 0.5, False, "50.00 %"),
        ("loss", 0.12345, False, "0.1235"), ("loss", 0.12345, True, "+0.1235"), ("loss", None, False, "-"),
    ],
)  # fmt: skip
def test_amounts(metric: str, value: float | None, signed: bool, text: str) -> None:
    assert amount(metric, value, signed=signed) == text


def test_what_was_not_tested_is_said_so_and_beats_nothing() -> None:
    def none(one: str, other: str) -> dict[str, Any] | None:
        known = against(one, other)
        return None if known is None else {**known, "p": None}

    rows = [{**each, "against": each["against"] and {**each["against"], "p_holm": None}} for each in ROWS]
    found = said(rows, against=none)
    assert found[0].endswith("not tested against lora: scale, liera, full.")
    assert found[1].startswith("Nothing beats scale")
