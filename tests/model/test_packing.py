"""Networks of several inputs: against ONNX Runtime, which is fed each of them, and what of their samples is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.evaluate.metric import evaluate_model
from lieref.model.identity import network_digest
from lieref.model.onnx_reader import read_onnx
from lieref.model.vocabulary import Vocabulary
from lieref.train.loss import CrossEntropy

pytestmark = pytest.mark.filterwarnings(
    "ignore::lieref.model.speed.SlowPathWarning", "ignore::lieref.train.evidence.AtChanceWarning"
)

SAMPLES, ROWS, KINDS, CLASSES = 4, 9, 2, 3
INPUTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "image": (TensorProto.FLOAT, (3, 6, 5)),
    "facts": (TensorProto.FLOAT, (7,)),
    "ids": (TensorProto.INT64, (8,)),
    "kinds": (TensorProto.INT32, (8,)),
    "hidden": (TensorProto.BOOL, (8,)),
    "weight": (TensorProto.FLOAT, ()),
}
Samples = dict[str, np.ndarray]


def network(batch: int | str = "N", **others: Any) -> onnx.ModelProto:
    """An image, a vector, words of two tables with a mask, and a number, to scores; `others` declares other shapes."""
    rng = np.random.default_rng(3)
    tensors: dict[str, Any] = {
        "filter": rng.normal(size=(4, 3, 3, 3)), "words": rng.normal(size=(ROWS, 4)),
        "sorts": rng.normal(size=(KINDS, 4)), "w": rng.normal(size=(15, 6)), "v": rng.normal(size=(6, CLASSES)),
    }  # fmt: skip
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    tensors |= {"last": np.array([-1]), "places": np.array([1]), "zero": np.float32(0), "row": np.array([-1, 1])}
    nodes = [
        helper.make_node("Conv", ["image", "filter"], ["maps"], name="conv"),
        helper.make_node("Relu", ["maps"], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["means"], name="means"),
        helper.make_node("Flatten", ["means"], ["seen"], name="seen"),
        helper.make_node("Gather", ["words", "ids"], ["word"], name="word"),
        helper.make_node("Gather", ["sorts", "kinds"], ["sort"], name="sort"),
        helper.make_node("Add", ["word", "sort"], ["both"], name="both"),
        helper.make_node("Unsqueeze", ["hidden", "last"], ["hides"], name="hides"),
        helper.make_node("Where", ["hides", "zero", "both"], ["kept"], name="kept"),
        helper.make_node("ReduceSum", ["kept", "places"], ["read"], name="read", keepdims=0),
        helper.make_node("Reshape", ["weight", "row"], ["factor"], name="factor"),
        helper.make_node("Mul", ["read", "factor"], ["scaled"], name="scaled"),
        helper.make_node("Concat", ["seen", "facts", "scaled"], ["all"], name="all", axis=1),
        helper.make_node("MatMul", ["all", "w"], ["inner"], name="first"),
        helper.make_node("Tanh", ["inner"], ["features"], name="tanh"),
        helper.make_node("MatMul", ["features", "v"], ["y"], name="second"),
    ]
    declared = {name: (kind, [batch, *shape]) for name, (kind, shape) in INPUTS.items()} | others
    graph = helper.make_graph(
        nodes,
        "several",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in declared.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(count: int = SAMPLES) -> Samples:
    rng = np.random.default_rng(4)
    hidden = rng.random((count, 8)) < 0.3
    return {
        "image": rng.normal(size=(count, 3, 6, 5)).astype(np.float32),
        "facts": rng.normal(size=(count, 7)).astype(np.float32),
        "ids": rng.integers(0, ROWS, (count, 8)),
        "kinds": rng.integers(0, KINDS, (count, 8)).astype(np.int32),
        "hidden": hidden,
        "weight": rng.normal(size=count).astype(np.float32),
    }


def in_onnx_runtime(path: Path, given: Samples) -> np.ndarray:
    (scores,) = onnxruntime.InferenceSession(path).run(None, given)
    return scores


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_predictions_are_those_of_onnx_runtime(path: Path) -> None:
    model, given = lieref.load(path), samples()
    assert [(info.name, info.shape[1:]) for info in model.inputs] == [(n, shape) for n, (_, shape) in INPUTS.items()]
    assert model.input_shape == (None, 3 * 6 * 5 + 7 + 3 * 8 + 1)
    np.testing.assert_allclose(model.predict(given), in_onnx_runtime(path, given), rtol=1e-5, atol=1e-5)
    packed = model.as_input(given)
    assert packed.shape == (SAMPLES, 122)
    np.testing.assert_array_equal(model.predict(packed), model.predict(given))
    others = {**given, "weight": given["weight"][:, np.newaxis], "image": given["image"].transpose(0, 2, 3, 1)}
    np.testing.assert_array_equal(model.predict(others, layout="NHWC"), model.predict(given))


def test_a_file_made_for_one_sample_takes_any_number(tmp_path: Path, path: Path) -> None:
    onnx.save(network(1), tmp_path / "one.onnx")
    model = lieref.load(tmp_path / "one.onnx")
    assert {info.shape[0] for info in model.inputs} == {None}
    np.testing.assert_allclose(model.predict(samples()), in_onnx_runtime(path, samples()), rtol=1e-5, atol=1e-5)


def test_gradients_are_the_differences_of_losses(path: Path) -> None:
    model, given, y = lieref.load(path, dtype="float64").attach("full"), samples(), np.array([0, 2, 1, 1])
    _, _, bars = model.loss_and_grad(given, y, CrossEntropy())
    assert set(bars) == {"filter:xi", "w:xi", "v:xi"}
    for name, factor in model.parameters().items():
        where = np.unravel_index(np.argmax(np.abs(bars[name])), factor.shape)
        losses = []
        for step in (1e-5, -1e-5):
            factor[where] += step
            losses.append(model.loss_and_grad(given, y, CrossEntropy())[0])
            factor[where] -= step
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(bars[name][where], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("new", [False, True])
def test_training_lowers_the_loss_and_a_merged_file_keeps_its_inputs(path: Path, tmp_path: Path, new: bool) -> None:
    model, given, y = lieref.load(path), samples(12), np.arange(12) % CLASSES
    model.attach("full", head=lieref.NewHead(5) if new else None)
    history = lieref.fit(model, given, y, epochs=8, learning_rate=0.03, validation=(samples(5), y[:5]))
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss
    assert evaluate_model(model, given, y).accuracy > 0.5
    adapted = model.logits(given)
    model.save_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(lieref.load(path).load_adapter(tmp_path / "adapter").logits(given), adapted)
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    held = onnx.load(tmp_path / "merged.onnx").graph
    assert [value.name for value in held.input] == list(INPUTS)
    assert {t.name for t in held.initializer} - {t.name for t in network().graph.initializer} == (
        {"new_head.weight", "new_head.bias"} if new else set()
    )
    np.testing.assert_allclose(in_onnx_runtime(tmp_path / "merged.onnx", given), adapted, rtol=1e-4, atol=1e-5)


def test_a_new_head_reads_no_tensor_that_the_file_has_not(path: Path) -> None:
    model = lieref.load(path)
    for name in (model.graph.inputs[0].name, "facts.numbers"):
        with pytest.raises(DomainError, match="`features` must name a tensor that the model computes"):
            model.attach(lieref.NewHead(4, name))
    assert model.attached == []


def test_8_bit_images_and_booleans_stay_8_bit(tmp_path: Path) -> None:
    node = helper.make_node("Where", ["shown", "left", "right"], ["y"], name="choose")
    weight = helper.make_node("Mul", ["y", "scale"], ["z"], name="scale")
    kinds = {"left": TensorProto.FLOAT, "right": TensorProto.FLOAT, "shown": TensorProto.BOOL}
    graph = helper.make_graph(
        [node, weight],
        "choice",
        [helper.make_tensor_value_info(name, kind, ["N", 2, 3]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2, 3])],
        [numpy_helper.from_array(np.float32(1), "scale")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    model, rng = lieref.load(tmp_path / "n.onnx"), np.random.default_rng(5)
    left, right = (rng.integers(0, 256, (5, 2, 3), np.uint8) for _ in range(2))
    given = {"left": left, "right": right, "shown": rng.random((5, 2, 3)) < 0.5}
    assert model.arranged("test", given).dtype == np.uint8
    np.testing.assert_array_equal(model.predict(given), np.where(given["shown"], left, right))


def test_the_largest_exact_integer_passes(path: Path, tmp_path: Path) -> None:
    node = helper.make_node("Cast", ["b"], ["c"], to=TensorProto.DOUBLE)
    graph = helper.make_graph(
        [
            node,
            helper.make_node("Cast", ["a"], ["d"], to=TensorProto.DOUBLE),
            helper.make_node("Add", ["c", "d"], ["y"]),
        ],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.INT32, ["N", 2]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["N", 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    model, most = lieref.load(tmp_path / "n.onnx", dtype="float64"), 2**24 - 1
    given = {"a": np.array([[most, -most]]), "b": np.array([[most, 1]])}
    np.testing.assert_array_equal(model.predict(given), given["a"] + given["b"])


REFUSED: dict[str, tuple[Any, type[LierefError], str]] = {
    "missing": ({"kinds": None}, DomainError, r"each input, image, facts, ids, kinds, .*; got no 'kinds'"),
    "unknown": ({"labels": np.zeros(4)}, DomainError, "got 'labels'"),
    "other number of rows": ({"facts": np.zeros((3, 7))}, ShapeError, "4; got 3 of `facts`"),
    "other size": ({"facts": np.zeros((4, 6))}, ShapeError, r"`facts` must have shape \(N, 7\); got \(4, 6\)"),
    "other image": ({"image": np.zeros((4, 3, 5, 6))}, ShapeError, r"`image` must fit .* \(N, 3, 6, 5\)"),
    "more axes": ({"weight": np.zeros((4, 2))}, ShapeError, r"`weight` must have shape \(N\); got \(4, 2\)"),
    "no axis": ({"weight": np.float32(1)}, ShapeError, "`weight` must have shape"),
    "floats for ids": ({"ids": np.zeros((4, 8))}, DTypeError, "`ids` must be of integers, .* int64; got float64"),
    "words": ({"facts": np.full((4, 7), "a")}, DTypeError, "`facts` must be integers or floats"),
    "NaN": ({"facts": np.full((4, 7), np.nan)}, DomainError, "`facts` must be finite"),
    "beyond float32": ({"facts": np.full((4, 7), 1e300)}, DomainError, "`facts as float32` must be finite"),
    "2^24": ({"ids": np.full((4, 8), 2**24)}, DomainError, "`ids` must be -16777215 to 16777215"),
    "-2^24": ({"ids": np.full((4, 8), -(2**24))}, DomainError, "`ids` must be -16777215 to 16777215"),
    "no boolean": ({"hidden": np.full((4, 8), 2)}, DomainError, "`hidden` must be 0 to 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_samples_that_do_not_fit_are_refused_by_name(path: Path, what: str) -> None:
    changed, error, words = REFUSED[what]
    given = {name: value for name, value in {**samples(), **changed}.items() if value is not None}
    model = lieref.load(path).attach("full")
    before = model.logits(samples())
    for use in (
        lambda: model.predict(given),
        lambda: model.loss_and_grad(given, np.zeros(4, int), CrossEntropy()),
        lambda: lieref.fit(model, given, np.zeros(4, int)),
        lambda: evaluate_model(model, given, np.zeros(4, int)),
    ):
        with pytest.raises(error, match=words):
            use()
    np.testing.assert_array_equal(model.logits(samples()), before)


def test_one_array_is_refused_with_the_names(path: Path) -> None:
    words = r"dict with an array for each input, image \(N, 3, 6, 5\), facts \(N, 7\), .*; got one array \(4, 3, 6, 5\)"
    with pytest.raises(ShapeError, match=words):
        lieref.load(path).predict(samples()["image"])


def test_ids_of_every_table_are_checked(path: Path) -> None:
    model = lieref.load(path).attach("full")
    places = slice(3 * 6 * 5 + 7, 3 * 6 * 5 + 7 + 8)
    kinds = Vocabulary(KINDS, None, "kinds", slice(places.stop, places.stop + 8))
    assert model.vocabulary == Vocabulary(ROWS, None, "ids", places, (kinds,))
    for name, rows in (("ids", ROWS), ("kinds", KINDS)):
        given = samples()
        given[name][2, 5] = rows
        with pytest.raises(
            DomainError, match=rf"`{name}` must be ids .* 0 to {rows - 1}; got {rows} in sample 2, place 5"
        ):
            lieref.fit(model, given, np.zeros(4, int))


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"weight": (TensorProto.FLOAT, [])}, r"input weight of .* must have an axis of samples; got shape \(\)"),
        (
            {"facts": (TensorProto.FLOAT, [4, 7])},
            "samples on their first axis.*; got image of any number and facts of 4",
        ),
        ({"facts": (TensorProto.FLOAT, ["N", "F"])}, r"input facts of .* one size.*; got \(N, any\) \(input_shapes"),
    ],
)
def test_inputs_that_cannot_stand_beside_others_are_refused(tmp_path: Path, others: Any, words: str) -> None:
    onnx.save(network(**others), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedError, match=words):
        lieref.load(tmp_path / "net.onnx")


@pytest.mark.parametrize("shape", [(2**62, 2**62), (2**27,)])
def test_samples_beyond_any_memory_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    onnx.save(network(facts=(TensorProto.FLOAT, ["N", *shape])), tmp_path / "net.onnx")
    with pytest.raises(DomainError, match=r"load: the inputs of .* must have at most"):
        lieref.load(tmp_path / "net.onnx")


def test_a_free_size_is_bound_by_the_shape_of_a_sample(path: Path, tmp_path: Path) -> None:
    free = {name: (INPUTS[name][0], ["N", "T"]) for name in ("ids", "kinds", "hidden")}
    onnx.save(network(**free), tmp_path / "free.onnx")
    model = lieref.load(tmp_path / "free.onnx", input_shapes=dict.fromkeys(free, (8,)))
    np.testing.assert_allclose(model.predict(samples()), in_onnx_runtime(path, samples()), rtol=1e-5, atol=1e-5)
    assert model.attach("full", head=lieref.NewHead(4)).logits(samples()).shape == (SAMPLES, 4)
    model.unload()
    bound = dict.fromkeys(free, (5,))
    shorter = {name: value[:, :5] if name in free else value for name, value in samples().items()}
    found = lieref.load(tmp_path / "free.onnx", input_shapes=bound).predict(shorter)
    np.testing.assert_allclose(found, in_onnx_runtime(tmp_path / "free.onnx", shorter), rtol=1e-5, atol=1e-5)
    with pytest.raises(DomainError, match=r"name inputs of .*, image, .*; got 'idz'"):
        lieref.load(tmp_path / "free.onnx", input_shapes={"idz": (5,)})
    for wrong in ((5, 1), (6,)):
        with pytest.raises(ShapeError, match=r"`input_shapes` of facts must fit the input, \(N, 7\)"):
            lieref.load(path, input_shapes={"facts": wrong})


def test_the_digest_is_of_the_file_and_its_order_of_inputs(path: Path, tmp_path: Path) -> None:
    free = {name: (INPUTS[name][0], ["N", "T"]) for name in ("ids", "kinds", "hidden")}
    onnx.save(network(**free), tmp_path / "free.onnx")
    graphs = [read_onnx(tmp_path / "free.onnx", shapes=dict.fromkeys(free, (size,)))[0] for size in (5, 8)]
    graphs.append(read_onnx(path)[0])
    assert len({network_digest(graph) for graph in graphs}) == 1
    swapped = network()
    swapped.graph.input.insert(0, swapped.graph.input.pop(1))
    onnx.save(swapped, tmp_path / "swapped.onnx")
    assert network_digest(read_onnx(tmp_path / "swapped.onnx")[0]) != network_digest(graphs[0])


def test_next_tokens_are_those_of_the_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    held = {"table": rng.normal(size=(ROWS, 4)), "w": rng.normal(size=(4, ROWS)), "u": rng.normal(size=(7, ROWS))}
    nodes = [
        helper.make_node("MatMul", ["facts", "u"], ["base"], name="base"),
        helper.make_node("Unsqueeze", ["base", "places"], ["bases"], name="bases"),
        helper.make_node("Gather", ["table", "ids"], ["word"], name="word"),
        helper.make_node("MatMul", ["word", "w"], ["score"], name="score"),
        helper.make_node("Add", ["score", "bases"], ["y"], name="sum"),
    ]
    graph = helper.make_graph(
        nodes,
        "next",
        [
            helper.make_tensor_value_info("facts", TensorProto.FLOAT, ["N", 7]),
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 8]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8, ROWS])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()]
        + [numpy_helper.from_array(np.array([1]), "places")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    given = {name: samples()[name] for name in ("facts", "ids")}
    scores = held["table"][given["ids"]] @ held["w"] + (given["facts"] @ held["u"])[:, np.newaxis]
    chosen = np.take_along_axis(scores[:, :-1], given["ids"][:, 1:, np.newaxis], 2)[..., 0]
    wanted = np.mean(np.log(np.exp(scores[:, :-1]).sum(2)) - chosen)
    model = lieref.load(tmp_path / "n.onnx").attach("full")
    history = lieref.fit(model, given, task="tokens", epochs=1, batch_size=SAMPLES)
    assert history.epochs[0].loss == pytest.approx(wanted, rel=1e-5)


def test_a_free_size_of_one_input_may_be_bound_too(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"], name="pool")],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 1, 1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    model = lieref.load(tmp_path / "n.onnx", input_shapes={"x": (3, 5, 4)})
    assert model.input_shape == (None, 3, 5, 4)
    with pytest.raises(ShapeError, match="must fit the model's input"):
        model.predict(np.zeros((2, 3, 6, 4)))
