"""Ranks that go to the layers whose inputs need them, on a network whose inputs' spectra are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import lieref
from lieref.errors import LierefError, VerificationError
from lieref.model.redistribution import redistributed
from lieref.param.registry import get_method

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")

RNG = np.random.default_rng(11)
SIZES = {"a": 10, "b": 8, "c": 6}
# Squares of singular values of the three inputs: what is held of each falls in a known order.
SPECTRA = {
    "a": np.array([100.0, 1, 1, 1, 1, 1, 1, 1, 1, 1]),  # 0.917, then 0.009 each
    "b": np.array([30.0, 27, 24, 15, 1, 1, 1, 1]),  # 0.30 0.27 0.24 0.15
    "c": np.array([50.0, 40, 4, 2, 2, 2]),  # 0.50 0.40 0.04
}
SAMPLES = 40


def inputs() -> np.ndarray:
    """Columns side by side, each part an orthogonal matrix times its singular values times another."""
    parts = []
    for name, size in SIZES.items():
        left = np.linalg.qr(RNG.standard_normal((SAMPLES, size)))[0]
        right = np.linalg.qr(RNG.standard_normal((size, size)))[0]
        parts.append(left * np.sqrt(SPECTRA[name]) @ right)
    return np.hstack(parts).astype(np.float32)


X = inputs()
Y = RNG.integers(0, 4, SAMPLES)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Three linear layers on parts of one input, their scores added up."""
    ends = np.cumsum([0, *SIZES.values()])
    held = {name: RNG.standard_normal((size, 4)) for name, size in SIZES.items()}
    nodes = [helper.make_node("Split", ["x", "sizes"], [f"x{name}" for name in SIZES], name="split", axis=1)]
    nodes += [helper.make_node("MatMul", [f"x{name}", f"w{name}"], [f"y{name}"], name=name) for name in SIZES]
    nodes.append(helper.make_node("Sum", [f"y{name}" for name in SIZES], ["y"], name="sum"))
    value = helper.make_tensor_value_info
    stored = [onnx.numpy_helper.from_array(weight.astype(np.float32), f"w{name}") for name, weight in held.items()]
    stored.append(onnx.numpy_helper.from_array(np.diff(ends).astype(np.int64), "sizes"))
    graph = helper.make_graph(nodes, "g", [value("x", 1, ("n", int(ends[-1])))], [value("y", 1, ("n", 4))], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def attached(base: Path, start: str = "eva_rho_2", r: int = 2, **options: Any) -> Any:
    return lieref.load(base).attach("lora", r=r, init_lora_weights=start, **options)


def test_the_largest_shares_of_all_layers_get_the_ranks() -> None:
    shares = [np.array([0.9, 0.05]), np.array([0.4, 0.3, 0.2]), np.array([0.04, 0.03])]
    assert redistributed(shares, 4) == [1, 3, 0]
    assert redistributed(shares, 5) == [2, 3, 0]
    assert redistributed([np.array([0.5]), np.array([0.5])], 1) == [1, 0]
    assert sum(redistributed(shares, 6)) == 6


def test_shares_are_those_of_the_spectra(base: Path) -> None:
    from lieref.model import executor
    from lieref.model.layer_inputs import largest_directions

    model = lieref.load(base)
    values = executor.run(model.graph, X)
    for layer in model.layers:
        node = next(node for node in model.graph.nodes if node.name == layer.node)
        found = largest_directions(node, layer, values, 3, 1, np.random.default_rng(0))
        assert found is not None
        spectrum = SPECTRA[layer.node]
        np.testing.assert_allclose(found.shares, spectrum[:3] / spectrum.sum(), rtol=1e-4)


def test_ranks_follow_the_spectra_and_their_sum_stays(base: Path) -> None:
    # Of 0.917 | 0.30 0.27 0.24 0.15 | 0.50 0.40 0.04 0.02 the six largest are one, three and two.
    model = attached(base, lora_alpha=3.0)
    before = model.predict(X)
    assert model.start_from_inputs(X) == {"wa": 1, "wb": 3, "wc": 2}
    assert {tensor: site.method.rank for tensor, site in model.sites.items()} == {"wa": 1, "wb": 3, "wc": 2}
    assert {site.method.scaling for site in model.sites.values()} == {1.5}
    assert np.array_equal(model.predict(X), before)
    a = model.sites["wb"].params["lora_a"].astype(float)
    right = np.linalg.svd(X[:, 10:18].astype(float))[2][:3]
    np.testing.assert_allclose(np.abs(a @ right.T), np.eye(3), atol=1e-3)


def test_a_layer_without_ranks_has_no_adapter(base: Path, tmp_path: Path) -> None:
    # With one rank each and up to four looked at, all three largest shares: 0.917, 0.50 and 0.40.
    model = attached(base, "eva_rho_4", r=1)
    assert model.start_from_inputs(X) == {"wa": 1, "wb": 0, "wc": 2}
    assert [*model.sites] == ["wa", "wc"]
    assert {name.partition(":")[0] for name in model.parameters()} == {"wa", "wc"}
    fresh = attached(base, "eva_rho_4", r=1)
    assert lieref.fit(fresh, X, Y, epochs=1, batch_size=8, augment=()).ranks == {"wa": 1, "wb": 0, "wc": 2}
    fresh.save_adapter(tmp_path / "adapter")
    again = lieref.load(base).load_adapter(tmp_path / "adapter")
    assert np.array_equal(again.predict(X), fresh.predict(X))
    assert np.array_equal(again.current_graph().initializers["wb"], lieref.load(base).graph.initializers["wb"])


def test_only_as_many_as_are_looked_at_and_fit(base: Path) -> None:
    assert attached(base, "eva_rho_1", r=2).start_from_inputs(X) == {"wa": 2, "wb": 2, "wc": 2}
    assert attached(base, "eva_rho_1.5", r=2).start_from_inputs(X) == {"wa": 1, "wb": 3, "wc": 2}


@pytest.mark.parametrize("method", ["lora", "dora", "liera", "rslora"])
def test_a_run_is_saved_loaded_and_merged_bit_for_bit(base: Path, tmp_path: Path, method: str) -> None:
    model = lieref.load(base).attach(method, r=2, init_lora_weights="eva_rho_2")
    before = model.predict(X)
    history = lieref.fit(model, X, Y, epochs=2, batch_size=8, augment=())
    assert history.ranks == {"wa": 1, "wb": 3, "wc": 2}
    assert not np.array_equal(model.predict(X), before)
    model.save_adapter(tmp_path / "adapter")
    again = lieref.load(base).load_adapter(tmp_path / "adapter")
    assert {tensor: site.method.rank for tensor, site in again.sites.items()} == dict(history.ranks)
    for name, value in model.adapted_tensors().items():
        np.testing.assert_array_equal(again.adapted_tensors()[name], value)
    assert np.array_equal(again.predict(X), model.predict(X))
    again.merge_and_unload().save(tmp_path / "merged.onnx")
    merged, own = lieref.load(tmp_path / "merged.onnx").graph.initializers, model.merge_and_unload().graph.initializers
    for name in ("wa", "wb", "wc"):
        np.testing.assert_array_equal(merged[name], own[name])


def test_a_resumed_run_has_the_same_bits(base: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "batch_size": 8, "augment": ()}
    whole = attached(base)
    ranks = lieref.fit(whole, X, Y, **options).ranks

    def stop(history: Any) -> None:
        if len(history.epochs) == 2:
            raise InterruptedError

    part = attached(base)
    sites, before = part.sites, {name: array.copy() for name, array in part.parameters().items()}
    with pytest.raises(InterruptedError):
        lieref.fit(part, X, Y, checkpoint=tmp_path / "run", each_epoch=stop, **options)
    assert part.sites is sites  # as it was, ranks and all
    assert all(np.array_equal(array, before[name]) for name, array in part.parameters().items())
    rest = attached(base)
    assert lieref.fit(rest, X, Y, checkpoint=tmp_path / "run", resume=True, **options).ranks == ranks
    for name, value in whole.parameters().items():
        np.testing.assert_array_equal(rest.parameters()[name], value)
    other = attached(base, "eva_rho_3")
    with pytest.raises(VerificationError):
        lieref.fit(other, X, Y, checkpoint=tmp_path / "run", resume=True, **options)
    assert other.sites["wa"].method.rank == 2


@pytest.mark.parametrize("start", ["eva_rho_0.5", "eva_rho_", "eva_rho_-1", "eva_rho_1e3", "eva_2"])
def test_other_numbers_are_refused(start: str) -> None:
    with pytest.raises(LierefError, match="eva_rho_N"):
        get_method("lora", init_lora_weights=start)
