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
    with pytest.raises(FormatError, match="load_adapter: "):
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
