"""Forms that exporters and PEFT give a layer beside the usual ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.cli import main
from tests.adapter.exchange.network import write_adapter

FACTORS = {"lora_A": (2, 6), "lora_B": (4, 2)}


def test_a_linear_layer_whose_weight_the_file_transposes(tmp_path: Path, rng: np.random.Generator) -> None:
    """TorchScript without folding of constants; the weight is a parameter, so that what is added to it is exact."""
    weight, bias = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["low.weight"], ["/low/Transpose_output_0"], "/low/Transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["x", "/low/Transpose_output_0"], ["/low/MatMul_output_0"], "/low/MatMul"),
        helper.make_node("Add", ["low.bias", "/low/MatMul_output_0"], ["y"], "/low/Add"),
    ]
    graph = helper.make_graph(
        nodes, "main_graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 4])],
        [numpy_helper.from_array(weight, "low.weight"), numpy_helper.from_array(bias, "low.bias")],
    )  # fmt: skip
    model = helper.make_model(graph, producer_name="pytorch", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "base.onnx")
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in FACTORS.values())
    tensors = {"low.lora_A.weight": a, "low.lora_B.weight": b}
    write_adapter(tmp_path / "peft", "LORA", tensors, r=2, lora_alpha=3)
    arguments = ["import", str(tmp_path / "peft"), "--base", str(tmp_path / "base.onnx")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    x = rng.normal(size=(3, 5, 6)).astype(np.float32)
    wide = [array.astype(np.float64) for array in (x, weight, bias, a, b)]
    expected = wide[0] @ (wide[1] + 1.5 * wide[4] @ wide[3]).T + wide[2]
    found = lieref.load(tmp_path / "base.onnx").load_adapter(tmp_path / "out").predict(x)
    size = np.abs(wide[0]) @ (np.abs(wide[1]) + 1.5 * np.abs(wide[4]) @ np.abs(wide[3])).T + np.abs(wide[2])
    assert (np.abs(found - expected) <= 12 * 2.0**-24 * size).all()


def test_attention_that_is_wrapped_as_a_whole_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PEFT's LoRA of MultiheadAttention has a second adapter inside the first."""
    tensors = {
        f"attention{inner}.{name}.weight": np.ones(shape, np.float32)
        for inner in ("", ".base_layer.out_proj") for name, shape in FACTORS.items()
    }  # fmt: skip
    write_adapter(tmp_path / "peft", "LORA", tensors, r=2, lora_alpha=3)
    base = tmp_path / "base.onnx"
    assert main(["import", str(tmp_path / "peft"), "--base", str(base), "--out", str(tmp_path / "out")]) == 2
    assert "attention of " in (text := capsys.readouterr().err)
    assert "as is MultiheadAttention, which has no form here" in text
