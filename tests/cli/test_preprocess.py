"""``--preprocess`` from raw images to a merged model: chosen, said, recorded, and used again."""

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
from lieref.cli import main
from tests.cli.helpers import small_network, write_data
from tests.model.integer.quantised import quantised
from tests.train.test_preprocess import network
from validation.integer.tflite_file import Operator, Tensor, build

IMAGENET = "resize=7,crop=6x5,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,channels=rgb,layout=nchw"
RUN = ("--epochs", "1", "--method", "scale", "--augment", "none")


@pytest.fixture
def photos(workplace: Path) -> Path:
    """A base of three channels, and folders of images: of many sizes, and of the network's."""
    onnx.save(small_network(channels=3), workplace / "base.onnx")
    rng = np.random.default_rng(0)
    for folder, sides in (("train", (7, 40)), ("test", (7, 40)), ("fitting", None)):
        for name in ("a", "b", "c"):
            (workplace / folder / name).mkdir(parents=True)
            for number in range(4):
                height, width = (6, 5) if sides is None else rng.integers(*sides, 2)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(workplace / folder / name / f"{number}.png")
    return workplace


def recorded(folder: str) -> Any:
    return json.loads(Path(folder, "adapter_config.json").read_text())["lieref"]["preprocessing"]


def test_from_photographs_to_a_merged_model(
    photos: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json("finetune", "base.onnx", "--train", "train", "--test", "test", "--preprocess", "imagenet",
                      "--out", "out", *RUN)  # fmt: skip
    assert report["preprocessing"] == IMAGENET
    assert lieref.Preprocess.from_dict(recorded("out")).to_text() == IMAGENET
    assert json.loads(Path("out/report.json").read_text())["preprocessing"] == IMAGENET
    assert run_json("inspect", "out")["preprocessing"] == IMAGENET
    measured = run_json("eval", "base.onnx", "--adapter", "out", "--data", "test")
    assert (measured["preprocessing"], measured["accuracy"]) == (IMAGENET, report["accuracy"])
    error = fails("eval", "base.onnx", "--adapter", "out", "--data", "test", "--preprocess", "unit")
    assert f"must be what the adapter was trained with, or left out: {IMAGENET}; got resize=cover" in error
    error = fails("finetune", "base.onnx", "--from", "out", "--train", "train", "--preprocess", "raw", "--out", "o")
    assert "must be what the adapter was trained with" in error
    assert main(["finetune", "base.onnx", "--from", "out", "--train", "train", "--out", "out2", "--epochs", "1"]) == 0
    assert f"images: {IMAGENET} (as the adapter records)" in capsys.readouterr().err
    assert recorded("out2") == recorded("out")
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx")
    merged = run_json("eval", "merged.onnx", "--data", "test")
    assert (merged["preprocessing"], merged["accuracy"]) == (IMAGENET, report["accuracy"])
    assert lieref.load("merged.onnx").preprocessing == recorded("out")
    config = Path("out/adapter_config.json")
    config.write_text(config.read_text().replace('"resize": 7', '"resize": -7'))
    assert "the preprocessing in out must be readable" in fails(
        "eval", "base.onnx", "--adapter", "out", "--data", "test"
    )


def test_images_that_fit_are_what_they_were(photos: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    """The same as bytes in an .npz; what they are is recorded, so that photographs may follow."""
    data = lieref.load_data("fitting", size=(6, 5))
    np.savez("fitting.npz", x=data.x, y=data.y)
    reports = []
    for source, out in (("fitting", "folder"), ("fitting.npz", "npz"), ("fitting --preprocess raw", "raw")):
        run = ["finetune", "base.onnx", "--train", *source.split(), "--out", out, *RUN]
        reports.append(run_json(*run))
    tensors = {Path(out, "adapter_model.safetensors").read_bytes() for out in ("folder", "npz", "raw")}
    assert len(tensors) == 1
    raw = "resize=cover,crop=6x5,scale=1,mean=0,std=1,channels=rgb,layout=nchw"
    assert [report["preprocessing"] for report in reports] == [raw, None, raw]
    assert run_json("eval", "base.onnx", "--adapter", "folder", "--data", "test")["preprocessing"] == raw
    unit = run_json("eval", "base.onnx", "--data", "fitting.npz", "--preprocess", "unit")
    assert unit["loss"] == run_json("eval", "base.onnx", "--data", "fitting", "--preprocess", "unit")["loss"]


def test_nobody_guesses(photos: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    error = fails("finetune", "base.onnx", "--train", "train", "--out", "out")
    assert "0.png must be 6 x 5 pixels (height x width) as the model takes them; got" in error
    assert all(name in error for name in ("imagenet", "unit", "raw", "scale=127.5,mean=1"))
    assert "`crop` must be 6x5" in fails("eval", "base.onnx", "--data", "test", "--preprocess", "raw,crop=32")
    assert "key=value" in fails("eval", "base.onnx", "--data", "test", "--preprocess", "tf")
    Path("train/a/0.png").write_bytes(Path("train/a/0.png").read_bytes()[:50])
    for arguments, words in (
        (["eval", "base.onnx", "--data", "table.csv"], "a folder or an .npz"),
        (["eval", "base.onnx", "--data", "train.npz"], "must be bytes (uint8)"),
        (["finetune", "base.onnx", "--train", "train", "--out", "out"], "0.png must be a readable image"),
    ):
        assert main([*arguments, "--preprocess", "raw"]) == 2
        *_, last = capsys.readouterr().err.splitlines()
        assert last.startswith("error: ")
        assert words in last
    assert not Path("out").exists()


def test_an_update_of_a_quantised_file_records_it(
    photos: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    path = quantised(small_network(channels=3), photos, "qoperator", name="image", shape=(3, 6, 5))
    path.rename("int8.onnx")
    report = run_json("finetune", "int8.onnx", "--train", "train", "--test", "test", "--preprocess", "imagenet",
                      "--out", "out", "--epochs", "1", "--augment", "none")  # fmt: skip
    said = json.loads(Path("out/integer_update.json").read_text())["preprocessing"]
    assert lieref.Preprocess.from_dict(said).to_text() == IMAGENET
    assert run_json("inspect", "out")["preprocessing"] == IMAGENET
    run = ("eval", "int8.onnx", "--adapter", "out", "--data", "test")
    assert run_json(*run)["semantics"][0]["accuracy"] == report["accuracy"]
    assert "must be what the adapter was trained with" in fails(*run, "--preprocess", "unit")
    run_json("finetune", "base.onnx", "--train", "train", "--preprocess", "imagenet", "--out", "float", *RUN)
    run_json("carry", "float", "int8.onnx", "--out", "carried")
    assert run_json("inspect", "carried")["preprocessing"] == IMAGENET


def test_it_is_the_same_for_files_whose_channels_are_last(
    photos: Path, run_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tflite")
    photos.joinpath("net.tflite").write_bytes(channels_last())
    report = run_json("finetune", "net.tflite", "--train", "train", "--test", "test", "--preprocess", "unit",
                      "--out", "out", "--epochs", "1", "--augment", "none")  # fmt: skip
    found = run_json("eval", "net.tflite", "--adapter", "out", "--data", "test")
    assert found["semantics"][0]["accuracy"] == report["accuracy"]
    assert main(["predict", "net.tflite", "--adapter", "out", "test/a/0.png"]) == 0
    assert "(as the adapter records)" in capsys.readouterr().err


def channels_last() -> bytes:
    """A .tflite: images 6 x 5 of three channels, a dense layer over all of their numbers, three classes."""
    weight = np.random.default_rng(0).integers(-127, 128, (3, 6 * 5 * 3)).astype(np.int8)
    tensors = [
        Tensor("int8", (1, 6, 5, 3), 1 / 255, -128),
        Tensor("int8", (3, 90), 0.01, 0, 0, weight),
        Tensor("int8", (1, 3), 0.2, 0),
        Tensor("int32", (2,), None, 0, 0, np.array([-1, 90], np.int32)),
        Tensor("int8", (1, 90), 1 / 255, -128),
    ]
    operators = [
        Operator("RESHAPE", (0, 3), (4,), "ReshapeOptions"),
        Operator("FULLY_CONNECTED", (4, 1, -1), (2,), "FullyConnectedOptions"),
    ]
    return build(tensors, operators, (0,), (2,))


def test_what_the_network_says_is_found_and_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(scaled(small_network(channels=3)), "scaled.onnx")
    assert main(["eval", "scaled.onnx", "--data", "test"]) == 0
    said = capsys.readouterr().err
    assert "scale=255,mean=0,std=1,channels=rgb,layout=nchw (the first operators of scaled.onnx are made for" in said
    assert main(["eval", "scaled.onnx", "--data", "fitting"]) == 0
    assert "are taken as bytes, 0 to 255, but the first operators of scaled.onnx" in capsys.readouterr().err
    base = onnx.load("base.onnx")
    base.metadata_props.add(key="Image.NominalPixelRange", value="Normalized_1_1")
    base.metadata_props.add(key="Image.BitmapPixelFormat", value="Bgr8")
    onnx.save(base, "said.onnx")
    assert main(["eval", "said.onnx", "--data", "test"]) == 0
    assert "scale=127.5,mean=1,std=1,channels=bgr,layout=nchw (the metadata of said.onnx" in capsys.readouterr().err


def scaled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network that begins with (x - mean) / std."""
    front = network(("Sub", [0.485, 0.456, 0.406], False), ("Div", [0.229, 0.224, 0.225], False)).graph
    model.graph.node[0].input[0] = "t1"
    for node in reversed(front.node[:2]):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(tensor for tensor in front.initializer if tensor.name != "w")
    return model


def test_a_base_at_chance_is_said_before_anything_else_is_measured(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lieref.load("base.onnx")
    for name, seed in (("train.npz", 0), ("test.npz", 1)):
        x = np.load(write_data(workplace / name, 300, seed))["x"]
        np.savez(name, x=x, y=np.argmax(model.logits(x), axis=1))
    held = dict(np.load("train.npz"))
    np.savez("shuffled.npz", x=held["x"], y=np.roll(held["y"], 7))
    np.savez("small.npz", x=held["x"] * 1e-3, y=held["y"])
    run = ["finetune", "base.onnx", "--test", "test.npz", *RUN]
    assert main([*run, "--train", "shuffled.npz", "--out", "one"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "no better than chance" in line]
    assert len(lines) == 1
    assert "nearly always wrong preprocessing" in lines[0]
    assert "these are float32 from -" in lines[0]
    assert main([*run, "--train", "small.npz", "--out", "two"]) == 0
    said = capsys.readouterr().err
    assert "no better than chance" in said or "but on 100.0% of the test samples: they are not made alike" in said
    assert main([*run, "--train", "train.npz", "--out", "three"]) == 0
    assert "made alike" not in capsys.readouterr().err


def test_rows_of_a_table_are_samples_of_the_networks_shape(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = np.load("train.npz")
    rows = [",".join([*map(repr, x.ravel().tolist()), str(y)]) for x, y in zip(held["x"], held["y"], strict=True)]
    Path("train.csv").write_text("\n".join(rows))
    for name in ("train.csv", "train.npz"):
        assert main(["finetune", "base.onnx", "--train", name, "--out", name[6:], *RUN]) == 0
    assert "each row of train.csv, 60 numbers, is a sample of 2 x 6 x 5 in row-major order" in capsys.readouterr().err
    assert Path("csv/adapter_model.safetensors").read_bytes() == Path("npz/adapter_model.safetensors").read_bytes()
