"""Configurations: which method a layer gets, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lieref.errors import DomainError, DTypeError
from lieref.param.config import HiraConfig, LieRAConfig, LoraConfig, MethodConfig, RankLoweredWarning, resolve
from lieref.param.registry import get_method


@dataclass(frozen=True)
class Layer:
    node: str = "conv2d_1"
    weight: str = "conv2d_1/kernel"
    op: str = "Conv"
    shape: tuple[int, ...] = (16, 8, 3, 3)
    groups: int = 1


@pytest.mark.parametrize(("config", "name"), [(LoraConfig, "lora"), (LieRAConfig, "liera"), (HiraConfig, "hira")])
def test_named_configuration_builds_its_method(config: Any, name: str) -> None:
    method = config(r=3).build()
    assert (method.name, method.rank) == (name, 3)


def test_fields_reach_the_method() -> None:
    method = LieRAConfig(r=2, lora_alpha=6.0, matricisation="view", map="taylor2", strict=True).build()
    same = get_method("liera", r=2, lora_alpha=6.0, matricisation="view", map="taylor2", strict=True)
    assert method.parameterisation == same.parameterisation
    assert (method.map, method.action) == (same.map, same.action)


@pytest.mark.parametrize("pattern", ["conv2d_1", "conv2d_1/kernel", "Conv", "conv*", "*kernel"])
def test_rank_pattern_names_a_layer_its_weight_or_its_operator(pattern: str) -> None:
    config = LoraConfig(r=2, rank_pattern={pattern: 5}, alpha_pattern={pattern: 10.0})
    method = config.method_for(Layer())
    assert method.rank == 5
    assert method.config()["lora_alpha"] == 10.0
    assert config.method_for(Layer(node="dense", weight="dense/w", op="Gemm")).rank == 2


def test_first_pattern_that_matches_counts() -> None:
    assert LoraConfig(rank_pattern={"conv*": 2, "conv2d_1": 3}).method_for(Layer()).rank == 2


@pytest.mark.parametrize("layer", [
    Layer(shape=(2, 64), op="Gemm"), Layer(shape=(8, 1, 3, 3), groups=8), Layer(shape=(8, 4, 1, 1), groups=4),
])  # fmt: skip
def test_narrow_layer_gets_a_smaller_rank_and_the_same_scaling(layer: Layer) -> None:
    config = LoraConfig(r=4, lora_alpha=8.0)
    with pytest.warns(RankLoweredWarning, match="rank 4 is lowered to"):
        method = config.method_for(layer)
    assert method.rank == method.max_rank(layer.shape, layer.groups) < 4
    assert method.parameterisation.scaling == 2.0
    assert method.supports(layer.shape, layer.groups) is None


@pytest.mark.parametrize(("name", "options"), [
    ("rslora", {}), ("rslora", {"lora_alpha": 8.0}), ("lora", {"lora_alpha": 8.0, "use_rslora": True}), ("lora-c", {}),
    ("lora-c", {"lora_alpha": 16.0}), ("loha", {"lora_alpha": 3.0}), ("dora", {"lora_alpha": 3.0}), ("hira", {}),
])  # fmt: skip
def test_every_scaling_survives_a_smaller_rank(name: str, options: dict[str, Any]) -> None:
    config = MethodConfig(method=name, options={"r": 4, **options})
    with pytest.warns(RankLoweredWarning, match="rank 4 is lowered to 2"):
        method = config.method_for(Layer(shape=(2, 8)))
    assert method.scaling == pytest.approx(config.build().scaling, rel=1e-15)
    assert get_method(**method.config()) == method


def test_rank_beyond_the_columns_is_left_to_be_refused() -> None:
    method = LoraConfig(r=1000).method_for(Layer())
    assert "at most 16" in str(method.supports(Layer().shape))


def test_layer_the_method_cannot_serve_is_left_to_be_refused() -> None:
    config = MethodConfig(method="elra", options={"r": 4})
    method = config.method_for(Layer(shape=(8, 1, 3, 3), groups=8))
    assert "at least 2 indices" in str(method.supports((8, 1, 3, 3), 8))


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
    for chosen, patterns, choose in (by_name, by_config):
        assert (chosen.rank, patterns, choose(chosen, layer).rank) == (3, ["a*"], 2)
    method = get_method("lora", r=3)
    chosen, patterns, choose = resolve(method, None, {})
    assert chosen is method
    assert patterns is None
    assert choose(chosen, layer) is method
    assert choose(chosen, None) is method


def test_call_overrides_the_targets_of_the_configuration() -> None:
    assert resolve(LoraConfig(target_modules=["a"]), ["b"], {})[1] == ["b"]


def test_methods_without_layers_of_their_own_keep_one_method_for_all() -> None:
    chosen, _, choose = resolve("full", None, {})
    assert choose(chosen, Layer()) is chosen


def test_resolve_refuses_what_it_does_not_know() -> None:
    with pytest.raises(DTypeError, match="`method` must be a configuration"):
        resolve(3, None, {})  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="options must come with a method's name"):
        resolve(LoraConfig(), None, {"r": 2})
    with pytest.raises(DomainError, match="must be among"):
        resolve("lora", None, {"rank": 2})


def test_generic_configuration_serves_any_method() -> None:
    config = MethodConfig(method="flora", options={"r": 2, "kernel_rank": 1}, target_modules=["conv*"])
    assert config.method_for(Layer()).config() == {"name": "flora", "r": 2, "kernel_rank": 1}


def test_default_rank_fits_every_layer_and_a_rank_asked_for_is_refused() -> None:
    """A depthwise kernel of three taps has room for rank 1, and nobody asked for the default of 4."""
    layer = Layer(shape=(8, 1, 3), groups=8)
    with pytest.warns(RankLoweredWarning, match="rank 4 is lowered to 1"):
        assert MethodConfig(method="lora").method_for(layer).rank == 1
    asked = MethodConfig(method="lora", options={"r": 4}).method_for(layer)
    assert asked.rank == 4
    assert "must be at most 1" in str(asked.supports(layer.shape, layer.groups))


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
