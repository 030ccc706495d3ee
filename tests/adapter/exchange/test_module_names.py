"""Module paths of PyTorch in ONNX files: found by names, by numbers, by shape, or listed and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.exchange.given import Given, read_given
from lieref.adapter.exchange.names import Match, channel_scales, match, paths_for, scope_of, traces
from lieref.adapter.model import Model, load
from lieref.adapter.tensor_file import write_tensor_file
from lieref.errors import DomainError, FormatError
from lieref.model.layer import Layer
from tests.adapter.exchange.network import state, write

PATHS = {"block.0.conv": (6, 4, 3, 3), "mix": (8, 3, 1, 1), "low": (5, 8), "head": (7, 5)}


def found(model: Model, wanted: list[str], given: Given | None = None, separator: str = ".") -> dict[str, Match]:
    def weight(layer: Layer) -> np.ndarray:
        return layer.to_canonical(model.graph.initializers[layer.weight])

    # A layer fits by its shape.
    shapes = {path.replace(".", separator): shape for path, shape in PATHS.items()}
    fits = {path: (lambda layer, path=path: layer.shape == shapes.get(path, (5, 8))) for path in wanted}
    return match(fits, model.layers, traces(model.proto), given, weight_of=weight, separator=separator)[0]


def shapes_of(matches: dict[str, Match]) -> dict[str, tuple[int, ...]]:
    return {path: one.layer.shape for path, one in matches.items()}


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ("/stem/Conv", "stem"),
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/seq/seq.0/seq.0.0/Gemm", "seq.0.0"),
        ("/blocks.0/attn/q/MatMul_1", "blocks.0.attn.q"),
        ("/encoder/layer.1/layer.1.x/y/MatMul", "encoder.layer.1.x.y"),
        ("/MatMul", None),
        ("node_conv2d_4", None),
        ("Conv_3", None),
        ("//Conv", None),
    ],
)  # fmt: skip
def test_scope_in_a_node_name(node: str, path: str | None) -> None:
    assert scope_of(node) == path


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("style", ["torchscript", "dynamo"])
def test_both_exporters_leave_the_paths(tmp_path: Path, style: str, fold: bool) -> None:
    model = load(write(tmp_path / "base.onnx", state(norm=fold), style, fold=fold))
    matches = found(model, [*PATHS])
    assert shapes_of(matches) == PATHS
    assert {one.how for one in matches.values()} == {"names"}
    layers = [one.layer for one in matches.values()]
    assert paths_for(layers, traces(model.proto), None, None) == {
        one.layer.weight: path for path, one in matches.items()
    }


def test_paths_with_another_separator(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    assert shapes_of(found(model, ["block_0_conv", "mix"], separator="_")) == {
        "block_0_conv": (6, 4, 3, 3),
        "mix": (8, 3, 1, 1),
    }


@pytest.mark.parametrize("prefix", ["net.", "base.net."])
def test_one_prefix_less_in_the_file(tmp_path: Path, prefix: str) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    assert shapes_of(found(model, [f"{prefix}{path}" for path in PATHS])) == {
        f"{prefix}{path}": shape for path, shape in PATHS.items()
    }


def test_one_prefix_more_in_the_file(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    assert shapes_of(found(model, ["conv"])) == {"conv": (6, 4, 3, 3)}


def test_nothing_is_guessed_where_the_file_has_names(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    with pytest.raises(DomainError, match="lows is nowhere, close is low"):
        found(model, ["mix", "lows"])


def test_a_file_without_names_tells_by_shape_where_one_fits(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state(), "none"))
    matches = found(model, [*PATHS])
    assert shapes_of(matches) == PATHS
    assert {one.how for one in matches.values()} == {"shape"}


def test_two_modules_of_one_shape_are_listed_and_refused(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state(), "none"))
    with pytest.raises(DomainError, match=r"(low|other) is \w+, which (low|other) is already"):
        found(model, ["low", "other"])
    fits = {"any": lambda _: True}
    with pytest.raises(DomainError, match=r"any may be any of .*, of one shape"):
        match(fits, model.layers, traces(model.proto))


def test_numbers_of_the_base_find_a_module_that_was_scaled(tmp_path: Path) -> None:
    tensors = state(norm=True)
    model = load(write(tmp_path / "base.onnx", tensors, "none", fold=True))
    matches = found(model, ["block.0.conv", "low"], Given(tensors=tensors))
    assert shapes_of(matches) == {"block.0.conv": (6, 4, 3, 3), "low": (5, 8)}
    assert {one.how for one in matches.values()} == {"values"}


def test_a_map_names_nodes_or_weights(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    node = model.layers[0].node
    matches = found(model, ["a", "b"], Given(nodes={"a": node, "b": "head.weight"}))
    assert shapes_of(matches) == {"a": (6, 4, 3, 3), "b": (7, 5)}
    with pytest.raises(DomainError, match=r"must name nodes or weights of the network; got 'head.wight'"):
        found(model, ["b"], Given(nodes={"b": "head.wight"}))


def test_reading_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"a": "node"}))
    assert read_given(tmp_path / "map.json").nodes == {"a": "node"}
    write_tensor_file(tmp_path / "base.safetensors", {"a.weight": np.ones((2, 3), np.float32)})
    given = read_given(tmp_path / "base.safetensors")
    assert given.weight("a") is not None
    assert given.weight("b") is None
    (tmp_path / "map.json").write_text(json.dumps({"a": 3}))
    (tmp_path / "base.pt").write_bytes(b"")
    for name, message in (("map.json", "a name for every module"), ("base.pt", "is a pickle"), ("none", "there is no")):
        with pytest.raises(FormatError, match=message):
            read_given(tmp_path / name)


def test_channel_scales_are_exact_multiples_only() -> None:
    generator = np.random.default_rng(0)
    own = generator.standard_normal((4, 3, 2)).astype(np.float32)
    own[2] = 0
    a = np.array([0.3, -1.7, 5.0, 1e-3])
    folded = (own * a[:, None, None]).astype(np.float32)
    scales = channel_scales(folded, own)
    assert scales is not None
    assert np.abs(scales - [0.3, -1.7, 1.0, 1e-3]).max() < 1e-6
    folded[0, 0, 0] *= np.float32(1 + 2**-20)
    assert channel_scales(folded, own) is None
    assert channel_scales(own, own[:3]) is None
