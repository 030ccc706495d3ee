"""A Loop whose turns are known is its turns: what does not change is computed once, and weights stay one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.errors import UnsupportedError
from lieref.model.loops import MOST_TURNS
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")
node = helper.make_node

TIMES, FEATURES, HIDDEN, CLASSES = 5, 3, 4, 2
X = np.random.default_rng(3).standard_normal((6, TIMES, FEATURES)).astype(np.float32)

pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")


def constants(**values: Any) -> list[Any]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def info(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None)


def cell(condition: str, opset: int) -> Any:
    """h = tanh(x_t w + h u + both halves of b), and all h; u is carried along unchanged."""
    half = ["b", "zero", "hidden", "first"], ["b", "hidden", "end", "first"]
    nodes = [
        node("Slice", half[0], ["b1"]), node("Slice", half[1], ["b2"]), node("Add", ["b1", "b2"], ["bias"]),
        node("Add", ["at", "one"], ["at.next"]), node("Gather", ["steps", "at"], ["x_t"]),
        node("MatMul", ["x_t", "w"], ["a"], "of_input"), node("MatMul", ["h", "u.in"], ["c"], "of_state"),
        node("Add", ["a", "c"], ["s"]), node("Add", ["s", "bias"], ["z"]), node("Tanh", ["z"], ["h.next"]),
        node("Identity", ["u.in"], ["u.out"]), node("Identity", ["h.next"], ["row"]),
        *{
            "always": [node("Identity", ["going"], ["goes"])],
            "counted": [node("Cast", ["at.next"], ["f"], to=TensorProto.FLOAT), node("Less", ["f", "many"], ["goes"])],
            "sample": [node("ReduceSum", ["z"], ["t"], keepdims=0), node("Greater", ["t", "many"], ["goes"])],
        }[condition],
    ]  # fmt: skip
    kinds = {"turn": TensorProto.INT64, "going": TensorProto.BOOL, "at": TensorProto.INT64}
    given = [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds.items()] + [info("h"), info("u.in")]
    own = constants(zero=[0], hidden=[HIDDEN], end=[2 * HIDDEN], first=[0], one=1, many=np.float32(3))
    taken = [
        info("goes", TensorProto.BOOL),
        info("at.next", TensorProto.INT64),
        info("h.next"),
        info("u.out"),
        info("row"),
    ]
    return helper.make_graph(nodes, "cell", given, taken, own)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"w": (FEATURES, HIDDEN), "u": (HIDDEN, HIDDEN), "b": (2 * HIDDEN,), "v": (HIDDEN, CLASSES),
              "m": (FEATURES, HIDDEN)}  # fmt: skip
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def by_hand(turns: int) -> np.ndarray:
    """The scores after so many turns."""
    w, u, b, v, m = (weights()[name].astype(float) for name in "wubvm")
    x = X.astype(float)
    h, states = x[:, 0] @ m, []
    for turn in range(turns):
        h = np.tanh(x[:, turn] @ w + h @ u + b[:HIDDEN] + b[HIDDEN:])
        states.append(h)
    return (h + (np.max(states, axis=0) if states else 0)) @ v


def net(tmp_path: Path, *, condition: str = "always", trips: int | None = TIMES, first: bool = True,
        opset: int = 17, scanned: bool = True, body: Any = None) -> Path:  # fmt: skip
    """The loop along the steps of a sequence, from a linear map of its first, and scores of what it ends with."""
    tensors: dict[str, Any] = weights()
    tensors |= {"trips": np.array(trips or 0), "go": np.array(first), "start": np.array(0)}
    read = ["trips" if trips is not None else "", "go", "start", "h0", "u"]
    nodes = [
        node("Transpose", ["x"], ["steps"], "turn", perm=[1, 0, 2]),
        node("Gather", ["steps", "start"], ["x0"], "first"),
        node("MatMul", ["x0", "m"], ["h0"], "begin"),
        node("Loop", read, ["", "h", "", "all" if scanned else ""], "loop", body=body or cell(condition, opset)),
    ]  # fmt: skip
    if scanned:
        nodes += [node("ReduceMax", ["all"], ["most"], axes=[0], keepdims=0), node("Add", ["h", "most"], ["end"])]
    nodes.append(node("MatMul", ["end" if scanned else "h", "v"], ["y"], "scores"))
    return saved(make_onnx(nodes, tensors, ["N", TIMES, FEATURES], "y", ["N", CLASSES], opset=opset), tmp_path)


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "so many turns": ({}, TIMES),
    "opset 11": ({"opset": 11}, TIMES),
    "until a condition": ({"condition": "counted"}, 3),
    "until a condition alone": ({"condition": "counted", "trips": None}, 3),
    "fewer turns than the condition has": ({"condition": "counted", "trips": 2}, 2),
    "no turn": ({"trips": 0, "scanned": False}, 0),
    "not begun": ({"first": False, "scanned": False}, 0),
}


@pytest.mark.parametrize("engine", ["f2", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_the_network_computes_the_turns(case: str, engine: str, tmp_path: Path) -> None:
    made, turns = CASES[case]
    model = lieref.load(net(tmp_path, **made))
    model.engine = engine
    # 1e-5: some tens of roundings of float32 of numbers of order one
    np.testing.assert_allclose(model.logits(X), by_hand(turns), rtol=0, atol=1e-5)


def test_a_weight_of_all_turns_is_one(tmp_path: Path) -> None:
    """Trained and merged, it is in the file, which has the turns then."""
    model = lieref.load(net(tmp_path)).attach("full")
    weights = {"w", "u", "v", "m"}
    assert weights <= {*model.sites}
    assert len(model.sites) == len(weights) + 1  # and the sum of the halves of b
    rng = np.random.default_rng(4)
    for array in model.parameters().values():
        array += 0.2 * rng.standard_normal(array.shape).astype(np.float32)
    predicted = model.logits(X)
    out = tmp_path / "merged.onnx"
    model.merge_and_unload().save(out)
    onnx.checker.check_model(onnx.load(out))
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": X})[0], predicted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(lieref.load(out).logits(X), predicted, rtol=0, atol=1e-6)


def inner() -> Any:
    branch = helper.make_graph([node("Identity", ["h"], ["o"])], "branch", [], [info("o")])
    body = cell("always", 17)
    body.node.append(node("If", ["going"], ["p"], then_branch=branch, else_branch=branch))
    return body


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"condition": "sample"}, r"node loop \(Loop\): its condition must be a constant"),
        ({"trips": None}, rf"node loop \(Loop\): it must take at most {MOST_TURNS} turns"),
        ({"trips": 0}, r"node loop \(Loop\): it must take a turn"),
        ({"body": inner()}, r"node loop \(Loop\): its body must hold no sub-graphs"),
    ],
)
def test_other_loops_are_refused(case: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        lieref.load(net(tmp_path, **case))
