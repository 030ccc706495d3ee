"""``lieref report`` of the folder that each command leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import lieref.cli
from lieref.cli import demo as demo_module
from lieref.cli import main
from lieref.evaluate.report.content import Listing
from lieref.evaluate.report.forms import FORMS, write_form
from lieref.evaluate.report.kinds import KINDS
from lieref.evaluate.report.reading import read_page
from tests.cli.helpers import small_network, write_data
from tests.model.integer.quantised import quantised

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--epochs", "2")
TESTED = (*TRAIN, "--test", "test.npz")
MANIFEST = 'base = "base.onnx"\nmethod = "scale"\nepochs = 1\ndevices = "*/train.npz"\n'
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "finetune": ((*TESTED, "--method", "scale", "--out", "out"),),
    "compare": (
        ("compare", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", "--epochs", "1",
         "--methods", "scale,lora", "--ranks", "1", "--lr", "default", "--seeds", "1"),
    ),
    "fleet": (("fleet", "fleet.toml", "--out", "out"),),
    "demo": (("demo", "--out", "out"),),
    "carry": ((*TRAIN, "--method", "scale", "--out", "adapted"), ("carry", "adapted", "int8.onnx", "--out", "out")),
}  # fmt: skip
OTHERS = {
    "auto": ((*TRAIN[:4], "--test", "test.npz", "--method", "auto", "--out", "out"),),
    "int8": (("finetune", "int8.onnx", *TESTED[2:], "--out", "out"),),
    "untested int8": (("finetune", "int8.onnx", *TRAIN[2:], "--codes", "--out", "out"),),
    "new head": ((*TESTED, "--head", "new", "--out", "out"),),
    "rounds": (("fleet", "fleet.toml", "--rounds", "1", "--out", "out"),),
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that every command finds its input in."""
    monkeypatch.setattr(demo_module, "EPOCHS", 1)
    quantised(small_network(), workplace, "qoperator", name="image", shape=(2, 6, 5)).rename(workplace / "int8.onnx")
    for name in "ab":
        (workplace / name).mkdir()
        write_data(workplace / name / "train.npz", 20)
    (workplace / "fleet.toml").write_text(MANIFEST)
    return workplace


def test_every_command_that_leaves_a_result_is_here() -> None:
    """A command with a file of results of its own must have a page, and a run below."""
    folder = Path(lieref.cli.__file__).parent
    named = re.compile(rf'_NAME\b.* = "(?:{"|".join(re.escape(kind.file) for kind in KINDS)})"')
    leave = {path.stem for path in folder.glob("*.py") if named.search(path.read_text())}
    assert {name.partition("_")[0] for name in leave} == {kind.command for kind in KINDS} == COMMANDS.keys()


@pytest.mark.parametrize("name", [*COMMANDS, *OTHERS])
def test_the_folder_of_a_command_has_a_page_in_each_form(place: Path, name: str, run_json: RunJson) -> None:
    for arguments in {**COMMANDS, **OTHERS}[name]:
        result = run_json(*arguments, *(() if arguments[0] == "carry" else ("--quiet",)))
    (file,) = {kind.file for kind in KINDS if (place / "out" / kind.file).is_file()}
    page = read_page(place / "out")
    assert page == read_page(place / "out" / file)
    assert main(["report", "out", "--out", "r.md"]) == 0
    text = (place / "r.md").read_text(encoding="utf-8")
    assert page.decision.headline in text
    assert lieref.__version__ in page.made_by
    command = " ".join(arguments)
    assert (f"lieref {command}" in text) == (arguments[0] != "fleet")  # its manifest says all
    for end in FORMS:
        assert len(write_form(page, end)) > 1000
    if name in ("demo", "compare"):
        assert (place / "out" / "report.md").read_bytes() == (place / "r.md").read_bytes()
    assert result


def test_the_demo_has_all_its_methods_and_decides_on_what_it_keeps(place: Path, run_json: RunJson) -> None:
    found = run_json("demo", "--out", "out", "--quiet")
    page = read_page(place / "out")
    plot, table = page.sections[0].blocks
    assert [row.cells[0].text for row in table.rows] == ["base", "head", "lora", "liera", "full"]  # type: ignore[union-attr]
    assert [row.mark for row in table.rows] == ["base", "", "", "chosen", ""]  # type: ignore[union-attr]
    liera = found["methods"][2]
    low, high = liera["test_outcomes"]["adapted"]["interval"]
    point = plot.points[2]  # type: ignore[union-attr]
    assert (point.y, point.low, point.high) == (100 * liera["accuracy"], 100 * low, 100 * high)
    assert low < liera["accuracy"] < high
    assert len(json.loads((place / "out" / "history.json").read_text())["epochs"]) == 1
    assert {section.id for section in page.sections} >= {"methods", "learning", "classes", "moved", "recipe"}


def test_a_demo_of_before_is_read(place: Path, run_json: RunJson) -> None:
    """One that recorded neither outcomes nor what it keeps."""
    run_json("demo", "--out", "out", "--quiet")
    path = place / "out" / "report.json"
    values = json.loads(path.read_text())
    for name in ("kept", "command", "base_sha256"):
        del values[name]
    for each in values["methods"]:
        for name in ("test_outcomes", "warnings", "moved", "flops", "inference_flops"):
            del each[name]
    path.write_text(json.dumps(values))
    (place / "out" / "history.json").unlink()
    page = read_page(place / "out")
    assert page.decision.verdict == "open"
    assert [section.id for section in page.sections] == ["methods", "recipe", "environment"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "lora", "--rank", "50"), "lora asks for other ranks or blocks than some layers take"),
        (("--method", "lora", "--rank", "50"), "trainable numbers for the 84 of conv, head"),
    ],
)
def test_what_a_run_warned_of_stands_in_its_report(
    place: Path, run_json: RunJson, options: tuple[str, ...], words: str
) -> None:
    report = run_json(*TESTED, *options, "--out", "out", "--report", "r.html")
    (said,) = (text for text in report["warnings"] if words in text)
    assert said in json.loads((place / "out" / "report.json").read_text())["warnings"]
    (section,) = (each for each in read_page(place / "out").sections if each.id == "warnings")
    (block,) = section.blocks
    assert isinstance(block, Listing)
    assert block.items == tuple(report["warnings"])
    for end in FORMS:
        text = write_form(read_page(place / "out"), end).decode()
        assert words in text
    assert words in (place / "r.html").read_text(encoding="utf-8")


def test_a_run_that_says_nothing_has_no_such_section(place: Path, run_json: RunJson) -> None:
    report = run_json(*TESTED, "--method", "scale", "--out", "out")
    assert report["warnings"] == []
    assert "warnings" not in {section.id for section in read_page(place / "out").sections}


def test_warnings_are_printed_as_before(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TESTED, "--method", "lora", "--rank", "50", "--out", "out", "--quiet"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    said = json.loads((place / "out" / "report.json").read_text())["warnings"]
    assert lines == [f"warning: {text}" for text in said]


def test_float16_weights_that_the_merge_rounds_are_in_the_report(place: Path, run_json: RunJson) -> None:
    """Said by the very last step."""
    network = small_network()
    for tensor in network.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for info in (*network.graph.input, *network.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(network, place / "base.onnx")
    report = run_json(*TESTED, "--method", "scale", "--lr", "1e-6", "--out", "out")
    assert any(text.startswith("merge_and_unload: ") for text in report["warnings"])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (None, b"", "must hold comparison.json, fleet.json or report.json; it is empty"),
        ("notes.txt", b"mine", "or report.json; it has notes.txt"),
        ("report.json", b'{"method": "lora", "trai', "must be strict JSON"),
        ("report.json", b"", "must be strict JSON"),
        ("report.json", b"{}", "must be a result of compare, fleet, demo, carry or finetune, or a lieref-report"),
        ("study.json", b'{"what": "comparison"}', "must be finished; lieref compare --resume goes on"),
        ("study.json", b'{"kind": "fleet"}', "must be finished; lieref fleet --resume goes on"),
        ("study.json", b"[", "must be strict JSON"),
        ("adapter_config.json", b"{}", "it has an adapter alone, which lieref inspect shows"),
        ("comparison.json", b'{"format": 9, "rows": [], "conclusions": []}', "a comparison must be 1; got 9"),
        ("report.json", b'{"method": "lora", "trainable": 1, "train_seconds": 1, "lieref": "9.9"}',
         f"must hold what lieref finetune writes in version {lieref.__version__}, and is of 9.9; got KeyError"),
        ("report.json", b'{"method": "lora", "trainable": 1, "train_seconds": 1}',
         "must hold what lieref finetune writes; got KeyError"),
        ("report.json", b'{"methods": [], "shift": "", "train_samples": 1, "test_samples": 1}',
         "must hold what lieref demo writes; got ValueError: no method liera"),
        ("fleet.json", b'{"devices": 1, "summary": {}}', "must hold what lieref fleet writes"),
        ("report.json", b'{"format": "lieref-report", "version": 7}', "must be a lieref-report of version 1"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_one_sentence(
    workplace: Path, name: str | None, data: bytes, words: str, fails: Fails
) -> None:
    (workplace / "out").mkdir()
    if name is not None:
        (workplace / "out" / name).write_bytes(data)
    assert words in fails("report", "out", "--out", "r.html")
    assert words in fails("report", "out")


def test_a_run_that_is_not_finished_says_so(workplace: Path, fails: Fails) -> None:
    (workplace / ".out.unfinished").mkdir()
    said = fails("report", "out")
    assert "out is not there: its run is not finished; the same command with --resume goes on" in said
    assert "lieref plot draws the file of its --history so far" in said
    assert "there is no such folder or file: other" in fails("report", "other")
