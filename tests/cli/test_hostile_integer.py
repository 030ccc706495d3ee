"""Quantised files and their updates in clumsy or hostile hands: one line, and nothing written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.integer.c_update import c_update
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, encode_update
from lieref.adapter.integer.model import IntegerModel
from lieref.cli import main
from lieref.errors import DomainError
from lieref.model.integer.reader import read_integer
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]


@pytest.fixture
def network(workplace: Path) -> Path:
    """A dense layer with a bias in net.tflite, and an update of it that doubles the second channel."""
    tensors = [
        Tensor("int8", (1, 2), 0.5, 0),
        Tensor("int8", (2, 2), [0.5, 0.25], [0, 0], 0, np.array([[1, 0], [0, 2]], np.int8)),
        Tensor("int32", (2,), [0.25, 0.125], [0, 0], 0, np.array([3, -3], np.int32)),
        Tensor("int8", (1, 2), 0.25, 0),
    ]
    content = build(tensors, [Operator("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")], (0,), (3,))
    Path("net.tflite").write_bytes(content)
    model = IntegerModel(read_integer("net.tflite"), "net.tflite").attach("tied-scale")
    model.sites["t1"].params["xi"][:] = np.log([1, 2])
    Path("update").mkdir()
    for name, data in encode_update(model.update(), model.integer).items():
        Path("update", name).write_bytes(data)
    return Path("net.tflite")


def names() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


def test_an_output_that_is_read_is_never_written(network: Path, fails: Fails) -> None:
    content, before = network.read_bytes(), names()
    os.link(network, "linked.tflite")
    for out in ("net.tflite", "linked.tflite"):
        line = fails("export", "update", "--base", network, "--format", "c-int8-update", "-o", out, "--force")
        assert "never changed" in line
        assert "never changed" in fails("merge", network, "update", "-o", out, "--force")
    assert network.read_bytes() == content
    assert names() == before | {"linked.tflite"}


def test_names_of_any_script_become_names_of_c(network: Path, run_json: RunJson) -> None:
    for stem in ("größe", "量化", "a b;c", "x" * 80, "9"):
        run_json("export", "update", "--base", network, "--format", "c-int8-update", "-o", f"{stem}.h")
        text = Path(f"{stem}.h").read_text("ascii")
        assert "_apply(uint8_t *model, size_t bytes)" in text


def test_functions_are_named_as_the_file_and_said(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stem, name in (
        ("net", "update_net"),
        ("update", "update"),
        ("update_2", "update_2"),
        ("updates", "update_updates"),
    ):
        assert main(["export", "update", "--base", str(network), "--format", "c-int8-update", "-o", f"{stem}.h"]) == 0
        assert f"In C {name}_apply(model, bytes)" in capsys.readouterr().out
        text = Path(f"{stem}.h").read_text("ascii")
        assert all(f"int {name}_{verb}(" in text for verb in ("apply", "undo", "move", "check", "self_test"))


def test_the_self_test_of_the_c_header_is_as_asked_for(network: Path, run_json: RunJson, fails: Fails) -> None:
    words = ("export", "update", "--base", network, "--format", "c-int8-update", "-o", "u.h")
    np.savez("own.npz", x=np.array([[1, -2], [30, -40], [5, 99]], np.int8))
    found = run_json(*words, "--samples", "2", "--data", "own.npz", "--semantics", "xnnpack")
    wanted = {"semantics": "xnnpack", "samples": 2, "inputs": 2, "outputs": 2, "compared": 2, "bytes": 2 * (2 + 4)}
    assert {key: found["self_test"][key] for key in wanted} == wanted
    assert "{\n    30, -40" in Path("u.h").read_text("ascii")  # of the three the one that the second channel moves most
    without = run_json(*words, "--samples", "0", "--force")
    assert (without["self_test"], without["table_bytes"]) == (None, found["table_bytes"])
    assert "update_u_self_test" not in Path("u.h").read_text("ascii")
    assert "--samples 0 leaves that out" in fails(*words, "--samples", "0", "--data", "own.npz")
    assert "`semantics` must be one of" in fails(*words, "--semantics", "abacus")
    np.savez("other.npz", y=np.zeros(3))
    assert "must hold the input" in fails(*words, "--data", "other.npz")
    line = fails("export", "float", "--base", "base.onnx", "--format", "peft", "-o", "x", "--samples", "2")
    assert "--samples is for --format c-int8-update" in line


def test_forms_and_what_they_are_of_must_fit(network: Path, fails: Fails) -> None:
    line = fails("export", "update", "--base", network, "--format", "peft", "-o", "x")
    assert "no form but --format c-int8-update" in line
    Path("empty").mkdir()
    line = fails("export", "empty", "--base", network, "--format", "c-int8-update", "-o", "x.h")
    assert "empty holds none: lieref carry empty NET --out UPDATE" in line


def test_options_of_other_formats_are_not_passed_over(network: Path, fails: Fails) -> None:
    for option in (("--weights", "delta"), ("--rank", "3"), ("--model-names", "n.json")):
        line = fails("export", "update", "--base", network, "--format", "c-int8-update", "-o", "u.h", *option)
        assert f"{option[0]} does not go with" in line
    assert not Path("u.h").exists()


def edited(**fields: Any) -> None:
    path = Path("update", JSON_NAME)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_method_cannot_end_the_comment_that_names_it(network: Path, fails: Fails) -> None:
    for method in ("*/ int evil; /*", "a\nb", "", "x" * 200, 'a"b'):
        edited(method=method)
        for words in (("merge", network, "update", "-o", "new.tflite"),
                      ("export", "update", "--base", network, "--format", "c-int8-update", "-o", "u.h")):  # fmt: skip
            assert "method" in fails(*words)
    assert not Path("new.tflite").exists()
    assert not Path("u.h").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"base_bytes": 10**400}, {"base_bytes": -1}, {"base_bytes": 1.0}, {"payload_bytes": True},
        {"layers": [[0, 2, 0, 0]] * 2}, {"layers": [[0, 10**30, 0, 0]]}, {"layers": [[-1, 2, 0, 0]]},
        {"layers": [[0, 2, 2, 0]]}, {"layers": []}, {"layers": [[0, 2, 0, 4]]}, {"layers": [[0, 2, 0]]},
        {"bias_rule": "none"}, {"encoding": "codes"}, {"format": "lieref-integer-update-2"}, {"format": None},
        {"weight_differences": 1 << 40, "layers": [[0, 2, 0, 4]]}, {"result_sha256": "0" * 64},
        {"payload_sha256": "0" * 64}, {"base_sha256": "\ud800"}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_edited_updates_are_refused(change: dict[str, Any], network: Path, fails: Fails) -> None:
    edited(**change)
    before = names()
    assert "error" in fails("merge", network, "update", "-o", "new.tflite")
    assert names() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"format": 1, "format": 2}', '{"base_bytes": NaN}', "\xff", "[" * 100_000]
)
def test_other_text_is_refused(text: str, network: Path, fails: Fails) -> None:
    Path("update", JSON_NAME).write_bytes(text.encode("latin-1"))
    assert "error" in fails("merge", network, "update", "-o", "new.tflite")


def test_half_of_an_update_is_refused(network: Path, fails: Fails) -> None:
    payload = Path("update", BIN_NAME)
    data = payload.read_bytes()
    for half in (b"", data[:-1], data + b"\0", bytes(len(data))):
        payload.write_bytes(half)
        assert "error" in fails("merge", network, "update", "-o", "new.tflite")
    payload.unlink()
    assert BIN_NAME in fails("merge", network, "update", "-o", "new.tflite")
    payload.symlink_to(payload.name)
    assert BIN_NAME in fails("merge", network, "update", "-o", "new.tflite")


@pytest.mark.parametrize("number", [np.nan, -1.0, 0.0, np.inf, 1e-40, 1e30])
def test_scales_that_are_no_scales_are_refused(number: float, network: Path, fails: Fails) -> None:
    data = np.array([0.5, number], "<f4").tobytes()
    Path("update", BIN_NAME).write_bytes(data)
    edited(payload_sha256=hashlib.sha256(data).hexdigest(), result_sha256="")
    assert "error" in fails("merge", network, "update", "-o", "new.tflite")


def test_pixels_in_another_unit_are_said(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.random((8, 2)).astype(np.float32) / 20, y=np.arange(8) % 2)
    assert main(["eval", str(network), "--data", "data.npz"]) == 0
    assert "multiply pixels" in capsys.readouterr().err


def test_an_update_that_does_not_fit_leaves_nothing(network: Path) -> None:
    graph = read_integer(network)
    model = IntegerModel(graph, "net").attach("tied-scale")
    with pytest.raises(DomainError, match="identifier of C"):
        c_update(model.update(), graph, "9 lives")


def test_an_update_where_an_adapter_is_meant_says_so(network: Path, workplace: Path, fails: Fails) -> None:
    line = fails("eval", "base.onnx", "--adapter", "update", "--data", "test.npz")
    assert "holds the update of a quantised file" in line
    line = fails("finetune", "base.onnx", "--from", "update", "--train", "train.npz", "--out", "new")
    assert "holds the update of a quantised file" in line


@pytest.mark.parametrize(
    "command", [("inspect", "update"), ("eval", "net.tflite", "--adapter", "update", "--data", "d.npz")]
)
def test_a_damaged_update_is_refused_by_what_reads_it(command: tuple[str, ...], network: Path, fails: Fails) -> None:
    np.savez("d.npz", x=np.zeros((2, 2), np.float32), y=np.arange(2))
    data = Path("update", BIN_NAME).read_bytes()
    Path("update", BIN_NAME).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert "must be what the update was written with" in fails(*command)
    Path("update", BIN_NAME).unlink()
    assert f"must hold {BIN_NAME}" in fails(*command)
    Path("update", BIN_NAME).write_bytes(data)
    edited(layers=[[0, "2", 0, 0]])
    assert "scales, biases and weights" in fails(*command)
