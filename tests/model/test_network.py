"""The network: what it computes against ONNX Runtime, its gradients against PyTorch, attaching, merging, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.errors import DomainError, FormatError, ShapeError, UnsupportedError, VerificationError
from lieref.model.attaching import SkippedLayersWarning
from lieref.train.loss import CrossEntropy
from tests.model.nets import residual_net, saved
from tests.model.torch_twin import torch_logits, torch_tensors

UNIT32 = 2.0**-24

# The depthwise layer is so small that any rank has more numbers than it, which the adapters warn of.
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


def images(rng: np.random.Generator, n: int = 6) -> np.ndarray:
    return rng.standard_normal((n, 3, 9, 8)).astype(np.float32)


def shaken(model: Any, rng: np.random.Generator, size: float = 0.3) -> Any:
    """Move every trainable number, so that the adapters do something."""
    for array in model.parameters().values():
        array += size * rng.standard_normal(array.shape).astype(array.dtype)
    return model


def onnxruntime_output(path: Path, x: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def test_predict_equals_onnxruntime(path: Path, rng: np.random.Generator) -> None:
    x = images(rng)
    model = lieref.load(path)
    # Probabilities lie in [0, 1]; both sides round the same float32 sums of under 100 terms.
    np.testing.assert_allclose(model.predict(x), onnxruntime_output(path, x), atol=100 * UNIT32, rtol=0)
    np.testing.assert_allclose(model.predict(x).sum(axis=1), 1, atol=1e-6)


def test_uint8_and_channel_last_input(path: Path, rng: np.random.Generator) -> None:
    model = lieref.load(path)
    x = rng.integers(0, 256, (4, 3, 9, 8), dtype=np.uint8)
    expected = model.logits(x.astype(np.float32))
    np.testing.assert_array_equal(model.logits(x), expected)
    np.testing.assert_array_equal(model.logits(np.moveaxis(x, 1, -1)), expected)


@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 9, 9), (2, 4, 9, 8)])
def test_wrong_shape(path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="predict"):
        lieref.load(path).logits(np.zeros(shape, np.float32))


def test_nan_input(path: Path, rng: np.random.Generator) -> None:
    x = images(rng)
    x[2, 1, 3, 4] = np.nan
    with pytest.raises(DomainError, match="finite"):
        lieref.load(path).logits(x)


@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_input_beyond_the_networks_dtype(path: Path, engine: str) -> None:
    model = lieref.load(path)
    model.engine = engine
    with pytest.raises(DomainError, match=r"float32.*finite"):
        model.logits(np.full((1, 3, 9, 8), 1e300))


METHODS = ["full", "head", "bias", "scale", "lora", "liera", "liera-taylor1", "hira"]


@pytest.mark.parametrize("method", METHODS)
def test_attaching_changes_no_bit(path: Path, rng: np.random.Generator, method: str) -> None:
    x = images(rng)
    model = lieref.load(path)
    before = model.logits(x)
    model.attach(method, **({"r": 2} if method in ("lora", "liera", "liera-taylor1", "hira") else {}))
    assert model.num_trainable() > 0
    np.testing.assert_array_equal(model.logits(x), before)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_that_of_torch_autograd(path: Path, rng: np.random.Generator, method: str) -> None:
    """Tensor gradients come from autograd in float64; the factors' by a central difference of torch's own loss."""
    torch = pytest.importorskip("torch")
    proto = residual_net()
    model = lieref.load(path, dtype="float64")
    model.attach(method, **({"r": 2} if method in ("lora", "liera", "liera-taylor1", "hira") else {}))
    shaken(model, rng)
    x, y = images(rng).astype(np.float64), np.array([0, 4, 2, 2, 1, 3])
    loss, _, grads = model.loss_and_grad(x, y, CrossEntropy())
    assert set(grads) == set(model.parameters())

    def torch_loss() -> Any:
        tensors = torch_tensors(torch, proto)
        with torch.no_grad():
            for name, value in model.adapted_tensors().items():
                tensors[name].copy_(torch.tensor(value))
        return torch.nn.functional.cross_entropy(
            torch_logits(torch, proto, tensors, torch.tensor(x)), torch.tensor(y)
        ), tensors

    expected, tensors = torch_loss()
    assert abs(loss - expected.item()) <= 1e-13 * (1 + loss)
    expected.backward()
    for tensor, site in model.sites.items():
        pulled = site.pull_back(model.graph.initializers, {tensor: tensors[tensor].grad.numpy()})
        for factor, value in pulled.items():
            got = grads[f"{tensor}:{factor}"]
            assert np.linalg.norm(got - value) <= 1e-12 * np.linalg.norm(value), (tensor, factor)
    name, array = max(model.parameters().items(), key=lambda item: np.linalg.norm(grads[item[0]]))
    direction, h = grads[name] / np.linalg.norm(grads[name]), 1e-6
    ends = []
    for sign in (1, -1):
        array += sign * h * direction
        ends.append(torch_loss()[0].item())
        array -= sign * h * direction
    slope = np.linalg.norm(grads[name])
    assert abs((ends[0] - ends[1]) / (2 * h) - slope) <= 1e-6 * slope + 1e-8


def test_gradient_is_a_central_difference(path: Path, rng: np.random.Generator) -> None:
    model = shaken(lieref.load(path, dtype="float64").attach("liera", r=2), rng)
    x, y = images(rng), np.array([0, 4, 2, 2, 1, 3])
    _, _, grads = model.loss_and_grad(x, y, CrossEntropy())
    for name, array in model.parameters().items():
        direction, h = rng.standard_normal(array.shape), 1e-5
        ends = []
        for sign in (1, -1):
            array += sign * h * direction
            ends.append(model.loss_and_grad(x, y, CrossEntropy())[0])
            array -= sign * h * direction
        # h^2 truncation 1e-10 and rounding u/h = 1e-11 of a loss near 2
        assert abs((ends[0] - ends[1]) / (2 * h) - np.sum(grads[name] * direction)) <= 1e-7, name


def test_targets_select_layers_and_ranks(path: Path) -> None:
    model = lieref.load(path).attach(lieref.LieRAConfig(r=2, target_modules=["d*", "head"], rank_pattern={"head": 1}))
    assert set(model.sites) == {"depth.weight", "down.weight", "head.weight"}
    assert model.sites["head.weight"].params["lora_a"].shape[-2] == 1


def test_a_pattern_that_matches_nothing(path: Path, rng: np.random.Generator) -> None:
    model = lieref.load(path)
    before = model.logits(images(rng, 2))
    with pytest.raises(DomainError, match=r"'conv9\*' matches none of: stem, depth"):
        model.attach("liera", target_modules=["conv9*"])
    assert not model.sites
    np.testing.assert_array_equal(model.logits(images(rng, 2)).shape, before.shape)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_out_of_range_is_refused(path: Path, rank: int) -> None:
    model = lieref.load(path)
    with pytest.raises(DomainError, match=str(rank)):
        model.attach("lora", r=rank, target_modules=["head"])
    assert not model.attached


def test_layers_a_method_has_no_meaning_for_are_left_out(path: Path) -> None:
    with pytest.warns(SkippedLayersWarning, match=r"so leaves 1 layers as they are, depth: .*depth"):
        model = lieref.load(path).attach("so", r=1)
    assert set(model.sites) == {"stem.weight", "point.weight", "down.weight", "head.weight"}
    with pytest.raises(ShapeError, match="depth"):
        lieref.load(path).attach("so", r=1, target_modules=["depth"])


@pytest.mark.parametrize("method", ["liera", "lora", "scale"])
def test_adapters_add_in_the_algebra(path: Path, tmp_path: Path, rng: np.random.Generator, method: str) -> None:
    deltas = []
    for name in ("first", "second"):
        model = shaken(lieref.load(path, dtype="float64").attach(method, target_modules=["stem", "head"]), rng)
        model.save_adapter(tmp_path / name)
        deltas.append({t: s.method.delta(s.params, s.layer.shape, s.groups) for t, s in model.sites.items()})
    joined = lieref.load(path, dtype="float64").add_weighted_adapter(
        [tmp_path / "first", tmp_path / "second"], [2.0, -0.5]
    )
    base, adapted = joined.graph.initializers, joined.adapted_tensors()
    for tensor in deltas[0]:
        xi = 2.0 * deltas[0][tensor] - 0.5 * deltas[1][tensor]
        if method == "lora":
            expected = base[tensor] + xi
        else:
            expected = base[tensor] * np.exp(
                xi if method == "liera" else xi.reshape(-1, *[1] * (base[tensor].ndim - 1))
            )
        np.testing.assert_allclose(adapted[tensor], expected, rtol=1e-13, atol=1e-13)
    with pytest.raises(DomainError, match="weights"):
        joined.add_weighted_adapter([tmp_path / "first"], [1.0, 2.0])


def test_rotations_do_not_add(path: Path, tmp_path: Path) -> None:
    lieref.load(path).attach("so", r=1, target_modules=["stem"]).save_adapter(tmp_path / "a")
    with pytest.raises(UnsupportedError, match="Abelian"):
        lieref.load(path).add_weighted_adapter([tmp_path / "a"], [1.0])


def test_one_adapter_a_tensor(path: Path) -> None:
    model = lieref.load(path).attach("liera", r=2)
    with pytest.raises(DomainError, match="already carries liera"):
        model.attach("lora", r=2)


@pytest.mark.parametrize("method", METHODS)
def test_merged_file_is_the_adapted_network(path: Path, tmp_path: Path, rng: np.random.Generator, method: str) -> None:
    model = lieref.load(path).attach(
        method, **({"r": 2} if method in ("lora", "liera", "liera-taylor1", "hira") else {})
    )
    shaken(model, rng, 0.2)
    x, adapted = images(rng), set(model.sites)
    expected = model.predict(x)
    out = tmp_path / "merged.onnx"
    model.merge_and_unload().save(out)
    assert not model.attached
    assert not model.parameters()
    np.testing.assert_array_equal(model.predict(x), lieref.load(path).predict(x))
    onnx.checker.check_model(onnx.load(out), full_check=True)
    np.testing.assert_allclose(onnxruntime_output(out, x), expected, atol=100 * UNIT32, rtol=0)
    base, merged = onnx.load(path), onnx.load(out)
    assert [n.SerializeToString() for n in base.graph.node] == [n.SerializeToString() for n in merged.graph.node]
    changed = {
        b.name
        for b, m in zip(base.graph.initializer, merged.graph.initializer, strict=True)
        if b.raw_data != m.raw_data
    }
    assert changed == adapted
    assert [t.name for t in base.graph.initializer] == [t.name for t in merged.graph.initializer]


def test_unload_restores_every_bit(path: Path, rng: np.random.Generator) -> None:
    model = lieref.load(path)
    x = images(rng)
    before = {name: value.copy() for name, value in model.graph.initializers.items()}
    logits = model.logits(x)
    shaken(model.attach("liera", r=2), rng)
    assert not np.array_equal(model.logits(x), logits)
    model.unload()
    np.testing.assert_array_equal(model.logits(x), logits)
    for name, value in before.items():
        np.testing.assert_array_equal(model.graph.initializers[name], value)


@pytest.mark.parametrize("method", METHODS)
def test_adapter_round_trip(path: Path, tmp_path: Path, rng: np.random.Generator, method: str) -> None:
    model = lieref.load(path).attach(
        method, **({"r": 2} if method in ("lora", "liera", "liera-taylor1", "hira") else {})
    )
    shaken(model, rng)
    model.save_adapter(tmp_path / "adapter")
    again = lieref.load(path).load_adapter(tmp_path / "adapter")
    x = images(rng)
    np.testing.assert_array_equal(again.logits(x), model.logits(x))
    assert again.method_name == method
    assert set(again.parameters()) == set(model.parameters())


def test_adapter_of_another_base(path: Path, tmp_path: Path) -> None:
    lieref.load(path).attach("liera", r=2).save_adapter(tmp_path / "adapter")
    other = lieref.load(saved(residual_net(seed=8), tmp_path, "other.onnx"))
    with pytest.raises(VerificationError, match="base"):
        other.load_adapter(tmp_path / "adapter")
    assert not other.sites


def test_saving_with_adapters_attached_is_refused(path: Path, tmp_path: Path) -> None:
    model = lieref.load(path).attach("liera", r=2)
    with pytest.raises(DomainError, match="merge_and_unload"):
        model.save(tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_saving_into_a_missing_folder(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="folder"):
        lieref.load(path).save(tmp_path / "absent" / "out.onnx")


def test_statistics_are_those_of_the_data(path: Path, rng: np.random.Generator) -> None:
    model = lieref.load(path)
    x = 2 * images(rng, 40) + 1
    model.attach("norm-stats")
    model.estimate_statistics(x, batch_size=16)
    stem = model.graph.initializers["stem.weight"].astype(np.float64), model.graph.initializers["stem.bias"]
    y = lieref.linalg.conv(x.astype(np.float64), stem[0], stem[1].astype(np.float64), pads=(1, 1, 1, 1))
    np.testing.assert_allclose(model.statistics["bn0.mean"], y.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.statistics["bn0.var"], y.var(axis=(0, 2, 3)), rtol=1e-5)
    assert set(model.adapted_tensors()) == {f"bn{i}.{part}" for i in range(3) for part in ("mean", "var")}


def test_statistics_combine_with_another_method_and_round_trip(
    path: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    model = lieref.load(path)
    x = 2 * images(rng, 40) + 1
    model.attach("norm-stats")
    model.estimate_statistics(x)
    shaken(model.attach("scale"), rng)
    model.save_adapter(tmp_path / "a")
    again = lieref.load(path).load_adapter(tmp_path / "a")
    np.testing.assert_array_equal(again.logits(x), model.logits(x))
    assert again.method_name == "norm-stats+scale"
