"""Attaching: which layers a method finds, with which rank, and what is said of those it cannot serve as asked."""

from __future__ import annotations

import linecache
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model.attaching import SkippedLayersWarning, StillLayersWarning
from lieref.param._base import LierefWarning, ManyTrainablesWarning, RankLoweredWarning
from lieref.param.registry import METHODS, get_method
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, residual_net, saved


def f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def chain(widths: list[int], tmp_path: Path, names: list[str] | None = None, zero: tuple[int, ...] = ()) -> Path:
    """Gemm layers fc0, fc1, ... with Relu between them; the weights of those in `zero` are zero."""
    rng = np.random.default_rng(5)
    names = names or [f"fc{i}" for i in range(len(widths) - 1)]
    nodes, tensors = [], {}
    for i, name in enumerate(names):
        tensors[f"w{i}"] = f32(rng, widths[i + 1], widths[i]) * np.float32(i not in zero)
        tensors[f"b{i}"] = f32(rng, widths[i + 1])
        out = "y" if i == len(names) - 1 else f"h{i}"
        nodes.append(
            helper.make_node("Gemm", ["x" if i == 0 else f"r{i - 1}", f"w{i}", f"b{i}"], [out], name, transB=1)
        )
        if out != "y":
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"], name=f"relu{i}"))
    return saved(make_onnx(nodes, tensors, ["N", widths[0]], "y", ["N", widths[-1]]), tmp_path)


def branching(tmp_path: Path, outputs: tuple[str, ...], ends: dict[str, list[str]]) -> Path:
    """A body and, behind it, layers `a`, `b`, ... in this order; `ends` adds up some of them under other names."""
    rng = np.random.default_rng(6)
    layers = {"body": ("x", 4, 6), "a": ("r", 6, 3), "b": ("r", 6, 3), "c": ("r", 6, 3)}
    nodes, tensors = [], {}
    for name, (source, width, out) in layers.items():
        tensors |= {f"w_{name}": f32(rng, out, width), f"b_{name}": f32(rng, out)}
        nodes.append(helper.make_node("Gemm", [source, f"w_{name}", f"b_{name}"], [name], f"fc_{name}", transB=1))
        if name == "body":
            nodes.append(helper.make_node("Relu", ["body"], ["r"], name="relu"))
    for name, parts in ends.items():
        nodes.append(helper.make_node("Sum" if len(parts) > 2 else "Add", parts, [name], name=f"end_{name}"))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return saved(proto, tmp_path)


def attach_and_listen(path: Path, method: Any, **options: Any) -> tuple[Any, list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = lieref.load(path).attach(method, **options)
    return model, said


def shaken(model: Any, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    for array in model.parameters().values():
        array += 0.3 * rng.standard_normal(array.shape).astype(array.dtype)
    return model


# Which layers


@pytest.mark.parametrize(("outputs", "ends", "heads"), [
    (("a", "b"), {}, {"a"}), (("b", "a"), {}, {"b"}), (("c", "a", "b"), {}, {"c"}),
    (("y",), {"y": ["a", "b"]}, {"a", "b"}),
    (("y", "z"), {"z": ["a", "c"], "y": ["b", "c"]}, {"b", "c"}),
])  # fmt: skip
def test_head_is_what_the_trained_output_comes_from(
    tmp_path: Path, outputs: tuple[str, ...], ends: dict[str, list[str]], heads: set[str]
) -> None:
    model = lieref.load(branching(tmp_path, outputs, ends)).attach("head")
    assert set(model.sites) == {f"{kind}_{name}" for name in heads for kind in "wb"}


def test_head_of_a_network_that_ends_in_a_residual_sum(tmp_path: Path) -> None:
    """The stem reaches the output around the last layer too, but the last layer depends on it."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["h"], "stem", transB=1),
        helper.make_node("Gemm", ["h", "w1"], ["g"], "last", transB=1),
        helper.make_node("Add", ["h", "g"], ["y"], "sum"),
    ]
    path = saved(make_onnx(nodes, {"w0": f32(rng, 5, 4), "w1": f32(rng, 5, 5)}, ["N", 4], "y", ["N", 5]), tmp_path)
    assert set(lieref.load(path).attach("head").sites) == {"w1"}


def test_head_that_cannot_be_adapted_is_refused_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    """The last layer's weight is the first factor of a Gemm; the one before it is no head."""
    nodes = [
        helper.make_node("Gemm", ["x", "v"], ["h"], "before", transB=1),
        helper.make_node("Gemm", ["w", "h"], ["y"], "last", transB=1),
    ]
    path = saved(make_onnx(nodes, {"v": f32(rng, 6, 4), "w": f32(rng, 5, 6)}, ["N", 4], "y", [5, "N"]), tmp_path)
    try:
        model = lieref.load(path)
    except LierefError:
        pytest.skip("the network mixes samples, which is refused before")
    with pytest.raises(UnsupportedError, match="head must be a layer whose weight can be adapted; last: its weight w"):
        model.attach("head")


@pytest.mark.parametrize("method", ["lora", "full", "bias", "scale", "ia3"])
def test_layers_the_trained_output_does_not_depend_on_are_left_out_by_name(tmp_path: Path, method: str) -> None:
    model, said = attach_and_listen(branching(tmp_path, ("b", "a", "c"), {}), method)
    assert {name.removeprefix("w_").removeprefix("b_") for name in model.sites} == {"body", "b"}
    texts = [str(w.message) for w in said if w.category is SkippedLayersWarning]
    assert texts == [f"attach: {method} leaves fc_a, fc_c alone: the output b, which is trained, does not depend on it"]
    x, y = f32(np.random.default_rng(0), 8, 4), np.arange(8) % 3
    before = {name: value.copy() for name, value in model.parameters().items()}
    with pytest.raises(
        DomainError, match="which output is trained must be said where several fit; got none of b, a, c"
    ):
        lieref.fit(model, x, y, epochs=2, augment=())
    model.train_outputs({"b": 1.0})
    lieref.fit(model, x, y, epochs=2, augment=())
    assert all(not np.array_equal(value, before[name]) for name, value in model.parameters().items())


def test_targets_the_trained_output_does_not_depend_on_are_refused(tmp_path: Path) -> None:
    path = branching(tmp_path, ("b", "c", "a"), {})
    with pytest.raises(DomainError, match="must reach the output that is trained, b; none of these does: fc_a, fc_c"):
        lieref.load(path).attach("lora", r=1, target_modules=["fc_[ac]"])
    with pytest.warns(SkippedLayersWarning, match="leaves fc_c alone"):
        model = lieref.load(path).attach("lora", r=1, target_modules=["fc_b", "fc_c"])
    assert set(model.sites) == {"w_b"}


def test_a_matrix_of_an_einsum_is_left_out_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Einsum", ["x", "w"], ["h"], "odd", equation="ni,oi->no"),
        helper.make_node("Gemm", ["h", "v"], ["y"], "end", transB=1),
    ]
    tensors = {"w": f32(rng, 6, 4), "v": f32(rng, 3, 6)}
    network = lieref.load(saved(make_onnx(nodes, tensors, ["N", 4], "y", ["N", 3]), tmp_path))
    with pytest.warns(LierefWarning, match="odd: its weight w is a factor of an Einsum"):
        network.attach("full")
    assert set(network.adapted_tensors()) == {"v"}


def test_a_name_with_brackets_names_that_layer(tmp_path: Path) -> None:
    path = chain([9, 12, 10, 8], tmp_path, ["fc[0]", "fc[1]", "fc0"])
    for pattern, weights in (("fc[0]", {"w0"}), ("fc[1]", {"w1"}), ("fc[[]*", {"w0", "w1"}), ("fc[01]", {"w2"})):
        assert set(lieref.load(path).attach("lora", r=1, target_modules=[pattern]).sites) == weights
    config = lieref.LoraConfig(r=2, rank_pattern={"fc[1]": 1})
    ranks = {name: site.params["lora_a"].shape[0] for name, site in lieref.load(path).attach(config).sites.items()}
    assert ranks == {"w0": 2, "w1": 1, "w2": 2}


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_decides_nothing_is_refused_and_changes_nothing(tmp_path: Path, field: str) -> None:
    model = lieref.load(chain([4, 6, 3], tmp_path))
    for options in ({field: {"conv": 2}}, {field: {"fc0": 2}, "target_modules": ["fc1"]}):
        with pytest.raises(DomainError, match=f"`{field}` must name layers that are adapted"):
            model.attach("lora", **options)
    assert not model.attached
    assert not model.sites


# With which rank


@pytest.mark.parametrize(("widths", "rank"), [([3, 24, 24, 20], 16), ([8, 8, 6], 64), ([3, 24, 24, 20], 21)])
@pytest.mark.parametrize("method", ["lora", "liera", "dora", "pissa", "loha", "flora", "lora-edge", "rslora"])
def test_a_rank_beyond_some_layers_is_lowered_there_and_said_once(
    tmp_path: Path, widths: list[int], rank: int, method: str
) -> None:
    path = chain(widths, tmp_path)
    model, said = attach_and_listen(path, method, r=rank)
    sites = list(model.sites.values())
    assert len(sites) == len(widths) - 1
    for i, site in enumerate(sites):
        room = widths[i + 1] if method == "flora" else min(widths[i : i + 2])
        assert min(rank, room) in {size for p in site.params.values() for size in p.shape}
        assert site.method.scaling in (None, 1.0 if method != "rslora" else 4.0 / rank**0.5)
    lowered = [str(w.message) for w in said if w.category is RankLoweredWarning]
    if method == "flora" and rank <= min(widths[1:]):
        assert not lowered  # the in mode takes what it has room for
    else:
        (text,) = lowered
        assert text.startswith(f"attach: {method} asks for other ranks or blocks than some layers take: fc")
    assert len([w for w in said if w.category is ManyTrainablesWarning]) <= 1
    assert all(issubclass(w.category, LierefWarning) for w in said)
    x = f32(np.random.default_rng(0), 5, widths[0])
    if method != "flora":
        expected = shaken(model).predict(x)
        np.testing.assert_allclose(model.merge_and_unload().predict(x), expected, rtol=1e-4, atol=1e-4)


def test_one_warning_of_each_kind_however_many_layers(tmp_path: Path) -> None:
    _, said = attach_and_listen(chain([5] * 21, tmp_path, zero=tuple(range(0, 20, 2))), "liera", r=8)
    assert [w.category for w in said] == [RankLoweredWarning, ManyTrainablesWarning, StillLayersWarning]
    texts = [str(w.message) for w in said]
    assert "fc0 rank 5, fc1 rank 5" in texts[0]
    assert texts[0].endswith("fc7 rank 5 and 12 more")
    assert "has 1,000 trainable numbers for the 500 of fc0, fc1" in texts[1]
    assert "cannot move fc0, fc2, fc4, fc6, fc8, fc10, fc12, fc14 and 2 more: zeros" in texts[2]
    line = linecache.getline(said[0].filename, said[0].lineno)
    assert line.strip() == "model = lieref.load(path).attach(method, **options)", "it points at who called attach"


def test_depthwise_layers_share_their_factors_and_need_no_warning(tmp_path: Path) -> None:
    model, said = attach_and_listen(saved(residual_net(), tmp_path), "lora", r=1)
    assert model.sites["depth.weight"].params["lora_a"].shape == (1, 6)
    assert not said
    _, said = attach_and_listen(saved(residual_net(), tmp_path), "lora", r=1, share_groups=False)
    assert [str(w.message).split(" of ")[1].split(";")[0] for w in said] == ["depth"]


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.parameterisation])
def test_init_takes_what_attach_takes(tmp_path: Path, name: str, rng: np.random.Generator) -> None:
    """`get_method(...).init` and `attach` serve the same weights with the same numbers, a depthwise one included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        model = lieref.load(saved(residual_net(), tmp_path)).attach(name)
        for site in model.sites.values():
            weight = site.canonical(model.graph.initializers[site.tensor])
            params = get_method(name).init(weight.shape, site.groups, rng, base_weight=weight)
            assert {n: p.shape for n, p in params.items()} == {n: p.shape for n, p in site.params.items()}


# What cannot move


MULTIPLY = [name for name, row in METHODS.items() if row.parameterisation and row.group != "additive"]
FROM_THE_WEIGHT = ["pissa", "lora-edge", "lora-xs", "psoft", "atoms", "atoms-recursive"]


@pytest.mark.parametrize("name", [n for n, row in METHODS.items() if row.scope == "weight" and row.parameterisation])
def test_a_layer_of_zeros_is_said_by_name_where_it_cannot_move(tmp_path: Path, name: str) -> None:
    path = chain([4, 6, 6, 4], tmp_path, zero=(1,))
    model, said = attach_and_listen(path, name)
    texts = [str(w.message) for w in said if w.category is StillLayersWarning]
    refused = [str(w.message) for w in said if w.category is SkippedLayersWarning]
    if METHODS[name].wrapper == "dora":
        assert refused
        assert "leaves 1 layers as they are, fc1: " in refused[0]
        assert "filter 0 is zero" in refused[0]
        return
    moves_bias = get_method(name).moves_bias
    expected = (name in MULTIPLY and not moves_bias) or name in FROM_THE_WEIGHT
    assert bool(texts) == expected
    x, y = f32(np.random.default_rng(0), 8, 4), np.arange(8) % 4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lieref.fit(model, x, y, epochs=2, augment=(), learning_rate=0.05)
    unreached = "".join(str(w.message) for w in caught if w.category is StillLayersWarning)
    assert ("w1" in unreached) == bool(texts)
    moved = not np.array_equal(model.adapted_tensors()["w1"], model.graph.initializers["w1"])
    if texts:
        assert f"attach: {name} cannot move fc1: zeros that are multiplied stay zeros" in texts[0]
        assert not moved
    else:
        assert moved or moves_bias


@pytest.mark.parametrize("method", ["lora", "liera", "oft"])
def test_a_layer_behind_which_a_scale_is_zero_is_said_by_name(tmp_path: Path, method: str) -> None:
    proto = residual_net()
    scale = next(t for t in proto.graph.initializer if t.name == "bn2.scale")
    scale.CopyFrom(numpy_helper.from_array(np.zeros(8, np.float32), "bn2.scale"))
    model, said = attach_and_listen(saved(proto, tmp_path), method)
    texts = [str(w.message) for w in said if w.category is StillLayersWarning]
    assert len(texts) == 1
    assert texts[0].startswith(f"attach: {method} cannot change what comes of down: a BatchNormalization multiplies it")
    _, _, grads = model.loss_and_grad(f32(np.random.default_rng(0), 4, 3, 9, 8), np.arange(4), CrossEntropy())
    assert not any(grad.any() for name, grad in grads.items() if name.startswith("down.weight"))
    _, said = attach_and_listen(saved(proto, tmp_path), "full")
    assert not said


def test_a_shift_without_a_bias_is_said_by_name(tmp_path: Path) -> None:
    with pytest.warns(StillLayersWarning, match="affine cannot shift the outputs of down, which has no bias"):
        lieref.load(saved(residual_net(), tmp_path)).attach("affine", r=1, target_modules=["stem", "down", "head"])


# Several at once


@pytest.mark.parametrize("name", ["lora", "liera", "full", "scale", "low-rank+hadamard+taylor2"])
def test_statistics_and_a_method_are_one_attach(tmp_path: Path, name: str, rng: np.random.Generator) -> None:
    path, x, y = saved(residual_net(), tmp_path), f32(rng, 12, 3, 9, 8), np.arange(12) % 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LierefWarning)
        model = lieref.load(path).attach(f"norm-stats+{name}")
        apart = lieref.load(path).attach("norm-stats").attach(name)
        for one in (model, apart):
            assert one.wants_statistics
            assert one.method_name == f"norm-stats+{name}"
            lieref.fit(one, x, y, epochs=1, augment=(), seed=3)
        assert {"bn0.mean", "bn2.var", "stem.weight", "head.weight"} <= set(model.adapted_tensors())
        np.testing.assert_array_equal(model.predict(x), apart.predict(x))
        model.save_adapter(tmp_path / "a")
        again = lieref.load(path).load_adapter(tmp_path / "a")
        assert again.method_name == model.method_name
        assert not again.wants_statistics
        np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_statistics_before_nothing_to_train_are_refused(tmp_path: Path) -> None:
    for name in ("norm-stats+norm-stats", "norm-stats+norm-stats+lora", "norm-stats+", "norm-stats+nonsense"):
        with pytest.raises(LierefError, match="get_method"):
            get_method(name)
    model = lieref.load(chain([4, 6, 3], tmp_path))
    with pytest.raises(DomainError, match="needs a model with BatchNormalization"):
        model.attach("norm-stats+lora")
    with_norms = lieref.load(saved(residual_net(), tmp_path))
    with pytest.raises(DomainError, match="matches none"):
        with_norms.attach("norm-stats+lora", target_modules=["nothing"])
    for one in (model, with_norms):
        assert (one.attached, one.sites, one.wants_statistics) == ([], {}, False)


# A bias that an Add behind the product adds


@pytest.mark.parametrize("method", ["bias", "full", "head", "ia3", "affine"])
def test_bias_added_behind_a_product_is_the_bias_of_the_layer(
    tmp_path: Path, method: str, rng: np.random.Generator
) -> None:
    tensors = {"v": f32(rng, 7, 6), "b": f32(rng, 6), "w": f32(rng, 6, 5), "c": f32(rng, 5)}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["h"], name="first"),
        helper.make_node("Add", ["b", "h"], ["hb"], name="add"),
        helper.make_node("Relu", ["hb"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w"], ["g"], name="last"),
        helper.make_node("Add", ["g", "c"], ["y"], name="shift"),
    ]
    path = saved(make_onnx(nodes, tensors, ["N", 7], "y", ["N", 5]), tmp_path)
    x, y = f32(rng, 6, 7), np.arange(6) % 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ManyTrainablesWarning)
        model = shaken(lieref.load(path, dtype="float64").attach(method))
    changed = {"bias": {"b", "c"}, "head": {"w", "c"}}.get(method, {"v", "b", "w", "c"})
    assert set(model.adapted_tensors()) == changed
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
    if method == "ia3":
        first = model.sites["v"].params["xi"]
        np.testing.assert_allclose(model.adapted_tensors()["b"], tensors["b"] * (1 + first), rtol=1e-14)
    expected = model.predict(x)
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(tmp_path / "merged.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-5)


def test_constant_that_is_read_twice_or_is_no_row_is_no_bias(tmp_path: Path, rng: np.random.Generator) -> None:
    for other, shape in (("b", (6,)), ("d", (1,)), ("d", (1, 1))):
        tensors = {"v": f32(rng, 7, 6), "b": f32(rng, *shape), "d": f32(rng, 6)}
        nodes = [
            helper.make_node("MatMul", ["x", "v"], ["h"], name="first"),
            helper.make_node("Add", ["h", "b"], ["hb"], name="add"),
            helper.make_node("Mul", ["hb", other], ["y"], name="mul"),
        ]
        model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 7], "y", ["N", 6]), tmp_path))
        assert [layer.bias for layer in model.layers] == [None]


def test_what_is_trained_is_said_beside_all_numbers_of_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shapes are no numbers that could be trained."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], name="head", transB=1),
    ]
    tensors = {"shape": np.array([0, -1]), "w": np.ones((5, 12), np.float32), "b": np.ones(5, np.float32)}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 4], "y", ["N", 5]), tmp_path))
    model.attach("lora", r=1).print_trainable_parameters()
    assert capsys.readouterr().out == "trainable: 17 | all: 65 | 26.15 %\n"
