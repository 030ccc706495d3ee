"""What is drawn: series, labels, units and limits, and that the numbers beside a figure are those in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from statsmodels.stats.multitest import multipletests

from paper_figures.drawn import ABSENT, FAILS, HOLDS, OPEN, PARTLY, VERDICTS, Drawn, Settings
from paper_figures.group_choice import make as draw_groups
from paper_figures.learning_rates import make as draw_rates
from paper_figures.map_error import MAPS, first_order_limit
from paper_figures.matched_budgets import make as draw_budgets
from paper_figures.rank_capacity import hira_bound, least_squares
from paper_figures.registry import FIGURES, draw
from paper_figures.results import RESULTS
from paper_figures.sst2 import make as draw_text
from paper_figures.style import DOUBLE, LOOKS, SINGLE, as_slide, new_figure
from tests.paper_figures.eyes import deuteranopia
from tests.paper_figures.overlaps import overlaps
from validation.group_choice import GROUPS, map_of

Give = Callable[[str], Drawn]
DRAWN = sorted(set(FIGURES) - {"group_choice"})
UNITS = (
    "%",
    "ms",
    "GFLOP",
    "bytes",
    "millions",
    "nats",
    "points",
    "seconds",
    "rank",
    "rate",
    "weight",
    "singular",
    "first",
    "batch",
    "kernel",
    "|x|",
    "x, entry",
    "error",
    "multiplier",
    "share",
    "change",
    "Delta",
    "E\\|",
    "ratio",
)


def panels(drawn: Drawn) -> list[Any]:
    return [axes for axes in drawn.figure.axes if axes.get_label() != "<colorbar>"]


def line(axes: Any, label: str) -> Any:
    return next(one for one in axes.get_lines() if one.get_label() == label)


@pytest.mark.parametrize("name", DRAWN)
def test_every_axis_says_what_it_is(drawn: Give, name: str) -> None:
    one = drawn(name)
    assert one.figure.get_figwidth() in (SINGLE, DOUBLE)
    for axes in panels(one):
        assert axes.get_title(loc="left") or axes.texts, name
        if len(axes.get_xticks()) and axes.get_lines():
            names = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
            for label, ticks in (
                (axes.get_xlabel(), axes.get_xticklabels()),
                (axes.get_ylabel(), axes.get_yticklabels()),
            ):
                words = any(
                    tick.get_text().strip("-\N{MINUS SIGN}0123456789. ") and "$" not in tick.get_text()
                    for tick in ticks
                )
                assert words or any(unit in label for unit in UNITS) or not any(t.get_text() for t in ticks), (
                    name,
                    label,
                )
            assert names


@pytest.mark.parametrize("name", DRAWN)
def test_entries_of_a_legend_differ_without_colour(drawn: Give, name: str) -> None:
    for axes in panels(drawn(name)):
        legend = axes.get_legend()
        if legend is None:
            continue
        seen = set()
        for handle in legend.legend_handles:
            fill = getattr(handle, "get_markerfacecolor", lambda: None)()
            look = (
                str(getattr(handle, "get_marker", lambda: None)()),
                str(getattr(handle, "get_linestyle", lambda: None)()),
                str(getattr(handle, "get_hatch", lambda: None)()),
                fill == "white",
            )
            assert look not in seen, (name, axes.get_title(loc="left"), look)
            seen.add(look)


@pytest.mark.parametrize("name", DRAWN)
def test_no_words_meet_and_no_legend_hides_data(drawn: Give, name: str) -> None:
    assert overlaps(drawn(name).figure) == []


@pytest.mark.parametrize("name", ["exact_cost", "cost_growth", "trainable_counts", "map_error", "sst2"])
def test_no_words_meet_on_a_slide(drawn: Give, name: str) -> None:
    figure = drawn(name).figure
    before = figure.get_size_inches().copy()
    try:
        assert as_slide(figure)
        assert overlaps(figure) == []
    finally:
        figure.set_size_inches(before)


def test_what_meets_is_found() -> None:
    figure, axes = new_figure(SINGLE, 2)
    axes.plot([0, 1], [0, 1], label="a line")
    axes.text(0.5, 0.47, "on it")
    axes.text(0.5, 0.48, "on that")
    axes.set(xlabel="x")
    assert overlaps(figure) == ["'on it' meets 'on that'", "'on it' lies on 'a line'", "'on that' lies on 'a line'"]


@pytest.mark.parametrize("name", DRAWN)
def test_claims_and_rows_are_whole(drawn: Give, name: str) -> None:
    one = drawn(name)
    assert one.rows
    assert one.caption.endswith(".")
    for claim in one.claims:
        assert claim.verdict in VERDICTS
        assert all((claim.text, claim.source, claim.published, claim.here)), claim


def test_colours_of_methods_that_meet_stay_apart() -> None:
    """In deuteranopia colours that are not the same differ; in grey the markers do, of which no two are the same."""
    markers = [look.marker for look in LOOKS.values()]
    assert len(set(markers)) == len(markers)
    meet = [
        np.array(to_rgb(LOOKS[name].colour))
        for name in ("lora", "liera", "liera-taylor1", "scale", "norm-stats", "full")
    ]
    for i, one in enumerate(meet):
        for other in meet[:i]:
            assert np.abs(deuteranopia(one) - deuteranopia(other)).max() > 0.1


def test_maps_are_the_functions_they_name(drawn: Give) -> None:
    axes = panels(drawn("map_error"))[1]
    x = np.asarray(line(axes, "exp(x)").get_xdata())
    np.testing.assert_allclose(
        line(axes, "exp(x)").get_ydata(), np.where(np.exp(x) < 20, np.exp(x), np.nan), rtol=1e-12
    )
    first = line(axes, MAPS["taylor1"][0])
    np.testing.assert_allclose(first.get_ydata(), 1 + x, atol=1e-12)
    cayley = np.asarray(line(axes, MAPS["cayley"][0]).get_ydata())
    inside = (np.abs(x) < 2) & np.isfinite(cayley)
    np.testing.assert_allclose(cayley[inside], (1 + x[inside] / 2) / (1 - x[inside] / 2), rtol=1e-9)
    assert np.isnan(cayley[np.abs(x) >= 2]).all()


def test_the_limit_of_the_first_order_is_where_it_is_one_percent_off() -> None:
    limit = first_order_limit()
    assert abs(1 - limit - np.exp(-limit)) / np.exp(-limit) == pytest.approx(0.01)


def test_least_squares_finds_what_is_of_that_rank(rng: np.random.Generator) -> None:
    weight, x = rng.standard_normal((7, 11)), rng.standard_normal((7, 2)) @ rng.standard_normal((2, 11))
    found = least_squares(weight, weight * x, rng.standard_normal((7, 2)))
    np.testing.assert_allclose(weight * found, weight * x, atol=1e-6 * np.abs(weight * x).max())


def test_the_bound_of_hira_holds_and_is_zero_at_full_rank(rng: np.random.Generator) -> None:
    weight, target = rng.uniform(0.5, 2, (6, 9)), rng.standard_normal((6, 9))
    for r in range(1, 6):
        row = hira_bound(weight, target, r)
        assert row["found"] <= row["truncated"] <= row["bound"] * (1 + 1e-12)
        assert row["additive"] == pytest.approx(np.linalg.svd(target)[1][r] / np.linalg.norm(target, 2))
    row = hira_bound(weight, target, 6)
    assert row["bound"] == 0
    assert row["truncated"] < 1e-12


def test_the_depthwise_trap_is_the_published_factor(drawn: Give) -> None:
    rows = [row for row in drawn("trainable_counts").rows if row["panel"] == "b" and row["r"] == 8]
    assert rows[0]["loralib_over_kernel"] == 50_568 / 6_272
    axes = panels(drawn("trainable_counts"))[1]
    assert line(axes, "loralib's layer").get_ydata()[3] == 50_568 / 6_272


def test_counts_that_agree_are_marked(drawn: Give) -> None:
    axes = panels(drawn("trainable_counts"))[0]
    assert [text.get_text() for text in axes.texts] == ["=", "=", "=", "=", "?", "?"]


def test_the_row_that_does_not_add_up_is_ringed(drawn: Give) -> None:
    rings = [
        one
        for axes in panels(drawn("published_tables"))
        for one in axes.get_lines()
        if one.get_gid() == "does not add up"
    ]
    assert [float(ring.get_ydata()[0]) for ring in rings][1] == 85.3
    assert float(rings[1].get_xdata()[0]) == pytest.approx(82.775)


def recorded_rows() -> dict[str, dict[str, Any]]:
    """Of both files of the comparison, which are paired with one LoRA."""
    files = [json.loads((RESULTS / f"compare_jpeg_500{part}.json").read_text()) for part in ("", "_more")]
    return {row["label"]: row for file in files for row in file["rows"]}


def test_accuracies_are_those_recorded(drawn: Give) -> None:
    recorded = recorded_rows()
    left, right = panels(drawn("matched_budgets"))[:2]
    for axes, value in ((left, lambda row: 100 * row["mean"]), (right, lambda row: 100 * row["against"]["difference"])):
        found = {box.lines[0].get_gid(): box for box in axes.containers}
        assert found
        for label, box in found.items():
            assert box.lines[0].get_xdata()[0] == pytest.approx(value(recorded[label])), label
    rows = {row["label"]: row["accuracy"] for row in drawn("matched_budgets").rows if row["images"] == 500}
    assert rows == {label: row["mean"] for label, row in recorded.items() if label != "base"}


def test_hollow_and_bold_mean_one_thing_in_both_panels(drawn: Give) -> None:
    recorded = recorded_rows()
    left, right = panels(drawn("matched_budgets"))[:2]
    told = set()
    corrected = {row["label"]: row["p_holm"] for row in drawn("matched_budgets").rows if row["images"] == 500}
    known = {label: row["against"]["p"] for label, row in recorded.items() if row["against"] and label != "base"}
    holm = dict(zip(known, multipletests([*known.values()], method="holm")[1], strict=True))
    assert {label: corrected[label] for label in holm} == pytest.approx(holm)
    for axes in (left, right):
        for box in axes.containers:
            label = box.lines[0].get_gid()
            hollow = box.lines[0].get_markerfacecolor() == "white"
            assert hollow == recorded[label]["method"].startswith("norm-stats+"), label
            bold = bool(box.lines[2][0].get_linewidth()[0] > 1)
            assert bold == (axes is right and corrected[label] < 0.05), label
            told.add((hollow, bold))
    assert told == {(False, False), (True, False), (True, True), (False, True)}


def compared(images: int, difference: float, p: float, sentence: str) -> dict[str, Any]:
    """Return a comparison of LoRA and LieRA alone, with this difference."""

    def row(method: str, mean: float, against: dict[str, Any] | None) -> dict[str, Any]:
        rungs = [
            {"factor": f, "merit": 0.5, "loss": abs(np.log(f / best[method])), "failed": None}
            for f in (1 / 3, 1.0, 3.0)
        ]
        return {
            "label": method,
            "method": method,
            "trainable": 10,
            "mean": mean,
            "low": mean - 0.01,
            "high": mean + 0.01,
            "values": [mean, mean],
            "against": against,
            "rates_tried": rungs,
            "learning_rate": rate[method],
            "rate_factor": 1.0,
            "failed": [],
        }

    rate, best = {"lora": 1e-4, "liera": 1e-3}, {"lora": 1.0, "liera": 3.0}
    test = {"difference": difference, "low": difference - 0.01, "high": difference + 0.01, "p_holm": p}
    return {"rows": [row("lora", 0.7, None), row("liera", 0.7 + difference, test)], "seeds": [0, 1],
            "samples": {"train": images}, "conclusions": [sentence]}  # fmt: skip


CHEAP = "Nothing beats scale, the better of norm-stats and scale here (70 %), beyond chance; x."


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [((0.02, 0.01), (0.02, 0.01), HOLDS), ((-0.02, 0.01), (-0.02, 0.01), FAILS), ((0.02, 0.01), (0.0, 0.9), PARTLY),
     ((0.0, 0.9), None, OPEN), ((-0.02, 0.01), None, FAILS)],
)  # fmt: skip
def test_the_verdict_follows_from_the_paired_tests(
    tmp_path: Path, first: tuple[float, float], second: tuple[float, float] | None, verdict: str
) -> None:
    for images, numbers in ((500, first), (10_000, second)):
        if numbers is not None:
            (tmp_path / f"compare_jpeg_{images}.json").write_text(json.dumps(compared(images, *numbers, CHEAP)))
    one = draw_budgets(Settings(None, tmp_path))
    verdicts = {claim.text: claim.verdict for claim in one.claims}
    assert verdicts["LieRA is better than LoRA at the same count of numbers."] == verdict
    assert [v for text, v in verdicts.items() if "cheap baselines" in text] == [FAILS] * (1 if second is None else 2)
    texts = " ".join(text.get_text() for axes in panels(one) for text in axes.texts)
    assert ("not measured yet" in texts) == (second is None)
    assert ("Absent: compare_jpeg_10000.json" in one.caption) == (second is None)


EVERY = ("lora", "liera", "scale", "ia3", "flora", "dora", "dora-liera", "pissa", "pissa-liera", "hira", "atoms", "oft",
         "bias", "head", "full")  # fmt: skip


def test_every_method_alone_and_after_norm_stats_has_room(tmp_path: Path) -> None:
    """A comparison of all methods at both sizes: each has its look, its place, and nothing meets."""
    result = compared(500, 0.01, 0.01, CHEAP)
    model = result["rows"][1]
    rows = [{**result["rows"][0], "label": "norm-stats", "method": "norm-stats", "against": model["against"]}]
    for number, method in enumerate(EVERY):
        for first in ("", "norm-stats+"):
            mean = 0.7 + 0.001 * number + 0.01 * bool(first)
            rows.append({**model, "label": f"{first}{method} r=2", "method": f"{first}{method}", "mean": mean,
                         "low": mean - 0.01, "high": mean + 0.01, "values": [mean - 0.002, mean + 0.002],
                         "against": None if first + method == "lora" else model["against"]})  # fmt: skip
    for images in (500, 10_000):
        whole = {**result, "rows": rows, "samples": {"train": images}}
        (tmp_path / f"compare_jpeg_{images}.json").write_text(json.dumps(whole))
    one = draw_budgets(Settings(None, tmp_path))
    assert overlaps(one.figure) == []
    assert len(one.rows) == 2 * len(rows)
    assert one.figure.get_figheight() < 11
    looks = [(LOOKS[method].colour, LOOKS[method].marker) for method in EVERY]  # a KeyError where there is none
    assert len(set(looks)) == len(EVERY)
    for left in panels(one)[::2]:
        assert len(left.get_yticklabels()) == len(EVERY) + 1
        places = {box.lines[0].get_gid(): box.lines[0].get_ydata()[0] for box in left.containers}
        assert len(set(places.values())) == len(rows)
        for method in EVERY:
            assert places[f"norm-stats+{method} r=2"] > places[f"{method} r=2"]


def test_a_size_that_is_not_measured_is_said_in_the_claim(tmp_path: Path) -> None:
    (tmp_path / "compare_jpeg_500.json").write_text(json.dumps(compared(500, 0.0, 0.9, CHEAP)))
    order = draw_budgets(Settings(None, tmp_path)).claims[0]
    assert order.here.endswith(f"; compare_jpeg_10000: {ABSENT}.")


def test_the_ratio_of_rates_is_that_of_the_best(tmp_path: Path) -> None:
    (tmp_path / "compare_jpeg_500.json").write_text(json.dumps(compared(500, 0.0, 1.0, "")))
    one = draw_rates(Settings(None, tmp_path))
    ratios = [row for row in one.rows if row["panel"] == "ratios"]
    assert len(ratios) == 1
    assert ratios[0]["ratio"] == pytest.approx(30)
    assert one.claims[0].verdict == HOLDS
    assert one.caption.count("not measured yet") == 4


def test_text_without_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "sst2.json").write_bytes((RESULTS / "sst2.json").read_bytes())
    one = draw_text(Settings(None, tmp_path))
    assert [claim.verdict for claim in one.claims] == [OPEN, ABSENT]
    assert "Multiplicative does not beat additive here." in one.claims[0].here


def test_costs_are_those_recorded(drawn: Give) -> None:
    recorded = json.loads((RESULTS / "exact_exponential.json").read_text())["rows"]
    times = {
        row["batch"]: row["ratio"]
        for row in drawn("exact_cost").rows
        if row["quantity"] == "time" and row["engine"] == "f2"
    }
    expected = {row["batch"]: row["times"]["liera"]["median_ms"] / row["times"]["liera-taylor1"]["median_ms"]
                for row in recorded if row["engine"] == "f2"}  # fmt: skip
    assert times == expected
    axes = panels(drawn("exact_cost"))[0]
    assert [bar.get_height() for bar in axes.patches][: len(expected)] == list(expected.values())
    assert axes.get_ylim()[0] == 0


def group_result(sign: float) -> dict[str, Any]:
    """Return a small study in which everything but LoRA is better by so much."""
    test = {"difference": sign, "low": sign - 0.01, "high": sign + 0.01, "p_holm": 0.01}
    rows = [
        {
            "label": f"{method} r=2",
            "method": method,
            "group": group,
            "map": "exp",
            "trainable": 10,
            "mean": 0.7 + (against is not None) * sign,
            "low": 0.69,
            "high": 0.75,
            "values": [0.7],
            "against": against,
            "deviation": 0.01,
            "lost_at_three_times_the_rate": lost,
            "failures": 0,
            "seconds": {"processor": 3.0, "wall": 4.0},
        }
        for method, group, against, lost in (
            ("lora", "additive", None, 0.02),
            ("liera", "hadamard", test, None),
            ("so", "so", test, 0.01),
        )
    ]
    pairs = [
        {"of": "liera", "against": "liera-taylor1", "test": test},
        {"of": "dora-liera", "against": "dora", "test": test},
        {"of": "pissa-liera", "against": "pissa", "test": {**test, "p_holm": 0.5}},
    ]
    return {"rows": rows, "pairs": pairs, "budget": 10, "samples": {"train": 5}, "seeds": [0], "quick": False}


def test_groups_and_their_verdicts(tmp_path: Path) -> None:
    (tmp_path / "group_choice.json").write_text(json.dumps(group_result(0.02)))
    one = draw_groups(Settings(None, tmp_path))
    assert [claim.verdict for claim in one.claims] == [OPEN, HOLDS, PARTLY]
    labels = [tick.get_text() for tick in one.figure.axes[0].get_yticklabels()]
    assert labels == ["so: so r=2, exp", "hadamard: liera r=2, exp", "additive: lora r=2, exp"]
    assert [text.get_text() for text in one.figure.axes[2].texts] == ["not tried"]
    assert [list(line.get_xdata()) for line in one.figure.axes[0].get_lines() if line.get_alpha()] == [[70.0]] * 3
    assert one.figure.axes[3].get_xlim()[0] == 0


def test_the_whole_study_of_groups_has_room(tmp_path: Path) -> None:
    result = group_result(0.001)
    model = result["rows"][1]
    result["rows"] = [
        {
            **model,
            "label": f"{method} r=2",
            "method": method,
            "group": group,
            "map": map_of(method),
            "values": [0.7] * 3,
        }
        for group, methods in GROUPS.items()
        for method in methods
    ]
    (tmp_path / "group_choice.json").write_text(json.dumps(result))
    one = draw_groups(Settings(None, tmp_path))
    assert overlaps(one.figure) == []
    labels = [tick.get_text() for tick in one.figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == len(result["rows"])
    assert "gl: low-rank r=2, cayley" in labels


def test_what_is_below_is_marked_for_grey(drawn: Give) -> None:
    for axes in panels(drawn("mechanism"))[:4]:
        values = np.ma.filled(axes.get_images()[0].get_array(), np.nan)
        low, high = axes.get_images()[0].get_clim()
        marks = [line for line in axes.get_lines() if line.get_gid() == "below"]
        assert sum(len(line.get_xdata()) for line in marks) == (values < (low + high) / 2).sum() > 0


def test_lora_flips_signs_and_liera_none(drawn: Give) -> None:
    one = drawn("mechanism")
    rows = {method: [row for row in one.rows if row["method"] == method] for method in ("lora", "liera")}
    assert len(rows["lora"]) == len(rows["liera"]) == 32 * 16 * 9
    for row in rows["liera"]:
        assert row["w1"] == pytest.approx(row["w0"] * np.exp(row["element"]), rel=1e-5)
    for row in rows["lora"]:
        assert row["w1"] == pytest.approx(row["w0"] + row["element"], rel=1e-5, abs=1e-7)
    assert "LieRA 0." in one.claims[0].here


def test_liera_keeps_zeros_and_signs(drawn: Give) -> None:
    rows = [row for row in drawn("sparsity").rows if row["method"] == "liera"]
    assert [row["pruned"] for row in rows] == [0.0, 0.3, 0.6]
    for row in rows:
        assert row["zeros_kept"] == row["zeros_before"]
        assert row["signs_kept"] == row["others"]
        assert row["zeros_before"] / row["weights"] == pytest.approx(row["pruned"], abs=0.01)
    lora = [row for row in drawn("sparsity").rows if row["method"] == "lora" and row["zeros_before"]]
    assert len(lora) == 2
    assert all(row["zeros_kept"] < 0.05 * row["zeros_before"] for row in lora)


def test_trained_panels_need_the_data(data_dir: Path) -> None:
    one = draw("map_error", Settings(data_dir, RESULTS, quick=True))
    assert one.smaller
    assert {row["rate_share"] for row in one.rows if row["panel"] == "c"} == {1 / 3, 1.0, 3.0, 10.0}
    shares = [row["share_above"] for row in one.rows if row["panel"] == "c" and row["rate_share"] == 1.0]
    assert all(a >= b for a, b in pairwise(shares))
    assert len(one.sources) == 2
