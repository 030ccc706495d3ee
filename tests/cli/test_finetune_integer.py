"""Quantised files at the command line: trained, written over in place, carried into, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest

from lieref.cli import main
from lieref.cli.eval import evaluate
from lieref.cli.semantics_option import parse_semantics
from lieref.evaluate.report.summary import DEVICE_LATENCY
from lieref.op.integer.semantics import SEMANTICS
from tests.cli.helpers import small_network, write_data
from tests.model.integer.quantised import quantised, run_onnx


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with base.onnx, int8.onnx, train.npz and test.npz."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_network(), tmp_path / "base.onnx")
    path = quantised(small_network(), tmp_path, "qoperator", name="image", shape=(2, 6, 5))
    path.rename(tmp_path / "int8.onnx")
    write_data(tmp_path / "train.npz", count=48)
    write_data(tmp_path / "test.npz", seed=1)
    return tmp_path


def in_range() -> np.ndarray:
    """Samples as the ranges of the quantised network were found on."""
    return np.random.default_rng(5).standard_normal((64, 2, 6, 5)).astype(np.float32)


def finetuned(*options: str) -> list[str]:
    return ["finetune", "int8.onnx", "--train", "train.npz", "--test", "test.npz", "--epochs", "4", "--augment", "none",
            "--out", "update", *options]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "method", "payload"),
    [
        ((), "tied-scale", 4 * 7), (("--codes",), "tied-scale", 4 + 7), (("--method", "scale"), "scale", 8 * 7),
        (("--method", "bias"), "bias", 4 * 7),
    ],
)  # fmt: skip
def test_from_a_file_to_a_file(
    options: tuple[str, ...], method: str, payload: int, files: Path, run_json: Callable[..., dict[str, Any]]
) -> None:
    report = run_json(*finetuned(*options))
    assert report["method"] == method
    assert report["payload_bytes"] == payload
    assert report["changed"]["weights"] == 0
    assert report["semantics"] == "onnxruntime"
    assert 0 <= report["clipping"]["updated"]["above"] <= 1
    assert json.loads((files / "update" / "report.json").read_text()) == report
    base = (files / "int8.onnx").read_bytes()
    merged = run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    data = (files / "new.onnx").read_bytes()
    assert merged["sha256"] == report["result_sha256"]
    assert len(data) == len(base)
    assert sum(one != other for one, other in zip(data, base, strict=True)) == report["changed"]["bytes_that_differ"]
    assert (files / "int8.onnx").read_bytes() == base
    assert run_json("merge", "int8.onnx", "update", "-o", "new.onnx")["sha256"] == merged["sha256"]


def test_the_test_in_integers_is_said_but_when_quiet(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(finetuned("--semantics", "xnnpack")) == 0
    count, printed = 2 * len(np.load(files / "test.npz")["y"]), capsys.readouterr()
    assert f"test: {count} of {count}, adapted, integers of xnnpack\n" in printed.err
    assert printed.out.count(f"-: {DEVICE_LATENCY};") == 1  # why the table has none
    (line,) = (each for each in printed.out.splitlines() if each.startswith("Accuracy is that of integers"))
    assert "Of the update's bytes 28 are its numbers" in printed.out
    words = line[line.index("eval ") : line.index(",OTHER")].replace("TEST", "test.npz").split()
    assert main(words) == 0  # what is said to do can be done
    assert "xnnpack" in capsys.readouterr().out
    assert main(finetuned("--quiet", "--force")) == 0
    assert "integers of" not in capsys.readouterr().err


def test_the_second_training_of_scales_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(finetuned("--method", "liera-int8", "--rank", "1")) == 0
    said = capsys.readouterr().err
    assert "the scales are trained again beside the integers that have moved, for 2 epochs\n" in said
    first, second = (line for line in said.splitlines() if line.startswith("liera-int8: "))
    assert first.startswith("liera-int8: epoch 4 of 4, loss")
    assert second.startswith("liera-int8: scales again, epoch 2 of 2, loss")


def test_integers_that_pay(files: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    budget = 4 + 7 + 30
    options = ("--method", "liera-int8", "--rank", "1", "--codes", "--budget-bytes", str(budget), "--lr", "0.1",
               "--batch", "8")  # fmt: skip
    report = run_json(*finetuned(*options))
    assert report["method"] == "liera-int8"
    assert report["rank"] == 1
    assert report["payload_bytes"] == 4 + 7 + report["integer_bytes"] <= budget
    assert report["changed"]["weights"] > 0
    merged = run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    assert merged["sha256"] == report["result_sha256"]
    assert (files / "new.onnx").stat().st_size == (files / "int8.onnx").stat().st_size
    exported = run_json("export", "update", "--base", "int8.onnx", "--format", "c-int8-update", "-o", "u.h")
    assert exported["table_bytes"] > 7


def test_rounding_is_simulated_by_choice(files: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    report = run_json(*finetuned("--rounding", "straight-through"))
    assert report["rounding"] == "straight-through"
    assert run_json(*finetuned("--force"))["rounding"] == "clamp"


def test_what_does_not_go_is_one_line(files: Path, fails: Callable[..., str]) -> None:
    assert "integers" in fails(*finetuned("--method", "lora"))
    assert "--rank" in fails(*finetuned("--rank", "4"))
    assert "--codes" in fails(*finetuned("--method", "bias", "--codes"))
    assert "--budget-bytes" in fails(*finetuned("--budget-bytes", "900"))
    assert "clamp" in fails(*finetuned("--rounding", "up"))
    assert "most_bytes" in fails(*finetuned("--method", "liera-int8", "--rank", "1", "--budget-bytes", "5"))
    assert "--semantics" in fails(*finetuned("--semantics", "abacus"))
    line = fails("finetune", "base.onnx", "--train", "train.npz", "--out", "x", "--codes")
    assert "quantised" in line
    line = fails("finetune", "base.onnx", "--train", "train.npz", "--out", "x", "--rounding", "clamp")
    assert "--rounding" in line
    (files / "cut.tflite").write_bytes(b"\0\0\0\0TFL3")
    assert "error" in fails("finetune", "cut.tflite", "--train", "train.npz", "--out", "x")


def test_an_update_is_refused_by_another_file(
    files: Path, fails: Callable[..., str], run_json: Callable[..., dict[str, Any]]
) -> None:
    run_json(*finetuned())
    other = quantised(small_network(3), files, "qoperator", name="image", shape=(2, 6, 5))
    assert "file it is for" in fails("merge", other, "update", "-o", "new.onnx")
    assert "file it is for" in fails("eval", other, "--adapter", "update", "--data", "test.npz")


@pytest.mark.parametrize("options", [(), ("--codes",), ("--method", "scale"), ("--method", "bias")])
def test_an_update_is_measured_and_shown_without_being_written(
    options: tuple[str, ...], files: Path, run_json: Callable[..., dict[str, Any]]
) -> None:
    report = run_json(*finetuned("--lr", "0.1", *options))
    names = ("--semantics", "onnxruntime,xnnpack", "--data", "test.npz")
    measured = run_json("eval", "int8.onnx", "--adapter", "update", *names)
    run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    merged = run_json("eval", "new.onnx", *names)
    assert (merged["adapter"], merged["method"]) == (None, "base")
    wanted = {"model": "int8.onnx", "adapter": "update", "method": report["method"]}
    assert measured == {**merged, **wanted}
    for name in ("integer_update.json", "integer_update.bin"):
        by_file = run_json("eval", "int8.onnx", "--adapter", f"update/{name}", "--test", "test.npz", *names[:2])
        assert by_file == {**measured, "adapter": f"update/{name}"}
    with np.load(files / "test.npz") as held:
        right = run_onnx((files / "new.onnx").read_bytes(), held["x"]).argmax(axis=1) == held["y"]
    assert measured["semantics"][0]["accuracy"] == report["accuracy"] == right.mean()
    assert measured["sha256"] == report["result_sha256"] != report["base_sha256"]
    shown = run_json("inspect", "update")
    scales, biases = (0, 7) if report["method"] == "bias" else (7, 7 if report["method"] == "scale" else 0)
    assert (shown["kind"], shown["method"], shown["scales"]) == ("integer update", report["method"], scales)
    assert (shown["biases"], shown["result_sha256"]) == (biases, report["result_sha256"])
    assert (shown["bytes"], shown["payload_bytes"]) == (report["update_bytes"], report["payload_bytes"])


def test_a_float_adapter_is_no_update(
    files: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    adapted("scale", run_json)
    line = fails("eval", "int8.onnx", "--adapter", "adapter", "--data", "test.npz")
    assert "lieref carry adapter int8.onnx --out UPDATE" in line


def adapted(method: str, run_json: Callable[..., dict[str, Any]]) -> None:
    run_json("finetune", "base.onnx", "--train", "train.npz", "--method", method, "--epochs", "4", "--lr", "0.05",
             "--augment", "none", "--out", "adapter")  # fmt: skip


@pytest.mark.parametrize("method", ["scale", "ia3", "norm-stats", "norm-stats+scale"])
def test_a_float_adapter_is_carried_into_the_file(
    method: str, files: Path, run_json: Callable[..., dict[str, Any]]
) -> None:
    adapted(method, run_json)
    report = run_json("carry", "adapter", "int8.onnx", "--out", "update")
    assert report["weights_moved"] == 0
    assert report["left_beside_factors"] < 1e-6
    assert report["highest_factor"] != report["lowest_factor"]
    run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    run_json("merge", "base.onnx", "adapter", "-o", "merged.onnx")
    x = in_range()
    base, new, merged, wanted = (run_onnx(Path(name).read_bytes(), x) for name in
                                 ("int8.onnx", "new.onnx", "merged.onnx", "base.onnx"))  # fmt: skip
    moved = np.abs(merged - wanted).max()
    # The quantised network moves as the float one does, up to the rounding that it had before.
    assert np.abs((new - base) - (merged - wanted)).max() < 0.25 * moved + 2 * np.abs(base - wanted).max()


def test_what_was_carried_is_said_for_people(
    files: Path, run_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    adapted("scale", run_json)
    report = run_json("carry", "adapter", "int8.onnx", "--out", "update")
    assert main(["carry", "adapter", "int8.onnx", "--out", "update", "--force"]) == 0
    said = capsys.readouterr().out
    assert f"{report['lowest_factor']:.4g} to {report['highest_factor']:.4g}" in said
    assert f"0 of {report['weights']:,} " in said
    assert "lowest_factor" not in said
    words = said[said.index("eval int8.onnx") : said.index(", then")].replace("TEST", "test.npz").split()
    assert main(words) == 0  # what is said to do next can be done
    assert report["result_sha256"] in capsys.readouterr().out


def test_what_turns_rows_is_refused_or_requantised(
    files: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    adapted("liera", run_json)
    line = fails("carry", "adapter", "int8.onnx", "--out", "update")
    assert "--requantise" in line
    report = run_json("carry", "adapter", "int8.onnx", "--out", "update", "--requantise")
    assert 0 < report["weights_moved"] <= report["weights"]
    assert sum(layer["moved"] for layer in report["by_layer"]) == report["weights_moved"]
    merged = run_json("merge", "int8.onnx", "update", "-o", "new.onnx")
    assert merged["sha256"] == report["result_sha256"]
    run_json("merge", "base.onnx", "adapter", "-o", "merged.onnx")
    x = in_range()
    base, new, wanted = (run_onnx(Path(name).read_bytes(), x) for name in ("int8.onnx", "new.onnx", "merged.onnx"))
    assert np.abs(new - wanted).mean() < 0.5 * np.abs(base - wanted).mean()


def test_a_network_that_is_another_one_is_refused(
    files: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    adapted("scale", run_json)
    other = quantised(small_network(3), files, "qoperator", name="image", shape=(2, 6, 5))
    assert "the one that was quantised" in fails("carry", "adapter", other, "--out", "update")
    (files / "adapter" / "report.json").unlink()
    assert "--float" in fails("carry", "adapter", "int8.onnx", "--out", "update")
    assert "is quantised; name the float network" in fails(
        "carry", "adapter", "int8.onnx", "--out", "update", "--float", "int8.onnx"
    )
    run_json("carry", "adapter", "int8.onnx", "--out", "update", "--float", "base.onnx")


@pytest.mark.parametrize("form", ["qoperator", "qdq"])
def test_a_quantised_onnx_file_is_judged_and_shown_as_integers(
    files: Path, run_json: Callable[..., dict[str, Any]], form: str
) -> None:
    path = quantised(small_network(), files, form, name="image", shape=(2, 6, 5))
    with np.load(files / "test.npz") as held:
        x, y = held["x"], held["y"]
    report = run_json("eval", path, "--data", "test.npz", "--semantics", "onnxruntime", "--semantics", "xnnpack")
    first, other = report["semantics"]
    said = run_onnx(path.read_bytes(), x).argmax(axis=1)
    assert (first["semantics"], other["semantics"]) == ("onnxruntime", "xnnpack")
    assert first["accuracy"] == (said == y).mean()
    assert (report["input"], report["clipped"]) == ("float32", 0)
    assert run_json("eval", path, "--data", "test.npz")["semantics"] == [first]
    shown = run_json("inspect", path)
    assert (shown["kind"], shown["format"]) == ("integer model", f"onnx-{form}")
    assert shown["scales"] == sum(layer["scales"] for layer in shown["layers"]) > 0


def test_eval_offers_the_semantics_there_are() -> None:
    (option,) = [each for each in evaluate.params if each.name == "semantics"]
    for name in SEMANTICS:
        assert parse_semantics(click.Context(evaluate), option, f"{name},{name}") == (name,)
        assert f" {name}," in option.help.replace(";", ",")
    with pytest.raises(click.BadParameter, match="none of"):
        parse_semantics(click.Context(evaluate), option, "other")
