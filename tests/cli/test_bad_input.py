"""Whatever is wrong with the input: one line that says so, status 2, nothing written and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.helpers import small_network, write_data

Fails = Callable[..., str]

TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--out", "out", "--epochs", "1")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "base.onnx"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "base.onnx"),
        (lambda path: path.write_bytes(b""), "base.onnx"),
        (lambda path: path.write_bytes(b"not ONNX at all, but text" * 40), "base.onnx"),
        (lambda path: (path.unlink(), path.mkdir()), "base.onnx"),
    ],
    ids=["missing", "truncated", "empty", "not ONNX", "folder"],
)
@pytest.mark.parametrize("command", [TRAIN, ("eval", "base.onnx", "--data", "test.npz")], ids=["finetune", "eval"])
def test_model_file(workplace: Path, fails: Fails, command: tuple[str, ...], damage: Callable, words: str) -> None:
    damage(workplace / "base.onnx")
    assert words in fails(*command)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "a/../../outside.bin"])
def test_external_data_outside_the_folder(workplace: Path, fails: Fails, location: str) -> None:
    model = small_network()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    folder = workplace / "models"
    folder.mkdir()
    (workplace / "outside.bin").write_bytes(bytes(4 * 72))
    (folder / "base.onnx").write_bytes(model.SerializeToString())
    line = fails("finetune", "models/base.onnx", *TRAIN[2:])
    assert "base.onnx" in line or location in line


def test_unsupported_operator_is_named_with_its_node(workplace: Path, fails: Fails) -> None:
    onnx.save(small_network(op="Det"), workplace / "base.onnx")
    line = fails(*TRAIN)
    assert "Det" in line
    assert "activation" in line


def test_samples_that_do_not_fit_the_model(workplace: Path, fails: Fails) -> None:
    write_data(workplace / "train.npz", x=np.zeros((24, 3, 6, 5), np.float32))
    assert "(24, 3, 6, 5)" in fails(*TRAIN)


def test_samples_and_labels_of_different_length(workplace: Path, fails: Fails) -> None:
    write_data(workplace / "train.npz", y=np.zeros(23, np.int64))
    assert "23" in fails(*TRAIN)


@pytest.mark.parametrize("label", [-1, 3])
def test_label_outside_the_classes(workplace: Path, fails: Fails, label: int) -> None:
    write_data(workplace / "train.npz", y=np.full(24, label))
    assert str(label) in fails(*TRAIN)


@pytest.mark.parametrize("role", ["train", "test"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_are_not_finite(workplace: Path, fails: Fails, role: str, value: float) -> None:
    x = np.zeros((24, 2, 6, 5), np.float32)
    x[3, 1, 2, 4] = value
    write_data(workplace / f"{role}.npz", x=x)
    assert "finite" in fails(*TRAIN, "--test", "test.npz")


def test_empty_set(workplace: Path, fails: Fails) -> None:
    write_data(workplace / "train.npz", x=np.zeros((0, 2, 6, 5), np.float32), y=np.zeros(0, np.int64))
    assert "at least one sample" in fails(*TRAIN)


@pytest.mark.parametrize("data", ["nowhere.npz", "base.onnx", "empty"])
def test_data_file(workplace: Path, fails: Fails, data: str) -> None:
    (workplace / "empty").mkdir()
    assert data in fails("finetune", "base.onnx", "--train", data, "--out", "out")


def test_pickled_array(workplace: Path, fails: Fails) -> None:
    np.savez(workplace / "train.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    assert "train.npz" in fails(*TRAIN)


def test_target_that_matches_nothing_lists_what_there_is(workplace: Path, fails: Fails) -> None:
    line = fails(*TRAIN, "--target", "dense*")
    assert "dense*" in line
    assert "conv, head" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rank", "0"], "not in the range"),
        (["--method", "full", "--rank", "2"], "'r'"),
        (["--method", "nonsense"], "nonsense"),
        (["--method", "norm-stats+nonsense"], "nonsense"),
        (["--alpha", "0"], "not in the range"),
        (["--seed", "-1"], "not in the range"),
        (["--seed", str(2**63)], "not in the range"),
        (["--batch", "0"], "not in the range"),
        (["--epochs", "0"], "not in the range"),
        (["--threads", "0"], "not in the range"),
        (["--lr", "nan"], "neither auto nor a positive number"),
        (["--lr", "-1"], "neither auto nor a positive number"),
        (["--validation", "1"], "not in the range"),
        (["--validation", "0.001"], "must leave samples on both sides"),
        (["--augment", "rotate"], "rotate"),
        (["--resume"], "no unfinished run"),
        (["--lr", "1e30"], "diverged (try a smaller learning rate)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_option_out_of_range(workplace: Path, fails: Fails, options: list[str], words: str) -> None:
    assert words in fails(*TRAIN, *options)


def test_output_folder_that_is_not_empty(workplace: Path, fails: Fails) -> None:
    (workplace / "out").mkdir()
    (workplace / "out" / "mine.txt").write_text("keep")
    assert "not empty" in fails(*TRAIN)
    assert "not empty" in fails("demo", "--out", "out")


def test_norm_stats_without_batch_normalization(workplace: Path, fails: Fails) -> None:
    model = small_network()
    model.graph.node[2].input[0] = "a"
    del model.graph.node[1]
    onnx.save(model, workplace / "base.onnx")
    assert "BatchNormalization" in fails(*TRAIN, "--method", "norm-stats")


def test_adapter_of_another_base(workplace: Path, fails: Fails, run_json: Callable) -> None:
    run_json(*TRAIN)
    onnx.save(small_network(seed=1), workplace / "other.onnx")
    assert "sha256" in fails("eval", "other.onnx", "--adapter", "out", "--data", "test.npz")
    assert "sha256" in fails("merge", "other.onnx", "out", "-o", "merged.onnx")


def test_one_changed_weight_makes_another_base(workplace: Path, fails: Fails, run_json: Callable) -> None:
    run_json(*TRAIN)
    model = onnx.load(workplace / "base.onnx")
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] = np.nextafter(weight.flat[0], np.float32(9))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "conv.weight"))
    onnx.save(model, workplace / "base.onnx")
    assert "sha256" in fails("merge", "base.onnx", "out", "-o", "merged.onnx")


def test_damaged_adapter(workplace: Path, fails: Fails, run_json: Callable) -> None:
    run_json(*TRAIN)
    path = workplace / "out" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    for command in (("inspect", "out"), ("merge", "base.onnx", "out", "-o", "merged.onnx")):
        assert "adapter_model.safetensors" in fails(*command)


@pytest.mark.parametrize("path", ["nowhere", "empty", "train.npz"])
def test_inspect_of_something_else(workplace: Path, fails: Fails, path: str) -> None:
    (workplace / "empty").mkdir()
    assert path in fails("inspect", path)


def test_merge_never_overwrites(workplace: Path, fails: Fails, run_json: Callable) -> None:
    run_json(*TRAIN)
    (workplace / "merged.onnx").write_text("mine")
    assert "add --force" in fails("merge", "base.onnx", "out", "-o", "merged.onnx")
    assert "base model itself" in fails("merge", "base.onnx", "out", "-o", "base.onnx", "--force")
    assert "is a folder" in fails("merge", "base.onnx", "out", "-o", "out")
    assert "nowhere" in fails("merge", "base.onnx", "out", "-o", "nowhere/merged.onnx")
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx", "--force")
    onnx.checker.check_model(onnx.load(workplace / "merged.onnx"))
