"""Configurations: which method a layer gets, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError
from lieref.param.config import HiRAConfig, LieRAConfig, LoraConfig, MethodConfig, resolve
from lieref.param.registry import get_method, options_of
from lieref.param.targets import Targets, named_by


@dataclass(frozen=True)
class Layer:
    node: str = "conv2d_1"
    weight: str = "conv2d_1/kernel"
    op: str = "Conv"
    shape: tuple[int, ...] = (16, 8, 3, 3)
    groups: int = 1


@pytest.mark.parametrize(("config", "name"), [(LoraConfig, "lora"), (LieRAConfig, "liera"), (HiRAConfig, "hira")])
def test_named_configuration_builds_its_method(config: Any, name: str) -> None:
    method = config(r=3).build()
    assert (method.name, method.rank) == (name, 3)


def test_fields_reach_the_method() -> None:
    method = LieRAConfig(r=2, lora_alpha=6.0, matricisation="view", map="taylor2", strict=True).build()
    same = get_method("liera", r=2, lora_alpha=6.0, matricisation="view", map="taylor2", strict=True)
    assert method.parameterisation == same.parameterisation
    assert (method.map, method.action) == (same.map, same.action)


DENSE = Layer(node="dense", weight="dense/w", op="Gemm", shape=(10, 64))


@pytest.mark.parametrize("pattern", ["conv2d_1", "conv2d_1/kernel", "Conv", "conv*", "*kernel"])
def test_rank_pattern_names_a_layer_its_weight_or_its_operator(pattern: str) -> None:
    config = LoraConfig(r=2, rank_pattern={pattern: 5}, alpha_pattern={pattern: 10.0})
    first, second = config.methods_for([Layer(), DENSE])
    assert first.rank == 5
    assert first.config()["lora_alpha"] == 10.0
    assert second.rank == 2
    assert second.config()["lora_alpha"] is None


def test_first_pattern_that_matches_counts() -> None:
    layers = [Layer(), Layer(node="conv2d_2", weight="conv2d_2/kernel"), DENSE]
    methods = LoraConfig(rank_pattern={"conv2d_2": 3, "conv*": 2}).methods_for(layers)
    assert [method.rank for method in methods] == [2, 3, 4]


@pytest.mark.parametrize(("field", "value"), [("rank_pattern", 3), ("alpha_pattern", 3.0)])
def test_pattern_that_decides_nothing_is_refused(field: str, value: float) -> None:
    config = LoraConfig(**{field: {"conv*": value, "nothing*": value}})
    with pytest.raises(DomainError, match=f"`{field}` must name layers .* conv2d_1; got 'nothing\\*', it names none"):
        config.methods_for([Layer()])
    config = LoraConfig(**{field: {"conv*": value, "conv2d_1": value}})
    with pytest.raises(DomainError, match=f"`{field}` must .* got 'conv2d_1', earlier patterns name the same layers"):
        config.methods_for([Layer(), DENSE])
    for name in ("full", "head", "bias"):
        with pytest.raises(DomainError, match=f"`{field}` must be left out for {name}"):
            resolve(name, None, {field: {"conv*": value}})
    with pytest.raises(DomainError, match="options of scale must be among"):
        MethodConfig(method="scale", **{field: {"conv*": value}}).methods_for([Layer()])


def test_name_with_brackets_is_that_name_and_no_pattern() -> None:
    layers = [Layer(node=node, weight=f"w{i}") for i, node in enumerate(["fc[0]", "fc[1]", "fc0", "fc1"])]
    assert named_by("fc[0]", layers) == [0]
    assert named_by("fc[01]", layers) == [2, 3]
    assert named_by("fc[[]*", layers) == [0, 1]
    assert named_by("w2", layers) == [2]
    assert named_by("Conv", layers) == [0, 1, 2, 3]
    assert named_by("conv", layers) == []


@pytest.mark.parametrize("bad", [
    {"r": 0}, {"r": 2.5}, {"lora_alpha": -1.0}, {"rank_pattern": {"a": 0}}, {"alpha_pattern": {"a": 0.0}},
    {"target_modules": []}, {"target_modules": [""]}, {"target_modules": [3]}, {"matricisation": "flat"},
    {"map": "log"},
])  # fmt: skip
def test_bad_fields_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises((DomainError, DTypeError)):
        LieRAConfig(**bad)


def test_resolve_takes_a_name_a_method_or_a_configuration() -> None:
    layer = Layer()
    by_name = resolve("lora", ["a*"], {"r": 3, "rank_pattern": {"conv*": 2}})
    by_config = resolve(LoraConfig(r=3, rank_pattern={"conv*": 2}, target_modules="a*"), None, {})
    for chosen, targets, methods_for in (by_name, by_config):
        assert (chosen.rank, targets, [method.rank for method in methods_for([layer])]) == (3, Targets(("a*",)), [2])
    method = get_method("lora", r=3)
    chosen, targets, methods_for = resolve(method, None, {})
    assert chosen is method
    assert targets == Targets()
    assert methods_for([layer, layer]) == [method, method]


def test_call_overrides_the_targets_of_the_configuration() -> None:
    assert resolve(LoraConfig(target_modules=["a"]), ["b"], {})[1] == Targets(("b",))


def test_resolve_refuses_what_it_does_not_know() -> None:
    with pytest.raises(DTypeError, match="`method` must be a configuration"):
        resolve(3, None, {})  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="options must come with a method's name"):
        resolve(LoraConfig(), None, {"r": 2})
    with pytest.raises(DomainError, match="must be among"):
        resolve("lora", None, {"rank": 2})


def test_generic_configuration_serves_any_method() -> None:
    config = MethodConfig(method="flora", options={"r": 2, "kernel_rank": 1}, target_modules=["conv*"])
    assert config.methods_for([Layer()])[0].config() == {"name": "flora", "r": 2, "kernel_rank": 1}


@pytest.mark.parametrize("field", ["options", "rank_pattern", "alpha_pattern"])
def test_pattern_that_is_no_mapping(field: str) -> None:
    with pytest.raises(DTypeError, match=f"MethodConfig: `{field}` must be a mapping; got 'x'"):
        MethodConfig(method="lora", **{field: "x"})


def test_targets_that_are_no_list() -> None:
    with pytest.raises(DomainError, match="`target_modules` must be a list of patterns; got 3"):
        MethodConfig(method="lora", target_modules=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["head", "bias", "norm-stats"])
def test_targets_of_a_method_that_has_its_own_are_refused(name: str) -> None:
    for method in (name, get_method(name)):
        with pytest.raises(DomainError, match=f"`target_modules` must be left out for {name}; got "):
            resolve(method, ["conv*"], {})


def test_brackets_that_choose_nothing_are_those_of_names() -> None:
    layers = [Layer(node=f"block[{index}]/fc", weight=f"w{index}") for index in range(2)]
    assert named_by("block[0]*", layers) == [0]
    assert named_by("block[[]01]*", layers) == []
    assert named_by("block[[][01]]*", layers) == [0, 1]


def test_pattern_that_is_no_text() -> None:
    with pytest.raises(DTypeError, match="`rank_pattern` must have names for keys"):
        MethodConfig(method="lora", rank_pattern={1: 2})  # type: ignore[dict-item]


CONFIGS = [
    LoraConfig(r=2, lora_alpha=6, lora_dropout=0.1, target_modules=("conv*", "fc")),
    LieRAConfig(
        r=np.int64(3), map="taylor2", rank_pattern={"fc": 2}, layers_to_transform=[0, 2], layers_pattern="blocks"
    ),
    HiRAConfig(strict=True, exclude_modules="head"),
    MethodConfig(method="flora", options={"r": 2, "kernel_rank": 1}, alpha_pattern={}),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_configurations_print_compare_and_come_back_from_json(config: MethodConfig) -> None:
    again = type(config).from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.build().config() == config.build().config()
    assert eval(repr(config)) == config
    assert config != LoraConfig()


def test_what_a_configuration_prints() -> None:
    assert repr(HiRAConfig(r=2, target_modules=("a",))) == (
        "HiRAConfig(r=2, matricisation='unfold', share_groups=None, strict=False, init_lora_weights=True, "
        "target_modules=['a'])"
    )
    assert repr(MethodConfig(method="ia3")) == "MethodConfig(method='ia3')"


@pytest.mark.parametrize(("values", "rule"), [
    ({"r": 2}, "must be of the method 'lora'; got None"),
    ({"method": "liera", "r": 2}, "must be of the method 'lora'; got 'liera'"),
    ({"method": "lora", "rank": 2}, "must have fields among .*; got 'rank'"),
    ({"method": "lora", "r": 0}, "r. must be at least 1; got 0"),
    ([1], "must be a mapping; got"),
])  # fmt: skip
def test_bad_values_of_a_configuration(values: Any, rule: str) -> None:
    with pytest.raises((DomainError, DTypeError), match=rule):
        LoraConfig.from_dict(values)
    with pytest.raises(DomainError, match="must name the method"):
        MethodConfig.from_dict({"options": {}})


@pytest.mark.parametrize("config", [LoraConfig, LieRAConfig, HiRAConfig])
def test_every_option_of_the_method_is_a_field(config: type[MethodConfig]) -> None:
    own = {each.name for each in fields(config)} - {each.name for each in fields(MethodConfig)}
    assert own == set(options_of(config().method))


def test_an_adapter_names_the_options_that_it_always_did() -> None:
    assert list(HiRAConfig(r=2).build().config()) == ["name", "r"]
    assert "init_lora_weights" not in LieRAConfig().build().config()
    assert LieRAConfig(init_lora_weights=False).build().config()["init_lora_weights"] is False
