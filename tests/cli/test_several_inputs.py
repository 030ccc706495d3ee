"""Networks of several inputs from the command line: an ``.npz`` with an array for each, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lieref.cli import main
from tests.cli.helpers import CLASSES
from tests.model.encoder_net import ROWS, encoder_net

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "net.onnx", "--train", "train.npz", "--out", "out", "--epochs", "12", "--method", "full",
         "--lr", "0.05", "--batch", "8")  # fmt: skip
Samples = dict[str, np.ndarray]


def network(vector: str = "y", steps: int | str | None = None) -> onnx.ModelProto:
    """An image (3, 4, 5) and a vector of 6, or of `steps` vectors their sum, to scores."""
    rng = np.random.default_rng(1)
    tensors = {"filter": rng.normal(size=(4, 3, 3, 3)), "w": rng.normal(size=(10, CLASSES)), "b": np.zeros(CLASSES)}
    held = {name: value.astype(np.float32) for name, value in tensors.items()} | {"places": np.array([1])}
    nodes = [
        helper.make_node("Conv", ["image", "filter"], ["maps"], name="conv"),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"], name="means"),
        helper.make_node("Flatten", ["means"], ["seen"], name="seen"),
        helper.make_node("ReduceSum", [vector, "places"], ["given"], name="sum", keepdims=0)
        if steps else helper.make_node("Identity", [vector], ["given"], name="given"),
        helper.make_node("Concat", ["seen", "given"], ["both"], name="both", axis=1),
        helper.make_node("Gemm", ["both", "w", "b"], ["scores"], name="end"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "both",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 4, 5]),
            helper.make_tensor_value_info(vector, TensorProto.FLOAT, ["N", steps, 6] if steps else ["N", 6]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items() if steps or name != "places"],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(vector: str, count: int = 24, steps: int | None = None) -> Samples:
    """Classes that a channel of the image and an entry of the vector tell together."""
    rng = np.random.default_rng(2)
    y = np.arange(count) % CLASSES
    image = rng.integers(0, 2, (count, 3, 4, 5)).astype(np.uint8)
    image[:, 0] += 2 * (y == 1).astype(np.uint8)[:, None, None]
    facts = rng.normal(size=(count, steps, 6) if steps else (count, 6), scale=0.1).astype(np.float32)
    facts[..., 3] += (y == 2).reshape(-1, *[1] * (facts.ndim - 2))
    return {"image": image, vector: facts, "labels": y}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with net.onnx, whose inputs are an image and facts, and train.npz."""
    monkeypatch.chdir(tmp_path)
    onnx.save(network("facts"), "net.onnx")
    write(samples("facts"))
    return tmp_path


def write(data: Samples, **changes: np.ndarray) -> None:
    named = {"y" if name == "labels" else name: value for name, value in {**data, **changes}.items()}
    np.savez("train.npz", **named)


def run_in_onnx_runtime(path: str, data: Samples) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    (scores,) = session.run(None, {each.name: data[each.name].astype(np.float32) for each in session.get_inputs()})
    return scores


@pytest.mark.parametrize("head", [(), ("--head", "new")])
def test_images_with_a_vector_are_learnt_and_merged(folder: Path, run_json: RunJson, head: tuple[str, ...]) -> None:
    run_json(*TRAIN, "--test", "train.npz", *head)
    assert json.loads(Path("out/report.json").read_text())["accuracy"] > 0.9
    assert run_json("eval", "net.onnx", "--adapter", "out", "--data", "train.npz")["accuracy"] > 0.9
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    assert [value.name for value in onnx.load("merged.onnx").graph.input] == ["image", "facts"]
    data = samples("facts")
    found = run_in_onnx_runtime("merged.onnx", data).argmax(1)
    assert np.mean(found == data["labels"]) > 0.9


def test_an_input_may_have_the_name_of_the_labels(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(network("y"), "net.onnx")
    data = samples("y")
    np.savez("train.npz", image=data["image"], x_y=data["y"], y=data["labels"])
    run_json(*TRAIN, "--test", "train.npz")
    assert json.loads(Path("out/report.json").read_text())["accuracy"] > 0.9
    np.savez("train.npz", image=data["image"], y=data["labels"])
    assert "must hold the array 'x_y'" in fails("eval", "net.onnx", "--data", "train.npz")


def test_an_input_may_have_the_name_of_the_samples(folder: Path, run_json: RunJson) -> None:
    onnx.save(network("x", steps="T"), "net.onnx")
    data = samples("x", steps=7)
    write(data)
    assert run_json("eval", "net.onnx", "--data", "train.npz")["samples"] == 24


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"facts": np.zeros((24, 5), np.float32)}, "`facts` must have shape (N, 6); got (24, 5)"),
        ({"facts": np.zeros((23, 6), np.float32)}, "as many samples as `image`, 24; got 23 of `facts`"),
        ({"facts": np.full((24, 6), np.nan)}, "`facts` must be finite"),
        ({"image": np.zeros((24, 5, 4, 3))}, "`image` must fit the model's input (N, 3, 4, 5); got (24, 5, 4, 3)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(folder: Path, fails: Fails, changes: Samples, words: str) -> None:
    write(samples("facts"), **changes)
    assert words in fails(*TRAIN)


def test_a_missing_array_and_another_kind_of_data_are_refused(folder: Path, fails: Fails) -> None:
    np.savez("train.npz", image=samples("facts")["image"], y=np.zeros(24, int))
    assert "must hold the array 'facts'; it holds image, y" in fails(*TRAIN)
    Path("train.csv").write_text("a,label\n1,0\n2,1\n")
    words = "the samples of image, facts must be in an .npz, an array for each; got train.csv"
    assert words in fails("eval", "net.onnx", "--data", "train.csv")


def test_a_free_size_is_that_of_the_samples(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(network("facts", steps="T"), "net.onnx")
    data = samples("facts", steps=7)
    write(data)
    run_json(*TRAIN, "--test", "train.npz")
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    found = run_in_onnx_runtime("merged.onnx", data).argmax(1)
    assert np.mean(found == data["labels"]) > 0.9
    assert run_json("inspect", "net.onnx", "--engine", "--adapter", "out")["nodes"]
    write(samples("facts", steps=5))
    assert run_json("eval", "net.onnx", "--adapter", "out", "--data", "train.npz")["samples"] == 24
    assert "input facts of net.onnx must have one size" in fails("inspect", "net.onnx")


def test_inspect_lists_the_inputs(folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json("inspect", "net.onnx")
    assert report["inputs"] == [
        {"name": "image", "shape": [None, 3, 4, 5], "dtype": "float32"},
        {"name": "facts", "shape": [None, 6], "dtype": "float32"},
    ]
    assert report["operators"] == {"Conv": 1, "GlobalAveragePool": 1, "Flatten": 1, "Concat": 1, "Gemm": 1}
    assert main(["inspect", "net.onnx"]) == 0
    assert "image any x 3 x 4 x 5 float32, facts any x 6 float32" in capsys.readouterr().out.replace("\n", " ")
    names = {row["name"] for row in run_json("inspect", "net.onnx", "--engine")["nodes"]}
    assert names == {"conv", "means", "seen", "given", "both", "end"}


def test_ids_among_several_inputs_are_checked_and_no_text_is_read(
    folder: Path, run_json: RunJson, fails: Fails
) -> None:
    pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    from tests.train.texts import write_tokenizer

    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask", "other_ids")), "net.onnx")
    ids = np.random.default_rng(3).integers(0, ROWS, (24, 5))
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "other_ids": ids, "y": np.arange(24) % 2}
    np.savez("train.npz", **given)
    text = run_json("eval", "net.onnx", "--data", "train.npz")["text"]
    assert text == {"vocabulary": ROWS, "places": 5, "padding": None}
    np.savez("train.npz", **{**given, "input_ids": ids + 1})
    assert f"input_ids of train.npz must be ids of the vocabulary, 0 to {ROWS - 1}" in fails(*TRAIN)
    write_tokenizer(Path("t.json"))
    Path("train.tsv").write_text("text\tlabel\ngood\t1\n")
    words = fails("eval", "net.onnx", "--data", "train.tsv", "--tokenizer", "t.json")
    assert "samples of a model of input_ids, attention_mask, other_ids must be in an .npz" in words
