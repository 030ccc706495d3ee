"""Adapter folders that a verified digest does not make right: the network refuses them and keeps what it had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref._flat import FlatParams
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME
from lieref.adapter.tensor_file import encode_tensors, read_tensor_file
from lieref.errors import DomainError, FormatError
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


@pytest.fixture
def folder(path: Path, tmp_path: Path) -> Path:
    lieref.load(path).attach("lora", r=2, target_modules=["head"]).save_adapter(tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / CONFIG_NAME).read_text())
    change(config["lieref"])
    (folder / CONFIG_NAME).write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change",
    [
        lambda section: section.update(sites=[]),
        lambda section: section.update(sites={"head.weight": 3}),
        lambda section: section.update(methods="x"),
        lambda section: section["methods"][0].update(seed="x"),
        lambda section: section["methods"][0].update(seed=-1),
        lambda section: section["methods"][0].update(seed=None),
        lambda section: section["methods"][0].update(config={"name": "unheard-of"}),
        lambda section: section["methods"][0].update(config={"name": None}),
        lambda section: section["sites"]["head.weight"].update(method=None),
        lambda section: section["sites"]["head.weight"].update(shape=[5, 9]),
        lambda section: section["sites"]["head.weight"].update(shape=None),
        lambda section: section["sites"]["head.weight"].pop("shape"),
    ],
)  # fmt: skip
def test_configuration_that_makes_no_sense_is_refused(
    path: Path, folder: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    edit(folder, change)
    model = lieref.load(path).attach("liera", r=1)
    with pytest.raises(FormatError, match=r"(load|read)_adapter: "):
        model.load_adapter(folder)
    assert model.method_name == "liera"


def test_factors_that_are_no_floats_are_refused(path: Path, folder: Path) -> None:
    tensors, meta = read_tensor_file(folder / TENSORS_NAME)
    data = encode_tensors({name: value.astype(np.int32) for name, value in tensors.items()}, meta)
    (folder / TENSORS_NAME).write_bytes(data)
    edit(folder, lambda s: s.update(tensors_sha256=hashlib.sha256(data).hexdigest(), tensors_bytes=len(data)))
    with pytest.raises(FormatError, match="must hold floats; got int32"):
        lieref.load(path).load_adapter(folder)


def test_a_folder_is_no_place_for_a_model(path: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for target in (tmp_path, "."):
        with pytest.raises(DomainError, match="must be a file"):
            lieref.load(path).save(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_loaded_adapter_trains_on_as_the_one_that_was_saved(
    path: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal((6, 3, 9, 8)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3])
    model = lieref.load(path).attach("liera", r=2)
    lieref.fit(model, x, y, epochs=1, seed=0)
    model.save_adapter(tmp_path / "kept")
    loaded = lieref.load(path).load_adapter(tmp_path / "kept")
    assert isinstance(loaded.parameters(), FlatParams)
    gradients = [each.loss_and_grad(x, y, lieref.CrossEntropy())[2] for each in (model, loaded)]
    for each, gradient in zip((model, loaded), gradients, strict=True):
        lieref.AdamW().step(each.parameters(), gradient, 0.01)
    for name, parameter in model.parameters().items():
        np.testing.assert_array_equal(loaded.parameters()[name], parameter)
