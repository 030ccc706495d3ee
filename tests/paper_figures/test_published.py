"""The published numbers, checked against each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from paper_figures import published
from paper_figures.exact_cost import published as ratios
from paper_figures.published import COMMONSENSE, COUNTS, FLORA, HIRA_RATES, TASKS
from validation.against_paper.parameter_counts import PUBLISHED

ROOT = Path(__file__).parents[2]


def test_one_average_of_the_readme_does_not_add_up() -> None:
    wrong = [row for row in COMMONSENSE if not row.adds_up]
    assert [(row.model, row.method, row.r, row.average) for row in wrong] == [("LLaMA3-8B", "LieRA", 32, 85.3)]
    assert wrong[0].recomputed == pytest.approx((74.3 + 88.7 + 71.3 + 95.4 + 85.5 + 80.5 + 80.3 + 86.2) / 8)
    assert all(len(row.accuracies) == len(TASKS) for row in COMMONSENSE)


def test_a_row_with_unknown_accuracies_has_no_sum() -> None:
    row = next(row for row in COMMONSENSE if None in row.accuracies)
    assert row.recomputed is None
    assert row.adds_up


def test_the_averages_of_flora_add_up() -> None:
    assert all(len(row.values) == 11 and row.adds_up for row in FLORA)


def test_ratios_are_those_that_are_quoted() -> None:
    assert ratios() == pytest.approx({"time": 1.52, "memory": 1.48}, abs=5e-3)
    assert [round(pair.ratio) for pair in HIRA_RATES] == [10, 45]


def test_counts_stand_once() -> None:
    explained = {(count.backbone, count.r): count.millions for count in COUNTS if count.explained}
    assert {at: millions for at, (millions, _) in PUBLISHED.items()} == explained


def test_no_figure_has_a_published_number_of_its_own() -> None:
    """What the tables print with two digits or more behind the point is nowhere else in the figures' code."""
    printed = {count.millions for count in COUNTS} | {
        row.millions for row in FLORA if row.millions and row.millions < 190
    }
    printed |= {published.COST_EXACT.minutes, published.COST_FIRST_ORDER.minutes}
    for path in (ROOT / "paper_figures").glob("*.py"):
        if path.name != "published.py":
            numbers = {node.value for node in ast.walk(ast.parse(path.read_text()))
                       if isinstance(node, ast.Constant) and isinstance(node.value, float)}  # fmt: skip
            assert not numbers & printed - {0.2}, path.name
