"""Networks of scikit-learn in the form that skl2onnx writes: scaled inputs, probabilities by class, and a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import FormatError, LierefWarning, UnsupportedError
from tests.model.nets import saved
from tests.model.task_nets import f32, node

ML = "ai.onnx.ml"
WORDS = ["cat", "dog", "eel", "fox"]
OFFSET, SCALE = [0.5, -1.0, 2.0, 0.0, 1.5], [2.0, 0.25, 1.0, 0.5, 3.0]
LABELS = pytest.mark.filterwarnings("ignore:load. the labels:lieref.errors.LierefWarning")


def ml(op: str, inputs: list[str], out: str, **attrs: Any) -> Any:
    return helper.make_node(op, inputs, [out], name=f"{op}.{out}", domain=ML, **attrs)


def perceptron(*, zipped: bool = True, words: bool = True, scaled: bool = True, last: str = "Softmax") -> Any:
    """(N, 5) to probabilities of four classes, or of two where the last operator is a Sigmoid, and a label."""
    rng = np.random.default_rng(2)
    outputs, classes = (4 if last == "Softmax" else 1), (4 if last == "Softmax" else 2)
    tensors = {"w": f32(rng, 5, 6), "b": f32(rng, 6), "v": f32(rng, 6, outputs), "c": f32(rng, outputs)}
    tensors |= {"one": np.ones(1, np.float32), "shape": np.array([-1])}
    names = np.array(WORDS[:classes], object) if words else np.arange(classes, dtype=np.int32)
    end = "probabilities" if not zipped else "array"
    nodes = [
        *([ml("Scaler", ["x"], "in", offset=OFFSET, scale=SCALE)] if scaled else []),
        node("MatMul", ["in" if scaled else "x", "w"], "first"),
        node("Add", ["first", "b"], "moved"),
        node("Relu", ["moved"], "active"),
        node("MatMul", ["active", "v"], "second"),
        node("Add", ["second", "c"], "scores"),
    ]
    if last == "Softmax":
        nodes.append(node("Softmax", ["scores"], end, axis=1))
    else:
        nodes += [
            node("Sigmoid", ["scores"], "yes"),
            node("Sub", ["one", "yes"], "no"),
            node("Concat", ["no", "yes"], end, axis=1),
        ]
    keys = {"classlabels_strings": WORDS[:classes]} if words else {"classlabels_int64s": range(classes)}
    nodes += [
        node("ArgMax", [end], "best", axis=1),
        *([ml("ZipMap", [end], "probabilities", **keys)] if zipped else []),
        ml("ArrayFeatureExtractor", ["names", "best"], "picked"),
        node("Reshape", ["picked", "shape"], "label" if words else "whole"),
        *([] if words else [node("Cast", ["whole"], "label", to=TensorProto.INT64)]),
    ]
    kind = TensorProto.STRING if words else TensorProto.INT64
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])
    if zipped:
        key = TensorProto.STRING if words else TensorProto.INT64
        value = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        given = helper.make_value_info(
            "probabilities", helper.make_sequence_type_proto(helper.make_map_type_proto(key, value))
        )
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5])],
        [helper.make_tensor_value_info("label", kind, ["N"]), given],
        [numpy_helper.from_array(value, name) for name, value in {**tensors, "names": names}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, 1)])


def expected(path: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities as ONNX Runtime gives them."""
    label, found = onnxruntime.InferenceSession(path).run(["label", "probabilities"], {"x": x})
    rows = [list(row.values()) for row in found] if isinstance(found, list) else found
    return np.asarray(label), np.array(rows, np.float32)


@LABELS
@pytest.mark.parametrize("last", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_probabilities_are_trained_and_merged(zipped: bool, words: bool, last: str, tmp_path: Path) -> None:
    path, classes = saved(perceptron(zipped=zipped, words=words, last=last), tmp_path), 4 if last == "Softmax" else 2
    x = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    model, y = lieref.load(path), np.argmax(x[:, :classes], axis=1)
    assert model.outputs == ("probabilities",)
    assert model.classes == (tuple(WORDS[:classes]) if words else None)
    np.testing.assert_allclose(model.predict(x), expected(path, x)[1], atol=1e-6)
    history = lieref.fit(model.attach("full"), x, y, epochs=40, learning_rate=0.03, batch_size=8)
    assert model.engine == "f2"
    assert history.epochs[-1].loss < 0.5 * history.epochs[0].loss
    trained, merged = model.predict(x), tmp_path / "merged.onnx"
    model.merge_and_unload().save(merged)
    label, probabilities = expected(merged, x)
    np.testing.assert_allclose(probabilities, trained, atol=1e-6)
    best = np.argmax(trained, axis=1)
    np.testing.assert_array_equal(label, np.array(WORDS)[best] if words else best)


@LABELS
@pytest.mark.parametrize("zipped", [True, False])
def test_a_new_head_takes_the_labels_of_the_old_classes_away(zipped: bool, tmp_path: Path) -> None:
    model = lieref.load(saved(perceptron(zipped=zipped), tmp_path))
    x = np.random.default_rng(1).standard_normal((12, 5)).astype(np.float32)
    model.attach("full", head=lieref.NewHead(["a", "b", "c"]))
    lieref.fit(model, x, np.arange(12) % 3, epochs=2)
    trained = model.predict(x)
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    (found,) = onnxruntime.InferenceSession(tmp_path / "merged.onnx").run(None, {"x": x})
    np.testing.assert_allclose(found, trained, atol=1e-6)
    assert lieref.load(tmp_path / "merged.onnx").classes == ("a", "b", "c")


def test_the_label_is_said_to_be_left_out(tmp_path: Path) -> None:
    with pytest.warns(LierefWarning, match=r"label \(ArrayFeatureExtractor\) .* the first output is probabilities"):
        lieref.load(saved(perceptron(), tmp_path))


def test_several_labels_by_a_binarizer(tmp_path: Path) -> None:
    proto = perceptron(zipped=False, words=False)
    kept = [each for each in proto.graph.node if each.op_type not in ("ArgMax", "ArrayFeatureExtractor", "Reshape")]
    cast = kept.pop()
    cast.input[:] = ["binary"]
    del proto.graph.node[:]
    proto.graph.node.extend([*kept, ml("Binarizer", ["probabilities"], "binary", threshold=0.5), cast])
    path = saved(proto, tmp_path)
    with pytest.warns(LierefWarning, match=r"label \(Binarizer\)"):
        model = lieref.load(path)
    x = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), expected(path, x)[1], atol=1e-6)


def test_what_computes_the_scores_is_refused(tmp_path: Path) -> None:
    proto = perceptron()
    proto.graph.node[0].CopyFrom(ml("Normalizer", ["x"], "in", norm="MAX"))
    with pytest.raises(UnsupportedError, match=r"got ai\.onnx\.ml\.Normalizer"):
        lieref.load(saved(proto, tmp_path))


def test_a_file_of_labels_alone_is_refused(tmp_path: Path) -> None:
    proto = perceptron()
    del proto.graph.output[1]
    with pytest.raises(UnsupportedError, match=r"must have an output of scores; label is a label \(Array"):
        lieref.load(saved(proto, tmp_path))


def test_a_scaler_without_numbers_is_refused(tmp_path: Path) -> None:
    proto = perceptron()
    del proto.graph.node[0].attribute[:]
    with pytest.raises(FormatError, match=r"must have an offset and a scale; got \[\]"):
        lieref.load(saved(proto, tmp_path))
