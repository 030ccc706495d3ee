"""Integers that pay: fewer bytes where fewer are wanted, scales trained beside them, and what cannot be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.integer.curvature import curvatures
from lieref.adapter.integer.folder import BIN_NAME, encode_update
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.settle import settled
from lieref.errors import DomainError
from lieref.model.integer.as_float import as_float
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net


@pytest.fixture(scope="module", params=[("qdq", True), ("qdq", False), ("qoperator", True)], ids=str)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> IntegerModel:
    form, per_channel = request.param
    path = quantised(residual_net(), tmp_path_factory.mktemp("settled"), form, per_channel=per_channel)
    found = load_integer(path).attach("liera-int8", r=1)
    lieref.fit(found, *data(), epochs=5, learning_rate=0.03, augment=(), threads=1)
    return found


def data() -> tuple[Array, Array]:
    y = np.arange(60) % 5
    x = np.random.default_rng(2).standard_normal((60, 3, 9, 8)).astype(np.float32)
    return x + 0.4 * y[:, None, None, None].astype(np.float32), y


def payload(model: IntegerModel, most: int | None) -> tuple[int, int, float]:
    """Bytes, integers moved, and how far the outputs are from those that were trained."""
    update = settled(model, data()[0], most_bytes=most)
    moved = sum(int((new != model.integer.tensors[name].data).sum()) for name, new in update.integers.items())
    apart = np.abs(model.patched(update).logits(data()[0]) - model.logits(data()[0])).mean()
    return len(encode_update(update, model.integer)[BIN_NAME]), moved, float(apart)


def test_a_budget_is_kept_and_used(model: IntegerModel) -> None:
    scales = 4 * sum(layer.factors for layer in model.integer_layers)
    some, more, free = (payload(model, most) for most in (scales + 40, scales + 200, None))
    assert scales < some[0] <= scales + 40
    assert some[0] < more[0] <= scales + 200
    assert 0 < some[1] < more[1]
    assert some[2] > more[2] > 0
    assert free[1] > 0
    with pytest.raises(DomainError, match="hold the scales"):
        settled(model, data()[0], most_bytes=scales - 1)


def test_scales_are_trained_beside_the_integers(model: IntegerModel) -> None:
    def train(network: IntegerModel) -> None:
        assert network.method_name == "scale"
        lieref.fit(network, *data(), epochs=3, learning_rate=0.02, augment=(), threads=1)

    plain, trained = (settled(model, data()[0], train=how) for how in (None, train))
    assert plain.integers.keys() == trained.integers.keys()
    for name, integers in plain.integers.items():
        np.testing.assert_array_equal(integers, trained.integers[name])

    def loss(update: lieref.adapter.integer.update.IntegerUpdate) -> float:
        scores = model.patched(update).logits(data()[0])
        scores = scores - scores.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(60), data()[1]]))

    assert loss(trained) < loss(plain)


def test_the_same_samples_give_the_same_update(model: IntegerModel) -> None:
    one, other = (settled(model, data()[0]) for _ in range(2))
    assert one.result_sha256 == other.result_sha256
    with pytest.raises(DomainError, match="settled"):
        model.update()


def test_the_curvature_is_that_of_its_definition(model: IntegerModel) -> None:
    """G of the first layer, window by window; s, that the outputs of the last layer are the scores themselves."""
    x = data()[0][:8]
    found = curvatures(model, x)
    graph = as_float(model.integer)
    node = next(node for node in graph.nodes if node.op == "Conv")
    weight = graph.initializers[node.inputs[1]]
    attrs: Any = node.attrs
    (top, left, bottom, right), (down, across) = attrs["pads"], attrs["strides"]
    said = model.integer.tensors[node.inputs[0]].quantisation
    assert said is not None
    low, high = (float(said.real(np.array([q]))[0]) for q in (-128, 127))
    wide = np.pad(np.clip(x, low, high), ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.float64)
    gram: Any = 0.0
    height, width = weight.shape[2:]
    for i in range(0, wide.shape[2] - height + 1, down):
        for j in range(0, wide.shape[3] - width + 1, across):
            window = wide[:, :, i : i + height, j : j + width].reshape(len(x), -1)
            gram = gram + window.T @ window / len(x)
    np.testing.assert_allclose(found[node.inputs[1]].gram[0], gram, rtol=1e-4, atol=1e-4 * np.abs(gram).max())
    last = found[model.integer_layers[-1].weight.name]
    assert last.gram.shape[0] == 1
    # Of softmax and a class drawn from it, (p_o - [drawn = o])^2 has the mean p_o (1 - p_o): at most 1/4.
    assert (last.rows > 0).all()
    assert last.rows.sum() < 2
