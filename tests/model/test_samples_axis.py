"""Outputs whose samples are not their first axis: the losses read samples first, `predict` gives the file's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import lieref
from tests.model.nets import saved
from tests.model.task_nets import frame_net, learnable, node, transposed

ORDER = [1, 0, 2]


def time_first() -> onnx.ModelProto:
    """Lines of text (N, 1, 3, 8) to scores (8, N, 4)."""
    return transposed(frame_net(), ORDER)


@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_predict_keeps_the_order_and_logits_have_samples_first(engine: str, tmp_path: Path) -> None:
    path, x = saved(time_first(), tmp_path), learnable("sequence", count=11)["x"]
    model = lieref.load(path)
    model.engine = engine
    (want,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    assert want.shape == (8, 11, 4)
    np.testing.assert_allclose(model.predict(x, batch_size=4), want, atol=1e-5)
    np.testing.assert_allclose(model.logits(x, batch_size=4), want.transpose(ORDER), atol=1e-5)
    assert (model.engine, model.scores_shape) == (engine, (8, 4))


def test_the_gradient_is_that_of_the_other_order(tmp_path: Path) -> None:
    data, loss, found = learnable("sequence"), lieref.make_task("sequence").loss, []
    for number, proto in enumerate((frame_net(), time_first())):
        model = lieref.load(saved(proto, tmp_path, f"{number}.onnx")).attach("full")
        found.append(model.loss_and_grad(data["x"], data["y"], loss))
    (value, logits, grads), (same, others, bars) = found
    assert value == pytest.approx(same, rel=1e-6)
    np.testing.assert_allclose(logits, others, atol=1e-5)
    for name, want in grads.items():
        np.testing.assert_allclose(bars[name], want, rtol=0, atol=1e-5 * float(np.abs(want).max()))


def test_a_softmax_behind_the_scores_is_left_out(tmp_path: Path) -> None:
    proto = time_first()
    proto.graph.node[-1].output[:] = ["scores"]
    proto.graph.node.append(helper.make_node("Softmax", ["scores"], ["y"], name="soft", axis=2))
    model, x = lieref.load(saved(proto, tmp_path)), learnable("sequence", count=5)["x"]
    (want,) = onnxruntime.InferenceSession(saved(proto, tmp_path)).run(None, {"x": x})
    np.testing.assert_allclose(model.predict(x), want, atol=1e-6)
    plain = lieref.load(saved(time_first(), tmp_path, "plain.onnx")).logits(x)
    np.testing.assert_allclose(model.logits(x), plain, atol=1e-5)


def test_another_output_of_this_order_is_known_by_its_shape(tmp_path: Path) -> None:
    proto = frame_net()
    proto.graph.node.append(node("Transpose", ["y"], "other", perm=ORDER))
    proto.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [8, "N", 4]))
    path = saved(proto, tmp_path)
    assert lieref.load(path).undecided == {"other": (8, 4)}
    model, data = lieref.load(path, output={"y": 1.0, "other": 2.0}), learnable("sequence")
    assert model.output_shapes(data["x"].shape[1:]) == ((8, 4), (8, 4))
    row = model.logits(data["x"])
    np.testing.assert_allclose(row[:, :32], row[:, 32:], atol=1e-6)
