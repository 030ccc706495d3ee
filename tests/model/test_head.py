"""A new head: where it reads, what of the network stays, its numbers and gradients, and the base restored."""

from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.model.error_bound import logit_error_bound
from lieref.model.head import Head, NewHead
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, residual_net, saved
from tests.model.test_attach import branching, chain

# The networks are small, so that a rank of four has more numbers than some weights.
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((7, 3, 9, 8)).astype(np.float32)


def trained(path: Path, x: np.ndarray, method: str = "lora", **head: Any) -> lieref.Model:
    model = lieref.load(path).attach(method, head=NewHead(**{"classes": 4, **head}), seed=1)
    lieref.fit(model, x, np.arange(len(x)) % 4, epochs=3, batch_size=4, augment=())
    return model


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: x})[:1]
    return y


def assert_runs_alike(merged: lieref.Model, x: np.ndarray) -> None:
    """ONNX Runtime and lieref give the same probabilities, each within its bound.

    A softmax moves by no more than its scores, and rounds a few times.
    """
    _, bound = logit_error_bound(merged, x)
    difference = np.abs(by_onnxruntime(merged.proto, x) - merged.predict(x))
    assert (difference <= 2 * bound.max() + 8 * 2.0**-24).all()


def head_of(model: lieref.Model) -> Head:
    assert model.head is not None
    return model.head


def test_reads_what_the_last_layer_reads_and_takes_its_place(net: Path) -> None:
    model = lieref.load(net).attach("lora", head=NewHead(4))
    head = head_of(model)
    assert (head.features, head.size, head.classes, head.replaces) == ("f", 8, 4, ("head",))
    assert [node.op for node in model.graph.nodes[-3:]] == ["Flatten", "Gemm", "Softmax"]
    assert model.graph.outputs == ("probabilities",)
    assert "head.weight" not in model.graph.initializers
    assert "new_head.weight" in model.sites
    assert "down.weight" in model.sites


def test_starts_with_the_same_score_for_every_class(net: Path, x: np.ndarray) -> None:
    model = lieref.load(net).attach("liera", head=NewHead(4))
    assert not model.logits(x).any()
    np.testing.assert_array_equal(model.predict(x), np.full((7, 4), 0.25, np.float32))


@pytest.mark.parametrize(
    "method", ["head", "lora", "liera", "full", "bias", "norm", "scale", "norm-stats+lora", "norm-stats"]
)
def test_every_scope_trains_it_and_merges(net: Path, x: np.ndarray, method: str) -> None:
    model = trained(net, x, method)
    expected = model.logits(x)
    assert np.abs(expected).max() > 0.01
    merged = model.merge_and_unload()
    # merged weights are rounded from float64, those of an adapter computed in float32
    assert (np.abs(merged.logits(x) - expected) <= 2 * logit_error_bound(merged, x)[1].T).all()
    assert_runs_alike(merged, x)


def test_trains_what_it_is_asked_to(net: Path) -> None:
    def of(method: str) -> set[str]:
        return set(lieref.load(net).attach(method, head=NewHead(4)).sites)

    new = {"new_head.weight", "new_head.bias"}
    assert of("head") == new
    assert of("bias") == new | {"stem.bias", "point.bias", "bn0.shift", "bn1.shift", "bn2.shift"}
    assert of("lora") == new | {"stem.weight", "depth.weight", "point.weight", "down.weight"}
    assert of("norm") == new | {f"bn{i}.{part}" for i in range(3) for part in ("scale", "shift")}
    assert len(of("full")) == 2 + 4 + 2 + 6


def test_alone_it_is_a_method(net: Path) -> None:
    model = lieref.load(net).attach(NewHead(["a", "b", "c"]))
    assert model.method_name == "new-head"
    assert model.num_trainable() == 3 * 8 + 3
    assert model.classes == ("a", "b", "c")
    assert model.rate_factors == {}


def test_its_learning_rate_is_that_of_its_features_whatever_the_method(net: Path) -> None:
    alone = lieref.load(net).attach(NewHead(4)).default_learning_rate
    model = lieref.load(net).attach("liera", head=NewHead(4))
    assert alone == pytest.approx(0.8 / np.sqrt(8))
    assert model.default_learning_rate == lieref.get_method("liera").default_learning_rate
    assert set(model.rate_factors) == {"new_head.weight:xi", "new_head.bias:xi"}
    for factor in model.rate_factors.values():
        assert factor * model.default_learning_rate == pytest.approx(alone)


@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_gradients_are_those_of_differences(net: Path, x: np.ndarray, engine: str) -> None:
    model = trained(net, x)
    model.engine = engine
    twin = lieref.load(net, dtype="float64").attach("lora", head=NewHead(4), seed=1)
    for name, value in twin.parameters().items():
        value[...] = model.parameters()[name]
    y, loss = np.arange(len(x)) % 4, CrossEntropy()
    _, _, bars = model.loss_and_grad(x, y, loss)
    rng = np.random.default_rng(0)
    for name in ("new_head.weight:xi", "new_head.bias:xi", "stem.weight:lora_b"):
        value = twin.parameters()[name]
        along = rng.standard_normal(value.shape)
        sides = []
        for sign in (1, -1):
            value += sign * 1e-5 * along
            sides.append(loss.value_and_grad(twin.logits(x.astype(np.float64)), y)[0])
            value -= sign * 1e-5 * along
        assert float(np.sum(bars[name] * along)) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=2e-4, abs=1e-6)


def test_unloading_restores_the_base_to_the_bit(net: Path, x: np.ndarray) -> None:
    digest = hashlib.sha256(net.read_bytes()).hexdigest()
    model = lieref.load(net)
    model.classes = ("p", "q", "r", "s", "t")
    before, proto = model.predict(x), model.proto.SerializeToString()
    model.attach("lora", head=NewHead(4))
    lieref.fit(model, x, np.arange(7) % 4, epochs=2, batch_size=4, augment=())
    assert model.classes is None
    assert model.unload().head is None
    np.testing.assert_array_equal(model.predict(x), before)
    assert model.proto.SerializeToString() == proto
    assert model.classes == ("p", "q", "r", "s", "t")
    assert hashlib.sha256(net.read_bytes()).hexdigest() == digest


def test_copies_have_a_head_of_their_own(net: Path, x: np.ndarray) -> None:
    model = trained(net, x)
    expected = model.predict(x)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict(x), expected)
        assert twin.unload().predict(x).shape == (7, 5)
    np.testing.assert_array_equal(model.predict(x), expected)


def test_a_tensor_in_the_middle_ends_the_network_there(net: Path, x: np.ndarray) -> None:
    model = trained(net, x, features="r1", pool=True)
    head = head_of(model)
    assert (head.size, head.positions, head.replaces) == (6, (9, 8), ("point", "down", "head"))
    assert {layer.node for layer in model.layers} == {"stem", "depth", "new_head"}
    merged = model.merge_and_unload().proto
    assert [node.op_type for node in merged.graph.node][-4:] == ["GlobalAveragePool", "Flatten", "Gemm", "Softmax"]
    assert not {"down.weight", "bn2.var", "head.bias"} & {tensor.name for tensor in merged.graph.initializer}


def test_vectors_with_further_axes_of_one_entry_are_read_as_they_are(net: Path, x: np.ndarray) -> None:
    model = trained(net, x, features="g")
    assert head_of(model).positions == ()
    merged = model.merge_and_unload()
    assert_runs_alike(merged, x)


@pytest.mark.parametrize("outputs", [("a",), ("body", "a")])
def test_a_first_output_that_is_the_features_keeps_its_name(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    """A network without a classifier: its output becomes the scores; other outputs stay."""
    path = branching(tmp_path, outputs, {})
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    features = lieref.load(path).predict(x)
    model = trained(path, x, "head", features=outputs[0])
    merged = model.merge_and_unload()
    assert [value.name for value in merged.proto.graph.output] == list(outputs)
    tensors = {each.name: numpy_helper.to_array(each) for each in merged.proto.graph.initializer}
    scores = features @ tensors["new_head.weight"].T + tensors["new_head.bias"]
    np.testing.assert_allclose(by_onnxruntime(merged.proto, x), scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged.logits(x), scores, rtol=1e-5, atol=1e-6)


def test_another_output_keeps_what_it_needs_of_the_old_head(tmp_path: Path) -> None:
    path = branching(tmp_path, ("a", "end"), {"end": ["a", "b"]})
    proto = onnx.load(path)
    x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    old = onnxruntime.InferenceSession(path).run(["end"], {"x": x})[0]
    merged = trained(path, x, "head", features="r").merge_and_unload().proto
    onnx.checker.check_model(merged, full_check=True)
    new = onnxruntime.InferenceSession(merged.SerializeToString()).run(None, {"x": x})
    assert [value.shape for value in new] == [(8, 4), (8, 3)]
    np.testing.assert_array_equal(new[1], old)
    assert len(merged.graph.node) == len(proto.graph.node)  # all but the layer that no output needs, and the new one


def test_a_file_with_a_new_head_gets_another(net: Path, x: np.ndarray, tmp_path: Path) -> None:
    once = trained(net, x).merge_and_unload()
    once.save(tmp_path / "once.onnx")
    model = trained(tmp_path / "once.onnx", x, features=None, classes=["a", "b", "c", "d"])
    assert head_of(model).replaces == ("new_head",)
    merged = model.merge_and_unload()
    assert_runs_alike(merged, x)
    stacked = lieref.load(tmp_path / "once.onnx").attach(NewHead(2, features="new_head.scores"))
    assert head_of(stacked).weight == "new_head.weight_"
    assert stacked.merge_and_unload().proto.graph.output[0].name == "probabilities"


def test_nodes_without_names_and_a_fixed_batch(tmp_path: Path) -> None:
    proto = residual_net()
    for node in proto.graph.node:
        node.name = ""
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    x = np.random.default_rng(3).standard_normal((6, 3, 9, 8)).astype(np.float32)
    merged = trained(saved(proto, tmp_path), x, "full").merge_and_unload()
    shape = merged.proto.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape] == [1, 4]
    assert_runs_alike(merged, x[:1])


def test_the_input_itself_may_be_the_features_of_a_head_alone(tmp_path: Path) -> None:
    path = chain([5, 4, 3], tmp_path)
    x = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)
    merged = trained(path, x, "head", features="x").merge_and_unload()
    assert [node.op_type for node in merged.proto.graph.node] == ["Gemm"]
    with pytest.raises(DomainError, match="must depend on a layer that can be adapted"):
        trained(path, x, "lora", features="x")


@pytest.mark.parametrize(
    ("head", "error", "words"),
    [
        ({"features": "rr2"}, DomainError, "got 'rr2', close to r2"),
        ({"features": "nowhere"}, DomainError, "got 'nowhere'; vectors are probabilities"),
        ({"features": "pool"}, DomainError, "the node 'pool', which gives 'g'"),
        ({"features": "head.weight"}, DomainError, "which is a constant"),
        ({"features": "rs"}, ShapeError, "rs is 6 x 9 x 8; pool=True, --pool, averages its 6 channels"),
        ({"classes": 1}, DomainError, "`classes` must be at least 2"),
        ({"classes": ["a"]}, DomainError, "two or more different names"),
        ({"classes": ["a", "a"]}, DomainError, "two or more different names"),
        ({"classes": "abc"}, DTypeError, "a number or a sequence of names"),
        ({"classes": 2.0}, DTypeError, "`classes`"),
        ({"features": 3}, DTypeError, "the name of a tensor"),
        ({"pool": 1}, DTypeError, "`pool`"),
    ],
)
def test_refusals_leave_the_model_as_it_was(
    net: Path, head: dict[str, Any], error: type[LierefError], words: str
) -> None:
    model = lieref.load(net)
    with pytest.raises(error, match=words):
        model.attach("lora", head=NewHead(**{"classes": 4, **head}))
    assert (model.head, model.sites, model.attached) == (None, {}, [])


def test_a_head_comes_first_and_once(net: Path) -> None:
    model = lieref.load(net).attach("lora")
    with pytest.raises(DomainError, match="a new head must come first, before lora"):
        model.attach("head", head=NewHead(4))
    model.unload().attach(NewHead(4))
    with pytest.raises(DomainError, match="must come first, before new-head"):
        model.attach("lora", head=NewHead(4))
    model.attach("lora")
    assert model.method_name == "lora+new-head"
    with pytest.raises(DomainError, match="`head` must be left out"):
        lieref.load(net).attach(NewHead(4), head=NewHead(4))


def test_targets_behind_the_features_are_gone(net: Path) -> None:
    with pytest.raises(DomainError, match="'down' matches none of"):
        lieref.load(net).attach("lora", target_modules=["down"], head=NewHead(4, "r1", pool=True))


def test_several_last_layers_must_be_told_apart(tmp_path: Path) -> None:
    path = branching(tmp_path, ("end",), {"end": ["a", "b"]})
    assert head_of(lieref.load(path).attach(NewHead(2))).features == "r"
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "one", transB=1),
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "v", "c"], ["k"], "two", transB=1),
        helper.make_node("Add", ["h", "k"], ["y"], "sum"),
    ]
    tensors = {name: np.ones((3, 4) if name in "wv" else 3, np.float32) for name in "wvbc"}
    path = saved(make_onnx(nodes, tensors, ["N", 4], "y", ["N", 3]), tmp_path, "two.onnx")
    with pytest.raises(DomainError, match="the last layers are one, two; vectors are y"):
        lieref.load(path).attach(NewHead(2))


def test_whole_numbers_are_no_features(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], "cast", to=TensorProto.INT64),
        helper.make_node("Cast", ["whole"], ["back"], "back", to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["back", "w"], ["y"], "one", transB=1),
    ]
    path = saved(make_onnx(nodes, {"w": np.ones((3, 4), np.float32)}, ["N", 4], "y", ["N", 3]), tmp_path)
    with pytest.raises(ShapeError, match="must hold floats; whole holds int64"):
        lieref.load(path).attach(NewHead(2, "whole"))
