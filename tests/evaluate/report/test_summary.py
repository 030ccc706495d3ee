"""Reports, latency and memory."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.evaluate import latency
from lieref.evaluate.latency import measure_latencies, measure_latency
from lieref.evaluate.report import Report, format_table, rich_table

FIELDS: dict[str, Any] = {
    "method": "liera", "rank": 4, "trainable": 8276, "base_accuracy": 0.7548, "accuracy": 0.8251,
    "train_seconds": 45.25, "update_bytes": 33104, "latency_us_base": 1234.5, "latency_us_merged": 1240.0,
    "peak_rss_mb": 300.5, "lr": 0.03, "seed": 0, "epochs": 5,
}  # fmt: skip
SCALE = Report(**{**FIELDS, "method": "scale", "rank": None, "lr": None, "accuracy": None, "trainable": 346})


def test_report_has_the_promised_fields_and_the_details() -> None:
    report = Report(**FIELDS, details={"nll": 0.5})
    assert report.to_dict() == {**FIELDS, "nll": 0.5}
    assert json.loads(report.to_json()) == report.to_dict()


@pytest.mark.parametrize("name", ["accuracy", "train_seconds", "lr", "nll"])
def test_report_refuses_what_json_cannot_say(name: str) -> None:
    change = {"details": {"nll": math.nan}} if name == "nll" else {name: math.inf}
    with pytest.raises(DomainError, match=f"`{name}` must be finite"):
        Report(**{**FIELDS, **change})


def test_details_cannot_hide_a_field() -> None:
    with pytest.raises(DomainError, match="must not repeat a field; got accuracy"):
        Report(**FIELDS, details={"accuracy": 1.0})


EXPECTED = """\
method  rank  trainable  accuracy   bytes  seconds  latency us    lr
--------------------------------------------------------------------
before     -          0   75.48 %       0        -     1,234.5     -
liera      4      8,276   82.51 %  33,104     45.2     1,240.0  0.03
scale      -        346         -  33,104     45.2     1,240.0     -"""


def test_table_by_hand() -> None:
    table = format_table([Report(**FIELDS), SCALE], base="before")
    assert "\n".join(line.rstrip() for line in table.splitlines()) == EXPECTED
    assert len({len(line) for line in table.splitlines()}) == 1


def test_rich_table_shows_the_same_cells() -> None:
    console = pytest.importorskip("rich.console")
    out = io.StringIO()
    console.Console(file=out, width=200).print(rich_table([Report(**FIELDS), SCALE], base="before"))
    for cell in EXPECTED.replace(" us", "").split():
        assert cell.strip("-") in out.getvalue()


def test_table_of_nothing_is_refused() -> None:
    for build in (format_table, rich_table):
        with pytest.raises(DomainError, match="at least one report"):
            build([])


def test_latency_of_a_fake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    order: list[str] = []
    cost = {"a": iter([9, 9, 1000, 3000, 2000, 8000]), "b": iter([9, 9, 7000, 5000, 5000, 5000])}

    def call(name: str) -> None:
        nonlocal now
        order.append(name)
        now += next(cost[name])

    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: now)
    a, b = measure_latencies((lambda: call("a"), lambda: call("b")), repeats=4, warm_up=2)
    assert "".join(order) == "abab" + "abbaabba"
    assert (a.median_us, a.best_us, a.repeats) == (2.5, 1.0, 4)
    assert (b.median_us, b.best_us) == (5.0, 5.0)


def test_latency_refuses_counts_out_of_range() -> None:
    calls: list[int] = []
    for counts in ({"repeats": 0}, {"warm_up": -1}):
        with pytest.raises(DomainError):
            measure_latency(lambda: calls.append(1), **counts)
    assert calls == []
    assert measure_latency(lambda: calls.append(1), repeats=3, warm_up=0).best_us >= 0.0
    assert len(calls) == 3


GROW = """
import numpy as np
from lieref.evaluate.memory import peak_rss_mb
before = peak_rss_mb()
block = np.ones(10_000_000)
during = peak_rss_mb()
del block
print(before, during, peak_rss_mb())
"""


def test_peak_memory_grows_by_what_is_written_and_stays() -> None:
    out = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True).stdout
    before, during, after = map(float, out.split())
    # 80 MB are written; some of them may reuse pages the process had given back.
    assert 60.0 < during - before < 100.0
    # The kernel counts pages for each core apart and joins the counts now and then.
    assert after >= during - 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hand the peak on")
def test_peak_memory_is_not_that_of_the_parent() -> None:
    block = np.ones(40_000_000)
    code = "from lieref.evaluate.memory import peak_rss_mb; print(peak_rss_mb())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert child < block.nbytes / 1e6


def test_numbers_stand_on_the_right_and_names_on_the_left() -> None:
    pytest.importorskip("rich")
    assert [column.justify for column in rich_table([SCALE]).columns] == ["left"] + ["right"] * 7


def test_a_report_is_a_text_of_one_field_a_line() -> None:
    lines = SCALE.to_json().splitlines()
    assert lines[:2] == ["{", '  "method": "scale",']
    assert len(lines) == len(FIELDS) + 2
    assert SCALE.to_json().endswith("}\n")
