"""Adapters of other libraries that are broken: one error each, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.tensor_file import encode_tensors
from lieref.cli import main
from tests.adapter.exchange.network import STATE, state, write, write_adapter

Tensors = dict[str, Any]
Refused = Callable[..., str]


def lora(r: int = 2, name: str = "low") -> Tensors:
    out, in_ = STATE[f"{name}.weight"][:2]
    rng = np.random.default_rng(0)
    return {
        f"{name}.lora_A.weight": rng.normal(size=(r, in_)).astype(np.float32),
        f"{name}.lora_B.weight": rng.normal(size=(out, r)).astype(np.float32),
    }


def locon(r: int = 2, name: str = "low", alpha: float = 1.0) -> Tensors:
    tensors = {f"lycoris_{key}": value for key, value in lora(r, name).items()}
    for ours, theirs in (("lora_A", "lora_down"), ("lora_B", "lora_up")):
        tensors[f"lycoris_{name}.{theirs}.weight"] = tensors.pop(f"lycoris_{name}.{ours}.weight")
    return {**tensors, f"lycoris_{name}.alpha": np.asarray(alpha, np.float32)}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Import an adapter that must be refused with one line, and return the line; no file is made, changed or left."""
    write(tmp_path / "base.onnx", state())

    def run(adapter: Path, *more: object) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        arguments = ["import", str(adapter), "--base", str(tmp_path / "base.onnx"), "--out", str(tmp_path / "out")]
        status = main([*arguments, *map(str, more)])
        printed = capsys.readouterr()
        assert status == 2, printed.err
        assert printed.out == ""
        lines = [line for line in printed.err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("error: ")
        assert "defect" not in lines[0]
        assert "Traceback" not in printed.err
        assert len(lines[0]) < 2000
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert not (tmp_path / "out").exists()
        return lines[0]

    return run


def changed(tensors: Tensors, ending: str, change: Callable[[np.ndarray], Any]) -> Tensors:
    """Return the tensors with that of one ending changed, left out where the change returns None."""
    result = {}
    for name, value in tensors.items():
        new = change(value) if name.endswith(ending) else value
        if new is not None:
            result[name] = new
    return result


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.full_like(array, value)


def first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.reshape(-1)[0] = value
        return array

    return change


LYCORIS: dict[str, tuple[Tensors, str]] = {
    "no tensors": ({}, "must hold a module"),
    "no module's name": ({"lora_up": np.ones((2, 2), np.float32)}, "a full stop"),
    "up without down": (changed(locon(), "lora_down.weight", lambda _: None), "lora_down.weight"),
    "alpha alone": ({"lycoris_low.alpha": np.ones((), np.float32)}, "an algorithm that is read"),
    "too few rows": (changed(locon(), "lora_up.weight", lambda v: v[1:]), "lora_up.weight"),
    "too many columns": (changed(locon(), "lora_down.weight", lambda v: np.pad(v, ((0, 0), (0, 1)))), "lora_down"),
    "two ranks": (changed(locon(), "lora_down.weight", lambda v: v[1:]), "one rank"),
    "no rank": ({**locon(r=1), **{k: np.ones((5, 0) if "up" in k else (0, 8), np.float32)
                                  for k in locon() if "alpha" not in k}}, "shape"),
    "one axis": (changed(locon(), "lora_up.weight", lambda v: v.reshape(-1)), "lora_up.weight"),
    "NaN": (changed(locon(), "lora_up.weight", first(np.nan)), "finite"),
    "infinity": (changed(locon(), "lora_down.weight", first(np.inf)), "finite"),
    "alpha NaN": (changed(locon(), "alpha", filled(np.nan)), "finite"),
    "alpha below zero": (changed(locon(), "alpha", filled(-1.0)), "alpha"),
    "alpha of two numbers": (changed(locon(), "alpha", lambda _: np.ones(2, np.float32)), "alpha"),
    "an overflow": (changed(locon(), "weight", filled(3e38)), "finite"),
    "alpha beyond float32": (
        changed(changed(locon(), "weight", filled(1e3)), "alpha", lambda _: np.asarray(1e308)), "lora_alpha",
    ),
    "nowhere": (locon(name="low") | {k.replace("_low", "_lo"): v for k, v in locon().items()}, "lo"),
    "two prefixes": (locon() | {k.replace("lycoris", "lora_unet"): v for k, v in locon().items()}, "once"),
    "two algorithms": ({**locon(), "lycoris_low.diff": np.ones((5, 8), np.float32)}, "one algorithm"),
    "an unknown tensor": ({**locon(), "lycoris_low.extra": np.ones(3, np.float32)}, "extra"),
    "a Tucker form": ({"lycoris_low.hada_t1": np.ones((2, 2), np.float32)}, "Tucker"),
    "a bias that is none": ({"lycoris_mix.diff": np.ones((8, 3, 1, 1), np.float32),
                             "lycoris_mix.diff_b": np.ones(8, np.float32)}, "bias"),
    "a bias of another size": ({"lycoris_low.diff": np.ones((5, 8), np.float32),
                                "lycoris_low.diff_b": np.ones(4, np.float32)}, "bias"),
    "a difference of another shape": ({"lycoris_low.diff": np.ones((8, 5), np.float32)}, "diff"),
    "a normalisation that is none": ({"lycoris_low.w_norm": np.ones(5, np.float32)}, "LayerNorm"),
    "text for numbers": (changed(locon(), "lora_up.weight", lambda v: v.astype(bool)[:2]), "lora_up"),
    "lengths of another number": ({**locon(), "lycoris_low.dora_scale": np.ones((4, 1), np.float32)}, "dora_scale"),
    "blocks that do not fill": ({"lycoris_low.oft_blocks": np.ones((3, 2, 2), np.float32)}, "oft_blocks"),
    "blocks that are not square": ({"lycoris_low.oft_blocks": np.ones((5, 1, 2), np.float32)}, "oft_blocks"),
    "odd blocks of BOFT": ({"lycoris_low.oft_blocks": np.ones((1, 1, 5, 5), np.float32)}, "even"),
    "blocks of two axes": ({"lycoris_low.oft_blocks": np.ones((5, 1), np.float32)}, "oft_blocks"),
    "a Kronecker factor that does not divide": ({"lycoris_low.lokr_w1": np.ones((2, 2), np.float32),
                                                 "lycoris_low.lokr_w2": np.ones((2, 4), np.float32)}, "lokr_w1"),
    "on_input of 2": ({"lycoris_low.weight": np.ones(5, np.float32), "lycoris_low.on_input": np.asarray(2)}, "0 or 1"),
    "in channels of conv groups": ({"lycoris_mix.weight": np.ones((1, 6, 1, 1), np.float32),
                                    "lycoris_mix.on_input": np.asarray(1)}, "groups"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(LYCORIS))
def test_lycoris(tmp_path: Path, refused: Refused, case: str) -> None:
    tensors, said = LYCORIS[case]
    (tmp_path / "adapter.safetensors").write_bytes(encode_tensors(tensors))
    assert said in refused(tmp_path / "adapter.safetensors")


def test_a_huge_rank_of_lycoris_is_a_whole_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "base.onnx", state())
    (tmp_path / "adapter.safetensors").write_bytes(encode_tensors(locon(r=4096)))
    arguments = ["import", str(tmp_path / "adapter.safetensors"), "--base", str(tmp_path / "base.onnx"), "--json"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["numbers"], report["modules"]["low"]["method"]) == (40, "dense+additive+exp")
    assert "the rank is 4096" in report["notes"][0]


def test_alpha_zero_of_lycoris_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "base.onnx", state())
    (tmp_path / "adapter.safetensors").write_bytes(encode_tensors(locon(alpha=0.0)))
    arguments = ["import", str(tmp_path / "adapter.safetensors"), "--base", str(tmp_path / "base.onnx")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "alpha 0 stands for the rank" in capsys.readouterr().err


CONFIG = {"r": 2, "lora_alpha": 2}
PEFT: dict[str, tuple[str, Tensors, dict[str, Any], str]] = {
    "no tensors": ("LORA", {}, CONFIG, ""),
    "A without B": ("LORA", changed(lora(), "lora_B.weight", lambda _: None), CONFIG, "lora_B"),
    "too few rows": ("LORA", changed(lora(), "lora_B.weight", lambda v: v[1:]), CONFIG, "low"),
    "two ranks": ("LORA", changed(lora(), "lora_A.weight", lambda v: v[1:]), CONFIG, "low"),
    "another rank than the configuration's": ("LORA", lora(3), CONFIG, "low"),
    "NaN": ("LORA", changed(lora(), "lora_A.weight", first(np.nan)), CONFIG, "finite"),
    "infinity": ("LORA", changed(lora(), "lora_B.weight", first(-np.inf)), CONFIG, "finite"),
    "an overflow": ("LORA", changed(lora(), "weight", filled(3e38)), CONFIG, "finite"),
    "alpha NaN": ("LORA", lora(), {"r": 2, "lora_alpha": float("nan")}, ""),
    "alpha of text": ("LORA", lora(), {"r": 2, "lora_alpha": "much"}, "alpha"),
    "alpha zero": ("LORA", lora(), {"r": 2, "lora_alpha": 0}, "alpha"),
    "rank zero": ("LORA", lora(), {"r": 0, "lora_alpha": 1}, ""),
    "rank of text": ("LORA", lora(), {"r": "two", "lora_alpha": 1}, ""),
    "no rank": ("LORA", lora(0), {"r": 0, "lora_alpha": 1}, "r at least 1"),
    "an alpha without end": ("LORA", lora(), {"r": 2, "lora_alpha": 10**400}, "at most 1e+30"),
    "a factor of text": (
        "LOKR",
        {"low.lokr_w1": np.ones((2, 2), np.float32), "low.lokr_w2": np.ones((2, 2), np.float32)},
        {"r": 2, "alpha": 2, "decompose_factor": "x"},
        "decompose_factor must be an integer",
    ),
    "places between entries": (
        "SHIRA",
        {"low.shira_weight": np.ones(1, np.float32), "low.shira_indices": np.full((2, 1), 0.9, np.float32)},
        {"r": 1},
        "integers",
    ),
    "nowhere": ("LORA", {k.replace("low", "lower"): v for k, v in lora().items()}, CONFIG, "lower"),
    "an unknown tensor": ("LORA", {**lora(), "low.lora_C.weight": np.ones(3, np.float32)}, CONFIG, "lora_C"),
    "an unknown kind": ("ABRACADABRA", lora(), CONFIG, "ABRACADABRA"),
    "a kind that is not read": ("PSOFT", lora(), CONFIG, "singular vectors"),
    "tensors of another kind": ("LOHA", lora(), {"r": 2, "alpha": 2}, "LOHA"),
}


@pytest.mark.parametrize("case", list(PEFT))
def test_peft(tmp_path: Path, refused: Refused, case: str) -> None:
    kind, tensors, config, said = PEFT[case]
    write_adapter(tmp_path / "adapter", kind, tensors, **config)
    assert said in refused(tmp_path / "adapter")


def test_what_is_no_adapter(tmp_path: Path, refused: Refused) -> None:
    assert "there is no" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("an adapter")
    assert "of a library that is read" in refused(tmp_path / "notes.txt")
    for name in ("adapter.pt", "adapter.ckpt", "adapter.bin"):
        (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        assert "pickle" in refused(tmp_path / name)
    good = encode_tensors(locon())
    for name, data in {
        "empty.safetensors": b"", "short.safetensors": good[:40], "long.safetensors": good + b"\0",
        "huge.safetensors": (2**60).to_bytes(8, "little") + b"{}", "text.safetensors": b"hello, I am no tensors",
        "deep.safetensors": (60000).to_bytes(8, "little") + b"[" * 60000,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name)


def test_names_that_are_none(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(encode_tensors(locon()))
    for name, text in {
        "none.json": None, "list.json": "[]", "numbers.json": '{"low": 3}', "broken.json": "{",
        "other.json": '{"low": "nothing"}',
        "pickle.pt": "x", "twice.json": '{"low": "head.weight", "low": "low.weight"}',
    }.items():  # fmt: skip
        if text is not None:
            (tmp_path / name).write_text(text)
        refused(tmp_path / "adapter.safetensors", "--model-names", tmp_path / name)
    other = state(seed=9)
    (tmp_path / "other.safetensors").write_bytes(encode_tensors(other))
    refused(tmp_path / "adapter.safetensors", "--model-names", tmp_path / "other.safetensors")


def test_two_modules_of_one_flat_name_are_listed_and_refused(tmp_path: Path, refused: Refused) -> None:
    import onnx

    proto = onnx.load(tmp_path / "base.onnx")
    for tensor in proto.graph.initializer:
        tensor.name = {"low.weight": "a.b.weight", "head.weight": "a_b.weight"}.get(tensor.name, tensor.name)
    for node in proto.graph.node:
        node.name = {"/low/MatMul": "/a/a.b/MatMul", "/head/Gemm": "/a_b/Gemm"}.get(node.name, node.name)
        for index, name in enumerate(node.input):
            node.input[index] = {"head.weight": "a_b.weight"}.get(name, name)
    onnx.save(proto, tmp_path / "base.onnx")
    tensors = {key.replace("_low", "_a_b"): value for key, value in locon().items()}
    (tmp_path / "adapter.safetensors").write_bytes(encode_tensors(tensors))
    line = refused(tmp_path / "adapter.safetensors")
    assert "/a/a.b/MatMul" in line
    assert "/a_b/Gemm" in line
