"""What objects show of themselves: printed, and in a notebook, where names from files are shown and never obeyed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest

import lieref
from lieref.conformance.report import Report as GoldenReport
from lieref.evaluate.choose.choice import Choice
from lieref.evaluate.compare.comparison import Comparison
from lieref.evaluate.metric import evaluate_logits
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.report.content import Decision, Page, Section, Words
from lieref.evaluate.report.summary import Report
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.network import Network
from lieref.train.history import EpochRecord, History
from tests.cli.helpers import small_network

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def model(tmp_path: Path) -> lieref.Model:
    onnx.save(small_network(), tmp_path / "net.onnx")
    return lieref.load(tmp_path / "net.onnx")


def cells(html: str) -> list[list[str]]:
    return [[cell.text or "" for cell in row] for row in ET.fromstring(f"<div>{html}</div>").iter("tr")]


def test_a_model_prints_its_layers_and_what_is_trained(model: lieref.Model, tmp_path: Path) -> None:
    where = f"Model {tmp_path / 'net.onnx'}: image (N, 2, 6, 5) to logits, float32"
    assert str(model).splitlines() == [
        f"{where}, base",
        "layer  kind  shape         trained",
        "conv   Conv  (4, 2, 3, 3)        -",
        "head   Gemm  (3, 4)              -",
        "trainable: 0 | all: 107 | 0.00 %",
    ]
    model.attach("lora", r=1, target_modules=["conv"])
    assert repr(model).splitlines()[2:] == [
        "conv   Conv  (4, 2, 3, 3)       22",  # (4, 1) and (1, 18)
        "head   Gemm  (3, 4)              -",
        "trainable: 22 | all: 107 | 20.56 %",
    ]
    assert cells(model._repr_html_())[1:] == [["conv", "Conv", "(4, 2, 3, 3)", "22"], ["head", "Gemm", "(3, 4)", "-"]]
    rows = [line.split() for line in str(model.unload().attach("full")).splitlines()[2:-1]]
    assert [(row[0], row[-1]) for row in rows] == [
        ("conv", "76"), ("head", "15"), ("norm.scale", "4"), ("norm.shift", "4"),
    ]  # fmt: skip


def test_a_model_is_called_as_predict_is(model: lieref.Model) -> None:
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(model(x, layout="NHWC"), model.predict(x, layout="NHWC"))


def test_many_layers_are_cut_and_names_are_harmless() -> None:
    count, names = 40, [f"{EVIL}\x1b[2J{number}" for number in range(40)]
    nodes = [Node(names[n], "MatMul", (f"t{n}", f"w{n}"), (f"t{n + 1}",)) for n in range(count)]
    weights: dict[str, Any] = {f"w{n}": np.eye(3, dtype=np.float32) for n in range(count)}
    graph = Graph(tuple(nodes), (TensorInfo("t0", (None, 3), "float32"),), (f"t{count}",), weights, 17)
    network = Network(graph, None, EVIL, "")
    network.attach("full", target_modules=None)
    lines = str(network).splitlines()
    assert len(lines) == 2 + 24 + 1 + 1
    assert lines[22].split() == ["...", "16", "more", "144"]
    assert "\x1b" not in str(network)
    html = network._repr_html_()
    assert EVIL not in html
    assert cells(html)[1][0] == names[0].replace("\x1b", "\\x1b")


def history(epochs: int, validation: float | None = None) -> History:
    metrics = None if validation is None else {"accuracy": validation}
    records = [
        EpochRecord(n + 1, 1 / (n + 3), {"accuracy": 0.5}, validation, metrics, 0.01, 0.25) for n in range(epochs)
    ]
    return History(tuple(records), 0.01, best_epoch=None if validation is None else 1)


def test_a_history_prints_its_epochs() -> None:
    assert repr(history(2, 0.75)).splitlines() == [
        "History: 2 epochs, learning rate 0.01, 0.5 s; the model has the parameters of epoch 1",
        "epoch    loss  accuracy  validation loss  validation accuracy  seconds",
        "    1  0.3333   50.00 %             0.75              75.00 %      0.2",
        "    2    0.25   50.00 %             0.75              75.00 %      0.2",
    ]
    assert cells(history(2)._repr_html_())[1] == ["1", "0.3333", "50.00 %", "0.2"]
    assert [line.split()[0] for line in repr(history(30)).splitlines()[20:24]] == ["19", "20", "...", "27"]
    nothing = History((), None)
    assert repr(nothing) == "History: 0 epochs, training, 0.0 s"
    assert nothing._repr_html_() == f"<pre>{nothing}</pre>"


def test_an_evaluation_shows_its_classes() -> None:
    found = evaluate_logits(np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]), np.array([0, 1, 1]))
    assert cells(found._repr_html_())[1:] == [
        ["0", "1", "100.00 %", "2"], ["1", "2", "50.00 %", "1"], ["2", "0", "-", "0"],
    ]  # fmt: skip


def test_results_show_what_they_say_and_do_nothing() -> None:
    row = {
        "label": EVIL, "trainable": 1234, "mean": 0.875, "low": 0.85, "high": None, "payload_bytes": 5000,
        "seconds": {"processor": 2.5, "wall": 3.0},
    }  # fmt: skip
    compared = Comparison(metric="accuracy", rows=[row], samples={"test": 10}, base="b", conclusions=[EVIL])
    report = Report(EVIL, 4, 1234, 0.5, 0.75, 2.0, 5000, 10.0, None, None, 0.01, 0, 3)
    candidate = {
        "plan": EVIL,
        "accuracy": 0.5,
        "chosen": True,
        "judged": 4,
        "trainable": 3,
        "update_bytes": 9,
        "loss": 1,
    }
    evidence = {"candidates": [candidate], "left_out": [], "not_tried": [],
                "cost": {"trials": 1, "runs": 1.0, "wall_seconds": 1.0}}  # fmt: skip
    golden = GoldenReport([], [EVIL], "float32")
    assert str(golden) == golden.to_text()
    for shown in (compared, report, Choice(Plan(BASE), False, evidence), golden):
        html = shown._repr_html_()
        assert EVIL not in html
        assert EVIL in "".join(ET.fromstring(f"<div>{html}</div>").itertext())
    assert cells(compared._repr_html_())[1] == [EVIL, "1,234", "87.50 %", "-", "5,000", "2.50"]


def test_a_page_is_a_frame_and_text_without_jinja2(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("t", EVIL, Decision("open", "h", ()), (Section("a", "A", (Words(EVIL),)),), "lieref")
    frame = ET.fromstring(page._repr_html_() or "")
    assert (frame.tag, frame.attrib["sandbox"]) == ("iframe", "allow-scripts")
    assert EVIL not in frame.attrib["srcdoc"]
    assert str(page).startswith("# t\n")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert page._repr_html_() is None
