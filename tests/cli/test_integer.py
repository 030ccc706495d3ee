"""Quantised networks at the command line: eval, inspect, and one clear error for what does not go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from lieref.cli import main
from lieref.cli.ab_models import semantics_of
from tests.cli.helpers import small_network
from tests.model.integer.quantised import quantised
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")

RunJson = Callable[..., dict[str, Any]]


def dense(weight: list[list[int]]) -> bytes:
    """A dense layer with this weight."""
    tensors = [
        Tensor("int8", (1, 2), 0.5, 0),
        Tensor("int8", (2, 2), 0.5, 0, 0, np.array(weight, np.int8)),
        Tensor("int8", (1, 2), 0.25, 0),
    ]
    return build(tensors, [Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")], (0,), (2,))


@pytest.fixture
def network(workplace: Path) -> str:
    """A dense layer that picks the larger of two inputs: the first output for the first one."""
    Path("net.tflite").write_bytes(dense([[1, 0], [0, 1]]))
    x = np.array([[3, 1], [0, 2], [5, 4], [1, 2]], np.float32)
    np.savez("data.npz", x=x, y=np.array([0, 1, 0, 0]))
    return "net.tflite"


def test_accuracy_in_every_semantics(network: str, run_json: RunJson) -> None:
    names = ["tflite-reference", "tflite-optimised", "xnnpack", "cmsis-nn"]
    report = run_json("eval", network, "--data", "data.npz", *(word for n in names for word in ("--semantics", n)))
    assert [row["semantics"] for row in report["semantics"]] == names
    assert {row["accuracy"] for row in report["semantics"]} == {0.75}
    assert {row["top_1_changed"] for row in report["semantics"]} == {0}
    assert (report["samples"], report["clipped"], report["input"]) == (4, 0, "numbers, quantised")
    assert [row["semantics"] for row in run_json("eval", network, "--data", "data.npz")["semantics"]] == names[:1]
    assert run_json("eval", network, "--data", "data.npz", "--semantics", ",".join(names)) == report
    first, second = report["semantics"][:2]
    wilson = binomtest(3, 4).proportion_ci(method="wilson")
    assert first["accuracy_interval"] == pytest.approx([wilson.low, wilson.high])
    assert first["top_1_changed_interval"] is None
    nothing = binomtest(0, 4).proportion_ci(method="wilson")
    assert second["top_1_changed_interval"] == pytest.approx([nothing.low, nothing.high])


def test_predictions_are_those_of_the_integers(network: str, run_json: RunJson) -> None:
    """Half of each input, in steps of a quarter."""
    Path("data.csv").write_text("3,1\n0,2.1\n")
    for source, scores in (("data.npz", [1.5, 1.0, 2.5, 1.0]), ("data.csv", [1.5, 1.0])):
        report = run_json("predict", network, source)
        assert report["semantics"] == "tflite-reference"
        best = [one["top"][0] for one in report["predictions"]]
        assert [one["score"] for one in best] == scores
        assert [one["class"] for one in best] == ["0", "1", "0", "1"][: len(scores)]


def test_progress_counts_the_samples_of_all_semantics(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", network, "--data", "data.npz", "--semantics", "tflite-reference,xnnpack"]
    assert main(words) == 0
    assert capsys.readouterr().err == "eval: 8 of 8, integers of xnnpack\n"
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_inspect(network: str, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json("inspect", network)
    assert (report["kind"], report["format"], report["scales"]) == ("integer model", "tflite", 1)
    assert [row["scale"] for row in report["tensors"]] == [0.5, 0.25]
    assert main(["inspect", network]) == 0
    assert "FullyConnected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "cut.tflite", "--data", "data.npz"], "truncated or damaged"),
        (["inspect", "cut.tflite"], "truncated or damaged"),
        (["inspect", "none.tflite"], "there is no such file"),
        (["eval", "net.tflite", "--data", "wide.npz"], "must have shape (N, 2)"),
        (["eval", "net.tflite", "--data", "labels.npz"], "whole numbers below the 2 outputs"),
        (["eval", "net.tflite", "--data", "data.npz", "--adapter", "a"], "is the folder of an update; a holds none"),
        (["inspect", "net.tflite", "--engine"], "--engine is for float networks"),
        (["eval", "base.onnx", "--data", "data.npz", "--semantics", "xnnpack"], "base.onnx is none"),
        (["finetune", "base.onnx", "--train", "data.npz", "--out", "o", "--method", "tied-scale"], "base.onnx is none"),
        (
            ["eval", "net.tflite", "--data", "data.npz", "--semantics", "xnnpack,abacus"],
            "'abacus' is none of tflite-re",
        ),
    ],
)
def test_what_does_not_go_is_one_line(
    network: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    content = Path(network).read_bytes()
    Path("cut.tflite").write_bytes(content[: len(content) // 2])
    np.savez("wide.npz", x=np.zeros((4, 3), np.float32), y=np.zeros(4, int))
    np.savez("labels.npz", x=np.zeros((4, 2), np.float32), y=np.full(4, 2))
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_two_models_are_compared_by_their_integers(network: str, run_json: RunJson) -> None:
    """The one that picks the smaller input, against the one that picks the larger."""
    Path("other.tflite").write_bytes(dense([[0, 1], [1, 0]]))
    report = run_json("ab", "test", network, "other.tflite", "--data", "data.npz", "--save", "day.csv")
    assert report["a"] == "net.tflite, integers of tflite-reference"
    assert report["b"] == "other.tflite, integers of tflite-reference"
    rows = [line.split(",") for line in Path("day.csv").read_text().split()]
    assert rows[0] == ["id", "label", "a", "b"]
    assert ["".join(column) for column in list(zip(*rows[1:], strict=True))[1:]] == ["0100", "0101", "1010"]
    named = run_json("ab", "test", network, "other.tflite", "--data", "data.npz", "--semantics", "xnnpack")
    assert named["b"] == "other.tflite, integers of xnnpack"


def test_each_model_is_judged_as_its_own_format_is_run(network: str, tmp_path: Path) -> None:
    other = quantised(small_network(), tmp_path, "qoperator", name="image", shape=(2, 6, 5))
    assert semantics_of((), (Path(network), other)) == ("tflite-reference", "onnxruntime")
    assert semantics_of(("xnnpack",), (Path("float.csv"), Path(network))) == (None, "xnnpack")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("net.tflite", "net.tflite", "--data", "data.npz", "--semantics", "xnnpack,cmsis-nn"), "of a test is one"),
        (("net.tflite", "net.tflite", "--data", "data.npz", "--adapter-b", "."), "is the folder of an update"),
        (("net.tflite", "net.tflite"), "add --data"),
        (("a.csv", "b.csv", "--semantics", "xnnpack"), "--semantics is for quantised models"),
    ],
)
def test_a_test_that_makes_no_sense_is_refused(
    network: str, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ab", "test", *words]) == 2
    assert said in capsys.readouterr().err
