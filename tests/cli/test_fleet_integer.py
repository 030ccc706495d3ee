"""`lieref fleet` of a quantised file: an update for each device, judged by integers, in the table of every fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.bundle.signing import make_key
from lieref.adapter.bundle.trust import read_root
from lieref.adapter.bundle.verify import verify_bundle
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, read_form, read_update
from lieref.cli import main
from lieref.model.integer.reader import read_integer
from tests.cli.helpers import CLASSES, small_network, snapshot, write_data
from tests.model.integer.quantised import quantised, run_onnx
from validation.integer.tflite_file import Operator, Tensor, build

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
SETTINGS = "epochs = 6\nlearning_rate = 0.1\nbatch = 8\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The small network in both forms of ONNX, and a dense layer as .tflite."""
    folder = tmp_path_factory.mktemp("made")
    found = {
        f"{form}.onnx": quantised(small_network(), folder, form, name="image", shape=(2, 6, 5)).read_bytes()
        for form in ("qdq", "qoperator")
    }
    pytest.importorskip("tflite")
    rng = np.random.default_rng(0)
    tensors = [
        Tensor("int8", (1, 60), 0.03, 0),
        Tensor("int8", (CLASSES, 60), 0.01, 0, 0, rng.integers(-127, 128, (CLASSES, 60), np.int8)),
        Tensor("int32", (CLASSES,), 0.0003, 0, 0, np.zeros(CLASSES, np.int32)),
        Tensor("int8", (1, CLASSES), 0.2, 0),
    ]
    dense = Operator("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")
    return {**found, "dense.tflite": build(tensors, [dense], (0,), (3,))}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> Callable[..., None]:
    """Devices a and b, and what writes the manifest of a base."""
    monkeypatch.chdir(tmp_path)

    def write(base: str, settings: str = SETTINGS, more: str = "") -> None:
        Path(base).write_bytes(files[base])
        for number, name in enumerate("ab"):
            Path(name).mkdir(exist_ok=True)
            for part, count, seed in (("train", 25, number), ("test", 40, number + 5)):
                path = write_data(Path(name, f"{part}.npz"), count, seed)
                if base == "dense.tflite":
                    with np.load(path) as held:
                        x, y = held["x"].reshape(count, -1), held["y"]
                    np.savez(path, x=x, y=y)
        Path("fleet.toml").write_text(
            f'base = "{base}"\n{settings}devices = "*/train.npz"\ntest = "*/test.npz"\n{more}'
        )

    return write


def test_a_device_gets_an_update_that_onnx_runtime_judges_alike(
    fleet: Callable[..., None], run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    make_key("key")
    fleet("qoperator.onnx", f"{SETTINGS}codes = true\n", '[bundle]\nkey = "key"\n')
    found = run_json("fleet", "fleet.toml", "--out", "out")
    assert (found["plan"]["method"], found["encoding"], found["semantics"]) == ("tied-scale", "codes", "onnxruntime")
    assert json.loads(Path("out/fleet.json").read_text()) == found
    graph = read_integer("qoperator.onnx")
    adapted = [row for row in found["devices"] if row["kept"] == "own"]
    assert adapted
    for row in adapted:
        folder = Path("out/adapters", row["device"])
        assert read_form(folder)["encoding"] == "codes"
        with np.load(f"{row['device']}/test.npz") as data:
            x, y = data["x"], data["y"]
        for name, content in (("base", graph.content), ("adapted", read_update(folder, graph).apply(graph))):
            right = run_onnx(content, x).argmax(axis=1) == y
            assert row[name] == pytest.approx(right.mean())
            low, high = row[f"{name}_interval"]
            assert low < row[name] < high
        assert row["gain_interval"][0] <= row["gain"] <= row["gain_interval"][1]
        assert row["update_bytes"] == sum((folder / name).stat().st_size for name in (BIN_NAME, JSON_NAME))
        bundle = Path("out/bundles", row["device"])
        signed = verify_bundle(bundle, base="qoperator.onnx", trust=read_root("key"))
        assert signed.config["self_test"]["semantics"] == "onnxruntime"
    # Again: nothing is trained or signed twice.
    before = snapshot(Path("out"))
    assert main(["fleet", "fleet.toml", "--out", "out", "--resume"]) == 0
    assert snapshot(Path("out")) == before
    printed = capsys.readouterr()
    assert "devices are judged by integers, as onnxruntime rounds them" in printed.err
    assert "Devices, the worst first, by accuracy" in printed.out
    assert main(["report", "out"]) == 0
    assert "semantics | onnxruntime" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("base", "settings", "semantics"),
    [
        ("qdq.onnx", 'method = "liera-int8"\nrank = 1\n', "onnxruntime"),
        ("dense.tflite", 'method = "bias"\nsemantics = "xnnpack"\n', "xnnpack"),
        ("dense.tflite", 'method = "scale"\n', "tflite-reference"),
    ],
)
def test_every_form_and_method(
    fleet: Callable[..., None], run_json: RunJson, base: str, settings: str, semantics: str
) -> None:
    fleet(base, SETTINGS + settings)
    found = run_json("fleet", "fleet.toml", "--out", "out")
    assert found["semantics"] == semantics
    assert [row.get("failed") for row in found["devices"]] == [None, None]
    for row in found["devices"]:
        if row["kept"] == "own":
            read_update(Path("out/adapters", row["device"]), read_integer(base))
    assert any(row["kept"] == "own" for row in found["devices"])


def test_what_a_quantised_file_does_not_take_is_one_line(fleet: Callable[..., None], fails: Fails) -> None:
    run = ("fleet", "fleet.toml", "--out", "out")
    fleet("dense.tflite")
    assert "rounds average adapters of float networks" in fails(*run, "--rounds", "2")
    for settings, said in (
        ('method = "lora"\n', "`method` must be one of tied-scale, scale, bias, liera-int8; got 'lora'"),
        ('method = "auto"\n', "got 'auto'"),
        ("rank = 2\n", '`rank` must be left out for method = "tied-scale"'),
        ('method = "bias"\ncodes = true\n', '`codes` must be left out for method = "bias"'),
        ('semantics = "abacus"\n', "`semantics` must be one of"),
        ("alpha = 2\n", "`alpha` must be left out where `base` is a quantised file"),
    ):
        fleet("dense.tflite", settings)
        assert said in fails(*run)
    Path("dense.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    assert "error" in fails(*run)
