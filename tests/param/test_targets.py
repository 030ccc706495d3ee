"""Which layers patterns choose: names as exporters write them, and PEFT's fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from lieref.errors import DomainError, DTypeError
from lieref.param.config import LoraConfig, MethodConfig, resolve
from lieref.param.targets import Targets, named_by


@dataclass(frozen=True)
class Layer:
    node: str
    weight: str
    op: str = "MatMul"
    shape: tuple[int, ...] = (6, 4)
    groups: int = 1


# As PyTorch's first exporter names nodes, its second one weights, and TensorFlow's both.
OLD = [Layer(f"/blocks.{i}/{name}/MatMul", f"onnx::MatMul_{i}{name}") for i in range(3) for name in ("wq", "wk", "fc1")]
NEW = [Layer(f"node_conv2d_{i}", f"features.{i}.conv.1.weight", "Conv") for i in (0, 1, 10)]
TF = [Layer("dense", "dense/MatMul/ReadVariableOp:0", "Gemm")]
LAYERS = [*OLD, *NEW, *TF]


def nodes(targets: Targets, last: tuple[str, ...] = ()) -> list[str]:
    return [LAYERS[index].node for index in targets.select(LAYERS, last)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/blocks.1/wk/MatMul", [4]),  # a node
        ("onnx::MatMul_1wk", [4]),  # a weight
        ("Conv", [9, 10, 11]),  # an operator
        ("blocks.1.wk", [4]),  # a module, by the node
        ("features.10.conv.1", [11]),  # by the weight
        ("/blocks.?/wq/*", [0, 3, 6]),
        ("features.1*", [10, 11]),
        ("wq", [0, 3, 6]),  # its end
        ("conv.1", [9, 10, 11]),
        ("0.wq", [0]),
        ("q", []),  # no part of a word
        ("re:.*wq.*", [0, 3, 6]),
        ("re:wq", []),  # the whole name
        ("re:Conv|Gemm", [9, 10, 11, 12]),
        (r"re:blocks\.[12]\.(wq|fc1)", [3, 5, 6, 8]),
        (r".*\.(wq|wk)", [0, 1, 3, 4, 6, 7]),  # as PEFT reads one text
        (r"features\.\d+\..*", [9, 10, 11]),
        ("(", []),
        ("all-linear", [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("all-conv", [9, 10, 11]),
    ],
)
def test_a_pattern_names(pattern: str, found: list[int]) -> None:
    assert named_by(pattern, LAYERS, ("dense",)) == found


def test_all_linear_is_all_but_the_last() -> None:
    assert nodes(Targets.of("all-linear")) == [layer.node for layer in [*OLD, *TF]]
    assert "dense" not in nodes(Targets.of("all-linear"), ("dense",))
    with pytest.raises(DomainError, match=r"matches none of: dense \(all-linear leaves out the last, dense\)"):
        Targets.of("all-linear").select(TF, ("dense",))


def test_patterns_add_up_and_excluded_ones_are_taken_away() -> None:
    assert nodes(Targets.of(["wq", "Conv"], ["features.1.*", "blocks.0.*"])) == [
        "/blocks.1/wq/MatMul", "/blocks.2/wq/MatMul", "node_conv2d_0", "node_conv2d_10",
    ]  # fmt: skip
    assert nodes(Targets.of(None, "re:.*(blocks|features).*")) == ["dense"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"layers_to_transform": 1}, [*(layer.node for layer in OLD[3:6]), "node_conv2d_1"]),
        ({"layers_to_transform": [10, 2], "target_modules": ["wq", "Conv"]}, ["/blocks.2/wq/MatMul", "node_conv2d_10"]),
        ({"layers_to_transform": [1], "layers_pattern": "features"}, ["node_conv2d_1"]),
        (
            {"layers_to_transform": [0], "layers_pattern": ["blocks", "nothing"], "exclude_modules": "*.w?"},
            ["/blocks.0/fc1/MatMul"],
        ),
    ],
)  # fmt: skip
def test_blocks(fields: dict[str, Any], found: list[str]) -> None:
    assert nodes(Targets.of(**fields)) == found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_modules": "wqq"}, "`target_modules` must match a layer; 'wqq' matches none of: .* 5 more (close: wq"),
        ({"exclude_modules": ["wq", "dens"]}, "`exclude_modules` must match a layer; 'dens' .*(close: dense"),
        ({"target_modules": "wq", "exclude_modules": "wq"}, "the targets must leave a layer to adapt"),
        ({"layers_to_transform": 7}, "must be blocks in the names of layers, which have 0, 1, 2, 10; got 7"),
        ({"target_modules": "dense", "layers_to_transform": 1}, "the targets must leave a layer"),
    ],
)  # fmt: skip
def test_what_names_nothing_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(DomainError, match=".*".join(map(re.escape, words.split(".*")))):
        Targets.of(**fields).select(LAYERS)


def test_layers_without_numbers_have_no_blocks() -> None:
    with pytest.raises(DomainError, match="which have no numbers; got 0"):
        Targets.of(layers_to_transform=0).select(TF)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": []}, {"exclude_modules": [""]}, {"exclude_modules": 3}, {"target_modules": "re:("},
        {"layers_to_transform": -1}, {"layers_to_transform": [0.5]}, {"layers_to_transform": []},
        {"layers_to_transform": 1, "layers_pattern": "("}, {"layers_pattern": "blocks"},
    ],
)  # fmt: skip
def test_fields_of_a_wrong_kind_are_refused(fields: dict[str, Any]) -> None:
    for make in (Targets.of, LoraConfig, lambda **each: resolve("lora", None, each)):
        with pytest.raises((DomainError, DTypeError)):
            make(**fields)  # type: ignore[operator]


def test_the_fields_come_with_a_configuration_a_name_or_a_method() -> None:
    wanted = Targets(("wq",), ("wk",), (1,), ("blocks",))
    fields = {"exclude_modules": ["wk"], "layers_to_transform": [1], "layers_pattern": "blocks"}
    assert resolve(LoraConfig(target_modules="wq", **fields), None, {})[1] == wanted
    assert resolve("lora", "wq", fields)[1] == wanted
    assert resolve(LoraConfig().build(), "wq", fields)[1] == wanted
    assert resolve(LoraConfig(target_modules="x", layers_to_transform=2), "wq", fields)[1] == wanted


def test_a_method_with_targets_of_its_own_takes_none() -> None:
    with pytest.raises(DomainError, match="`exclude_modules` must be left out for head"):
        resolve("head", None, {"exclude_modules": "wq"})


def test_ranks_follow_the_same_patterns() -> None:
    config = MethodConfig(method="lora", rank_pattern={r"re:.*\.wq": 2, "fc1": 3}, alpha_pattern={"all-conv": 9.0})
    methods = config.methods_for(LAYERS)
    assert [method.rank for method in methods] == [2, 4, 3] * 3 + [4] * 4
    assert [method.config().get("lora_alpha") for method in methods[8:]] == [None, 9.0, 9.0, 9.0, None]
