"""Tensors of any name: adapters and checkpoints come back as they were, whatever a network calls its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.adapter.folder import CONFIG_NAME
from lieref.param.registry import METHODS, get_method
from lieref.train import loop
from tests.model.nets import make_onnx, residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

PAIRS = [
    ("w", "w:0"), ("w:0", "w"), ("w", "w:lora_a"), ("w:lora_a", "w:lora_a:lora_a"), (":", "::"), ("a/b", "a:b"),
    ("params/w", "w"), ("w.npy", "w"), ("../w", "/w"), (" ", "  "), ("w", "W"), ("é", "e\N{COMBINING ACUTE ACCENT}"),
    ("重み", "\N{SNOWMAN}:"), ("con", "nul"), ("__metadata__", "w"), ("w:statistic", "w"), ("w[0]", "w*"),
    ("tab\t", 'quote"'), ("line\n", "back\\slash"), ("n" * 70_000, "n" * 70_001), ("zero\0", "zero"), ("{0}", "%s"),
]  # fmt: skip


def network(first: str, second: str, folder: Path) -> Path:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", first, "b1"], ["h"], name="fc1", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", second, "b2"], ["y"], name="fc2", transB=1),
    ]
    shapes = {first: (6, 4), "b1": (6,), second: (5, 6), "b2": (5,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return saved(make_onnx(nodes, tensors, ["N", 4], "y", ["N", 5]), folder)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda name: ascii(name[:12]))
def test_any_name_is_saved_loaded_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    path = network(first, second, tmp_path)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((12, 4)).astype(np.float32), np.arange(12) % 5
    settings: dict[str, Any] = {"epochs": 2, "seed": 0, "checkpoint": tmp_path / "run", "validation": 0.5}
    model = lieref.load(path).attach("lora", r=2)
    lieref.fit(model, x, y, **settings)
    model.save_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(
        lieref.load(path).load_adapter(tmp_path / "adapter").predict(x), model.predict(x), strict=True
    )

    shutil.rmtree(tmp_path / "run")
    original = loop.write_checkpoint

    def stop(folder: Path, checkpoint: Any) -> None:
        original(folder, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "write_checkpoint", stop)
    again = lieref.load(path).attach("lora", r=2)
    with pytest.raises(KeyboardInterrupt):
        lieref.fit(again, x, y, **settings)
    monkeypatch.undo()
    lieref.fit(again, x, y, **settings, resume=True)
    for name, parameter in model.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], parameter)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.parameterisation is not None])
def test_no_factor_has_a_colon(name: str) -> None:
    """The key `<tensor>:<factor>` is taken apart at its last colon."""
    shape = (6, 4, 3, 3)
    weight = np.random.default_rng(0).standard_normal(shape)
    params = get_method(name).init(shape, 1, np.random.default_rng(0), base_weight=weight)
    assert not [factor for factor in params if ":" in factor or factor == "statistic"]


def test_another_file_of_the_same_network_is_the_same_base(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    x = np.random.default_rng(1).standard_normal((3, 3, 9, 8)).astype(np.float32)
    model = lieref.load(path).attach("lora", r=1)
    for parameter in model.parameters().values():
        parameter += np.float32(0.1)
    model.save_adapter(tmp_path / "adapter")
    again = residual_net()
    again.producer_name = "another exporter"
    (tmp_path / "again").mkdir()
    other = lieref.load(saved(again, tmp_path / "again"))
    assert other.base_sha256 != model.base_sha256
    np.testing.assert_array_equal(other.load_adapter(tmp_path / "adapter").predict(x), model.predict(x))
    (tmp_path / "different").mkdir()
    different = saved(residual_net(seed=8), tmp_path / "different")
    with pytest.raises(lieref.VerificationError, match="whose weights or layers differ"):
        lieref.load(different).load_adapter(tmp_path / "adapter")

    # As they were written before networks had a digest of their own: bound to the file alone.
    config = json.loads((tmp_path / "adapter" / CONFIG_NAME).read_text())
    del config["lieref"]["network_sha256"]
    (tmp_path / "adapter" / CONFIG_NAME).write_text(json.dumps(config))
    lieref.load(path).load_adapter(tmp_path / "adapter")
    with pytest.raises(lieref.VerificationError, match="sha256"):
        lieref.load(tmp_path / "again" / "net.onnx").load_adapter(tmp_path / "adapter")


def test_saving_again_replaces_an_adapter_and_nothing_else(tmp_path: Path) -> None:
    path = network("w1", "w2", tmp_path)
    for rank in (1, 2):
        lieref.load(path).attach("lora", r=rank).save_adapter(tmp_path / "out")
    assert lieref.load(path).load_adapter(tmp_path / "out").attached[0].method.rank == 2
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(lieref.DomainError, match=r"not empty: it holds report\.json"):
        lieref.load(path).attach("lora").save_adapter(tmp_path / "out")
