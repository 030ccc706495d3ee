"""What is to be shipped follows from the numbers, and says no more than they bear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lieref
from lieref.evaluate.report import compare_decision, finetune_decision
from lieref.evaluate.report.compare_page import compare_page
from lieref.evaluate.report.fleet_page import fleet_page
from tests.evaluate.report.results import BETTER, COUNTS, compared, comparison, fleet, row, run

RECORDED = Path(lieref.__file__).parents[1] / "validation" / "results" / "compare_jpeg_500.json"


def with_row(label: str, **changes: Any) -> dict[str, Any]:
    result = comparison()
    result["rows"] = [{**each, **changes} if each["label"] == label else each for each in result["rows"]]
    return result


def test_the_smallest_of_what_is_as_good_is_shipped() -> None:
    decision = compare_decision.decide(comparison())
    assert (decision.verdict, decision.headline) == ("ship", "Ship the method slim")
    assert decision.reasons == (
        "With the method slim the network comes to 68.75 % accuracy on 40 test samples (mean of 2 seeds); without it, "
        "to 62.50 %. That is better by 6.25 points (95 % interval 3.25 to 8.25; p below 0.001 after Holm's "
        "correction).",
        "The best here, wide r=2 with 69.75 %, is within 1 point of it and not told apart from it (p not below "
        "0.05). Of what is as good, it is the smallest update: 1,234 bytes.",
        "One class has fewer right answers than with the base, dog (-2.50 points).",
    )
    figures = {figure.name: (figure.text, figure.note) for figure in decision.figures}
    assert figures["Over the base"] == (
        "+6.25 points", "95 %: +3.25 to +8.25; p below 0.001 after Holm's correction",
    )  # fmt: skip
    assert figures["Lost on the original data"] == ("2.15 points", "95 % over seeds: 1.05 to 3.25")
    assert figures["Bytes to send"] == ("1,234", "adapter; the network has 99 numbers")
    assert any("Runs that failed are left out: of lost." in limit for limit in decision.limits)
    assert any("fit: it may take longer (wide r=2)." in limit for limit in decision.limits)


def test_what_does_not_beat_the_base_is_not_shipped() -> None:
    result = with_row("slim", over_base=compared(0.0625, 0.06, "base"))
    assert compare_decision.decide(result).headline == "Ship the method wide r=2"
    result["rows"][2]["over_base"] = compared(-0.07, 1e-9, "base")
    kept = compare_decision.decide(result)
    assert (kept.verdict, kept.headline) == ("keep", "Keep the base")
    assert "69.75 % of wide r=2, the best of 2" in kept.reasons[0]


def test_what_is_above_the_base_only_by_itself_is_said() -> None:
    result = with_row("slim", over_base=compared(-0.01, 0.9, "base"))
    result["rows"][2]["over_base"] = {**compared(0.0225, 0.118, "base"), "low": 0.0031, "high": 0.0419}
    kept = compare_decision.decide(result)
    assert kept.headline == "Keep the base"
    assert kept.reasons[1] == (
        "By itself wide r=2 is above the base (+2.25 points, 95 % interval +0.31 to +4.19); corrected for the 2 "
        "methods that were tried it is not (p = 0.118 after Holm's correction, 0.05 is asked)."
    )
    figures = {figure.name: figure.note for figure in kept.figures}
    assert figures["Over the base"] == "95 %: +0.31 to +4.19; p = 0.118 after Holm's correction"
    result["rows"][2]["over_base"] = compared(0.0225, 0.118, "base")  # from -0.75 points on
    assert len(compare_decision.decide(result).reasons) == 1


def test_what_the_original_data_gain_is_called_so() -> None:
    result = with_row("slim", forgotten={"mean": -0.0017, "low": -0.004, "high": 0.001})
    figures = {figure.name: (figure.text, figure.note) for figure in compare_decision.decide(result).figures}
    assert figures["Gained on the original data"] == ("0.17 points", "95 % over seeds: -0.10 to 0.40")


def test_a_merged_network_is_the_graph_of_the_base() -> None:
    said = "same graph as the base, a difference is noise"
    notes = {figure.name: figure.note for figure in compare_decision.decide(comparison()).figures}
    assert notes["Latency, merged"] == f"base 77 µs; {said}"
    notes = {figure.name: figure.note for figure in finetune_decision.decide(run()).figures}
    assert notes["Latency, merged"] == f"base 41 µs; {said}"
    other = run(head={"classes": 3, "features": "x"})
    assert {f.name: f.note for f in finetune_decision.decide(other).figures}["Latency, merged"] == "base 41 µs"


def test_one_seed_decides_nothing() -> None:
    decision = compare_decision.decide(comparison(seeds=[0], ship=None))
    assert (decision.verdict, decision.headline) == ("open", "No decision yet: one seed")


def test_nothing_ran() -> None:
    assert compare_decision.decide(comparison(rows=[row("lost", None, 0)], ship=None)).verdict == "open"


def test_without_a_base_the_smallest_is_shipped_without_comparing() -> None:
    result = comparison()
    result["rows"] = [{**each, "over_base": None} for each in result["rows"][1:]]
    decision = compare_decision.decide(result)
    assert decision.headline == "Ship the method slim"
    assert decision.reasons[0] == (
        "With the method slim the network comes to 68.75 % accuracy on 40 test samples (mean of 2 seeds)."
    )


def test_a_loss_is_better_where_it_is_lower() -> None:
    result = comparison(metric="loss", less_is_better=True)
    for each, mean in zip(result["rows"], (2.0, 1.5, 1.4, None), strict=True):
        each |= {"mean": mean, "merit": None if mean is None else -mean, "for_other_samples": None}
    assert compare_decision.decide(result).headline == "Ship the method slim"
    (plot, *_) = compare_page(result).sections[0].blocks
    assert [point.label for point in plot.points if point.mark == "front"] == ["wide r=2"]  # type: ignore[union-attr]
    assert plot.level == 2.0  # type: ignore[union-attr]


@pytest.mark.skipif(not RECORDED.exists(), reason="not a checkout")
def test_a_comparison_without_the_choice_is_read_by_its_sentence() -> None:
    result = json.loads(RECORDED.read_bytes())
    result.pop("ship", None)  # as those of earlier versions
    decision = compare_decision.decide(result)
    assert decision.headline == "Ship the method scale"
    assert "80.68 % accuracy on 10,000 test samples (mean of 5 seeds); without it, to 75.48 %" in decision.reasons[0]
    assert "norm-stats+scale with 81.00 %" in decision.reasons[1]
    assert [row["label"] for row in compare_decision.as_good(result)] == [
        "scale", "ia3", "norm-stats+scale", "norm-stats+liera r=2",
    ]  # fmt: skip
    result["conclusions"][-1] = result["conclusions"][-1].replace("ia3", "ia4")
    assert compare_decision.decide(result).headline == "No decision recorded"


def test_a_run_that_gains_is_shipped() -> None:
    decision = finetune_decision.decide(run())
    assert (decision.verdict, decision.headline) == ("ship", "Ship this adapter")
    assert decision.reasons == (
        "The method liera of rank 2 comes to 87.50 % accuracy on 40 test samples; the base comes to 62.50 %.",
        "12 samples are right only with the adapter, 2 only without it (McNemar's test: p = 0.013): +25.00 points, 95 "
        "% interval +10.00 to +40.00, of this network on other samples.",
    )


def paired(p: float) -> dict[str, Any]:
    return {
        "base": {"classes": COUNTS, "interval": [0.4, 0.8]}, "adapted": {"classes": BETTER, "interval": [0.4, 0.8]},
        "paired": {"only_base": 3, "only_adapted": 5, "p_mcnemar": p, "interval": [-0.1, 0.2]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict", "headline"),
    [
        ({"test_outcomes": paired(0.7)}, "keep", "Keep the base: no gain beyond chance"),
        ({"test_outcomes": paired(0.01), "accuracy": 0.5}, "keep", "Keep the base: the adapter does worse"),
        ({"test_outcomes": None}, "open", "From 62.50 % to 87.50 %"),
        ({"base_accuracy": None, "base_metrics": None}, "open", "87.50 % accuracy"),
        ({"accuracy": None, "metrics": None}, "open", "No decision yet: nothing was tested"),
        ({"ships": False, "update_bytes": 0}, "keep", "Keep the base"),
        ({"metrics": {"rmse": 0.5}, "base_metrics": {"rmse": 0.75}}, "open", "From 0.75 to 0.5"),
    ],
)
def test_a_run_is_judged_by_what_was_measured(changes: dict[str, Any], verdict: str, headline: str) -> None:
    decision = finetune_decision.decide(run(**changes))
    assert (decision.verdict, decision.headline) == (verdict, headline)


def test_a_fleet_is_shipped_where_the_mean_gain_is_above_chance() -> None:
    decision = fleet_page(fleet()).decision
    assert decision.headline == "Ship to 1 of 3 devices"
    assert decision.reasons == (
        "On the mean of the devices 65.00 % before, 75.00 % after: +10.00 points (95 % interval over devices +2.00 to "
        "+18.00).",
        "Devices that keep the base: 1. The smallest gain is +0.00 points, of b.",
    )
    summary = fleet()["summary"]
    kept = fleet_page(fleet(summary={**summary, "mean_gain_interval": [-0.01, 0.2]})).decision
    assert kept.verdict == "keep"
    alone = {name: value for name, value in summary.items() if name != "mean_gain_interval"}
    assert fleet_page(fleet(summary=alone)).decision.verdict == "open"
