"""Any adapter as LoRA factors: exact where it adds a low rank, else nearest in the Frobenius norm, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
import lieref.adapter.out.source
from lieref.adapter.folder import read_adapter
from lieref.adapter.model import Model
from lieref.adapter.out.registry import Exported, export
from lieref.adapter.out.source import Source
from lieref.errors import DomainError, FormatError
from lieref.model.head import NewHead
from lieref.param.registry import METHODS
from tests.adapter.out.adapters import adapter_of, perturbed
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

TRAINED = ("full", "head", "ia3", "lora", "lora-view", "loha", "lokr", "atoms", "dora", "oft-cayley", "affine", "liera")
"""One of every kind of parts."""


def loaded(tmp_path: Path, exported: Exported, name: str = "lora") -> Model:
    folder = tmp_path / name
    folder.mkdir()
    assert not isinstance(exported.data, bytes)
    for file, data in exported.data.items():
        (folder / file).write_bytes(data)
    return lieref.load(tmp_path / "net.onnx").load_adapter(folder)


def weights(model: Model) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in model.adapted_tensors().items()}


def matrices(source: Source, name: str) -> np.ndarray:
    """The exact change of a weight, one matrix for each set of factors."""
    change = next(change for change in source.changes if change.name == name)
    site = source.model.sites[name]
    groups = 1 if change.difference.shape[0] == site.groups else site.groups
    return change.canonical(change.difference).reshape(groups, change.difference.shape[0] // groups, -1)


@pytest.mark.parametrize("method", TRAINED)
def test_the_factors_are_the_nearest_of_their_rank(tmp_path: Path, method: str) -> None:
    source = adapter_of(
        tmp_path, method, target_modules=None if METHODS[method].scope != "weight" else ["stem", "down"]
    )
    exported = export(source, "lora", rank=2)
    model = loaded(tmp_path, exported)
    assert model.method_name == "lora"
    adapted = weights(model)
    base = source.model.graph.initializers
    for name, row in exported.facts["layers"].items():
        exact = matrices(source, name)
        singular = np.linalg.svd(exact, compute_uv=False)
        least = np.sqrt(np.sum(singular[:, 2:] ** 2))
        size = np.sqrt(np.sum(singular**2))
        lost = row["relative_error"] * size
        assert least * (1 - 1e-9) <= lost <= least + 1e-6 * size  # what float32 factors add
        assert row["rank"] == min(2, singular.shape[1])
        change = adapted[name] - base[name]
        off = np.linalg.norm(source.model.sites[name].canonical(change).reshape(exact.shape) - exact)
        # and the difference of the merged weights, which rounds every one of them
        assert abs(off - lost) <= 2.0**-23 * np.linalg.norm(base[name]) + 2.0**-22 * size
    others = {change.name: change.after for change in source.changes if change.name not in exported.facts["layers"]}
    assert sorted(others) == sorted(exported.facts["dense_tensors"])
    for name, value in others.items():
        assert (adapted[name] == value).all()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"r": 3, "lora_alpha": 5.0}),
        ("rslora", {"r": 3}),
        ("lora", {"r": 9}),  # more than some layers have room for
        ("lora", {"r": 2, "share_groups": True}),
        ("lora-view", {"r": 2, "target_modules": ["point", "head"]}),
        ("lora-structured", {"r": 2, "target_modules": ["head"]}),
    ],
)
def test_low_ranks_that_are_added_keep_their_factors(tmp_path: Path, method: str, options: dict[str, Any]) -> None:
    source = adapter_of(tmp_path, method, **options)
    exported = export(source, "lora")
    model = loaded(tmp_path, exported)
    assert all(row["own_factors"] and row["relative_error"] < 1e-7 for row in exported.facts["layers"].values())
    assert exported.facts["outputs"]["largest_error"] == 0
    for name, value in source.model.adapted_tensors().items():
        assert model.adapted_tensors()[name].tobytes() == value.tobytes()
    before = {key: value for key, value in read_adapter(source.adapter)[0].items()}
    after = read_adapter(tmp_path / "lora")[0]
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_starts_in_the_weight_are_twice_the_rank(tmp_path: Path, method: str) -> None:
    source = adapter_of(tmp_path, method, r=2, target_modules=["stem", "down", "head"])
    exported = export(source, "lora")
    for row in exported.facts["layers"].values():
        assert (row["rank"], row["own_factors"]) == (4, True)
        assert row["relative_error"] < 1e-6
    lost = export(source, "lora", rank=3).facts["layers"]
    assert all(row["rank"] == 3 and not row["own_factors"] and row["relative_error"] > 1e-6 for row in lost.values())


def test_what_elra_adds_has_its_rank(tmp_path: Path) -> None:
    """exp(B A) W - W = B phi(A B) A W."""
    exported = export(adapter_of(tmp_path, "elra", r=2, target_modules=["stem", "head"]), "lora")
    assert all(row["rank"] == 2 and row["relative_error"] < 1e-6 for row in exported.facts["layers"].values())


def test_a_larger_rank_leaves_less_and_the_largest_nothing(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=2)
    errors = [export(source, "lora", rank=rank).facts for rank in (1, 2, 4, 27)]
    lost = [facts["relative_error"] for facts in errors]
    assert lost[0] > lost[1] > lost[2] > lost[3]
    assert lost[3] < 1e-6
    assert export(source, "lora", rank=27).notes[0].startswith("the nearest factors are the weights' change, but for")
    assert errors[3]["outputs"]["largest_error"] < 1e-4 * errors[3]["outputs"]["largest_change"]
    assert errors[0]["outputs"]["largest_error"] > 0.01 * errors[0]["outputs"]["largest_change"]


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=1)
    exported = export(source, "lora", rank=1)
    weights_, outputs = exported.notes
    worst = max(exported.facts["layers"], key=lambda name: exported.facts["layers"][name]["relative_error"])
    assert weights_.startswith("the nearest factors leave ")
    assert f"weights' change: {worst} " in weights_
    assert "drawn samples are off by up to" in outputs
    x = np.random.default_rng(1).standard_normal((4, 3, 9, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    measured = export(source, "lora", rank=1, data=tmp_path / "data.npz").facts["outputs"]
    model = loaded(tmp_path, exported)
    ours, theirs = model.logits(x), source.model.logits(x)
    base = lieref.load(tmp_path / "net.onnx").logits(x)
    assert measured["samples"] == 4
    assert measured["largest_error"] == pytest.approx(np.abs(ours - theirs).max(), rel=1e-4)
    assert measured["rms_change"] == pytest.approx(np.sqrt(np.mean((theirs - base) ** 2)), rel=1e-4)


def test_statistics_and_a_new_head_stay(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    x = np.random.default_rng(0).standard_normal((16, 3, 9, 8)).astype(np.float32)
    model = lieref.load(path).attach("norm-stats+liera", r=2, head=NewHead(("a", "b", "c")))
    model.estimate_statistics(x)
    perturbed(model).save_adapter(tmp_path / "adapter")
    source = lieref.adapter.out.source.read_source(tmp_path / "adapter", path)
    exported = export(source, "lora", rank=2)
    made = loaded(tmp_path, exported)
    assert made.classes == ("a", "b", "c")
    assert made.method_name == "lora+new-head"
    assert made.head == model.head
    assert {*exported.facts["dense_tensors"]} == {*model.head.tensors}
    assert {name: value.tobytes() for name, value in made.statistics.items()} == {
        name: value.tobytes() for name, value in model.statistics.items()
    }
    for name in model.head.tensors:
        assert (made.adapted_tensors()[name] == model.adapted_tensors()[name]).all()


def test_what_it_refuses(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "lora", r=1)
    with pytest.raises(DomainError, match="rank"):
        export(source, "lora", rank=0)
    with pytest.raises(FormatError, match="must exist"):
        export(source, "lora", data=tmp_path / "nowhere.npz")
    (tmp_path / "other").mkdir()
    with pytest.raises(DomainError, match="must change the weight of a layer to become lora; bias does not"):
        export(adapter_of(tmp_path / "other", "bias"), "lora")


def test_the_same_factors_come_out_again(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=2)
    first, second = (export(source, "lora", rank=2).data for _ in range(2))
    assert first == second
    again = loaded(tmp_path, Exported(first))
    again.save_adapter(tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
