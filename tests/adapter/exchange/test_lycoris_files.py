"""LyCORIS's files through the command line: read onto an exported network, and written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file
from lieref.cli import main
from tests.adapter.exchange.network import scales, state, write

Tensors = dict[str, Array]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def modules(rng: np.random.Generator) -> Tensors:
    """One algorithm a module: LoCon, LoHa over conv groups, a difference with its bias, IA3."""

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    conv, mix, low, head = (f"lycoris_{name}" for name in ("block_0_conv", "mix", "low", "head"))
    return {
        f"{conv}.lora_up.weight": draw(6, 2, 1, 1), f"{conv}.lora_down.weight": draw(2, 4, 3, 3),
        f"{conv}.alpha": np.asarray(3, np.float32),
        f"{mix}.hada_w1_a": draw(8, 1), f"{mix}.hada_w1_b": draw(1, 3), f"{mix}.hada_w2_a": draw(8, 1),
        f"{mix}.hada_w2_b": draw(1, 3), f"{mix}.alpha": np.asarray(0.5, np.float32),
        f"{low}.diff": draw(5, 8), f"{low}.diff_b": draw(5),
        f"{head}.weight": draw(5), f"{head}.on_input": np.asarray(1, np.int64),
    }  # fmt: skip


def weights(own: Tensors, t: Tensors) -> Tensors:
    """The adapted tensors of the PyTorch network, by LyCORIS's formulas."""
    w, t = ({name: value.astype(np.float64) for name, value in each.items()} for each in (own, t))
    up, down = (t[f"lycoris_block_0_conv.lora_{name}.weight"] for name in ("up", "down"))
    hada = [t[f"lycoris_mix.hada_w{name}"] for name in ("1_a", "1_b", "2_a", "2_b")]
    return {
        **w,
        "block.0.conv.weight": w["block.0.conv.weight"] + 1.5 * np.einsum("orxy,rikl->oikl", up, down),
        "mix.weight": w["mix.weight"] + 0.5 * ((hada[0] @ hada[1]) * (hada[2] @ hada[3])).reshape(8, 3, 1, 1),
        "low.weight": w["low.weight"] + t["lycoris_low.diff"],
        "low.bias": w["low.bias"] + t["lycoris_low.diff_b"],
        "head.weight": w["head.weight"] * (1 + t["lycoris_head.weight"]),
    }


def scores(tensors: Tensors, x: Array) -> Array:
    """What the network of `tests.adapter.exchange.network` makes of an input, without a BatchNormalization."""
    x, weight = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1))), tensors["block.0.conv.weight"]
    y = np.zeros((len(x), 6, 5, 5)) + tensors["block.0.conv.bias"][:, None, None]
    if "block.0.norm.weight" in tensors:
        a = scales(tensors)
        mean, shift = tensors["block.0.norm.running_mean"], tensors["block.0.norm.bias"]
    else:
        a, mean, shift = np.ones(6), np.zeros(6), np.zeros(6)
    for u in range(3):
        for v in range(3):
            y += np.einsum("nixy,oi->noxy", x[:, :, u : u + 5, v : v + 5], weight[:, :, u, v])
    y = np.maximum((y - mean[:, None, None]) * a[:, None, None] + shift[:, None, None], 0)
    halves = [np.einsum("nixy,oi->noxy", y[:, 3 * g : 3 * g + 3], tensors["mix.weight"][4 * g : 4 * g + 4, :, 0, 0])
              for g in (0, 1)]  # fmt: skip
    z = np.concatenate(halves, 1).mean((2, 3)) @ tensors["low.weight"].T + tensors["low.bias"]
    result: Array = z @ tensors["head.weight"].T + tensors["head.bias"]
    return result


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize("style", ["torchscript", "dynamo"])
@pytest.mark.parametrize("norm", ["none", "kept", "folded"])
def test_there_and_back(rng: np.random.Generator, capsys: pytest.CaptureFixture[str], style: str, norm: str) -> None:
    own, theirs = state(norm=norm != "none"), modules(rng)
    write(Path("base.onnx"), own, style, fold=norm == "folded")
    write_tensor_file("base.safetensors", own)
    write_tensor_file("lycoris.safetensors", theirs)
    report = run(capsys, "import", "lycoris.safetensors", "--base", "base.onnx", "--out", "adapter",
                 "--model-names", "base.safetensors")  # fmt: skip
    assert {path: one["method"] for path, one in report["modules"].items()} == {
        "block_0_conv": "lora", "mix": "loha", "low": "dense+additive+exp", "head": "ia3",
    }  # fmt: skip
    model = lieref.load("base.onnx", dtype="float64").load_adapter("adapter")
    model.engine = "reference"
    x = rng.normal(size=(3, 4, 5, 5))
    expected = scores(weights(own, theirs), x)
    # Folded weights and biases are rounded to float32 once more.
    np.testing.assert_allclose(
        model.logits(x), expected, rtol=1e-5 if norm == "folded" else 1e-11, atol=1e-5 * (norm == "folded")
    )
    assert np.abs(expected - scores({k: v.astype(np.float64) for k, v in own.items()}, x)).max() > 1
    run(capsys, "export", "adapter", "--base", "base.onnx", "--format", "lycoris", "--out", "again.safetensors",
        "--model-names", "base.safetensors")  # fmt: skip
    again, metadata = read_tensor_file("again.safetensors")
    assert metadata["base_sha256"] == model.base_sha256
    assert again.keys() == theirs.keys()
    for name, value in theirs.items():
        if norm == "folded" and name == "lycoris_block_0_conv.lora_up.weight":
            np.testing.assert_allclose(again[name], value, rtol=2**-22)  # scaled, rounded, scaled back, rounded
        else:
            assert (again[name].dtype, again[name].shape) == (value.dtype, value.shape)
            assert again[name].tobytes() == value.tobytes(), name


def test_what_is_added_to_a_folded_weight_is_refused_without_the_base(
    rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("base.onnx"), state(norm=True), fold=True)
    names = {"block_0_conv": "/block/block.0/conv/Conv"}
    Path("names.json").write_text(json.dumps(names))
    conv = {key: value for key, value in modules(rng).items() if "conv" in key}
    write_tensor_file("lycoris.safetensors", conv)
    arguments = (
        "import",
        "lycoris.safetensors",
        "--base",
        "base.onnx",
        "--out",
        "adapter",
        "--model-names",
        "names.json",
    )
    assert main(arguments) == 2
    assert "BatchNormalization" in capsys.readouterr().err
    assert not Path("adapter").exists()
    factors = rng.normal(size=(1, 6, 1, 1)).astype(np.float32)
    write_tensor_file("lycoris.safetensors", {"lycoris_block_0_conv.weight": factors,
                                              "lycoris_block_0_conv.on_input": np.asarray(0)})  # fmt: skip
    run(capsys, *arguments)  # what multiplies the out channels is the same
    out = ("export", "adapter", "--base", "base.onnx", "--format", "lycoris", "--out", "out.safetensors")
    run(capsys, *out, "--model-names", "names.json")
    assert read_tensor_file("out.safetensors")[0]["lycoris_block_0_conv.weight"].tobytes() == factors.tobytes()
    kernel = lieref.load("base.onnx").attach(
        "scale", action="scaling(kernel)", target_modules=["/block/block.0/conv/Conv"]
    )
    next(iter(kernel.parameters().values()))[...] = 0.5
    kernel.save_adapter("adapter")
    assert main([*out, "--model-names", "names.json", "--force"]) == 2  # no algorithm of LyCORIS, so a difference
    assert "BatchNormalization" in capsys.readouterr().err


def test_a_head_and_statistics_have_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("base.onnx"), state(norm=True))
    lieref.load("base.onnx").attach("head", head=lieref.NewHead(3)).save_adapter("adapter")
    assert main(["export", "adapter", "--base", "base.onnx", "--format", "lycoris", "--out", "x.safetensors"]) == 2
    assert "a new head" in capsys.readouterr().err
    assert not Path("x.safetensors").exists()


def test_a_tensor_of_several_modules_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    write(
        Path("base.onnx"), {**state(), "head.weight": np.ones((5, 5), np.float32), "head.bias": np.ones(5, np.float32)}
    )
    proto = onnx.load("base.onnx")
    proto.graph.node[-1].input[2] = "low.bias"  # the Gemm reads what the Add before it reads
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(proto, "base.onnx")
    model = lieref.load("base.onnx").attach("bias")
    model.save_adapter("adapter")
    arguments = ["export", "adapter", "--base", "base.onnx", "--format", "lycoris", "--out", "x.safetensors"]
    assert main(arguments) == 2
    assert "of one module; low.bias is read by" in capsys.readouterr().err
