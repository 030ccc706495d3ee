"""A small network as PyTorch's exporters write it, and adapters of PEFT's as files, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lieref._types import Array

SCOPES = "pkg.torch.onnx.name_scopes"

STATE: dict[str, tuple[int, ...]] = {
    "block.0.conv.weight": (6, 4, 3, 3), "block.0.conv.bias": (6,), "mix.weight": (8, 3, 1, 1),
    "low.weight": (5, 8), "low.bias": (5,), "head.weight": (7, 5), "head.bias": (7,),
}  # fmt: skip
"""Shapes of the tensors in PyTorch; ``mix`` has two groups and no bias."""

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def state(seed: int = 0, norm: bool = False) -> dict[str, Array]:
    """Return the tensors of the network, with those of a BatchNormalization behind ``block.0.conv`` on request."""
    generator = np.random.default_rng(seed)
    tensors = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in STATE.items()}
    if norm:
        drawn = [generator.uniform(0.5, 2.0, 6), *generator.standard_normal((2, 6)), generator.uniform(0.5, 2.0, 6)]
        tensors |= {f"block.0.norm.{n}": v.astype(np.float32) for n, v in zip(BATCH_NORM, drawn, strict=True)}
    return tensors


def scales(tensors: Mapping[str, Array]) -> Array:
    """Return a = weight / sqrt(var + eps) of the BatchNormalization, float64."""
    weight, _, _, var = (tensors[f"block.0.norm.{name}"].astype(np.float64) for name in BATCH_NORM)
    return weight / np.sqrt(var + 1e-5)


def write(path: Path, tensors: Mapping[str, Array], style: str = "torchscript", *, fold: bool = False) -> Path:
    """Write the network, named in the style of an exporter: "torchscript", "dynamo" or "none"."""
    torchscript, dynamo = style == "torchscript", style == "dynamo"
    norm = "block.0.norm.weight" in tensors
    held: dict[str, Array] = {}
    nodes = []
    names: list[str] = []

    def put(name: str, value: Array, other: str) -> str:
        name = other if style == "none" or (torchscript and other.startswith("onnx::")) else name
        held[name] = np.asarray(value, np.float32)
        return name

    def add(op: str, module: str, inputs: list[str], output: str, operator: str = "", **attrs: Any) -> None:
        name = f"{op.lower()}{len(nodes)}"
        if torchscript:
            scope = module.replace("block.0", "block/block.0").replace(".conv", "/conv").replace(".norm", "/norm")
            name = f"/{scope}/{op}" if module else f"/{op}"
        node = helper.make_node(op, inputs, [output], name, **attrs)
        if dynamo:
            scopes = ["", *(["block", "block.0"] if module.startswith("block.0.") else []), module, operator or "op"]
            node.metadata_props.add(key=SCOPES, value=str(scopes))
        nodes.append(node)
        names.append(name)

    weight, bias = tensors["block.0.conv.weight"], tensors["block.0.conv.bias"]
    if norm and fold:
        a = scales(tensors)
        _, shift, mean, _ = (tensors[f"block.0.norm.{name}"].astype(np.float64) for name in BATCH_NORM)
        bias = a * (bias - mean) + shift
        weight = weight * a.reshape(-1, 1, 1, 1)
    folded = norm and fold
    other = ("onnx::Conv_31", "onnx::Conv_32") if folded else ("w1", "b1")
    inputs = ["x", put("block.0.conv.weight", weight, other[0]), put("block.0.conv.bias", bias, other[1])]
    at, operator = (
        ("block.0.norm", "_native_batch_norm_legit_no_training") if folded and dynamo else ("block.0.conv", "conv2d")
    )
    add("Conv", at, inputs, "y1", operator, pads=[1, 1, 1, 1])
    if norm and not fold:
        held |= {name: tensors[name] for name in tensors if name.startswith("block.0.norm.")}
        add("BatchNormalization", "block.0.norm", ["y1", *(f"block.0.norm.{n}" for n in BATCH_NORM)], "y1n")
    add("Relu", "", ["y1n" if norm and not fold else "y1"], "y2")
    add("Conv", "mix", ["y2", put("mix.weight", tensors["mix.weight"], "w2")], "y3", "conv2d_1", group=2)
    add("GlobalAveragePool", "", ["y3"], "y4")
    add("Flatten", "", ["y4"], "y5")
    add(
        "MatMul",
        "low",
        ["y5", put("val_7" if dynamo else "t", tensors["low.weight"].T, "onnx::MatMul_40")],
        "y6",
        "linear",
    )
    add("Add", "low", ["y6", put("low.bias", tensors["low.bias"], "b3")], "y7", "linear")
    inputs = ["y7", put("head.weight", tensors["head.weight"], "w4"), put("head.bias", tensors["head.bias"], "b4")]
    add("Gemm", "head", inputs, "scores", "linear_1", transB=1)
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 5, 5])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="" if style == "none" else "pytorch"
    )
    model.ir_version = 10
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_adapter(folder: Path, kind: str, tensors: Mapping[str, Array], **config: Any) -> Path:
    """Write a folder as PEFT does."""
    from lieref.adapter.tensor_file import encode_tensors

    folder.mkdir(exist_ok=True)
    data = encode_tensors({f"base_model.model.{key}": value for key, value in tensors.items()}, {"format": "pt"})
    (folder / "adapter_model.safetensors").write_bytes(data)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind, "target_modules": ["conv"], **config}))
    return folder
