"""Folders for PEFT: what is read from one is written again with the same bits, and what it has no form for as LoRA."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.peft import read
from lieref.adapter.exchange.peft_write import write_peft
from lieref.adapter.model import Model, load
from lieref.adapter.tensor_file import decode_tensors
from lieref.errors import DomainError, UnsupportedError
from lieref.model.head import NewHead
from tests.adapter.exchange.network import state, write, write_adapter

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")
CONV = "block.0.conv"


def written(model: Model, given: Given | None = None) -> tuple[dict[str, Array], dict[str, Any], tuple[str, ...]]:
    made = write_peft(model, given)
    tensors, metadata = decode_tensors(made.files["adapter_model.safetensors"])
    assert metadata == {"format": "pt"}
    config = json.loads(made.files["adapter_config.json"])
    return {key.removeprefix("base_model.model."): value for key, value in tensors.items()}, config, made.notes


def numbers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


ROUND: dict[str, tuple[str, dict[str, Array], dict[str, Any]]] = {
    "lora": ("LORA", {f"{CONV}.lora_A.weight": numbers(2, 4, 3, 3), f"{CONV}.lora_B.weight": numbers(6, 2, 1, 1),
                      "low.lora_A.weight": numbers(3, 8), "low.lora_B.weight": numbers(5, 3)},
             {"r": 2, "lora_alpha": 3, "rank_pattern": {"^low": 3}, "alpha_pattern": {"^low": 7}}),
    "rslora": ("LORA", {"low.lora_A.weight": numbers(3, 8), "low.lora_B.weight": numbers(5, 3)},
               {"r": 3, "lora_alpha": 3, "use_rslora": True}),
    "dora": ("LORA", {f"{CONV}.lora_A.weight": numbers(2, 4, 3, 3), f"{CONV}.lora_B.weight": numbers(6, 2, 1, 1),
                      f"{CONV}.lora_magnitude_vector": np.abs(numbers(1, 6, 1, 1))},
             {"r": 2, "lora_alpha": 3, "use_dora": True}),
    "loha": ("LOHA", {f"mix.hada_{k}": numbers(*s) for k, s in
                      {"w1_a": (8, 2), "w1_b": (2, 3), "w2_a": (8, 2), "w2_b": (2, 3)}.items()}, {"r": 2, "alpha": 3}),
    "lokr": ("LOKR", {f"{CONV}.lokr_w1": numbers(2, 2), f"{CONV}.lokr_w2": numbers(3, 2, 3, 3)},
             {"r": 4, "alpha": 3, "decompose_factor": -1}),
    "ia3": ("IA3", {"low.ia3_l": 1 + np.abs(numbers(5, 1)), f"{CONV}.ia3_l": 1 + np.abs(numbers(1, 4, 1, 1))},
            {"feedforward_modules": [CONV]}),
    "oft": ("OFT", {"low.oft_R.weight": numbers(2, 6)}, {"r": 0, "oft_block_size": 4, "use_cayley_neumann": False}),
    "oft-cayley-neumann": ("OFT", {"low.oft_R.weight": numbers(2, 6)},
                           {"r": 0, "oft_block_size": 4, "use_cayley_neumann": True, "num_cayley_neumann_terms": 6}),
    "hira": ("HIRA", {f"{CONV}.hira_A": numbers(2, 4, 3, 3), f"{CONV}.hira_B": numbers(6, 2, 1, 1)}, {"r": 2}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROUND)
def test_every_number_comes_back(tmp_path: Path, kind: str) -> None:
    peft_type, tensors, config = ROUND[kind]
    model = load(write(tmp_path / "base.onnx", state()))
    attach_foreign(model, read(write_adapter(tmp_path / "peft", peft_type, tensors, **config)))
    model.save_adapter(tmp_path / "adapter")
    again, said, notes = written(load(tmp_path / "base.onnx").load_adapter(tmp_path / "adapter"))
    assert again.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(again[key], value, strict=True)
    assert said["peft_type"] == peft_type
    assert not notes
    for path in {re.split(r"\.(lora|hada|lokr|ia3|oft|hira)_", key)[0] for key in tensors}:
        assert re.fullmatch(said["target_modules"], path)
    for field in ("r", "lora_alpha", "alpha", "use_rslora", "use_dora"):
        assert said.get(field) == config.get(field, said.get(field))


def test_reflections_come_back_within_a_rounding(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    u = numbers(8, 4)
    attach_foreign(model, read(write_adapter(tmp_path / "peft", "HRA", {"low.hra_u": u}, r=4)))
    again, config, _ = written(model)
    np.testing.assert_array_equal(again["low.hra_u"][:, 0::2], u[:, 0::2])
    assert np.abs(again["low.hra_u"] - u).max() <= 2.0**-22 * np.abs(u).max()
    assert config["r"] == 4


@pytest.mark.parametrize("method", ["liera", "oft", "flora", "elra"])
@pytest.mark.parametrize("node", ["/low/MatMul", "/mix/Conv"])
def test_what_peft_has_no_form_for_is_lora_of_full_rank(tmp_path: Path, method: str, node: str) -> None:
    model = load(write(tmp_path / "base.onnx", state())).attach(method, target_modules=[node])
    generator = np.random.default_rng(1)
    for factor in model.parameters().values():
        factor += 0.3 * generator.standard_normal(factor.shape).astype(np.float32)
    tensors, config, notes = written(model)
    path = "low" if node.startswith("/low") else "mix"
    a, b = (tensors[f"{path}.lora_{name}.weight"].astype(float) for name in "AB")
    base = state()[f"{path}.weight"].astype(float)
    s = config["lora_alpha"] / config["r"]
    if path == "low":
        delta = s * b @ a
        ours = model.adapted_tensors()["onnx::MatMul_40"].T
    else:  # PEFT's A reads all channels, its B those rows of A that are its group's
        a, b, r = a[:, :, 0, 0], b[:, :, 0, 0], config["r"] // 2
        delta = s * np.concatenate([b[:4] @ a[:r, :3], b[4:] @ a[r:, 3:]]).reshape(base.shape)
        assert not a[:r, 3:].any()
        assert not a[r:, :3].any()
        ours = model.adapted_tensors()["mix.weight"]
    assert np.abs(base + delta - ours).max() <= 8 * 2.0**-24 * np.abs(ours).max()
    assert "PEFT has no form of its own for" in notes[0]


def test_a_new_head_and_a_bias_have_their_places(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    model.attach("lora", r=2, target_modules=["low"], head=NewHead(3))
    model.sites[model.head.weight].params["xi"][...] = numbers(3, 5)  # type: ignore[union-attr]
    tensors, config, _ = written(model)
    assert config["modules_to_save"] == ["head"]
    np.testing.assert_array_equal(tensors["head.weight"], numbers(3, 5))
    assert tensors["head.bias"].shape == (3,)
    plain = load(tmp_path / "base.onnx").attach("lora", r=2, target_modules=["low"]).attach("bias")
    plain.sites["head.bias"].params["xi"][...] = numbers(7)
    tensors, config, _ = written(plain)
    assert config["bias"] == "all"
    assert {"low.base_layer.bias", "head.bias", f"{CONV}.bias"} <= tensors.keys()
    np.testing.assert_array_equal(tensors["head.bias"], state()["head.bias"] + numbers(7))


@pytest.mark.parametrize("method", ["lora", "dora", "loha"])
def test_a_folded_module_gets_the_factors_of_its_own_weight(tmp_path: Path, method: str) -> None:
    tensors = state(norm=True)
    model = load(write(tmp_path / "base.onnx", tensors, "dynamo", fold=True))
    model.attach(method, r=2, target_modules=["block.0.conv"])
    generator = np.random.default_rng(1)
    for factor in model.parameters().values():
        factor += 0.3 * generator.standard_normal(factor.shape).astype(np.float32)
    with pytest.raises(UnsupportedError, match="a BatchNormalization is folded"):
        written(model)
    made = write_peft(model, Given(tensors=tensors))
    (tmp_path / "peft").mkdir()
    for name, data in made.files.items():
        (tmp_path / "peft" / name).write_bytes(data)
    plain = load(write(tmp_path / "plain.onnx", tensors, "dynamo"))
    attach_foreign(plain, read(tmp_path / "peft"))
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 5)).astype(np.float32)
    assert np.abs(plain.logits(x) - model.logits(x)).max() <= 1e-5 * np.abs(model.logits(x)).max()


def test_what_has_no_place_is_refused_by_name(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    with pytest.raises(DomainError, match="an adapter must be attached"):
        write_peft(model)
    model.attach("affine", target_modules=["low"])
    with pytest.raises(UnsupportedError, match="changes weight and bias of /low/MatMul together"):
        write_peft(model)
    nameless = load(write(tmp_path / "none.onnx", state(), "none")).attach("lora", r=2)
    with pytest.raises(DomainError, match=r"no one module path: .*no name of a module"):
        write_peft(nameless)
    assert written(nameless, Given(tensors=state()))[1]["peft_type"] == "LORA"
