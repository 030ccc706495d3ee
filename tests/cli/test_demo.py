"""The demo: its data, its network, and what it prints and leaves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_digits as sklearn_digits

import lieref
from lieref.cli import demo as demo_module
from lieref.cli import main
from lieref.cli.demo_data import BASE_MODEL, camera_shift, load_digits

FILES = {
    *("adapter_model.safetensors", "adapter_config.json", "report.json", "history.json", "report.html", "report.md"),
    *("base.onnx", "merged.onnx", "train.npz", "test.npz"),
}


def test_three_parts_share_no_image() -> None:
    parts = load_digits()
    assert [len(part.x) for part in parts] == [1000, 200, 597]
    together = np.concatenate([part.x.reshape(len(part.x), -1) for part in parts])
    order = np.lexsort(together.T)
    everything = sklearn_digits().data.astype(np.float32)
    np.testing.assert_array_equal(together[order], everything[np.lexsort(everything.T)])
    # The set itself holds no image twice, so that parts of a permutation cannot share one.
    assert len({hashlib.sha256(row.tobytes()).digest() for row in everything}) == len(everything)


def test_camera_shift_turns_blurs_and_fades() -> None:
    x = np.zeros((1, 1, 8, 8), np.float32)
    np.testing.assert_allclose(camera_shift(x), 3.0)
    x[0, 0, 1, 6] = 16.0
    y = camera_shift(x)[0, 0] - 3.0
    assert y.dtype == np.float32
    # Blur and interpolation spread the light; contrast takes 40 % of it.
    assert y.sum() == pytest.approx(0.6 * 16, rel=0.15)
    assert y.max() < 0.6 * 16
    # 15 degrees about the centre (3.5, 3.5), rows down: (-2.5, 2.5) goes to (-3.06, 1.77).
    rows, columns = np.mgrid[:8, :8] - 3.5
    assert (rows * y).sum() / y.sum() == pytest.approx(-3.06, abs=0.2)
    assert (columns * y).sum() / y.sum() == pytest.approx(1.77, abs=0.2)


def test_base_network_is_small_and_good_where_it_was_trained() -> None:
    assert BASE_MODEL.stat().st_size < 200_000
    _, _, test = load_digits()
    scores = onnxruntime.InferenceSession(BASE_MODEL).run(None, {"image": test.x})[0]
    assert np.mean(scores.argmax(axis=1) == test.y) > 0.97
    shifted = onnxruntime.InferenceSession(BASE_MODEL).run(None, {"image": camera_shift(test.x)})[0]
    assert np.mean(shifted.argmax(axis=1) == test.y) < 0.6


def test_base_network_has_the_statistics_of_its_data() -> None:
    base, _, _ = load_digits()
    model = lieref.load(BASE_MODEL, dtype="float64")
    model.estimate_statistics(base.x)
    for name, value in model.statistics.items():
        np.testing.assert_allclose(value, model.graph.initializers[name], rtol=1e-4, atol=1e-4)


def test_demo_compares_and_writes(
    tmp_path: Path, run_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert "still falling" not in printed.err  # twice the epochs would add less than a tenth
    accuracy = {row["method"]: row["accuracy"] for row in report["methods"]}
    assert list(accuracy) == ["head", "lora", "liera", "full"]
    assert report["methods"][0]["base_accuracy"] < 0.6 < 0.8 < min(accuracy["head"], accuracy["lora"], accuracy["full"])
    assert accuracy["liera"] > 0.9
    assert sum(row["train_seconds"] for row in report["methods"]) < report["seconds"] < 3600
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    data = np.load(tmp_path / "out" / "test.npz")
    scores = onnxruntime.InferenceSession(tmp_path / "out" / "merged.onnx").run(None, {"image": data["x"]})[0]
    assert np.mean(scores.argmax(axis=1) == data["y"]) == pytest.approx(accuracy["liera"], abs=0.004)
    again = run_json(
        "eval", tmp_path / "out" / "base.onnx", "--adapter", tmp_path / "out", "--data", tmp_path / "out" / "test.npz"
    )
    assert again["accuracy"] == pytest.approx(accuracy["liera"], abs=0.004)


def test_demo_prints_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_module, "EPOCHS", 1)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    printed, lines = capsys.readouterr()
    methods = ("head", "lora", "liera", "full")
    ends = [line.partition(", ")[0] for line in lines.splitlines() if not line.startswith("warning: ")]
    assert ends == [f"{name} ({number} of 4): epoch 1 of 1" for number, name in enumerate(methods, 1)]
    assert main(["demo", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert not [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    for words in ("rotated by 15 degrees", "base", "trainable", "bytes", "seconds", "latency", "liera"):
        assert words in printed
