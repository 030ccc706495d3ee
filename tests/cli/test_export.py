"""``lieref export``: what it writes and prints, what it refuses, and that nothing is left half-written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import lieref
from lieref.adapter.out.registry import FORMATS
from lieref.adapter.tensor_file import write_tensor_file
from lieref.cli import main
from tests.adapter.out.adapters import perturbed
from tests.cli.helpers import small_network, snapshot

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


@pytest.fixture
def place(workplace: Path) -> Path:
    """The working folder with an adapter of its base."""
    perturbed(lieref.load("base.onnx").attach("liera", r=2)).save_adapter("adapter")
    return workplace


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_is_written_whole_and_replaced_by_force_alone(place: Path, run_json: RunJson, name: str) -> None:
    base = {path: lieref.load("base.onnx").graph.initializers[path] for path in ("conv.weight", "head.weight")}
    write_tensor_file("names.safetensors", base)
    named = ("--model-names", "names.safetensors") if "model_names" in FORMATS[name].options else ()
    arguments = ("export", "adapter", "--base", "base.onnx", "--format", name, "--out", "out", *named)
    before = snapshot(place)
    report = run_json(*arguments)
    assert (report["output"], report["format"]) == ("out", name)
    files = {path.name: path.read_bytes() for path in Path("out").iterdir()} if Path("out").is_dir() else None
    if files is None:
        data = Path("out").read_bytes()
        assert (report["bytes"], report["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    else:
        assert set(files) == set(FORMATS[name].files)
        assert report["bytes"] == sum(map(len, files.values()))
        assert report["sha256"] == {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}
    after = snapshot(place)
    assert {key: value for key, value in after.items() if key.split("/")[0] != "out"} == before
    assert run_json(*arguments, "--force")["sha256"] == report["sha256"]
    assert snapshot(place) == after
    perturbed(lieref.load("base.onnx").attach("lora", r=1)).save_adapter("other")
    other = ("export", "other", "--base", "base.onnx", "--format", name, "--out", "out", *named)
    assert main(other) == 2
    assert snapshot(place)["out"] == after["out"]
    assert run_json(*other, "--force")["sha256"] != report["sha256"]


def test_onnx_is_what_merge_writes(place: Path, run_json: RunJson) -> None:
    run_json("export", "adapter", "--base", "base.onnx", "--format", "onnx", "--out", "exported.onnx")
    run_json("merge", "base.onnx", "adapter", "-o", "merged.onnx")
    assert Path("exported.onnx").read_bytes() == Path("merged.onnx").read_bytes()


def test_what_cannot_be_exported_is_one_line(place: Path, fails: Fails) -> None:
    arguments = ("export", "adapter", "--base", "base.onnx", "--format", "onnx", "--out")
    assert "--format" in fails(*arguments[:4], "--format", "unheard-of", "--out", "out")
    assert "is read, and never changed" in fails(*arguments, "base.onnx", "--force")
    assert "is read, and never changed" in fails(*arguments[:4], "--format", "delta", "--out", "adapter", "--force")
    assert "no folder" in fails(*arguments, "nowhere/out")
    assert "adapter folder" in fails("export", "base.onnx", *arguments[2:], "out")
    assert "rank must be left out for onnx" in fails(*arguments, "out", "--rank", "2")
    onnx.save(small_network(seed=1), "another.onnx")
    assert "base model" in fails(*arguments[:3], "another.onnx", *arguments[4:], "out")
    Path("kept").mkdir()
    Path("kept/mine").write_text("mine")
    assert "not empty" in fails(*arguments[:4], "--format", "delta", "--out", "kept", "--force")
    assert "is a folder" in fails(*arguments, "kept")


def test_help_lists_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for row in FORMATS.values():
        assert f"{row.name} {row.summary}." in printed
