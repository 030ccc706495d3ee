"""What is said of a method is true of it: equations, factors, starts, numbers; and nothing about it is left unsaid."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, LierefWarning, ShapeError, UnsupportedError
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.registry import ACTIONS, GROUPS, MAPS
from lieref.group.tensor import Additive, Hadamard, Scaling
from lieref.param.describe import GEOMETRIES, LETTERS, describe
from lieref.param.explain import SCOPES, explain, factors_of, inner_method, letters_of, trained_tensors
from lieref.param.method import Recipe
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method, options_of
from lieref.references import REFERENCES
from tests.cli.helpers import small_network

OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("tucker+hadamard+cayley", {"r": 2}), ("low-rank+so+cayley+fan-in/2", {"r": 1}), ("dense+so*gl+exp+out*in", {}),
    ("principal+additive+exp", {"r": 2, "start": "orthogonal"}), ("diagonal+gl+taylor2+in", {}),
    ("norm-stats+liera", {"r": 1, "map": "bounded(0.5)"}), ("lora", {"init_lora_weights": False}),
    ("lora", {"init_lora_weights": "pissa_niter_1", "r": 2}), ("lora", {"share_groups": True, "r": 1}),
    ("dense+affine+exp", {}), ("lokr", {"r": 1}), ("block-diagonal+gl+exp+out", {"block_size": 2}),
]  # fmt: skip
CASES = [
    pytest.param(name, config, *GEOMETRIES[kind], id=f"{name}-{number}-{kind}")
    for number, (name, config) in enumerate([*((name, {}) for name in METHODS), *OTHERS])
    for kind in GEOMETRIES
    if get_method(name, **config).supports(*GEOMETRIES[kind]) is None
]


def quietly(name: str, shape: Any, groups: int, **config: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it explains; what training would warn of is in what it returns
        return explain(name, shape, groups, **config)


@pytest.mark.parametrize(("name", "config", "shape", "groups"), CASES)
def test_factors_are_those_of_init(name: str, config: dict[str, Any], shape: Any, groups: int) -> None:
    method = get_method(name, **config)
    said = quietly(name, shape, groups, **config)
    layer = said["layer"]
    assert set(layer["tensors"]) == set(SCOPES[method.scope])
    for tensor, (size, blocks) in trained_tensors(method, shape, groups).items():
        rows = {row["name"]: row for row in layer["factors"] if row["tensor"] == tensor}
        base = np.random.default_rng(7).standard_normal(size)
        params = method.start(size, blocks, np.random.default_rng(8), base_weight=base)
        assert {n: tuple(row["shape"]) for n, row in rows.items()} == {n: f.shape for n, f in params.items()}
        assert tuple(n for n in rows if rows[n]["trained"]) == method.trainable({n: params[n] for n in rows})
        for factor, row in rows.items():
            assert (row["start"] == "zero") == (not params[factor].any()), factor
            again = method.start(size, blocks, np.random.default_rng(9), base_weight=base)[factor]
            assert ("random" in row["start"]) == (not np.array_equal(again, params[factor])), factor
            other = method.start(size, blocks, np.random.default_rng(8), base_weight=base + 1)[factor]
            assert ("from the weight" in row["start"]) == (not np.array_equal(other, params[factor])), factor
    trained = sum(np.prod(row["shape"], dtype=int) for row in layer["factors"] if row["trained"])
    assert layer["numbers"] == trained
    assert layer["adjusted"] == (method.adjusted(shape, groups) if "weight" in layer["tensors"] else "")
    json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("name", [*METHODS, *(name for name, _ in OTHERS)])
def test_nothing_is_left_unsaid(name: str) -> None:
    config = dict(OTHERS).get(name, {})
    said = quietly(name, (8, 8, 3, 3), 1, **config)
    assert said["summary"]
    assert [one["name"] for one in said["options"]] == list(options_of(name))
    for one in said["options"]:
        assert one["type"], one
        assert one["meaning"], one
        assert {"`", "\n"}.isdisjoint(one["meaning"])
    again = get_method(name, **{one["name"]: one["value"] for one in said["options"] if one["value"] is not None})
    assert again.num_params((8, 8)) == get_method(name, **config).num_params((8, 8))
    if said["parts"]["parameterisation"] is not None:
        assert re.match(r"xi\b", said["about"]["parameterisation"][0]), (
            "the first words of the docstring are the formula"
        )
        assert all(texts and all(texts) for texts in said["about"].values())
    assert said["count"]["formula"] == "0" or set(letters_of(said["count"]["formula"])) == set(said["count"]["letters"])
    cited = {**said["sources"], **said["cited"]}
    assert all(text == REFERENCES[key] for key, text in cited.items())
    for key in re.findall(r"\[([A-Z][A-Za-z]+\d\d[A-Z]?)\b", json.dumps([said["about"], said["options"]])):
        assert key in cited


@pytest.mark.parametrize("name", METHODS)
def test_it_agrees_with_the_table(name: str) -> None:
    row, said = describe(name), quietly(name, (8, 6, 4, 5), 1)
    parts = {part: row[part] for part in ("parameterisation", "map", "action", "group")}
    if row["parameterisation"] is None:
        assert set(said["parts"].values()) == {None}
    else:
        found = {part: said["parts"][part] for part in parts}
        found["map"], parts["map"] = (str(text).partition("(")[0] for text in (found["map"] or row["map"], row["map"]))
        assert found == parts
    assert said["count"]["formula"] == row["formula"]
    assert said["learning_rate"] == row["learning_rate"]
    assert list(said["sources"]) == [key.strip("[]") for key in row["reference"].split()]
    if said["scope"] == "weight" and name != "sp":
        assert sorted(said["preserves"]) == row["preserves"]


@pytest.mark.parametrize("formula", sorted({describe(name)["formula"] for name in METHODS} - {"0"}
                                           | {kind.formula for kind in map(PARAMETERISATIONS.__getitem__,
                                                                           PARAMETERISATIONS)}))  # fmt: skip
def test_every_letter_of_a_count_is_explained(formula: str) -> None:
    texts = {key: f"{key} {LETTERS[key]}" for key in letters_of(formula)}
    for letter in set(re.findall(r"[A-Za-z]\d?", formula.replace(" or ", " "))):
        assert any(re.search(rf"\b{letter}\b", text) for text in texts.values()), letter


def test_a_letter_is_that_of_its_formula() -> None:
    assert letters_of("G·(a·b + c·d·k)") == ["G", "k", "a, b, c, d"]
    assert letters_of("G·m·n·b") == ["G", "n", "b", "m"]


MEMBERS = [(name, member) for name in MAPS for member in MAPS[name].examples()]


@pytest.mark.parametrize(("name", "map_"), MEMBERS)
def test_the_equation_of_a_map_is_what_it_computes(name: str, map_: Any) -> None:
    """Evaluated as it stands, on positive numbers, where 1 is e and products commute."""
    xi = np.array([-0.75, -0.1, 0.0, 0.3, 1.25])
    text = map_.equation.replace("^", "**")
    text = re.sub(r"(?<=[\d)]) (?=\(|tanh)", " * ", text)
    found = eval(text, {"xi": xi, "exp": np.exp, "tanh": np.tanh})
    np.testing.assert_allclose(found, map_.retract(Hadamard((5,)), xi), rtol=1e-14)


def test_the_equation_of_a_long_series_ends_in_its_last_term() -> None:
    taylor = MAPS["taylor"]
    assert taylor(degree=7).equation == "1 + xi + xi^2 / 2 + ... + xi^7 / 5040"  # type: ignore[call-arg]
    assert taylor(degree=4).equation.count("+") == 4  # type: ignore[call-arg]


@pytest.mark.parametrize(("action", "group"), [(ElementWise("add"), Additive), (ElementWise(), Hadamard)])
def test_the_equation_of_an_element_wise_action_is_what_it_computes(action: Any, group: Any) -> None:
    rng = np.random.default_rng(1)
    weight, g = rng.standard_normal((3, 4)), rng.uniform(0.5, 2, (3, 4))
    _, right = action.equation.partition(",")[0].split(" = ")
    assert action.legal_for(group((3, 4)))
    assert np.array_equal(eval(right, {"W": weight, "g": g}), action.act(g, weight))


@pytest.mark.parametrize("action", [one for one in ScaleMode.examples() if one.mode in ("out", "in")])
def test_the_equation_of_scaling_is_what_it_computes(action: Any) -> None:
    rng = np.random.default_rng(2)
    weight, g = rng.standard_normal((3, 4)), rng.uniform(0.5, 2, {"out": 3, "in": 4}[action.mode])
    assert action.legal_for(Scaling(g.shape))
    assert action.equation.startswith("W'[.., i, ..] = g[i] W[.., i, ..]")
    assert f"the mode {action.mode}" in action.equation
    scaled = np.moveaxis(np.array([g[i] * np.take(weight, i, ("out", "in").index(action.mode)) for i in range(len(g))]),
                         0, ("out", "in").index(action.mode))  # fmt: skip
    np.testing.assert_allclose(action.act(g, weight), scaled, rtol=1e-15)
    assert ("b' = " in action.equation) == action.moves_bias


def test_actions_that_differ_have_equations_that_do() -> None:
    members = {one.spec + getattr(one, "operation", ""): one for name in ACTIONS for one in ACTIONS[name].examples()}
    equations = {spec: one.equation for spec, one in members.items()}
    assert len(set(equations.values())) == len(members)
    for spec, one in members.items():
        assert equations[spec].startswith("W'"), spec
        assert ("b'" in equations[spec]) == one.moves_bias, spec


@pytest.mark.parametrize("name", METHODS)
def test_equations_go_down_to_xi_by_the_map(name: str) -> None:
    method = get_method(name)
    lines = " ".join(method.equations)
    assert lines.startswith("W'")
    map_ = getattr(inner_method(method), "map", None)
    if map_ is not None and METHODS[name].group != "additive":
        assert map_.equation in lines
    elif map_ is not None:
        assert lines.endswith("g = xi"), "whatever the map is"


def test_every_group_says_what_it_is() -> None:
    said = {name: explain(f"dense+{name}+exp", (8, 6))["about"]["group"] for name in GROUPS if name != "product"}
    assert all(texts and texts[0].endswith(".") for texts in said.values())
    assert len({texts[0] for texts in said.values()}) == len(said)


def test_scopes_are_what_a_network_is_adapted_in(tmp_path: Any) -> None:
    """A convolution, its normalisation, and a linear layer that is the last: counted where each scope looks."""
    import onnx

    import lieref
    from lieref.model.attaching import tensors_in_scope

    onnx.save(small_network(), tmp_path / "net.onnx")
    graph = lieref.load(tmp_path / "net.onnx").graph
    expected = {
        "weight": {"conv.weight", "head.weight"},
        "head": {"head.weight", "head.bias"},
        "bias": {"conv.bias", "head.bias", "norm.shift"},
        "norm": {"norm.scale", "norm.shift"},
        "all": {"conv.weight", "conv.bias", "head.weight", "head.bias", "norm.scale", "norm.shift"},
    }
    for scope, names in expected.items():
        tensors = set(tensors_in_scope(graph, scope)[0])
        assert tensors == names
        of_layer = {name.partition(".")[2] for name in names if not name.startswith("norm") or scope == "norm"}
        assert of_layer == set(SCOPES[scope])
    assert set(SCOPES) == {*expected, "statistics"}
    scopes = {word for word in (Recipe.__doc__ or "").partition("scope : {")[2].partition("}")[0].split('"')[1::2]}
    assert set(SCOPES) == scopes


def test_a_combination_names_the_rows_it_is() -> None:
    assert explain("low-rank+additive+exp")["same_parts"] == ["lora"]
    assert explain("low-rank+hadamard+taylor1")["same_parts"] == ["liera-taylor1", "hira"]
    assert explain("low-rank+so+exp+in")["same_parts"] == []
    assert explain("norm-stats+low-rank+so+exp")["same_parts"] == ["so"]


def test_the_linear_layer_is_explained_or_refused() -> None:
    said = explain("lora", (6, 4, 3, 3), 2, r=1)
    assert said["linear"]["shape"] == [6, 8]
    assert said["linear"]["numbers"] == 6 + 8
    assert said["layer"]["numbers"] == 2 * (3 + 4 * 9)
    assert explain("lora", (6, 4))["linear"] is None
    assert "must have the mode 'kernel'" in explain("dense+so+exp+kernel", (6, 4, 3, 3))["linear"]["refused"]


def test_options_given_are_the_values_explained() -> None:
    said = explain("lora", r=8, lora_alpha=16, use_rslora=True)
    values = {one["name"]: (one["default"], one["value"]) for one in said["options"]}
    assert values["r"] == (4, 8)
    assert values["lora_alpha"] == (4.0, 16.0)
    assert said["scaling"] == pytest.approx(16 / 8**0.5)
    legal = {one["name"]: one.get("legal") for one in explain("so", (8, 8))["options"]}
    assert legal["map"] == ["exp", "cayley", "bounded"]
    assert "conjugation" in legal["action"]
    assert "kernel" not in legal["action"]


def test_a_weight_far_too_large_to_decompose_is_explained_at_once() -> None:
    assert explain("pissa", (100_000, 100_000))["layer"]["numbers"] == 4 * 200_000
    assert explain("full", (100_000, 100_000))["layer"]["numbers"] == 100_000 * 100_001
    assert [one["start"] for one in explain("lora", (100_000, 9), r=9)["layer"]["factors"]] == ["random", "zero"]
    lokr = explain("lokr", (10_000**2, 10_000), r=200)["layer"]["factors"]  # on a small weight its w2 would be whole
    assert [one["name"] for one in lokr] == ["w1", "w2_a", "w2_b"]


@pytest.mark.parametrize(
    ("name", "shape", "groups", "error"),
    [
        ("sp", (7, 3), 1, ShapeError),
        ("so", (8, 3), 3, ShapeError),
        ("so", (8,), 1, ShapeError),
        ("lora", (4, 4, 1, 1, 1, 1), 1, ShapeError),
        ("low-rank+so+taylor1", (8, 8), 1, UnsupportedError),
        ("liear", (8, 8), 1, DomainError),
        ("bias", (8, 8), 3, ShapeError),
        ("norm-stats", (8, 0), 1, ShapeError),
    ],
)
def test_what_cannot_be_is_refused(name: str, shape: Any, groups: int, error: type[LierefError]) -> None:
    with pytest.raises(error) as caught:
        explain(name, shape, groups)
    if (name, shape) not in (("liear", (8, 8)), ("so", (8,)), ("bias", (8, 8)), ("norm-stats", (8, 0))):
        assert str(caught.value) == get_method(name).supports(shape, groups), "the method's own words"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("liear", "such as liera"),
        ("norm-stats+lorra", "such as lora"),
        ("low-rnk+so+exp", "must begin with a parameterisation, such as low-rank"),
        ("low-rank+sow+exp", "a group, such as so, after the first"),
        ("tucker+so*hadamrd+exp+out*in", "such as hadamard"),
        ("xyz+so+exp", "must begin with one of dense, "),
    ],
)
def test_unknown_names_say_what_may_have_been_meant(name: str, words: str) -> None:
    with pytest.raises(DomainError, match=re.escape(words)):
        explain(name)


def test_factors_of_a_method_without_any() -> None:
    assert factors_of(get_method("norm-stats"), (8, 8)) == {}


def test_it_says_nothing_of_training_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", LierefWarning)
        said = explain("lora", (3, 3), r=100)
    assert said["layer"]["adjusted"] == "rank 3"
