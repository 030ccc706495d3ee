"""Dropout of input channels of the low-rank branch: what a step computes, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lieref
from lieref import rng as streams
from lieref.adapter.model import Model
from lieref.errors import DomainError, DTypeError, UnsupportedError, VerificationError
from lieref.param.registry import get_method
from lieref.train.dropout import dropped, dropped_vjp
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, residual_net, saved

SAMPLES, INPUTS, HIDDEN, CLASSES, P = 5, 9, 7, 4, 0.4


def perceptron() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(HIDDEN, INPUTS)).astype(np.float32),
        "b": rng.normal(size=HIDDEN).astype(np.float32),
        "v": rng.normal(size=(CLASSES, HIDDEN)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v"], ["y"], name="last", transB=1),
    ]
    return make_onnx(nodes, tensors, ["N", INPUTS], "y", ["N", CLASSES])


def attached(path: Path, **options: Any) -> Model:
    model = lieref.load(path).attach("lora", r=2, lora_alpha=3.0, lora_dropout=P, **options)
    rng = np.random.default_rng(1)
    for factor in model.parameters().values():
        factor += (0.3 * rng.normal(size=factor.shape)).astype(factor.dtype)
    return model


def data(*shape: int, count: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(2).normal(size=(count, *shape)).astype(np.float32)
    return x, np.arange(count) % CLASSES


def test_a_masked_step_is_pefts_branch_with_one_mask_for_all_samples(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model, (x, y) = attached(saved(perceptron(), tmp_path)), data(INPUTS)
    params = model.parameters()
    masks = model.dropout_masks(np.random.default_rng(3))
    assert masks.keys() == {"w:lora_a", "v:lora_a"}
    with dropped(params, masks):
        value, logits, grads = model.loss_and_grad(x, y, CrossEntropy())
    dropped_vjp(grads, masks)

    base = {each.name: torch.tensor(numpy_helper.to_array(each)).double() for each in perceptron().graph.initializer}
    factors = {name: torch.tensor(factor).double().requires_grad_() for name, factor in params.items()}
    h = torch.tensor(x).double()
    for weight, bias in (("w", base["b"]), ("v", 0.0)):
        mask = torch.tensor(masks[f"{weight}:lora_a"][0]).double()  # 0 or 1 / (1 - p), the same for every sample
        branch = (h * mask) @ factors[f"{weight}:lora_a"].T @ factors[f"{weight}:lora_b"].T
        h = h @ base[weight].T + bias + 3.0 / 2 * branch
        h = torch.relu(h) if weight == "w" else h
    loss = torch.nn.functional.cross_entropy(h, torch.tensor(y))
    loss.backward()
    np.testing.assert_allclose(logits, h.detach().numpy(), rtol=0, atol=1e-5)
    assert abs(value - float(loss.detach())) < 1e-5
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, factors[name].grad.numpy(), rtol=0, atol=1e-5)


def test_factors_are_as_before_when_a_step_is_over(tmp_path: Path) -> None:
    model = attached(saved(perceptron(), tmp_path))
    params = model.parameters()
    before = {name: factor.tobytes() for name, factor in params.items()}
    masks = model.dropout_masks(np.random.default_rng(4))
    with dropped(params, masks):
        assert not params["w:lora_a"].all()
    assert {name: factor.tobytes() for name, factor in params.items()} == before
    with pytest.raises(ZeroDivisionError), dropped(params, masks):
        raise ZeroDivisionError
    assert {name: factor.tobytes() for name, factor in params.items()} == before


KINDS = [
    ("lora", (6, 4, 2, 3), 1),
    ("lora", (6, 2, 5, 3), 2),
    ("lora", (5, 1, 2, 3), 5),
    ("lora-structured", (6, 4, 2, 3), 1),
    ("lora-view", (6, 4), 1),
    ("pissa", (6, 4, 2, 3), 1),
]


@pytest.mark.parametrize(("name", "shape", "groups"), KINDS)
def test_a_mask_takes_input_channels_of_the_branch_and_nothing_else(
    name: str, shape: tuple[int, ...], groups: int
) -> None:
    method, rng = get_method(name, r=1, lora_dropout=0.5), np.random.default_rng(5)
    plain = get_method(name, r=1)
    base = rng.standard_normal(shape)
    params = method.init(shape, groups, rng, base_weight=base)
    params = {
        key: value + rng.standard_normal(value.shape) * (not key.startswith("start")) for key, value in params.items()
    }
    seen = set()
    for _ in range(20):
        (mask,) = method.dropout_masks(shape, groups, rng).values()
        assert mask.shape == params["lora_a"].shape
        assert set(np.unique(mask)) <= {0.0, 2.0}
        xi = plain.delta({**params, "lora_a": params["lora_a"] * mask}, shape, groups)
        whole = plain.delta({**params, "lora_a": 2.0 * params["lora_a"]}, shape, groups)
        none = plain.delta({**params, "lora_a": 0.0 * params["lora_a"]}, shape, groups)
        # Of each group and channel the branch is there, twice as large, or not at all.
        for g, i in np.ndindex(groups, shape[1]):
            rows = slice(g * shape[0] // groups, (g + 1) * shape[0] // groups)
            kept = np.allclose(xi[rows, i], whole[rows, i], rtol=0, atol=1e-12)
            assert kept != np.allclose(xi[rows, i], none[rows, i], rtol=0, atol=1e-12)
            seen.add((g, i, kept))
    assert len(seen) == 2 * groups * shape[1]


def test_the_share_that_is_dropped() -> None:
    masks = get_method("lora", lora_dropout=0.3).dropout_masks((4, 20_000), 1, np.random.default_rng(6))["lora_a"]
    assert np.array_equal(masks, np.broadcast_to(masks[:1], masks.shape))
    # Six deviations of the mean of 20,000 draws.
    assert abs((masks == 0).mean() - 0.3) < 6 * (0.3 * 0.7 / 20_000) ** 0.5
    np.testing.assert_allclose(masks[masks != 0], 1 / 0.7, rtol=1e-15)


def bits(model: Model) -> dict[str, bytes]:
    return {name: factor.tobytes() for name, factor in model.parameters().items()}


def run(path: Path, **options: Any) -> Model:
    model, (x, y) = attached(path), data(3, 9, 8, count=20)
    lieref.fit(model, x, y, epochs=options.pop("epochs", 3), batch_size=8, augment=(), **options)
    return model


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_a_run_is_a_function_of_its_seed_whatever_the_threads(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    first = bits(run(path, threads=1))
    assert bits(run(path, threads=2)) == first
    assert bits(run(path, seed=1)) != first
    plain = lieref.load(path).attach("lora", r=2, lora_alpha=3.0)
    for name, factor in plain.parameters().items():
        factor[...] = attached(path).parameters()[name]
    x, y = data(3, 9, 8, count=20)
    lieref.fit(plain, x, y, epochs=3, batch_size=8, augment=())
    assert bits(plain) != first


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    path, folder = saved(residual_net(), tmp_path), tmp_path / "checkpoint"
    whole = bits(run(path))

    def stop(state: Any) -> None:
        if state.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, checkpoint=folder, progress=stop)
    assert bits(run(path, checkpoint=folder, resume=True)) == whole
    other = lieref.load(path).attach("lora", r=2, lora_alpha=3.0, lora_dropout=0.1)
    with pytest.raises(VerificationError, match="method"):
        lieref.fit(other, *data(3, 9, 8, count=20), epochs=3, batch_size=8, augment=(), checkpoint=folder, resume=True)


def test_each_epoch_has_a_stream_of_its_own() -> None:
    method = get_method("lora", lora_dropout=0.5)
    one, two = (method.dropout_masks((4, 30), 1, streams.stream(0, "dropout", epoch)) for epoch in (0, 1))
    assert not np.array_equal(one["lora_a"], two["lora_a"])


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_an_adapter_keeps_its_dropout_and_predicts_without(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    model = attached(path)
    model.save_adapter(tmp_path / "adapter")
    again = lieref.load(path).load_adapter(tmp_path / "adapter")
    assert again.attached[0].method.config()["lora_dropout"] == P
    x, _ = data(3, 9, 8)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    np.testing.assert_array_equal(again.predict(x), again.predict(x))


@pytest.mark.parametrize("name", ["liera", "hira", "dora", "elra", "oft", "flora", "loha", "pissa-liera"])
def test_where_the_adapter_is_no_branch_of_its_own_there_is_none(name: str) -> None:
    with pytest.raises(DomainError, match=f"options of {name} must be among .*; got 'lora_dropout'"):
        get_method(name, lora_dropout=0.1)


def test_what_is_no_probability_is_refused() -> None:
    for bad in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(DomainError, match="`lora_dropout`"):
            get_method("lora", lora_dropout=bad)
    with pytest.raises(DTypeError, match="`lora_dropout` must be a real number"):
        get_method("lora", lora_dropout=True)
    with pytest.raises(UnsupportedError, match="`lora_dropout` must be 0 where the columns of A mix channels"):
        get_method("lora-view", lora_dropout=0.1).num_params((6, 4, 2, 3))
