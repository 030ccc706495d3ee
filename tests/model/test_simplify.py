"""The plain form of a network: it computes the same, finds every layer, and goes back into the file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import lieref
from lieref.errors import DTypeError, FormatError, LierefError, ShapeError, UnsupportedError
from lieref.model.onnx_reader import graph_from_proto
from lieref.model.simplify import simplify
from lieref.param._base import LierefWarning
from tests.model.nets import make_onnx, saved

RNG = np.random.default_rng(3)
INPUTS, HIDDEN, CLASSES = 4, 6, 3


def f32(*shape: int) -> np.ndarray:
    return (0.5 * RNG.standard_normal(shape)).astype(np.float32)


def op(name: str, inputs: list[str], output: str, **attrs: Any) -> Any:
    return helper.make_node(name, inputs, [output], name=f"{output}_node", **attrs)


def behind(name: str, stored: np.ndarray, more: dict[str, np.ndarray], **attrs: Any) -> tuple[list[Any], Any]:
    """Return a Gemm whose weight (HIDDEN, INPUTS) is computed from a constant."""
    nodes = [op(name, ["stored", *more], "made", **attrs), op("Gemm", ["x", "made", "b"], "h", transB=1)]
    return nodes, {"stored": stored, **more, "b": f32(HIDDEN)}


def gemm(bias: tuple[int, ...], **attrs: Any) -> tuple[list[Any], Any]:
    return [op("Gemm", ["x", "w", "b"], "h", transB=1, **attrs)], {"w": f32(HIDDEN, INPUTS), "b": f32(*bias)}


FORMS: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
    "alpha": gemm((HIDDEN,), alpha=0.3),
    "beta": gemm((HIDDEN,), beta=-0.7),
    "alpha_and_beta_without_transB": (
        [op("Gemm", ["x", "w", "b"], "h", alpha=1.3, beta=0.2)],
        {"w": f32(INPUTS, HIDDEN), "b": f32(1)},
    ),
    "bias_row": gemm((1, HIDDEN)),
    "bias_scalar": gemm(()),
    "bias_one": gemm((1, 1)),
    "identity": behind("Identity", f32(HIDDEN, INPUTS), {}),
    "transpose": behind("Transpose", f32(INPUTS, HIDDEN), {}, perm=[1, 0]),
    "reshape": behind("Reshape", f32(HIDDEN * INPUTS), {"to": np.array([HIDDEN, INPUTS])}),
    "squeeze": behind("Squeeze", f32(HIDDEN, 1, INPUTS), {"axes": np.array([1])}),
    "mul": behind("Mul", f32(HIDDEN, INPUTS), {"by": f32(HIDDEN, 1)}),
    "cast": behind("Cast", f32(HIDDEN, INPUTS).astype(np.float64), {}, to=TensorProto.FLOAT),
    "concat": behind("Concat", f32(HIDDEN, 1), {"rest": f32(HIDDEN, INPUTS - 1)}, axis=1),
    "constant_node": (
        [op("Constant", [], "b", value_floats=[0.5] * HIDDEN), op("Gemm", ["x", "w", "b"], "h", transB=1)],
        {"w": f32(HIDDEN, INPUTS)},
    ),
    "chain": (
        [
            op("Transpose", ["stored"], "turned", perm=[1, 0]),
            op("Mul", ["turned", "two"], "made"),
            op("Gemm", ["x", "made", "b"], "h", transB=1),
        ],
        {"stored": f32(INPUTS, HIDDEN), "two": np.array(2, np.float32), "b": f32(HIDDEN)},
    ),
    "matmul_left": (
        [op("Reshape", ["x", "to"], "x3"), op("MatMul", ["w", "x3"], "h3"), op("Flatten", ["h3"], "h")],
        {"to": np.array([-1, INPUTS, 1]), "w": f32(HIDDEN, INPUTS)},
    ),
    "matmul_stack": (
        [op("Reshape", ["x", "to"], "x3"), op("MatMul", ["x3", "w"], "h3"), op("Flatten", ["h3"], "h")],
        {"to": np.array([-1, 1, INPUTS]), "w": f32(1, INPUTS, HIDDEN)},
    ),
}


def network(nodes: list[Any], tensors: dict[str, np.ndarray], batch: Any = "N") -> onnx.ModelProto:
    """Return a network of the nodes that make ``h`` (N, HIDDEN), a ReLU and a plain Gemm."""
    rest = [op("Relu", ["h"], "r"), op("Gemm", ["r", "w_fc", "b_fc"], "y", transB=1)]
    tensors = {**tensors, "w_fc": f32(CLASSES, HIDDEN), "b_fc": f32(CLASSES)}
    return make_onnx([*nodes, *rest], tensors, [batch, INPUTS], "y", [batch, CLASSES])


def by_runtime(proto_or_path: Any, x: np.ndarray) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    source = str(proto_or_path) if isinstance(proto_or_path, Path) else proto_or_path.SerializeToString()
    y: np.ndarray = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    return y


def load(path: Path) -> Any:
    """Return a network that is run operator by operator: some of these forms have no compiled one."""
    model = lieref.load(path)
    model.engine = "reference"
    return model


def moved(model: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    for parameter in model.parameters().values():
        parameter[...] = 0.3 * rng.standard_normal(parameter.shape)
    return model


@pytest.mark.parametrize("method", ["lora", "liera", "full"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_weight_is_adapted_and_goes_back_into_the_file(form: str, method: str, tmp_path: Path) -> None:
    proto = network(*FORMS[form])
    x = f32(5, INPUTS)
    model = load(saved(proto, tmp_path))
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    assert len(model.layers) == 2
    model.attach(method, **({} if method == "full" else {"r": 1}))
    assert {layer.weight for layer in model.layers} <= set(model.adapted_tensors())
    if method == "full" and not form.startswith("matmul"):
        assert {layer.bias for layer in model.layers} <= set(model.adapted_tensors())
    moved(model)
    predicted = model.predict(x)
    merged = model.merge_and_unload()
    merged.save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(by_runtime(tmp_path / "merged.onnx", x), predicted, rtol=1e-5, atol=1e-6)
    again = load(tmp_path / "merged.onnx")
    np.testing.assert_allclose(again.predict(x), predicted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_every_form_agree_with_differences(form: str, tmp_path: Path) -> None:
    model = moved(lieref.load(saved(network(*FORMS[form]), tmp_path), dtype="float64").attach("full"))
    x, y, loss = f32(5, INPUTS), np.arange(5) % CLASSES, lieref.CrossEntropy()
    grads = model.loss_and_grad(x, y, loss)[2]
    rng = np.random.default_rng(1)
    step = 1e-5
    for name, parameter in model.parameters().items():
        along, start = rng.standard_normal(parameter.shape), parameter.copy()
        values = []
        for sign in (1, -1):
            parameter[...] = start + sign * step * along
            values.append(model.loss_and_grad(x, y, loss)[0])
        parameter[...] = start
        # the third derivative of a loss of this size is of order one: the difference is right to step^2
        assert np.sum(grads[name] * along) == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


def test_a_weight_in_two_forms_is_no_longer_shared(tmp_path: Path) -> None:
    nodes = [
        op("Gemm", ["x", "w"], "a", transB=1),
        op("Identity", ["w"], "w_same"),
        op("Relu", ["a"], "ra"),
        op("Gemm", ["ra", "w_same"], "h", transB=1),
        op("Gemm", ["h", "w_fc"], "y", transB=1),
    ]
    proto = make_onnx(nodes, {"w": f32(4, 4), "w_fc": f32(3, 4)}, ["N", 4], "y", ["N", 3])
    model = moved(lieref.load(saved(proto, tmp_path)).attach("full"))
    x = f32(5, 4)
    changed = model.adapted_tensors()
    assert np.any(changed["w"] != changed["w_same"])
    merged = model.merge_and_unload()
    merged.save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(by_runtime(tmp_path / "merged.onnx", x), merged.predict(x), rtol=1e-5, atol=1e-6)


def test_merging_twice_finds_what_the_first_merge_wrote(tmp_path: Path) -> None:
    proto = network(*FORMS["chain"])
    for node in proto.graph.node:
        node.name = ""
    model = lieref.load(saved(proto, tmp_path))
    x = f32(5, INPUTS)
    for seed in (1, 2):
        model = moved(model.attach("lora", r=1, target_modules=["made"]), seed).merge_and_unload()
        model.save(tmp_path / "merged.onnx")
        np.testing.assert_allclose(by_runtime(tmp_path / "merged.onnx", x), model.predict(x), rtol=1e-5, atol=1e-6)
    left = onnx.load(tmp_path / "merged.onnx").graph
    assert [node.op_type for node in left.node] == ["Gemm", "Relu", "Gemm"]
    assert sorted(tensor.name for tensor in left.initializer) == ["b", "b_fc", "made", "w_fc"]


def test_an_unchanged_file_keeps_every_node_and_tensor(tmp_path: Path) -> None:
    proto = network(*FORMS["chain"])
    model = moved(lieref.load(saved(proto, tmp_path)).attach("lora", r=1, target_modules=["w_fc"]))
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    left = onnx.load(tmp_path / "merged.onnx").graph
    assert [node.output[0] for node in left.node] == [node.output[0] for node in proto.graph.node]
    assert [t.name for t in left.initializer] == [t.name for t in proto.graph.initializer]


@pytest.mark.parametrize(
    ("batch", "target"), [(8, [8, -1]), (8, [8, 16]), (1, [1, 16]), (1, [1, -1]), ("N", [1, -1]), ("N", [8, -1])]
)
def test_a_flattening_made_for_a_batch_serves_any(batch: Any, target: list[int], tmp_path: Path) -> None:
    nodes = [
        op("Conv", ["x", "w"], "h"),
        op("Reshape", ["h", "to"], "f"),
        op("Gemm", ["f", "w_fc"], "y", transB=1),
    ]
    tensors = {"w": f32(4, 3, 1, 1), "to": np.array(target), "w_fc": f32(5, 16)}
    proto = make_onnx(nodes, tensors, [batch, 3, 2, 2], "y", [batch, 5])
    model = lieref.load(saved(proto, tmp_path))
    x = f32(target[0], 3, 2, 2)
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    assert model.input_shape[0] is None
    more = f32(3, 3, 2, 2)
    each = [by_runtime(proto, np.repeat(one[None], len(x), axis=0))[:1] for one in more]
    for engine in ("f2", "reference"):
        model.engine = engine
        np.testing.assert_allclose(model.predict(more), np.concatenate(each), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_flattening_at_the_end_serves_any_batch(batch: Any, tmp_path: Path) -> None:
    proto = make_onnx([op("Reshape", ["x", "to"], "y")], {"to": np.array([1, -1])}, [batch, 3, 2], "y", [1, 6])
    model = load(saved(proto, tmp_path))
    np.testing.assert_array_equal(model.predict(x := f32(4, 3, 2)), x.reshape(4, 6))


def test_a_network_that_mixes_the_batch_takes_that_batch_alone(tmp_path: Path) -> None:
    nodes = [op("Reshape", ["x", "to"], "f"), op("Gemm", ["f", "w"], "y", transB=1)]
    proto = make_onnx(nodes, {"to": np.array([4, 6]), "w": f32(5, 6)}, [2, 3, 4], "y", [4, 5])
    model = lieref.load(saved(proto, tmp_path))
    assert model.input_shape[0] == 2
    with pytest.warns(LierefWarning, match="operator by operator"):
        np.testing.assert_allclose(model.predict(x := f32(2, 3, 4)), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="the batch must be of 2 samples, which the network is made for; got 3"):
        model.predict(f32(3, 3, 4))


def test_a_network_that_cuts_samples_off_takes_no_more(tmp_path: Path) -> None:
    nodes = [op("Slice", ["x", "zero", "eight"], "f"), op("Gemm", ["f", "w"], "y", transB=1)]
    tensors = {"zero": np.array([0]), "eight": np.array([8]), "w": f32(5, 6)}
    model = load(saved(make_onnx(nodes, tensors, [8, 6], "y", [8, 5]), tmp_path))
    assert model.input_shape[0] == 8
    with pytest.raises(ShapeError, match="batch must be of 8 samples"):
        model.predict(f32(20, 6))


UNREADABLE: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
    "overflow": (
        [op("Exp", ["w"], "v"), op("Gemm", ["x", "v"], "y", transB=1)],
        {"w": 1e4 * np.ones((5, 6), np.float32)},
    ),
    "too_large": ([op("Gemm", ["x", "w"], "y", transB=1, alpha=3e38)], {"w": 1e9 * np.ones((5, 6), np.float32)}),
    "narrowed": ([op("Cast", ["x"], "v", to=11), op("MatMul", ["v", "w"], "y")], {"w": np.full((6, 5), 1e300)}),
    "nan_attribute": ([op("LeakyRelu", ["x"], "y", alpha=float("nan"))], {}),
    "nan_padding": (
        [op("Pad", ["x", "to", "v"], "y")],
        {"to": np.array([0, 1, 0, 1]), "v": np.array(np.nan, np.float32)},
    ),
    "integer_power": (
        [op("Shape", ["x"], "s"), op("Pow", ["s", "v"], "p"), op("Reshape", ["x", "p"], "y")],
        {"v": np.array(-1)},
    ),
    "axis_twice": (
        [op("Slice", ["x", "a", "b", "c"], "y")],
        {"a": np.array([0, 1]), "b": np.array([2, 3]), "c": np.array([1, 1])},
    ),
    "nothing": ([op("MatMul", ["x", "w"], "y")], {"w": np.zeros((6, 0), np.float32)}),
}


@pytest.mark.filterwarnings("ignore:load. .* asks for float64")
@pytest.mark.parametrize("name", UNREADABLE)
def test_numbers_that_are_none_are_refused_when_they_are_loaded(name: str, tmp_path: Path) -> None:
    nodes, tensors = UNREADABLE[name]
    proto = make_onnx(nodes, tensors, ["N", 6], "y", ["N", "C"])
    if name == "narrowed":
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(LierefError):
        lieref.load(saved(proto, tmp_path))


def test_layers_that_no_output_reads_are_named(tmp_path: Path) -> None:
    nodes = [
        op("Gemm", ["x", "w"], "h", transB=1),
        op("Gemm", ["x", "v"], "side", transB=1),
        op("Shape", ["side"], "s"),
        op("Reshape", ["h", "s"], "y"),
    ]
    proto = make_onnx(nodes, {"w": f32(5, 6), "v": f32(5, 6)}, ["N", 6], "y", ["N", 5])
    with pytest.warns(LierefWarning, match="leaves side_node alone: no output depends on it"):
        lieref.load(saved(proto, tmp_path)).attach("lora", r=1)


def test_a_row_added_to_a_product_is_its_bias(tmp_path: Path) -> None:
    nodes = [op("MatMul", ["x", "w"], "h"), op("Add", ["row", "h"], "y")]
    proto = make_onnx(nodes, {"w": f32(6, 5), "row": f32(1, 5)}, ["N", 6], "y", ["N", 5])
    base, model = lieref.load(saved(proto, tmp_path)), moved(lieref.load(saved(proto, tmp_path)).attach("ia3"))
    x = f32(4, 6)
    factors = model.predict(x) / base.predict(x)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[0], factors.shape), rtol=1e-4)
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(by_runtime(tmp_path / "merged.onnx", x), factors * base.predict(x), rtol=1e-4)


@pytest.mark.parametrize("source", ["Shape", "Constant"])
def test_shape_arithmetic_is_a_constant(source: str, tmp_path: Path) -> None:
    nodes = [
        op("GlobalAveragePool", ["x"], "g"),
        op("Shape", ["g"], "s"),
        op("Gather", ["s", "zero"], "n", axis=0),
        op("Unsqueeze", ["n", "axis"], "u"),
        op("Concat", ["u", "rest"], "to", axis=0),
        op("Reshape", ["g", "to"], "f"),
        op("Gemm", ["f", "w"], "y", transB=1),
    ]
    tensors = {"zero": np.array(0), "axis": np.array([0]), "w": f32(5, 3)}
    tensors["rest"] = np.array([-1 if source == "Shape" else 3])
    proto = make_onnx(nodes, tensors, ["N", 3, 4, 4], "y", ["N", 5])
    graph = simplify(graph_from_proto(proto, "net"))
    assert [node.op for node in graph.nodes] == ["GlobalAveragePool", "Reshape", "Gemm"]
    np.testing.assert_array_equal(graph.initializers[graph.nodes[1].inputs[1]], [-1, 3])
    model = lieref.load(saved(proto, tmp_path))
    assert model.engine == "f2"
    np.testing.assert_allclose(model.predict(x := f32(6, 3, 4, 4)), by_runtime(proto, x), rtol=1e-5, atol=1e-6)


def test_a_float64_part_is_computed_in_float32_and_said(tmp_path: Path) -> None:
    nodes = [
        op("Gemm", ["x", "w"], "h", transB=1),
        op("Cast", ["h"], "wide", to=TensorProto.DOUBLE),
        op("Mul", ["wide", "factor"], "product"),
        op("Cast", ["product"], "y", to=TensorProto.FLOAT),
    ]
    proto = make_onnx(nodes, {"w": f32(3, INPUTS), "factor": np.array(1.5)}, ["N", INPUTS], "y", ["N", 3])
    path, x = saved(proto, tmp_path), f32(5, INPUTS)
    with pytest.warns(LierefWarning, match=r"wide_node, factor of .* asks for float64 and is computed in float32"):
        model = lieref.load(path)
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-6, atol=1e-6)
    wide = lieref.load(path, dtype="float64").predict(x)
    np.testing.assert_allclose(wide, by_runtime(proto, x), rtol=1e-6, atol=1e-6)


Break = Callable[[dict[str, np.ndarray], Any], None]


def conv_net(change: Break) -> onnx.ModelProto:
    tensors = {"w": f32(8, 6, 3, 3), "b": f32(8), "scale": f32(8), "shift": f32(8), "mean": f32(8), "var": f32(8) ** 2}
    conv = op("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    change(tensors, conv)
    nodes = [
        conv,
        op("BatchNormalization", ["c", "scale", "shift", "mean", "var"], "n"),
        op("GlobalAveragePool", ["n"], "g"),
        op("Flatten", ["g"], "y"),
    ]
    return make_onnx(nodes, tensors, ["N", 6, 5, 5], "y", ["N", 8])


def weight(*shape: int) -> Break:
    return lambda tensors, conv: tensors.update(w=f32(*shape))


def vector(name: str, *shape: int) -> Break:
    return lambda tensors, conv: tensors.update({name: f32(*shape) ** 2})


def attribute(name: str, value: Any) -> Break:
    def change(tensors: Any, conv: Any) -> None:
        for old in [a for a in conv.attribute if a.name in (name, "kernel_shape")]:
            conv.attribute.remove(old)
        conv.attribute.append(helper.make_attribute(name, value))

    return change


BROKEN: dict[str, Break] = {
    "channels": weight(8, 5, 3, 3),
    "rank": weight(8, 6, 3),
    "empty": weight(0, 6, 3, 3),
    "bias_short": vector("b", 3),
    "bias_long": vector("b", 9),
    "bias_empty": vector("b", 0),
    "bias_matrix": vector("b", 1, 8),
    "scale": vector("scale", 1),
    "mean": vector("mean", 9),
    "var": vector("var", 2, 4),
    "group": attribute("group", 64),
    "group_that_divides_filters": attribute("group", 4),
    "kernel_shape": attribute("kernel_shape", [3, 2]),
    "kernel_shape_rank": attribute("kernel_shape", [3]),
    "strides": attribute("strides", [1]),
    "pads": attribute("pads", [1, 1]),
    "pads_negative": attribute("pads", [-1, 0, 0, 0]),
    "pads_huge": attribute("pads", [2**40, 0, 0, 0]),
    "dilations": attribute("dilations", [9, 9]),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_malformed_layer_is_refused_when_it_is_loaded(broken: str, tmp_path: Path) -> None:
    path = saved(conv_net(BROKEN[broken]), tmp_path)
    with pytest.raises(LierefError, match=r"load: node (c|n)_node: "):
        lieref.load(path)


def test_one_number_for_all_samples_is_run_operator_by_operator(tmp_path: Path) -> None:
    nodes = [op("Gemm", ["x", "w"], "h", transB=1), op("ReduceMean", ["h"], "y", keepdims=0)]
    proto = make_onnx(nodes, {"w": f32(5, 3)}, ["N", 3], "y", [])
    model = lieref.load(saved(proto, tmp_path))
    assert model.engine == "reference"


def test_nodes_need_their_inputs() -> None:
    for inputs in (["x", ""], ["x"], ["x", "w", "b", "more"]):
        proto = make_onnx([op("Gemm", inputs, "y")], {}, ["N", 3], "y", ["N", 3])
        with pytest.raises(FormatError, match=r"Gemm \(node y_node\) must have 2 to 3 inputs"):
            graph_from_proto(proto, "net")


def test_floats_of_two_types_do_not_meet(tmp_path: Path) -> None:
    nodes = [op("Mul", ["x", "factor"], "y")]
    proto = make_onnx(nodes, {"factor": np.array(1.5)}, ["N", 3], "y", ["N", 3])
    with pytest.raises(DTypeError, match="load: node y_node: Mul: all arrays must share one dtype"):
        lieref.load(saved(proto, tmp_path))


def test_each_normalisation_has_statistics_of_its_own_input(tmp_path: Path) -> None:
    tensors = {"w1": f32(5, 3, 3, 3), "w2": f32(5, 5, 1, 1), "one": np.ones(5, np.float32), "zero": f32(5) * 0}
    nodes = [
        op("Conv", ["x", "w1"], "c1"),
        op("BatchNormalization", ["c1", "one", "zero", "zero", "one"], "n1"),
        op("Relu", ["n1"], "r1"),
        op("Conv", ["r1", "w2"], "c2"),
        op("BatchNormalization", ["c2", "one", "zero", "zero", "one"], "n2"),
        op("GlobalAveragePool", ["n2"], "g"),
        op("Flatten", ["g"], "y"),
    ]
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 6, 6], "y", ["N", 5]), tmp_path))
    x = 2 * f32(40, 3, 6, 6) + 1
    model.attach("norm-stats").estimate_statistics(x)
    # the mean of what a normalisation gives is its shift: zero
    np.testing.assert_allclose(model.predict(x).mean(axis=0), 0, atol=1e-5)
    merged = model.merge_and_unload()
    merged.save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(by_runtime(tmp_path / "merged.onnx", x), merged.predict(x), rtol=1e-4, atol=1e-5)


def test_a_free_batch_that_only_one_sample_fits_is_one(tmp_path: Path) -> None:
    nodes = [op("Reshape", ["x", "to"], "f"), op("Gemm", ["f", "w"], "y", transB=1)]
    proto = make_onnx(nodes, {"to": np.array([2, 6]), "w": f32(5, 6)}, ["N", 3, 4], "y", [2, 5])
    model = load(saved(proto, tmp_path))
    np.testing.assert_allclose(model.predict(x := f32(1, 3, 4)), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="the batch must be of 1 samples"):
        model.loss_and_grad(f32(2, 3, 4), np.zeros(2, int), lieref.CrossEntropy())


def test_statistics_of_a_network_for_one_batch_come_from_whole_batches(tmp_path: Path) -> None:
    tensors = {"one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32), "to": np.array([4, 6]), "w": f32(5, 6)}
    nodes = [
        op("BatchNormalization", ["x", "one", "zero", "zero", "one"], "n"),
        op("Reshape", ["n", "to"], "f"),
        op("Gemm", ["f", "w"], "y", transB=1),
    ]
    model = load(saved(make_onnx(nodes, tensors, [2, 3, 4], "y", [4, 5]), tmp_path))
    x = f32(7, 3, 4)
    model.attach("norm-stats").estimate_statistics(x)
    means = [value for value in model.adapted_tensors().values() if value.min() < 0]
    np.testing.assert_allclose(means, [x[:6].mean(axis=(0, 2))], rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="the batch must be of 2 samples"):
        model.estimate_statistics(x[:1])


def test_a_constant_behind_a_convolution_that_ia3_leaves_is_said(tmp_path: Path) -> None:
    nodes = [op("Conv", ["x", "w"], "h"), op("Add", ["h", "row"], "y")]
    proto = make_onnx(nodes, {"w": f32(5, 3, 1, 1), "row": f32(1, 5, 1, 1)}, ["N", 3, 2, 2], "y", ["N", 5, 2, 2])
    with pytest.warns(LierefWarning, match="ia3 leaves the constants that are added to h_node as they are"):
        lieref.load(saved(proto, tmp_path)).attach("ia3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lieref.load(saved(proto, tmp_path)).attach("scale")


SPLITS: dict[str, tuple[int, dict[str, Any], dict[str, np.ndarray]]] = {
    "sizes": (3, {"axis": 1}, {"sizes": np.array([2, 5, 1])}),
    "equal": (4, {"axis": -3, "num_outputs": 4}, {}),
    "last_smaller": (3, {"axis": 1, "num_outputs": 3}, {}),
    "rows": (2, {"axis": 2, "num_outputs": 2}, {}),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_split_is_slices(case: str, tmp_path: Path) -> None:
    count, attrs, sizes = SPLITS[case]
    parts = [f"p{i}" for i in range(count)]
    split = helper.make_node("Split", ["c", *sizes], parts, name="split", **attrs)
    nodes = [op("Conv", ["x", "w"], "c"), split]
    nodes += [op("GlobalAveragePool", [part], f"{part}_mean") for part in parts]
    nodes += [op("Concat", [f"{part}_mean" for part in parts], "means", axis=1), op("Flatten", ["means"], "f")]
    width = 16 if case == "rows" else 8
    nodes.append(op("Gemm", ["f", "v"], "y", transB=1))
    tensors = {"w": f32(8, 3, 1, 1), "v": f32(5, width), **sizes}
    proto = make_onnx(nodes, tensors, ["N", 3, 6, 5], "y", ["N", 5])
    proto.opset_import[0].version = 18
    model = lieref.load(saved(proto, tmp_path))
    assert (model.engine, model.slow_reasons) == ("f2", ())
    x, y, loss = f32(4, 3, 6, 5), np.array([0, 4, 2, 1]), lieref.CrossEntropy()
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=1e-5, atol=1e-6)
    exact = moved(lieref.load(tmp_path / "net.onnx", dtype="float64").attach("full"))
    want = exact.loss_and_grad(x, y, loss)[2]
    for name, gradient in moved(model.attach("full")).loss_and_grad(x, y, loss)[2].items():
        assert np.linalg.norm(gradient - want[name]) <= 5e-6 * np.linalg.norm(want[name]), name


def test_sizes_of_a_split_must_be_those_of_the_axis(tmp_path: Path) -> None:
    split = helper.make_node("Split", ["x", "sizes"], ["a", "b"], name="cut", axis=1)
    nodes = [split, op("Add", ["a", "b"], "y")]
    for sizes, error in (([2, 3], ShapeError), ([6], ShapeError), ([-1, 7], ShapeError)):
        proto = make_onnx(nodes, {"sizes": np.array(sizes)}, ["N", 6], "y", ["N", 3])
        with pytest.raises(error, match="node cut"):
            lieref.load(saved(proto, tmp_path))
    cut = helper.make_node("Split", ["x", "sizes"], ["a", "b"], name="cut", axis=1)
    nodes = [op("Cast", ["x"], "sizes", to=TensorProto.INT64), cut, op("Add", ["a", "b"], "y")]
    with pytest.raises(UnsupportedError, match=r"node cut .*sizes must be constants"):
        lieref.load(saved(make_onnx(nodes, {}, ["N", 6], "y", ["N", 3]), tmp_path))


def test_a_bias_that_layers_share_through_identities_leaves_them_compiled(tmp_path: Path) -> None:
    """As PyTorch's older exporter writes convolutions without a bias, their normalisations folded."""
    nodes = [
        op("Identity", ["zero"], "b1"),
        op("Identity", ["zero"], "b2"),
        op("Conv", ["x", "w1", "b1"], "c1"),
        op("Relu", ["c1"], "r1"),
        op("Conv", ["r1", "w2", "b2"], "c2"),
        op("GlobalAveragePool", ["c2"], "g"),
        op("Flatten", ["g"], "y"),
    ]
    tensors = {"zero": np.zeros(5, np.float32), "w1": f32(5, 3, 3, 3), "w2": f32(5, 5, 1, 1)}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 6, 6], "y", ["N", 5]), tmp_path)).attach("liera", r=1)
    division = model.division()
    assert (model.engine, model.slow_reasons, division.outside) == ("f2", (), ())
    assert len(division.fused.sites) == 2
