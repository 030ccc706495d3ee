"""The study of groups: its table, its pairs, and that a quick one is drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lieref.param.registry import METHODS, get_method
from paper_figures.drawn import Settings
from paper_figures.group_choice import GROUPS as DRAWN_GROUPS
from paper_figures.group_choice import make
from validation.group_choice import GROUPS, PAIRS, described, map_of

ROOT = Path(__file__).parents[2]


def row(**changed: Any) -> dict[str, Any]:
    rungs = [{"factor": f, "merit": m, "failed": None} for f, m in ((1 / 3, 0.7), (1.0, 0.8), (3.0, 0.74))]
    return {"method": "liera", "rates_tried": rungs, "rate_factor": 1.0, "values": [0.7, 0.8], "failed": [], **changed}


def test_every_method_is_of_its_group_and_stands_once() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(set(names)) == len(names)
    assert set(GROUPS) <= set(DRAWN_GROUPS)
    for group, methods in GROUPS.items():
        for name in methods:
            get_method(name)  # raises where it is none
            own = METHODS[name].group if name in METHODS else name.split("+")[1]
            assert group in (own, "coupled"), name
    assert {name for pair in PAIRS for name in pair} <= set(names)


def test_maps_are_those_of_the_methods() -> None:
    found = [map_of(name) for name in ("liera", "liera-taylor1", "low-rank+gl+cayley", "oft-cayley", "ia3")]
    assert found == ["exp", "taylor1", "cayley", "cayley", "taylor1"]


def test_what_a_higher_rate_costs() -> None:
    found = described(row())
    assert found["lost_at_three_times_the_rate"] == pytest.approx(0.06)
    assert found["deviation"] == pytest.approx(0.1 / 2**0.5)
    assert (found["group"], found["map"], found["failures"]) == ("hadamard", "exp", 0)


def test_a_rate_at_the_end_of_the_ladder_has_no_loss_beyond_it() -> None:
    assert described(row(rate_factor=3.0))["lost_at_three_times_the_rate"] is None
    assert described(row(rates_tried=[], rate_factor=1.0))["lost_at_three_times_the_rate"] is None


def test_failures_are_counted() -> None:
    rungs = [{"factor": 1.0, "merit": None, "failed": "it diverged"}]
    found = described(row(rates_tried=rungs, failed=["seed 0: it diverged"], values=[0.7]))
    assert (found["failures"], found["deviation"]) == (2, None)


@pytest.mark.slow
def test_a_quick_study_is_drawn(data_dir: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "validation.group_choice", "--data", str(data_dir), "--out", str(tmp_path),
             "--quick", "--methods", "lora", "liera", "liera-taylor1", "scale"]  # fmt: skip
    subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    result = json.loads((tmp_path / "group_choice.json").read_text())
    assert [(pair["of"], pair["against"]) for pair in result["pairs"]] == [("liera", "liera-taylor1")]
    one = make(Settings(None, tmp_path))
    assert one.smaller
    assert {row["method"] for row in one.rows} == {"lora", "liera", "liera-taylor1", "scale"}


def test_the_baseline_must_be_among_the_methods(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "validation.group_choice",
        "--data",
        ".",
        "--out",
        str(tmp_path),
        "--methods",
        "liera",
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "--methods must have lora" in done.stderr
    assert not list(tmp_path.iterdir())
