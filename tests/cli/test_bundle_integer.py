"""Updates of quantised files as signed bundles: from the update to the device and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref._atomic import write_folder
from lieref.adapter.integer.folder import encode_update
from lieref.adapter.integer.model import load_integer
from lieref.cli import main
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
SELF_TEST = f"{sys.executable} -m lieref.adapter.run_self_test"


def dense_file(path: Path) -> Path:
    """A dense layer of ten outputs, one scale for all."""
    rng = np.random.default_rng(0)
    tensors = [
        Tensor("int8", (1, 6), 0.5, 0),
        Tensor("int8", (10, 6), 0.25, 0, 0, rng.integers(-127, 128, (10, 6)).astype(np.int8)),
        Tensor("int8", (1, 10), 4.0, 3),
    ]
    path.write_bytes(
        build(tensors, [Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")], (0,), (2,))
    )
    return path


@pytest.fixture(params=["tflite", "qoperator", "qdq"])
def bench(request: pytest.FixtureRequest, workplace: Path, run_json: RunJson) -> str:
    """Name of a quantised file, beside it its update and the keys `key`."""
    if request.param == "tflite":
        name = str(dense_file(Path("net.tflite")))
    else:
        name = "net.onnx"
        quantised(residual_net(), workplace, request.param).rename(name)
    model = load_integer(name).attach("tied-scale")
    for values in model.parameters().values():
        values[...] = 0.3
    write_folder("update", encode_update(model.update("codes"), model.integer))
    run_json("bundle", "keygen", "--out", "key")
    return name


def create(run_json: RunJson, base: str, *options: object) -> dict[str, Any]:
    return run_json("bundle", "create", "update", "--base", base, "--key", "key", "--out", "bundle", *options)


def test_to_the_device_and_back(bench: str, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    base = Path(bench).read_bytes()
    run_json("merge", bench, "update", "-o", "merged")
    expected = Path("merged").read_bytes()
    made = create(run_json, bench, "--version", "1.2", "--counter", 7)
    assert (made["kind"], made["left_out"]) == ("integer-update", [])
    assert made["merged_sha256"] == sha256(expected).hexdigest()
    assert {path.name: path.stat().st_size for path in Path("bundle").iterdir()} == made["bytes"]
    assert made["bytes"]["integer_update.bin"] == Path("update/integer_update.bin").stat().st_size
    verified = run_json("bundle", "verify", "bundle", "--base", bench, "--trust", "key", "--run")
    assert verified["self_test"]["integers_equal"] == 2 * (10 if bench == "net.tflite" else 5)
    run_json("merge", bench, "bundle", "-o", "again")
    assert Path("again").read_bytes() == expected
    run_json("device", "init", "--store", "store", "--base", bench, "--trust", "key")
    run_json("device", "install", "bundle", "--store", "store", "--self-test", SELF_TEST)
    start = run_json("device", "start", "--store", "store")
    assert Path(start["updated"]).read_bytes() == expected != base
    assert Path(start["updated"]).suffix == Path(bench).suffix
    run_json("device", "mark-good", "--store", "store")
    run_json("device", "rollback", "--store", "store")
    start = run_json("device", "start", "--store", "store")
    assert (start["updated"], Path(start["base"]).read_bytes()) == (None, base)
    run_json("device", "rollback", "--store", "store")
    assert Path(run_json("device", "start", "--store", "store")["updated"]).read_bytes() == expected
    capsys.readouterr()
    assert main(["bundle", "show", "bundle"]) == 0
    assert "integer-update" in capsys.readouterr().out


def test_a_self_test_of_ones_own_samples(bench: str, run_json: RunJson, fails: Fails) -> None:
    model = load_integer(bench).integer
    shape = model.tensors[model.inputs[0]].shape[1:]
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    np.savez("samples.npz", x=x)
    np.savez("other.npz", z=x)
    command = ("bundle", "create", "update", "--base", bench, "--key", "key", "--out", "bundle", "--self-test")
    assert "must hold the input" in fails(*command, "other.npz")
    assert not Path("bundle").exists()
    how = "xnnpack" if bench.endswith("tflite") else "onnxruntime"
    create(run_json, bench, "--self-test", "samples.npz", "--semantics", how)
    verified = run_json("bundle", "verify", "bundle", "--base", bench, "--trust", "key", "--run")
    assert verified["self_test"]["runtime"] == f"lieref, {how}"


def test_kinds_are_told_apart(bench: str, run_json: RunJson, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    """A float adapter for the quantised file, the update for a float network: at the desk and on the device."""
    model = lieref.load("base.onnx")
    model.attach("scale")
    model.save_adapter("adapter")
    rest = ("--key", "key", "--out", "wrong")
    assert "is a quantised file; got adapter" in fails("bundle", "create", "adapter", "--base", bench, *rest)
    assert "got base.onnx, a float network" in fails("bundle", "create", "update", "--base", "base.onnx", *rest)
    options = ("--semantics", "xnnpack")
    said = fails("bundle", "create", "adapter", "--base", "base.onnx", *rest, *options)
    assert "`semantics` must be left out for a float network" in said
    assert "must be one of" in fails("bundle", "create", "update", "--base", bench, *rest, "--semantics", "gpu")
    assert not Path("wrong").exists()
    create(run_json, bench)
    run_json("bundle", "create", "adapter", "--base", "base.onnx", "--key", "key", "--out", "float")
    capsys.readouterr()
    for bundle, base, said in (
        (
            "float",
            bench,
            "must be a float network, for the bundle holds an adapter of a float network; got a quantised",
        ),
        ("bundle", "base.onnx", "must be a quantised file, for the bundle holds an update of a quantised file; got a"),
    ):
        assert main(["bundle", "verify", bundle, "--base", base, "--trust", "key"]) == 3
        printed = capsys.readouterr()
        assert printed.out == "refused: kind\n"
        assert said in printed.err
        assert len(printed.err.splitlines()) == 1


def test_an_update_of_another_file(bench: str, fails: Fails) -> None:
    content = bytearray(Path(bench).read_bytes())
    content[-1] ^= 1
    name = f"other{Path(bench).suffix}"
    Path(name).write_bytes(content)
    fails("bundle", "create", "update", "--base", name, "--key", "key", "--out", "wrong")
    assert not Path("wrong").exists()
