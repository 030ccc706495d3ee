"""The shape and the last steps of a prediction: what the graph says, and what ONNX Runtime makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import lieref
from lieref.errors import DomainError
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, saved


@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_image_of_one_pixel_is_a_row_of_logits(tmp_path: Path, rng: np.random.Generator, engine: str) -> None:
    """A network of convolutions alone ends in (N, C, 1, 1)."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    tensors = {"w": rng.standard_normal((5, 3, 4, 6)).astype(np.float32)}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 4, 6], "y", ["N", 5, 1, 1]), tmp_path))
    model.engine = engine
    x, y = rng.standard_normal((7, 3, 4, 6)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3, 3])
    np.testing.assert_allclose(model.logits(x), np.einsum("nchw,ochw->no", x, tensors["w"]), rtol=1e-4, atol=1e-5)
    _, logits, grads = model.attach("full").loss_and_grad(x, y, CrossEntropy())
    assert logits.shape == (7, 5)
    _, logits_bar = CrossEntropy().value_and_grad(logits, y)
    np.testing.assert_allclose(grads["w:xi"], np.einsum("nchw,no->ochw", x, logits_bar), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [1, -3, -1, 3])
@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_softmax_of_an_image_of_one_pixel(tmp_path: Path, rng: np.random.Generator, engine: str, axis: int) -> None:
    """`predict` keeps the graph's shape, in which a Softmax counts its axis."""
    onnxruntime = pytest.importorskip("onnxruntime")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], kernel_shape=[3, 2]),
        helper.make_node("Softmax", ["z"], ["y"], axis=axis),
    ]
    tensors = {"w": rng.standard_normal((4, 2, 3, 2)).astype(np.float32)}
    file = saved(make_onnx(nodes, tensors, ["N", 2, 3, 2], "y", ["N", 4, 1, 1]), tmp_path)
    x = rng.standard_normal((5, 2, 3, 2)).astype(np.float32)
    model = lieref.load(file)
    model.engine = engine
    (want,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(model.predict(x), want, atol=1e-6, rtol=0)
    assert model.logits(x).shape == (5, 4)


@pytest.mark.parametrize("axis", [None, 1, -1])
@pytest.mark.parametrize("op", ["Flatten", "Reshape", "Squeeze"])
def test_logits_keep_the_shape_they_were_given(
    tmp_path: Path, rng: np.random.Generator, op: str, axis: int | None
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    shape = {"Reshape": ["rows"], "Squeeze": ["axes"], "Flatten": []}[op]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 2]),
        helper.make_node(op, ["c", *shape], ["z"]),
        *([] if axis is None else [helper.make_node("Softmax", ["z"], ["y"], axis=axis)]),
    ]
    tensors = {"w": rng.standard_normal((4, 2, 3, 2)).astype(np.float32)}
    extra = {"Reshape": {"rows": np.array([-1, 4])}, "Squeeze": {"axes": np.array([2, 3])}, "Flatten": {}}[op]
    output = "z" if axis is None else "y"
    file = saved(make_onnx(nodes, tensors | extra, ["N", 2, 3, 2], output, ["N", 4]), tmp_path)
    x = rng.standard_normal((5, 2, 3, 2)).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    found = lieref.load(file).predict(x)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, atol=1e-5, rtol=0)


def test_a_second_output_is_no_part_of_the_prediction(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"], transB=1),
        helper.make_node("Gemm", ["x", "v"], ["u"], transB=1),
        helper.make_node("Mul", ["z", "u"], ["o"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    tensors = {name: rng.standard_normal((5, 6)).astype(np.float32) for name in ("w", "v")}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 6], "y", ["N", 5]), tmp_path))
    x = rng.standard_normal((2, 6)).astype(np.float32)
    z = np.exp(x @ tensors["w"].T)
    np.testing.assert_allclose(model.predict(x), z / z.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("x", [np.full((2, 3), 300), np.full((2, 3), 0.5), np.full((2, 3), -1)])
def test_numbers_that_the_input_type_has_not_are_refused(x: np.ndarray, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    proto = make_onnx(nodes, {"w": np.ones((4, 3), np.float32)}, ["N", 3], "y", ["N", 4])
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model = lieref.load(saved(proto, tmp_path))
    np.testing.assert_array_equal(model.predict(np.full((2, 3), 2.0)), np.full((2, 4), 6))
    with pytest.raises(DomainError, match="input type, uint8; got"):
        model.predict(x)


def test_samples_that_are_mixed_are_not_taken_apart(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["z"], transB=1),
        helper.make_node("ReduceMean", ["z"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["z", "m"], ["y"]),
    ]
    tensors = {"w": rng.standard_normal((5, 4)).astype(np.float32)}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 4], "y", ["N", 5]), tmp_path), dtype="float64")
    x = rng.standard_normal((7, 4))
    z = x @ tensors["w"].T
    np.testing.assert_allclose(model.predict(x, batch_size=7), z - z.mean(axis=0), rtol=1e-6)
    with pytest.raises(DomainError, match=r"`batch_size` must be at least 7, .* mixes the samples of a batch"):
        model.predict(x, batch_size=3)
