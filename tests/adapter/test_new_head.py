"""Adapters with a new head: saved, loaded on the base alone, merged, and refused where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.folder import read_adapter, write_adapter
from lieref.errors import FormatError, LierefError, UnsupportedError, VerificationError
from lieref.model.head import NewHead
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")
X = np.random.default_rng(3).standard_normal((8, 3, 9, 8)).astype(np.float32)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


def trained(net: Path, **head: Any) -> lieref.Model:
    model = lieref.load(net).attach("lora", head=NewHead(**{"classes": ["a", "b", "c"], **head}), seed=1)
    lieref.fit(model, X, np.arange(8) % 3, epochs=3, batch_size=4, augment=())
    return model


@pytest.mark.parametrize("head", [{}, {"classes": 6}, {"features": "r1", "pool": True}, {"features": "g"}])
def test_an_adapter_brings_its_head_along(net: Path, tmp_path: Path, head: dict[str, Any]) -> None:
    model = trained(net, **head)
    model.save_adapter(tmp_path / "out")
    other = lieref.load(net)
    other.classes = ("p", "q", "r", "s", "t")
    other.load_adapter(tmp_path / "out")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.classes == model.classes == (None if "classes" in head else ("a", "b", "c"))
    assert other.method_name == "lora+new-head"
    assert other.head == model.head
    other.save_adapter(tmp_path / "again")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()
    assert other.unload().classes == ("p", "q", "r", "s", "t")


def test_it_takes_the_place_of_what_was_attached(net: Path, tmp_path: Path) -> None:
    trained(net).save_adapter(tmp_path / "new")
    plain = lieref.load(net).attach("lora", seed=2)
    plain.save_adapter(tmp_path / "plain")
    model = lieref.load(net).load_adapter(tmp_path / "new").load_adapter(tmp_path / "plain")
    assert model.head is None
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert model.load_adapter(tmp_path / "new").predict(X).shape == (8, 3)


def test_another_base_is_refused(net: Path, tmp_path: Path) -> None:
    trained(net).save_adapter(tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    model = lieref.load(saved(residual_net(8), other))
    with pytest.raises(VerificationError):
        model.load_adapter(tmp_path / "out")
    assert model.head is None


def test_a_merged_file_names_the_new_classes_alone(net: Path, tmp_path: Path) -> None:
    base = lieref.load(net)
    base.classes = ("p", "q", "r", "s", "t")
    base.merge_and_unload().save(tmp_path / "named.onnx")
    for classes, known in ((["a", "b", "c"], ("a", "b", "c")), (3, None)):
        model = lieref.load(tmp_path / "named.onnx").attach(NewHead(classes))
        model.merge_and_unload().save(tmp_path / "merged.onnx")
        assert lieref.load(tmp_path / "merged.onnx").classes == known


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head: head.update(classes=1), "classes of .* must be an integer from 2"),
        (lambda head: head.update(classes=7), "must fit"),
        (lambda head: head.update(features="nowhere"), "the head in .* must fit the model; .*'nowhere'"),
        (lambda head: head.update(features="r1"), "must fit the model; .* must be one vector"),
        (lambda head: head.update(size=9), "the head in .* must fit the model"),
        (lambda head: head.update(weight="stem.weight"), "the head in .* must fit the model"),
        (lambda head: head.update(pool=1), "pool of .* must be true or false"),
        (lambda head: head.pop("bias"), "got no bias"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    net: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    trained(net, classes=3).save_adapter(tmp_path / "out")
    tensors, config = read_adapter(tmp_path / "out")
    change(config["lieref"]["head"])
    path = tmp_path / "out" / "adapter_config.json"
    path.write_text(json.dumps(config))
    model = lieref.load(net)
    with pytest.raises(LierefError, match=words):
        model.load_adapter(tmp_path / "out")
    assert (model.head, model.sites) == (None, {})
    del tensors


def test_a_head_without_its_numbers_is_refused(net: Path, tmp_path: Path) -> None:
    trained(net).save_adapter(tmp_path / "out")
    tensors, config = read_adapter(tmp_path / "out")
    for key in ("new_head.bias", "new_head.weight"):
        del config["lieref"]["sites"][key]
        del tensors[f"{key}:xi"]
    write_adapter(tmp_path / "less", tensors, config)
    with pytest.raises(FormatError, match="must hold the new head's weight and bias"):
        lieref.load(net).load_adapter(tmp_path / "less")


def test_new_heads_do_not_add(net: Path, tmp_path: Path) -> None:
    trained(net).save_adapter(tmp_path / "out")
    with pytest.raises(UnsupportedError, match="must hold no new head"):
        lieref.load(net).add_weighted_adapter([tmp_path / "out"] * 2, [0.5, 0.5])
