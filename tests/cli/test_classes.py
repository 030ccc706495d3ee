"""Classes by name: from the folder of the training images through the adapter and the merged model to an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import lieref
from lieref.adapter.class_names import METADATA_KEY
from lieref.errors import DTypeError, FormatError, UnsupportedError
from tests.cli.helpers import CLASSES, small_network, write_data

RunJson = Callable[..., dict[str, Any]]
NAMES = ["bird", "cat", "dog"]
assert len(NAMES) == CLASSES


@pytest.fixture
def photos(workplace: Path) -> Path:
    """A working folder whose network takes colour images, and images/NAME with four of each class."""
    onnx.save(small_network(channels=3), workplace / "base.onnx")
    rng = np.random.default_rng(0)
    for label, name in enumerate(NAMES):
        folder = workplace / "images" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = (80 * label + rng.integers(0, 9, (6, 5, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return workplace


def only(folder: Path, *names: str) -> str:
    """Copy some classes of the images; return the new folder's name."""
    target = folder / "-".join(names)
    for name in names:
        source = folder / "images" / name
        (target / name).mkdir(parents=True)
        for file in source.iterdir():
            (target / name / file.name).write_bytes(file.read_bytes())
    return target.name


TRAIN = ("finetune", "base.onnx", "--epochs", "60", "--batch", "4", "--lr", "0.05", "--method", "full", "--out", "out")


def test_a_folder_with_one_class_of_three_is_matched_by_name(photos: Path, run_json: RunJson) -> None:
    trained = run_json(*TRAIN, "--train", "images", "--test", "images")
    assert trained["classes"] == NAMES
    config = json.loads((photos / "out" / "adapter_config.json").read_text())
    assert config["lieref"]["classes"] == NAMES
    assert run_json("inspect", "out")["classes"] == NAMES
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx")
    assert run_json("inspect", "merged.onnx")["classes"] == NAMES
    right = 0.0
    for name in NAMES:
        folder = only(photos, name)
        with_adapter = run_json("eval", "base.onnx", "--adapter", "out", "--data", folder)
        merged = run_json("eval", "merged.onnx", "--data", folder)
        named = run_json("eval", "base.onnx", "--adapter", "out", "--data", folder, "--classes", "bird,cat,dog")
        assert with_adapter["accuracy"] == merged["accuracy"] == named["accuracy"]
        assert with_adapter["missing_classes"] == [other for other in NAMES if other != name]
        right += with_adapter["accuracy"] / 3
    # The three folders together are the test set, four images each.
    assert right == pytest.approx(trained["accuracy"])
    assert right > 1 / 3


def test_train_and_test_agree_where_one_lacks_a_class(photos: Path, run_json: RunJson) -> None:
    """Sorted by themselves, cat and dog of the test would be classes 0 and 1."""
    whole = run_json(*TRAIN, "--train", "images", "--test", "images")
    part = run_json(*TRAIN[:-1], "out2", "--train", "images", "--test", only(photos, "cat", "dog"))
    birds = run_json("eval", "base.onnx", "--adapter", "out", "--data", only(photos, "bird"))
    assert part["accuracy"] == pytest.approx((3 * whole["accuracy"] - birds["accuracy"]) / 2)


def test_missing_classes_are_said(photos: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    from lieref.cli import main

    folder = only(photos, "dog", "bird")
    assert main([*TRAIN, "--train", folder, "--classes", "bird,cat,dog"]) == 0
    assert f"load_data: {folder} holds no sample of 1 of the 3 classes: cat" in capsys.readouterr().err
    report = json.loads((photos / "out" / "report.json").read_text())
    assert (report["classes"], report["missing_classes"]) == (NAMES, ["cat"])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("eval", "base.onnx", "--data", "dog"), "which of the model's 3 outputs are the 1 classes"),
        ((*TRAIN, "--train", "dog"), "--classes"),
        ((*TRAIN, "--train", "dog", "--classes", "bird,cat"), "must be among the model's (bird, cat); got dog"),
        ((*TRAIN, "--train", "dog", "--classes", "bird,cat,dog,emu"), "at most as many classes"),
        ((*TRAIN, "--train", "dog", "--classes", "dog,dog,cat"), "got 'dog' twice"),
        ((*TRAIN, "--train", "dog", "--classes", "dog,,cat"), "none of them empty"),
        ((*TRAIN, "--train", "dog", "--classes", "@nowhere.txt"), "nowhere.txt must be a readable file of names"),
        ((*TRAIN, "--train", "images", "--task", "numbers"), "must be numbers for the task"),
        ((*TRAIN, "--train", "train.npz", "--test", "images"), "numbers like those of train.npz"),
        (("eval", "base.onnx", "--data", "images", "--max-bytes", "1000"), "max_bytes raises the cap"),
        (("eval", "base.onnx", "--data", "large"), "must be 6 x 5 pixels (height x width) as the model takes them"),
        (("eval", "base.onnx", "--data", "four"), "at most as many classes as the model has outputs, 3; got 4"),
    ],
)
def test_what_cannot_be_matched_is_refused(
    photos: Path, fails: Callable[..., str], command: tuple[str, ...], words: str
) -> None:
    only(photos, "dog")
    write_data(photos / "train.npz", x=np.zeros((24, 3, 6, 5), np.float32))
    for name in (*NAMES, "emu"):
        (photos / "large" / name).mkdir(parents=True)
        (photos / "four" / name).mkdir(parents=True)
        Image.new("RGB", (600, 500)).save(photos / "large" / name / "a.png")
        Image.new("RGB", (5, 6)).save(photos / "four" / name / "a.png")
    assert words in fails(*command)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_of_outputs_in_a_file(photos: Path, run_json: RunJson, encoding: str) -> None:
    (photos / "names.txt").write_text("dog\ncat\nbird\n", encoding=encoding)
    report = run_json(*TRAIN, "--train", "images", "--classes", "@names.txt")
    assert report["classes"] == ["dog", "cat", "bird"]
    model = lieref.load(photos / "base.onnx").load_adapter(photos / "out")
    assert model.classes == ("dog", "cat", "bird")


def test_words_in_a_table(workplace: Path, run_json: RunJson) -> None:
    base = small_network(channels=3)
    onnx.save(base, workplace / "base.onnx")
    rng = np.random.default_rng(0)
    rows = [",".join(str(v) for v in rng.integers(0, 9, 4)) + f",{NAMES[i % 3]}" for i in range(12)]
    (workplace / "table.csv").write_text("\n".join(rows))
    data = lieref.load_data(workplace / "table.csv", classes=["dog", "bird", "cat"])
    np.testing.assert_array_equal(data.y, [1, 2, 0] * 4)


def test_an_adapter_without_names_evaluates_numbers_and_whole_folders(photos: Path, run_json: RunJson) -> None:
    rng = np.random.default_rng(0)
    write_data(photos / "train.npz", x=rng.integers(0, 256, (24, 3, 6, 5)).astype(np.uint8))
    report = run_json(*TRAIN, "--train", "train.npz")
    assert report["classes"] is None
    assert run_json("eval", "base.onnx", "--adapter", "out", "--data", "images")["classes"] == NAMES
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx")
    assert "lieref.classes" not in {entry.key for entry in onnx.load(photos / "merged.onnx").metadata_props}


def test_a_set_of_numbers_that_lacks_a_class_is_said(
    workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    from lieref.cli import main

    write_data(workplace / "train.npz", y=np.arange(24) % 2)
    assert main([*TRAIN, "--train", "train.npz"]) == 0
    assert "train.npz holds no sample of 1 of the 3 classes: 2" in capsys.readouterr().err


# In Python


@pytest.fixture
def adapted(photos: Path) -> lieref.Model:
    model = lieref.load(photos / "base.onnx").attach("bias")
    model.classes = tuple(NAMES)
    return model


def test_names_survive_saving_merging_and_loading(photos: Path, adapted: lieref.Model) -> None:
    adapted.save_adapter(photos / "a")
    assert lieref.load(photos / "base.onnx").load_adapter(photos / "a").classes == tuple(NAMES)
    adapted.merge_and_unload().save(photos / "merged.onnx")
    again = lieref.load(photos / "merged.onnx")
    assert again.classes == tuple(NAMES)
    again.attach("bias")
    again.classes = ("x", "y", "z")
    again.merge_and_unload().save(photos / "twice.onnx")
    assert lieref.load(photos / "twice.onnx").classes == ("x", "y", "z")
    keys = [entry.key for entry in onnx.load(photos / "twice.onnx").metadata_props]
    assert len(keys) == len(set(keys))
    assert "lieref.classes" in keys


def test_adapters_that_number_the_classes_otherwise_do_not_add(photos: Path, adapted: lieref.Model) -> None:
    adapted.save_adapter(photos / "a")
    adapted.classes = ("cat", "bird", "dog")
    adapted.save_adapter(photos / "b")
    adapted.classes = None
    adapted.save_adapter(photos / "c")
    base = lieref.load(photos / "base.onnx")
    with pytest.raises(UnsupportedError, match="must name the outputs alike"):
        base.add_weighted_adapter([photos / "a", photos / "b"], [0.5, 0.5])
    assert base.add_weighted_adapter([photos / "a", photos / "c"], [0.5, 0.5]).classes == tuple(NAMES)


@pytest.mark.parametrize("value", ["cat", 3, ["cat", 3], ["cat", "cat"], [], ["cat", ""], {"0": "cat"}])
def test_names_in_a_file_are_checked(photos: Path, adapted: lieref.Model, value: Any) -> None:
    adapted.save_adapter(photos / "a")
    path = photos / "a" / "adapter_config.json"
    config = json.loads(path.read_text())
    config["lieref"]["classes"] = value
    path.write_text(json.dumps(config))
    with pytest.raises(FormatError, match="must be a list of different names"):
        lieref.load(photos / "base.onnx").load_adapter(photos / "a")
    model = onnx.load(photos / "base.onnx")
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(value))
    onnx.save(model, photos / "named.onnx")
    with pytest.raises(FormatError, match="must be a list of different names"):
        lieref.load(photos / "named.onnx")
    model.metadata_props[0].value = "not JSON"
    onnx.save(model, photos / "named.onnx")
    with pytest.raises(FormatError, match="must be a JSON list"):
        lieref.load(photos / "named.onnx")


def test_names_that_are_no_text_are_refused(photos: Path, adapted: lieref.Model) -> None:
    adapted.classes = (1, 2, 3)  # type: ignore[assignment]
    with pytest.raises(DTypeError, match="must be a sequence of names"):
        adapted.save_adapter(photos / "a")
    assert not (photos / "a").exists()
