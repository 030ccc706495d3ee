"""Numbers of rows that a file counts from the end itself: which are left to the Gather that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import lieref
from lieref.errors import DomainError
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")
node = helper.make_node

ROWS, CHANNELS, TIMES, CLASSES = 11, 6, 5, 4
IDS = np.random.default_rng(3).integers(-ROWS, ROWS, (3, TIMES))


def classifier(by: str, *, rows: int = ROWS, turned: bool = False, limit: int = 0, negated: bool = True) -> Any:
    """The mean of rows of a table by x + `rows` where x is below a limit, else x; and scores of it."""

    def either(op: str, a: str, b: str, out: str) -> Any:
        return node(op, [b, a] if turned else [a, b], [out])

    rng = np.random.default_rng(2)
    tensors: dict[str, Any] = {
        "table": rng.standard_normal((ROWS, CHANNELS)),
        "v": rng.standard_normal((CHANNELS, CLASSES)),
    }
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    tensors |= {"rows": np.array(rows), "limit": np.array(limit, np.float32)}
    nodes = [
        either("Add", "x", "rows", "moved"), node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        node("Less", ["f", "limit"], ["below"]),
    ]  # fmt: skip
    if by == "Where":
        nodes.append(node("Where", ["below", "moved", "x"], ["ids"]))
    else:
        nodes += [
            node("Not" if negated else "Identity", ["below"], ["above"]),
            node("Cast", ["above"], ["m"], to=TensorProto.INT64), either("Mul", "x", "m", "b"),
            node("Cast", ["below"], ["n"], to=TensorProto.INT64), either("Mul", "n", "moved", "a"),
            either("Add", "a", "b", "ids"),
        ]  # fmt: skip
    nodes += [node("Gather", ["table", "ids"], ["h"]), node("ReduceMean", ["h"], ["g"], axes=[1], keepdims=0),
              node("MatMul", ["g", "v"], ["y"])]  # fmt: skip
    return make_onnx(nodes, tensors, ["N", TIMES], "y", ["N", CLASSES], input_type=TensorProto.INT64)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("by", ["Where", "products"])
def test_the_gather_counts_from_the_end_itself(by: str, turned: bool, tmp_path: Path) -> None:
    path = saved(classifier(by, turned=turned), tmp_path)
    model = lieref.load(path)
    assert [each.op for each in model.graph.nodes] == ["Gather", "ReduceMean", "MatMul"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # a sum of five numbers of order one, and of six
    np.testing.assert_allclose(model.predict(IDS), session.run(None, {"x": IDS})[0], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")
@pytest.mark.parametrize(
    "case",
    [
        {"by": "Where", "rows": ROWS - 1}, {"by": "products", "rows": ROWS - 1}, {"by": "Where", "limit": -2},
        {"by": "products", "negated": False},
    ],
)  # fmt: skip
def test_other_choices_stay(case: dict[str, Any], tmp_path: Path) -> None:
    path = saved(classifier(**case), tmp_path)
    model = lieref.load(path)
    assert "Less" in [each.op for each in model.graph.nodes]
    ids = IDS // 3  # within the table, whatever is added
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(model.predict(ids), session.run(None, {"x": ids})[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["f2", "reference"])
@pytest.mark.parametrize("number", [ROWS, -ROWS - 1, 1000])
def test_numbers_of_no_row_are_refused(number: int, engine: str, tmp_path: Path) -> None:
    model = lieref.load(saved(classifier("Where"), tmp_path))
    model.engine = engine
    ids = IDS.copy()
    ids[1, 3] = number
    with pytest.raises(DomainError, match=r"must .*-11 to 10; got"):
        model.predict(ids)
