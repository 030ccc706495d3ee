"""``lieref import``, and ``lieref export --format peft``: there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file
from lieref.cli import main
from tests.adapter.exchange.network import state, write, write_adapter


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


HELD = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    write(tmp_path / "base.onnx", state())
    write_adapter(tmp_path / "peft", "LORA", HELD, r=2, lora_alpha=3, lora_dropout=0.1)
    return str(tmp_path / "base.onnx"), str(tmp_path / "peft")


def test_there_and_back(tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    base, adapter = files
    out, back = str(tmp_path / "out"), str(tmp_path / "back")
    assert main(["import", adapter, "--base", base, "--out", out, "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["library"], report["kind"], report["method"]) == ("PEFT", "LORA", "lora")
    assert report["modules"] == {"low": {"node": "/low/MatMul", "method": "lora"}}
    assert "note: lora_dropout of its training is not kept" in said.err
    assert main(["export", out, "--base", base, "--format", "peft", "--out", back, "--json"]) == 0
    tensors, _ = read_tensor_file(Path(back) / "adapter_model.safetensors")
    for key, value in HELD.items():
        np.testing.assert_array_equal(tensors[f"base_model.model.{key}"], value)
    assert main(["merge", base, out, "-o", str(tmp_path / "merged.onnx")]) == 0


def test_a_result_is_kept_and_replaced_on_request(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base, adapter = files
    command = ["import", adapter, "--base", base, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert main(command) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_what_is_refused_leaves_nothing(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base, adapter = files
    write_tensor_file(tmp_path / "other.safetensors", state(seed=1))
    for extra, message in (
        (["--model-names", str(tmp_path / "other.safetensors")], "must be that of low in the given base"),
        (["--model-names", str(tmp_path / "none.json")], "there is no"),
    ):
        assert main(["import", adapter, "--base", base, "--out", str(tmp_path / "out"), *extra]) == 2
        assert message in capsys.readouterr().err
    assert main(["import", str(tmp_path / "nowhere"), "--base", base, "--out", str(tmp_path / "out")]) == 2
    assert main(["import", base, "--base", base, "--out", str(tmp_path / "out")]) == 2
    assert "must be of a library that is read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
