"""``inspect --engine``: the truth about every node, as a table and as an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from lieref.cli import main
from tests.cli.helpers import small_network

RunJson = Callable[..., dict[str, Any]]


def test_every_node_of_the_file_is_there(workplace: Path, run_json: RunJson) -> None:
    report = run_json("inspect", "base.onnx", "--engine")
    nodes = onnx.load("base.onnx").graph.node
    assert [(row["name"], row["op"]) for row in report["nodes"]] == [(node.name, node.op_type) for node in nodes]
    assert [row["outcome"] for row in report["nodes"]] == [
        "compiled", "folded", "joined", "compiled", "folded", "compiled",
    ]  # fmt: skip
    assert (report["kind"], report["engine"], report["reasons"], report["adapter"]) == ("engine", "f2", [], None)
    # 6 x 5 pixels, 4 filters of 2 x 3 x 3, and a matrix 3 x 4
    assert (report["multiply_adds"], report["compiled_share"]) == (30 * 4 * 18 + 12, 1.0)
    assert set(report["sizes"]) == {
        "isa", "samples", "training_samples", "forward", "training", "arena_bytes", "least_arena_bytes", "weight_bytes",
        "accumulator_bytes",
    }  # fmt: skip


def test_an_adapter_makes_the_training_pass_its_own(workplace: Path, run_json: RunJson) -> None:
    run_json("finetune", "base.onnx", "--train", "train.npz", "--epochs", "1", "--target", "head", "--out", "out")
    whole = run_json("inspect", "base.onnx", "--engine")["sizes"]
    report = run_json("inspect", "base.onnx", "--engine", "--adapter", "out")
    assert (report["adapter"], report["method"]) == ("out", "liera")
    assert report["sizes"]["forward"] == whole["forward"]
    assert report["sizes"]["training"] < whole["training"]


def test_calls_back_are_printed_with_their_reason(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(small_network(op="Atan"), "odd.onnx")
    assert main(["inspect", "odd.onnx", "--engine"]) == 0
    printed = capsys.readouterr().out
    assert "reference: node 'activation' (Atan): the operator has no compiled form" in printed
    assert "reference: run in Python by its reference function." in printed
    assert "Operators with a compiled form: Abs, Add, " in printed
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines()]
    assert ["activation", "Atan", "reference", "", ""] in lines
    assert ["conv", "Conv", "compiled", "conv, direct", "2,160"] in lines
    facts = {line[0]: line[1] for line in lines if len(line) == 2}
    assert facts["engine"] == "mixed"
    assert facts["compiled"] == "100.0 % of them"


def test_an_adapter_without_engine_is_wrong_use(workplace: Path, fails: Callable[..., str]) -> None:
    assert "--adapter goes with --engine" in fails("inspect", "base.onnx", "--adapter", "out")
    assert "an ONNX file" in fails("inspect", ".", "--engine")


def test_targets_are_shown_with_what_they_train(workplace: Path, run_json: RunJson) -> None:
    report = run_json("inspect", "base.onnx", "--target", "all-conv", "--method", "lora", "--rank", 2)
    (row,) = report["adapted"]
    assert (row["node"], row["shape"], row["rank"]) == ("conv", [4, 2, 3, 3], 2)
    assert row["trained"] == report["trained"] == 2 * (4 + 2 * 9)
    assert report["others"] == ["head"]
    assert run_json("inspect", "base.onnx", "--exclude", "conv")["adapted"][0]["node"] == "head"
    biases = run_json("inspect", "base.onnx", "--method", "bias")["adapted"]
    assert [row["tensor"] for row in biases] == ["conv.bias", "norm.shift", "head.bias"] or {
        row["tensor"] for row in biases
    } == {"conv.bias", "norm.shift", "head.bias"}


def test_single_layers_have_ranks_of_their_own(workplace: Path, run_json: RunJson) -> None:
    ranks = ("--method", "lora", "--rank-of", "all-conv=1", "--rank-of", "re:.*=2", "--alpha-of", "head=3.5")
    rows = run_json("inspect", "base.onnx", *ranks)["adapted"]
    assert {row["node"]: row["rank"] for row in rows} == {"conv": 1, "head": 2}
    run_json("finetune", "base.onnx", "--train", "train.npz", "--epochs", "1", "--out", "out", *ranks)
    sites = json.loads((workplace / "out" / "adapter_config.json").read_text())["lieref"]["sites"]
    assert {name: site["method"]["r"] for name, site in sites.items()} == {"conv.weight": 1, "head.weight": 2}
    assert sites["head.weight"]["method"]["lora_alpha"] == 3.5


def test_targets_in_words(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "base.onnx", "--target", "conv"]) == 0
    printed = capsys.readouterr().out
    assert "What liera would adapt" in printed
    assert "left as they are: head" in printed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target", "cnv"), "'cnv' matches none of: conv, head (close: conv)"),
        (("--blocks", "0"), "which have no numbers; got 0"),
        (("--blocks", "1-"), "no list of blocks"),
        (("--rank", "2"), "--rank goes with"),
        (("--rank-of", "conv"), "is no pattern and a positive number"),
        (("--rank-of", "conv=0"), "is no pattern and a positive number"),
        (("--rank-of", "conv=1.5"), "is no pattern and a positive number"),
        (("--alpha-of", "conv=nan"), "is no pattern and a positive number"),
        (("--alpha-of", "cnv=2"), "`alpha_pattern` must name layers"),
        (("--target", "conv", "--engine"), "leave out the rest"),
        (("--target", "conv", "--method", "head"), "`target_modules` must be left out for head"),
    ],
)
def test_targets_that_name_nothing(
    workplace: Path, fails: Callable[..., str], options: tuple[str, ...], words: str
) -> None:
    assert words in fails("inspect", "base.onnx", *options)


def test_halves_are_counted(workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json("inspect", "base.onnx")["float16"] == 0
    proto = small_network()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(proto, "half.onnx")
    report = run_json("inspect", "half.onnx")
    assert report["float16"] == report["numbers"] == 4 * 18 + 5 * 4 + 3 * 5
    assert main(["inspect", "half.onnx"]) == 0
    assert "107 of them, computed in float32" in capsys.readouterr().out


def test_a_merge_of_halves_says_what_rounding_takes(
    workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    test_halves_are_counted(workplace, run_json, capsys)
    run_json("finetune", "half.onnx", "--train", "train.npz", "--epochs", "1", "--out", "adapted")
    found = run_json("merge", "half.onnx", "adapted", "-o", "merged.onnx")["rounding"]
    assert set(found) == {"tensors", "error", "worst", "changed", "lost"}
    assert found["tensors"] == 2
    assert found["error"] > 0
    assert main(["merge", "half.onnx", "adapted", "-o", "merged.onnx"]) == 0
    assert "2 tensors rounded to float16" in capsys.readouterr().out.replace("\n", " ")
