"""Networks with operators that have no compiled form: loaded, computed as ONNX Runtime does, trained as in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import FormatError
from tests.model.nets import make_onnx, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")

RNG = np.random.default_rng(11)
CLASSES = 5


def f32(*shape: int) -> np.ndarray:
    return (0.5 * RNG.standard_normal(shape)).astype(np.float32)


def op(name: str, inputs: list[str], *outputs: str, **attrs: Any) -> Any:
    return helper.make_node(name, inputs, outputs, name=f"{outputs[0]}_node", **attrs)


def tensor(value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value))


# From c, (N, 6, 5, 4), to z, of as many numbers a sample as `width` says; the constants are i0, i1, ...
MIDDLES: dict[str, tuple[int, int, list[Any], list[np.ndarray]]] = {
    "PRelu": (120, 17, [op("PRelu", ["c", "i0"], "z")], [f32(6, 1, 1)]),
    "PRelu, one slope": (120, 17, [op("PRelu", ["c", "i0"], "z")], [np.float32([0.25])]),
    "Mish": (120, 18, [op("Mish", ["c"], "z")], []),
    "Swish": (120, 24, [op("Swish", ["c"], "z", alpha=1.25)], []),
    "Swish, plain": (120, 24, [op("Swish", ["c"], "z")], []),
    "Celu": (120, 17, [op("Celu", ["c"], "z", alpha=0.5)], []),
    "Celu, plain": (120, 17, [op("Celu", ["c"], "z")], []),
    "Selu": (120, 17, [op("Selu", ["c"], "z", alpha=1.5)], []),
    "Abs": (120, 17, [op("Abs", ["c"], "z")], []),
    "Log": (120, 17, [op("Sigmoid", ["c"], "s"), op("Log", ["s"], "z")], []),
    "Reciprocal": (120, 17, [op("Exp", ["c"], "e"), op("Reciprocal", ["e"], "z")], []),
    "Max": (120, 17, [op("Max", ["c", "i0"], "z")], [f32(6, 1, 1)]),
    "Mean": (120, 17, [op("Tanh", ["c"], "t"), op("Mean", ["c", "t", "i0"], "z")], [f32(5, 1)]),
    "ReduceMax": (20, 17, [op("ReduceMax", ["c"], "z", axes=[1], keepdims=1)], []),
    "ReduceL2": (30, 18, [op("ReduceL2", ["c", "i0"], "z", keepdims=0)], [np.array([-1])]),
    "ReduceLogSumExp": (24, 18, [op("ReduceLogSumExp", ["c", "i0"], "z")], [np.array([2])]),
    "LogSoftmax": (120, 17, [op("LogSoftmax", ["c"], "z", axis=1)], []),
    "CumSum": (120, 17, [op("CumSum", ["c", "i0"], "z", exclusive=1)], [np.array(2)]),
    "TopK": (60, 17, [op("TopK", ["c", "i0"], "z", "places", axis=1)], [np.array([3])]),
    "TopK, both": (
        60, 17,
        [
            op("TopK", ["c", "i0"], "most", "places", axis=1), op("Cast", ["places"], "p", to=TensorProto.FLOAT),
            op("Mul", ["most", "p"], "z"),
        ],
        [np.array([3])],
    ),
    "ArgMax": (
        24, 17,
        [op("ArgMax", ["c"], "p", axis=2), op("GatherElements", ["c", "p"], "z", axis=2)], [],
    ),
    "Trilu": (120, 17, [op("Trilu", ["c"], "z", upper=0)], []),
    "Pad": (160, 19, [op("Pad", ["c", "i0"], "z", mode="wrap")], [np.array([0, 1, 0, 0, 0, 1, 0, 0])]),
    "Upsample": (480, 9, [op("Upsample", ["c", "i0"], "z")], [np.float32([1, 1, 2, 2])]),
    "Upsample, attribute": (
        336, 8, [op("Upsample", ["c"], "z", mode="linear", scales=[1.0, 1.0, 1.5, 2.0])], [],
    ),
    "Resize of opset 10": (
        288, 10, [op("Resize", ["c", "i0"], "z", mode="linear")], [np.float32([1, 1, 2.5, 1])],
    ),
    "Compress": (80, 17, [op("Compress", ["c", "i0"], "z", axis=1)], [np.arange(6) % 3 != 1]),
    "Mod": (120, 17, [op("Mod", ["c", "i0"], "z", fmod=1)], [np.float32([0.3])]),
    "Where": (
        120, 17,
        [op("Greater", ["c", "i0"], "g"), op("Not", ["g"], "n"), op("Where", ["n", "c", "i0"], "z")],
        [np.float32([0.1])],
    ),
    "ConstantOfShape": (
        120, 17,
        [
            op("Shape", ["c"], "s"), op("ConstantOfShape", ["s"], "k", value=tensor(np.float32([0.25]))),
            op("Add", ["c", "k"], "z"),
        ],
        [],
    ),
    "Range": (
        120, 17,
        [
            op("Shape", ["c"], "s"), op("Gather", ["s", "i0"], "n"), op("Range", ["i1", "n", "i2"], "r"),
            op("Cast", ["r"], "q", to=TensorProto.FLOAT), op("Mul", ["c", "q"], "z"),
        ],
        [np.array(3), np.array(0), np.array(1)],
    ),
}  # fmt: skip


CALLED_BACK = (
    "ArgMax", "Compress", "CumSum", "Mod", "Pad", "ReduceLogSumExp", "TopK", "TopK, both", "Trilu",
)  # fmt: skip
"""What has no compiled form, of Pad that along the channels; all else is compiled, as it is or as what makes it up."""


def network(case: str, opset: int | None = None) -> Any:
    width, since, nodes, constants = MIDDLES[case]
    tensors = {f"i{i}": value for i, value in enumerate(constants)}
    tensors |= {"w": f32(6, 3, 1, 1), "b": f32(6), "v": f32(CLASSES, width), "a": f32(CLASSES)}
    nodes = [
        op("Conv", ["x", "w", "b"], "c"),
        *nodes,
        op("Flatten", ["z"], "f"),
        op("Gemm", ["f", "v", "a"], "y", transB=1),
    ]
    proto = make_onnx(nodes, tensors, ["N", 3, 5, 4], "y", ["N", CLASSES], opset=opset or since)
    proto.ir_version = 8 if since < 24 else 11
    return proto


def by_runtime(proto: Any, x: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    y: np.ndarray = session.run(None, {"x": x})[0]
    return y


@pytest.mark.parametrize("case", MIDDLES)
def test_a_network_computes_what_the_runtime_does_and_trains_as_in_float64(case: str, tmp_path: Path) -> None:
    proto = network(case)
    path = saved(proto, tmp_path)
    x, y, loss = f32(4, 3, 5, 4), np.array([0, 4, 2, 1]), lieref.CrossEntropy()
    model, exact = lieref.load(path), lieref.load(path, dtype="float64")
    # 1e-5: a hundred roundings of float32 of numbers of order one
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(exact.predict(x.astype(np.float64)), model.predict(x), rtol=1e-5, atol=1e-5)
    # what has no compiled form is called back, the rest stays compiled
    assert model.engine == ("mixed" if case in CALLED_BACK else "f2")
    want = exact.attach("full").loss_and_grad(x.astype(np.float64), y, loss)[2]
    found = model.attach("full").loss_and_grad(x, y, loss)[2]
    assert found.keys() == want.keys()
    for name, gradient in found.items():
        assert np.linalg.norm(gradient - want[name]) <= 2e-5 * np.linalg.norm(want[name]), name


def test_old_files_say_as_attributes_what_is_an_input_now(tmp_path: Path) -> None:
    nodes = [
        op("Pad", ["x"], "p", pads=[0, 0, 1, 0, 0, 0, 1, 0], value=0.5),
        op("Conv", ["p", "w"], "c"),
        op("BatchNormalization", ["c", "one", "two", "three", "four"], "n"),
        op("Clip", ["n"], "k", min=-1.0, max=1.5),
        op("Slice", ["k"], "s", starts=[1, -3], ends=[9, 3], axes=[2, 3]),
        op("Dropout", ["s"], "d", "mask", ratio=0.25),
        op("TopK", ["d"], "t", "places", k=2, axis=1),
        op("Softmax", ["t"], "m"),
        op("Flatten", ["m"], "f"),
        op("Gemm", ["f", "v", "a"], "y", transB=1),
    ]
    statistics = {"one": f32(6), "two": f32(6), "three": f32(6), "four": f32(6) ** 2 + 1}
    tensors = {"w": f32(6, 3, 2, 1), **statistics, "v": f32(CLASSES, 20), "a": f32(CLASSES)}
    x = f32(4, 3, 5, 4)
    for opset in (8, 9):
        proto = make_onnx(nodes, tensors, ["N", 3, 5, 4], "y", ["N", CLASSES], opset=opset)
        if opset == 8:
            proto.graph.node[2].attribute.append(helper.make_attribute("spatial", 1))
        model = lieref.load(saved(proto, tmp_path))
        np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        (op("Cast", ["c"], "h", to=TensorProto.FLOAT16), {}),
        (op("CastLike", ["c", "like"], "h"), {"like": np.float16([1])}),
        (op("ConstantOfShape", ["s"], "h", value=tensor(np.float16([0.5]))), {}),
    ],
)
def test_half_precision_inside_a_network_is_computed_wide(node: Any, inputs: dict[str, Any], tmp_path: Path) -> None:
    nodes = [op("Relu", ["x"], "c"), op("Shape", ["c"], "s"), node, op("Cast", ["h"], "z", to=TensorProto.FLOAT)]
    proto = make_onnx([*nodes, op("Add", ["z", "c"], "y")], inputs, ["N", 3], "y", ["N", 3])
    x = f32(4, 3).astype(np.float16).astype(np.float32)
    y = lieref.load(saved(proto, tmp_path)).predict(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, by_runtime(proto, x))


def test_a_number_that_a_node_makes_has_the_type_of_the_network(tmp_path: Path) -> None:
    nodes = [
        op("Shape", ["x"], "s"),
        op("ConstantOfShape", ["s"], "zero"),
        op("ConstantOfShape", ["s"], "k", value=tensor(np.float32([0.25]))),
        op("EyeLike", ["x"], "e", dtype=TensorProto.FLOAT),
        op("Sum", ["x", "zero", "k", "e", "b"], "y"),
    ]
    path = saved(make_onnx(nodes, {"b": np.zeros(3, np.float32)}, [4, 3], "y", [4, 3]), tmp_path)
    x = np.arange(12.0).reshape(4, 3)
    y = lieref.load(path, dtype="float64").predict(x)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, x + 0.25 + np.eye(4, 3))


def test_masks_of_minus_infinity_are_read(tmp_path: Path) -> None:
    never = np.float32([-np.inf])
    nodes = [
        op("Gemm", ["x", "w"], "c"),
        op("ConstantOfShape", ["square"], "k", value=tensor(never)),
        op("Trilu", ["k", "one"], "above"),
        op("Log", ["some"], "l"),
        op("Gather", ["above", "row"], "mask"),
        op("Max", ["c", "low"], "m"),
        op("Add", ["m", "l"], "a"),
        op("Where", ["half", "a", "mask"], "s"),
        op("Softmax", ["s"], "p"),
        op("Gemm", ["p", "v"], "y"),
    ]
    tensors = {
        "w": f32(3, 4), "v": np.eye(4, dtype=np.float32),
        "square": np.array([4, 4]), "one": np.array(1), "some": np.float32([1, 0, 2, 1]),
        "row": np.array(1), "low": never, "half": np.array([True, True, False, False]),
    }  # fmt: skip
    proto = make_onnx(nodes, tensors, ["N", 3], "y", ["N", 4])
    x = f32(5, 3)
    model = lieref.load(saved(proto, tmp_path))
    model.engine = "reference"
    y = model.predict(x)
    np.testing.assert_allclose(y, by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    assert (y[:, 1:] == 0).all()


def test_a_mask_that_is_added_to_scores_leaves_out_what_comes_later(tmp_path: Path) -> None:
    nodes = [
        op("MatMul", ["x", "q"], "scores"),
        op("Add", ["scores", "mask"], "masked"),
        op("Softmax", ["masked"], "p"),
        op("MatMul", ["p", "v"], "u"),
        op("ReduceMax", ["u"], "y", axes=[1], keepdims=0),
    ]
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    proto = make_onnx(nodes, {"q": f32(3, 4), "mask": mask, "v": f32(4, CLASSES)}, ["N", 4, 3], "y", ["N", CLASSES])
    path = saved(proto, tmp_path)
    x, y, loss = f32(5, 4, 3), np.arange(5), lieref.CrossEntropy()
    model, exact = lieref.load(path), lieref.load(path, dtype="float64")
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    want = exact.attach("full").loss_and_grad(x.astype(np.float64), y, loss)[2]
    for name, gradient in model.attach("full").loss_and_grad(x, y, loss)[2].items():
        assert np.linalg.norm(gradient - want[name]) <= 2e-5 * np.linalg.norm(want[name]), name


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    for op_type, value in (("Add", np.inf), ("Mul", -np.inf), ("Sub", np.inf)):
        proto = make_onnx([op(op_type, ["x", "w"], "y")], {"w": np.float32([1, value, 2])}, ["N", 3], "y", ["N", 3])
        with pytest.raises(FormatError, match=r"tensor w of .* must be finite"):
            lieref.load(saved(proto, tmp_path))


def test_a_sum_of_branches_is_additions_and_compiled(tmp_path: Path) -> None:
    """As residual networks of old exporters have it."""
    nodes = [
        op("Conv", ["x", "w"], "c"),
        op("Relu", ["c"], "r"),
        op("Conv", ["r", "u"], "d"),
        op("Sum", ["d", "c", "r"], "s"),
        op("Sum", ["s"], "alone"),
        op("GlobalAveragePool", ["alone"], "g"),
        op("Flatten", ["g"], "f"),
        op("Gemm", ["f", "v", "a"], "y", transB=1),
    ]
    tensors = {"w": f32(6, 3, 1, 1), "u": f32(6, 6, 1, 1), "v": f32(CLASSES, 6), "a": f32(CLASSES)}
    proto = make_onnx(nodes, tensors, ["N", 3, 5, 4], "y", ["N", CLASSES], opset=8)
    x, y, loss = f32(4, 3, 5, 4), np.array([0, 4, 2, 1]), lieref.CrossEntropy()
    model = lieref.load(saved(proto, tmp_path))
    assert (model.engine, model.slow_reasons) == ("f2", ())
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-5)
    want = lieref.load(tmp_path / "net.onnx", dtype="float64").attach("full").loss_and_grad(x.astype(float), y, loss)[2]
    for name, gradient in model.attach("full").loss_and_grad(x, y, loss)[2].items():
        assert np.linalg.norm(gradient - want[name]) <= 2e-5 * np.linalg.norm(want[name]), name
