"""Quantised files measured by other tasks than classes: loss and metrics of their integers, in every semantics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.cli import main
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TFLITE = ["tflite-reference", "tflite-optimised", "xnnpack", "cmsis-nn"]
WEIGHT = np.array([[2, 1], [0, 2]], np.int8)
"""In units of a quarter: rows (1/2, 1/4) and (0, 1/2)."""


def dense(*functions: str) -> bytes:
    """A dense layer of two inputs in steps of a half, its outputs in eighths, then functions of each number."""
    tensors = [
        Tensor("int8", (1, 2), 0.5, 0),
        Tensor("int8", (2, 2), 0.25, 0, 0, WEIGHT),
        Tensor("int8", (1, 2), 0.125, 0),
    ]
    operators = [Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")]
    for name in functions:
        out = {"LOGISTIC": (2**-8, -128), "SOFTMAX": (2**-8, -128), "TANH": (2**-7, 0)}[name]
        options = ("SoftmaxOptions", {0: ("f", 1.0)}) if name == "SOFTMAX" else ()
        tensors.append(Tensor("int8", (1, 2), *out))
        operators.append(Operator(name, (len(tensors) - 2,), (len(tensors) - 1,), *options))
    return build(tensors, operators, (0,), (len(tensors) - 1,))


def pixels() -> bytes:
    """Two classes of each of 2 x 3 pixels: the pixel, and its negative."""
    tensors = [
        Tensor("int8", (1, 2, 3, 1), 0.5, 0),
        Tensor("int8", (2, 1, 1, 1), 1.0, 0, 0, np.array([1, -1], np.int8).reshape(2, 1, 1, 1)),
        Tensor("int8", (1, 2, 3, 2), 0.5, 0),
        Tensor("int8", (1, 2, 3, 2), 2**-8, -128),
    ]
    options = {0: ("b", 1), 1: ("i", 1), 2: ("i", 1), 4: ("i", 1), 5: ("i", 1)}
    operators = [
        Operator("CONV_2D", (0, 1, -1), (2,), "Conv2DOptions", options),
        Operator("SOFTMAX", (2,), (3,), "SoftmaxOptions", {0: ("f", 1.0)}),
    ]
    return build(tensors, operators, (0,), (3,))


X = np.array([[3, 1], [0, 2], [5, -4], [1, 2.5]], np.float32)
OUTPUTS = X @ (0.25 * WEIGHT.T)
"""All of them in eighths."""


@pytest.fixture(autouse=True)
def folder(workplace: Path) -> Path:
    Path("net.tflite").write_bytes(dense())
    y = OUTPUTS + np.array([[0.5, 0], [0, -0.25], [0, 0], [0.25, 0]], np.float32)
    np.savez("data.npz", x=X, y=y.astype(np.float32))
    return workplace


def test_numbers_are_those_of_the_integers(run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("eval", "net.tflite", "--data", "data.npz", "--task", "numbers")
    report = run_json(*command, "--semantics", ",".join(TFLITE))
    assert [row["semantics"] for row in report["semantics"]] == TFLITE
    y = np.load("data.npz")["y"].astype(np.float64)
    errors = OUTPUTS - y
    for row in report["semantics"]:
        assert row["loss"] == pytest.approx(np.mean(errors**2))
        assert row["metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)))
        assert row["metrics"]["mae"] == pytest.approx(np.mean(np.abs(errors)))
        assert row["metrics"]["r2"] == pytest.approx(1 - np.sum(errors**2) / np.sum((y - y.mean(axis=0)) ** 2))
    assert (report["task"], report["samples"], report["clipped"]) == ({"name": "numbers"}, 4, 0)
    assert run_json(*command)["semantics"] == report["semantics"][:1]
    assert main([*command, "--semantics", "xnnpack"]) == 0
    printed = capsys.readouterr()
    assert f"{np.sqrt(np.mean(errors**2)):.4g}" in printed.out
    assert printed.err.endswith("eval: 4 of 4, integers of xnnpack\n")


@pytest.mark.parametrize("functions", [("LOGISTIC",), ("TANH", "LOGISTIC")])
def test_several_labels_are_scored_before_a_final_sigmoid(functions: tuple[str, ...], run_json: RunJson) -> None:
    Path("net.tflite").write_bytes(dense(*functions))
    y = np.array([[1, 1], [0, 1], [0, 0], [1, 1]])
    np.savez("data.npz", x=X, y=y)
    scores = OUTPUTS if len(functions) == 1 else np.rint(np.tanh(OUTPUTS) * 128) / 128
    scores = np.minimum(scores, OUTPUTS if len(functions) == 1 else 127 / 128)
    row = run_json("eval", "net.tflite", "--data", "data.npz", "--task", "multilabel")["semantics"][0]
    assert row["loss"] == pytest.approx(np.mean(np.log1p(np.exp(-scores * (2 * y - 1)))), rel=1e-5)
    assert row["metrics"]["accuracy"] == np.mean((scores > 0) == y)


def test_a_class_of_each_pixel(run_json: RunJson) -> None:
    Path("net.tflite").write_bytes(pixels())
    x = np.array([[[3, -1, 2], [-2, 5, -0.5]], [[1, 1, -1], [-4, 2, 2]]], np.float32)[..., None]
    y = (x[..., 0] < 0).astype(int)
    y[0, 0, 0] = 1
    np.savez("data.npz", x=x, y=y)
    row = run_json("eval", "net.tflite", "--data", "data.npz", "--task", "dense", "--layout", "NHWC")["semantics"][0]
    assert row["metrics"]["pixel_accuracy"] == 11 / 12
    sides = np.where(y == 0, 2 * x[..., 0], -2 * x[..., 0])  # by how much the right class leads
    assert row["loss"] == pytest.approx(np.mean(np.log1p(np.exp(-sides))), rel=1e-5)


def test_an_update_is_measured_as_the_file_it_makes(run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    task = ("--task", "numbers")
    np.savez("train.npz", x=np.tile(X, (6, 1)), y=np.tile(1.5 * OUTPUTS, (6, 1)))
    words = (
        "finetune",
        "net.tflite",
        "--train",
        "train.npz",
        "--test",
        "data.npz",
        *task,
        "--epochs",
        "8",
        "--lr",
        "0.05",
    )
    report = run_json(*words, "--out", "update", "--semantics", "xnnpack")
    run_json("merge", "net.tflite", "update", "-o", "new.tflite")
    judged = ("--data", "data.npz", *task, "--semantics", "xnnpack")
    with_update = run_json("eval", "net.tflite", "--adapter", "update", *judged)
    assert with_update["method"] == "tied-scale"
    merged = run_json("eval", "new.tflite", *judged)
    assert with_update["sha256"] == merged["sha256"] == report["result_sha256"]
    assert with_update["semantics"] == merged["semantics"]
    base = run_json("eval", "net.tflite", *judged)["semantics"][0]
    assert base != merged["semantics"][0]
    # The test of the training is that of the same integers, beside the simulation in real numbers.
    assert report["semantics"] == "xnnpack"
    assert (report["base_loss"], report["base_metrics"]) == (base["loss"], base["metrics"])
    assert (report["loss"], report["metrics"]) == (merged["semantics"][0]["loss"], merged["semantics"][0]["metrics"])
    assert report["simulated"]["loss"] == pytest.approx(report["loss"], rel=0.5)
    assert report["simulated"]["loss"] != report["loss"]
    capsys.readouterr()
    assert main([*words, "--out", "other"]) == 0
    printed = capsys.readouterr()
    assert "test: 8 of 8, adapted, integers of tflite-reference" in printed.err
    line = next(line for line in printed.out.splitlines() if line.startswith("The metrics are those of integers"))
    said = line[line.index("eval ") : line.index(",OTHER")].replace("TEST", "data.npz").split()
    assert main(said) == 0  # what is said to do can be done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "numbers"), "must have shape (N, 2)"),
        (("--task", "dense"), "fits 'classes', 'multilabel' and 'numbers'"),
        (("--task", "tokens"), "fits 'classes', 'multilabel' and 'numbers'"),
        (("--task", "multilabel"), "must have shape (N, 2)"),
        (("--task", "numbers", "--output", "t2"), "--output is for float networks"),
        (("--task", "multilabel", "--classes", "a,b"), "`--classes` must be left out for the task 'multilabel'"),
        (("--task", "numbers", "--blank", "1"), "`blank` must be a setting of the task 'numbers'"),
        (("--task", "numbers", "--adapter", "a"), "is the folder of an update; a holds none"),
        (("--class-weights", "1,2"), "--class-weights is for float networks"),
    ],
)
def test_what_does_not_go_is_one_line(words: tuple[str, ...], said: str, fails: Fails) -> None:
    np.savez("data.npz", x=X, y=np.zeros((4, 3), np.int64))
    line = fails("eval", "net.tflite", "--data", "data.npz", *words)
    assert said in line


def test_probabilities_taken_for_scores_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("many.npz", x=X, y=np.eye(2, dtype=np.int64)[[0, 1, 1, 0]])
    for final, said in (("SOFTMAX", True), ("LOGISTIC", False)):  # several labels are scores of a Sigmoid
        Path("net.tflite").write_bytes(dense(final))
        assert main(["eval", "net.tflite", "--data", "many.npz", "--task", "multilabel"]) == 0
        assert ("makes probabilities, which were taken for them" in capsys.readouterr().err) == said
