"""Adapter files of earlier versions: read as they were meant, or refused by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.folder import FORMAT, FORMATS
from lieref.errors import FormatError, UnsupportedError
from lieref.param._base import LierefWarning
from lieref.param.kronecker import split
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method
from lieref.param.upgrade import VERSION, upgraded
from tests.model.nets import residual_net, saved


def saved_as_version_1(model: Any, folder: Path, rename: dict[str, str], drop: tuple[str, ...]) -> None:
    """Save an adapter, and write its configuration as version 1 wrote one that means the same."""
    model.save_adapter(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    section = config["lieref"]
    assert section["format"] == "lieref-adapter/3"
    section["format"] = "lieref-adapter/1"
    for method in [*(m["config"] for m in section["methods"]), *(s["method"] for s in section["sites"].values())]:
        method["name"] = rename.get(method["name"], method["name"])
        for option in drop:
            method.pop(option, None)
    path.write_text(json.dumps(config))


# What meant in version 1 what these options mean now; `share_groups` matters for the depthwise layer.
THEN_AND_NOW: list[tuple[str, dict[str, Any], dict[str, str], tuple[str, ...]]] = [
    ("ia3", {"action": "scaling"}, {}, ("action",)),
    ("rslora", {"r": 2, "lora_alpha": 2.0, "share_groups": False}, {}, ("lora_alpha", "share_groups")),
    ("lora", {"use_rslora": True, "lora_alpha": 4.0, "share_groups": False}, {}, ("lora_alpha", "share_groups")),
    ("lora-c", {"r": 1, "lora_alpha": 8.0, "share_groups": False}, {}, ("lora_alpha", "share_groups")),
    ("liera", {"r": 1, "share_groups": False}, {}, ("share_groups",)),
    ("lora", {"r": 2, "share_groups": True}, {}, ()),
    ("loha", {"r": 1, "share_groups": False}, {}, ("share_groups",)),
    ("lokr", {"r": 1, "share_groups": False}, {}, ("share_groups",)),
    ("hra", {"r": 2, "share_groups": False}, {}, ("share_groups",)),
    ("dora", {"r": 1, "share_groups": False}, {}, ("share_groups",)),
    ("atoms", {"m": 2}, {}, ()),
    ("full", {}, {}, ()),
    ("convolutional-low-rank-adaptation", {}, {"convolutional-low-rank-adaptation": "colora"}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "rename", "drop"), THEN_AND_NOW)
def test_adapter_of_version_1_computes_what_it_did(
    tmp_path: Path, rng: np.random.Generator, name: str, options: Any, rename: Any, drop: Any
) -> None:
    path, x = saved(residual_net(), tmp_path), rng.standard_normal((4, 3, 9, 8)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        model = lieref.load(path).attach(name, **options)
        for array in model.parameters().values():
            array += 0.2 * rng.standard_normal(array.shape).astype(array.dtype)
        saved_as_version_1(model, tmp_path / "a", rename, drop)
        again = lieref.load(path).load_adapter(tmp_path / "a")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert again.method_name == name
    again.save_adapter(tmp_path / "b")
    np.testing.assert_array_equal(lieref.load(path).load_adapter(tmp_path / "b").predict(x), model.predict(x))


def test_adapter_without_a_heir_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        saved_as_version_1(lieref.load(path).attach("boft"), tmp_path / "a", {}, ())
    with pytest.raises(FormatError, match="boft must be of version 2, whose blocks hold other indices"):
        lieref.load(path).load_adapter(tmp_path / "a")


def test_the_format_that_is_written_is_the_version_of_the_methods() -> None:
    assert FORMATS == {"lieref-adapter/1": 1, "lieref-adapter/2": 2, "lieref-adapter/3": 2}
    assert FORMATS[FORMAT] == VERSION == 2


@pytest.mark.parametrize("version", ["lieref-adapter/0", "lieref-adapter/4", 2, None, ["lieref-adapter/1"]])
def test_unknown_version_is_refused(tmp_path: Path, version: Any) -> None:
    path = saved(residual_net(), tmp_path)
    lieref.load(path).attach("lora", r=1).save_adapter(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    config["lieref"]["format"] = version
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(
        FormatError, match="must be of format lieref-adapter/1 or lieref-adapter/2 or lieref-adapter/3; got "
    ):
        lieref.load(path).load_adapter(tmp_path / "a")


def test_factors_of_a_kronecker_product_were_ignored_where_they_did_not_divide() -> None:
    """O = 8 and I = 6: what version 1 made of `factor`, written out, against what the upgrade makes now."""
    for factor in range(1, 9):
        then = [(factor, size // factor) if size % factor == 0 else {8: (2, 4), 6: (2, 3)}[size] for size in (8, 6)]
        config = {"name": "lokr", "r": 1, "factor": factor}
        try:
            now = upgraded(config, 1, (8, 6, 3, 3))["factor"]
        except UnsupportedError:
            assert [split(size, factor) for size in (8, 6)] != then
            continue
        assert [split(size, now) for size in (8, 6)] == then
    assert upgraded({"name": "lokr", "factor": 5}, 2, (8, 6)) == {"name": "lokr", "factor": 5}


def test_upgraded_configuration_makes_a_method_and_changes_nothing_given() -> None:
    config = {"name": "rslora"}
    new = upgraded(config, 1, (6, 1, 3, 3), 6)
    assert config == {"name": "rslora"}
    assert new == {"name": "rslora", "lora_alpha": 4.0, "share_groups": False}
    assert get_method(**new).scaling == 2.0


def test_saved_configuration_names_the_rank_and_alpha_in_use(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    for number, (name, options, expected) in enumerate([
        ("lora", {}, (4, 4.0)), ("lora", {"r": 2, "lora_alpha": 3.0}, (2, 3.0)), ("rslora", {"r": 9}, (9, 4.0)),
        ("hira", {"r": 2}, (2, 2.0)), ("dora", {"r": 1}, (1, 1.0)), ("lokr", {"lora_alpha": 8.0}, (4, 8.0)),
        ("lora-c", {"r": 3}, (3, 6.0)), ("oft", {}, (None, None)), ("full", {}, (None, None)), ("pissa", {}, (4, 4.0)),
    ]):  # fmt: skip
        folder = tmp_path / str(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)
            lieref.load(path).attach(name, **options).save_adapter(folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"]) == expected, name
    lieref.load(path).attach("lora", r=2, target_modules=["stem"]).attach("norm-stats").save_adapter(tmp_path / "both")
    config = json.loads((tmp_path / "both" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, 2.0, ["stem"])


SEEDED = [
    name
    for name, row in METHODS.items()
    if row.parameterisation and PARAMETERISATIONS[row.parameterisation].must_be_saved
]


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("option", ["frozen_seed", "generator"])
def test_what_frozen_numbers_are_made_of_must_be_saved(tmp_path: Path, name: str, option: str) -> None:
    path, config = saved(residual_net(), tmp_path), tmp_path / "a" / "adapter_config.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        lieref.load(path).attach(name, r=1, frozen_seed=3).save_adapter(tmp_path / "a")
    text = json.loads(config.read_text())
    for site in text["lieref"]["sites"].values():
        assert site["method"].pop(option) == (3 if option == "frozen_seed" else 1)
    config.write_text(json.dumps(text))
    with pytest.raises(FormatError, match=f"`{option}` must be saved with the factors"):
        lieref.load(path).load_adapter(tmp_path / "a")


def test_a_generator_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path, config = saved(residual_net(), tmp_path), tmp_path / "a" / "adapter_config.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        lieref.load(path).attach("vera").save_adapter(tmp_path / "a")
    config.write_text(config.read_text().replace('"generator": 1', '"generator": 2'))
    with pytest.raises(FormatError, match="`generator` must be a version that this lieref has, 1; got 2"):
        lieref.load(path).load_adapter(tmp_path / "a")
