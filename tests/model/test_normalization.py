"""Normalisations that a file writes out: which become one operator, and what the file is once they are trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(5)
ROWS, CHANNELS, CLASSES = 5, 6, 4
X = RNG.standard_normal((3, ROWS, CHANNELS)).astype(np.float32)
IMAGE = RNG.standard_normal((3, CHANNELS, 4, 7)).astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")


def f32(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


class Written:
    """A network that normalises its input, and classifies the mean over the other axes."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.nodes, self.tensors = x, [], {}

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors[name] = np.array(value, dtype)
        return name

    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [*inputs], [f"{name}.out"], name=name, **attrs))
        return f"{name}.out"

    def file(self, normal: str) -> Any:
        axes = (2, 3) if self.x.ndim == 4 else (1,)
        mean = self.add("ReduceMean", normal, axes=axes, keepdims=0)
        self.tensors |= {"v": f32(CLASSES, CHANNELS)}
        self.nodes.append(helper.make_node("Gemm", [mean, "v"], ["y"], name="end", transB=1))
        return make_onnx(self.nodes, self.tensors, ["N", *self.x.shape[1:]], "y", ["N", CLASSES])


def over_rows(
    *, square: str = "Pow", power: float = 2.0, root: str = "Sqrt", quotient: str = "Div", centred: str = "",
    axes: Any = (-1,), epsilon: float = 1e-3, scale: tuple[int, ...] = (CHANNELS,), bias: tuple[int, ...] | None = None,
    read: bool = False,
) -> Any:  # fmt: skip
    """A normalisation over the last axis, with a choice for each of its operators."""
    net = Written(X)
    x = net.add("Relu", "x")
    d = [x, x]
    if centred:
        mean = net.add("ReduceMean", x, axes=axes)
        d = [net.add("Sub", x, mean) for _ in range(2 if centred == "twice" else 1)] * (1 if centred == "twice" else 2)
    squared = net.add("Mul", d[0], d[0]) if square == "Mul" else net.add("Pow", d[0], net.constant(power))
    sum_ = net.add("Add", net.add("ReduceMean", squared, axes=axes, keepdims=1), net.constant(epsilon))
    under = net.add("Sqrt", sum_) if root == "Sqrt" else net.add("Pow", sum_, net.constant(0.5))
    if quotient == "Div":
        h = net.add("Div", d[1], under)
    else:
        over = net.add("Div", net.constant(1.0), under) if quotient == "one over" else net.add("Reciprocal", under)
        h = net.add("Mul", over, d[1])
    y = net.add("Mul", h, net.constant(f32(*scale)))
    if bias is not None:
        y = net.add("Add", net.constant(f32(*bias)), y)
    return net.file(net.add("Add", y, h) if read else y)


def multiplied_out(
    *, minus: str = "Neg", mean: str = "GlobalAveragePool", turned: bool = False, other: bool = False
) -> Any:
    """A layer normalisation as x s + (bias - mean x s), which Keras computes."""
    net = Written(X)
    x = net.add("Relu", "x")

    def averaged(of: str) -> str:
        return net.add(mean, of) if mean == "GlobalAveragePool" else net.add(mean, of, axes=(-1,))

    def either(op: str, a: str, b: str) -> str:
        return net.add(op, *((b, a) if turned else (a, b)))

    centre = averaged(x)
    d = net.add("Sub", x, centre)
    root = net.add("Sqrt", either("Add", averaged(net.add("Mul", d, d)), net.constant(1e-3)))
    s = either("Mul", net.add("Reciprocal", root), net.constant(f32(1, 1, CHANNELS)))
    bias, taken = net.constant(f32(1, 1, CHANNELS)), averaged(net.add("Abs", x)) if other else centre
    if minus == "Neg":
        shift = either("Add", either("Mul", net.add("Neg", taken), s), bias)
    else:
        shift = net.add("Sub", bias, either("Mul", taken, s))
    return net.file(either("Add", either("Mul", x, s), shift))


def over_groups(
    *, groups: int = 3, one: float = 1.0, shape: tuple[int, ...] = (CHANNELS, 1, 1), known: bool = False
) -> Any:
    """An InstanceNormalization of groups between two Reshapes."""
    net = Written(IMAGE)
    x = net.add("Relu", "x")
    apart = net.add("Reshape", x, net.constant((0, groups, -1), np.int64))
    h = net.add(
        "InstanceNormalization", apart, net.constant([one] * groups), net.constant([0.0] * groups), epsilon=1e-3
    )
    target = net.constant((-1, *IMAGE.shape[1:]), np.int64) if known else net.add("Shape", x)
    y = net.add("Mul", net.add("Reshape", h, target), net.constant(f32(*shape)))
    return net.file(net.add("Add", y, net.constant(f32(*shape))))


JOINED: dict[str, tuple[Any, str]] = {
    "rms": (over_rows(), "RMSNormalization"),
    "rms of a product": (over_rows(square="Mul", quotient="one over"), "RMSNormalization"),
    "rms by the reciprocal": (over_rows(root="Pow", quotient="Reciprocal", axes=(2,)), "RMSNormalization"),
    "rms, scale of one row": (over_rows(scale=(1, CHANNELS)), "RMSNormalization"),
    "rms and a bias": (over_rows(bias=(CHANNELS,)), "RMSNormalization"),
    "layer": (over_rows(centred="once", bias=(CHANNELS,)), "LayerNormalization"),
    "layer without a bias": (over_rows(centred="once"), "LayerNormalization"),
    "layer, deviations twice": (over_rows(centred="twice", bias=(1, 1, CHANNELS)), "LayerNormalization"),
    "layer, multiplied out": (multiplied_out(), "LayerNormalization"),
    "layer, multiplied out, turned": (multiplied_out(turned=True), "LayerNormalization"),
    "layer, multiplied out, less": (multiplied_out(minus="Sub", mean="ReduceMean"), "LayerNormalization"),
    "layer, multiplied out, less, turned": (multiplied_out(minus="Sub", turned=True), "LayerNormalization"),
    "group": (over_groups(), "GroupNormalization"),
    "group, one scale for all": (over_groups(groups=2, shape=(1,)), "GroupNormalization"),
    "group, of one, sizes known": (over_groups(groups=1, shape=(1, CHANNELS, 1, 1), known=True), "GroupNormalization"),
}
KEPT: dict[str, Any] = {
    "another power": over_rows(power=4.0),
    "another axis": over_rows(axes=(1,)),
    "two axes": over_rows(axes=(1, 2)),
    "a scale of rows": over_rows(scale=(ROWS, 1)),
    "one scale for all": over_rows(scale=(1,)),
    "another mean taken off": multiplied_out(other=True),
    "another mean, less": multiplied_out(minus="Sub", other=True),
    "groups that are scaled before": over_groups(one=2.0),
    "groups with a scale of pixels": over_groups(shape=(CHANNELS, 4, 7)),
}


def samples(proto: Any) -> np.ndarray:
    return X if len(proto.graph.input[0].type.tensor_type.shape.dim) == 3 else IMAGE


def wanted(proto: Any) -> np.ndarray:
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": samples(proto)})[0]
    return result


def normalisations(model: Any) -> list[str]:
    return [node.op for node in model.graph.nodes if node.op.endswith("Normalization")]


@pytest.mark.parametrize("engine", ["f2", "reference"])
@pytest.mark.parametrize("case", [*JOINED, *KEPT])
def test_the_network_computes_what_the_runtime_does(case: str, engine: str, tmp_path: Path) -> None:
    proto = JOINED[case][0] if case in JOINED else KEPT[case]
    model = lieref.load(saved(proto, tmp_path))
    model.engine = engine
    if case in JOINED:
        assert normalisations(model) == [JOINED[case][1]]
        assert not {"Sqrt", "Reciprocal", "Pow", "Reshape", "Shape"} & {node.op for node in model.graph.nodes}
    else:
        assert set(normalisations(model)) <= {"InstanceNormalization"}
    # 1e-5: a hundred roundings of float32 of numbers of order one
    np.testing.assert_allclose(model.predict(samples(proto)), wanted(proto), rtol=1e-5, atol=1e-5)


def test_what_else_reads_a_part_finds_it(tmp_path: Path) -> None:
    proto = over_rows(centred="once", bias=(CHANNELS,), read=True)
    model = lieref.load(saved(proto, tmp_path))
    assert normalisations(model) == ["LayerNormalization"]
    assert "Div" in {node.op for node in model.graph.nodes}
    np.testing.assert_allclose(model.predict(X), wanted(proto), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["norm", "full"])
@pytest.mark.parametrize("case", JOINED)
def test_the_file_stays_written_out_when_its_scales_are_trained(case: str, method: str, tmp_path: Path) -> None:
    """Saved with other scales, it has the operators that it had, and computes what the network does."""
    proto = JOINED[case][0]
    model = lieref.load(saved(proto, tmp_path)).attach(method)
    (normal,) = [node for node in model.graph.nodes if node.op == JOINED[case][1]]
    trained = [model.sites[name] for name in normal.inputs[1:]]
    for site in trained:
        for factor in site.params.values():
            factor += 0.3 * RNG.standard_normal(factor.shape).astype(factor.dtype)
    predicted = model.predict(samples(proto))
    file = tmp_path / "merged.onnx"
    model.merge_and_unload().save(file)
    after = lieref.load(file).proto
    assert Counter(node.op_type for node in after.graph.node) == Counter(node.op_type for node in proto.graph.node)
    assert not np.allclose(predicted, wanted(proto), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(predicted, wanted(after), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", JOINED)
def test_both_paths_give_the_same_gradients(case: str, tmp_path: Path) -> None:
    proto = JOINED[case][0]
    y, found = np.array([1, 3, 0]), {}
    for engine in ("f2", "reference"):
        model = lieref.load(saved(proto, tmp_path)).attach("full")
        model.engine = engine
        _, _, found[engine] = model.loss_and_grad(samples(proto), y, CrossEntropy())
    for name, bar in found["reference"].items():
        np.testing.assert_allclose(found["f2"][name], bar, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("name", "shape"), [("encoder", (64,)), ("lm", (128, 512))])
def test_a_language_model_is_trained_in_its_scales_alone(
    name: str, shape: tuple[int, ...], data_dir: Path, tmp_path: Path
) -> None:
    """Five layers with two normalisations each, and one behind them."""
    file = data_dir / "stories260k" / f"stories260k_{name}.onnx"
    model = lieref.load(file).attach("norm")
    assert normalisations(model) == ["RMSNormalization"] * 11
    assert len(model.sites) == 11
    for site in model.sites.values():
        site.params["xi"] += RNG.uniform(-0.2, 0.2, site.params["xi"].shape).astype(np.float32)
    ids = RNG.integers(0, 512, (2, 128))
    predicted = model.predict(ids)
    merged = tmp_path / "merged.onnx"
    model.merge_and_unload().save(merged)
    session = runtime.InferenceSession(str(merged), providers=["CPUExecutionProvider"])
    after = session.run(None, {session.get_inputs()[0].name: ids})[0]
    assert predicted.shape == (2, *shape)
    # a few hundred roundings of float32 of scores up to twenty
    np.testing.assert_allclose(predicted, after, rtol=0, atol=20 * 300 * np.finfo(np.float32).eps)
