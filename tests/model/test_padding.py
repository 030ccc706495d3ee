"""Zeros of a Pad that become those of the convolution behind it, and the ones that must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.model.graph import Graph
from lieref.model.inspection import engine_report
from tests.model.nets import make_onnx, saved

runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(8)
X = RNG.standard_normal((2, 3, 6, 5)).astype(np.float32)
CLASSES = 4


def network(pads: list[int], *more: np.ndarray, conv: dict[str, Any] | None = None, **attrs: Any) -> Any:
    """Pad, convolution of 3 x 2, mean over the positions, a linear layer."""
    tensors = {
        "pads": np.array(pads), **{f"more{i}": value for i, value in enumerate(more)},
        "w": RNG.standard_normal((7, 3, 3, 2)).astype(np.float32), "b": RNG.standard_normal(7).astype(np.float32),
        "v": RNG.standard_normal((CLASSES, 7)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Pad", ["x", "pads", *(f"more{i}" for i in range(len(more)))], ["p"], name="pad", **attrs),
        helper.make_node("Conv", ["p", "w", "b"], ["c"], name="conv", **(conv or {})),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="end", transB=1),
    ]
    return make_onnx(nodes, tensors, ["N", *X.shape[1:]], "y", ["N", CLASSES], opset=18)


def pads_of(graph: Graph) -> list[int] | None:
    """Return the convolution's padding where nothing is left of the Pad."""
    if any(node.op == "Pad" for node in graph.nodes):
        return None
    return list(next(node for node in graph.nodes if node.op == "Conv").attrs["pads"])  # type: ignore[arg-type]


ZERO = np.float32(0)
JOINED: dict[str, tuple[Any, list[int]]] = {
    "other numbers on each side": (network([0, 0, 2, 0, 0, 0, 1, 1]), [2, 0, 1, 1]),
    "zero as an input": (network([0, 0, 1, 1, 0, 0, 0, 0], ZERO), [1, 1, 0, 0]),
    "named axes": (network([1, 2, 0, 1], ZERO, np.array([-1, 2])), [2, 1, 1, 0]),
    "beside the convolution's own": (network([0, 0, 1, 0, 0, 0, 0, 1], conv={"pads": [1, 0, 1, 0]}), [2, 0, 1, 1]),
    "with strides and dilation": (
        network([0, 0, 3, 2, 0, 0, 4, 0], conv={"strides": [2, 1], "dilations": [2, 2]}), [3, 2, 4, 0]),
    "of a convolution without any": (network([0, 0, 1, 1, 0, 0, 1, 0], conv={"auto_pad": "VALID"}), [1, 1, 1, 0]),
}  # fmt: skip
KEPT: dict[str, Any] = {
    "ones": network([0, 0, 1, 1, 0, 0, 1, 1], np.float32(1)),
    "mirrored": network([0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
    "some removed": network([0, 0, -1, 0, 0, 0, 0, 0]),
    "wider than the window": network([0, 0, 3, 0, 0, 0, 0, 0]),
    "sized by the convolution": network([0, 0, 1, 0, 0, 0, 0, 0], conv={"auto_pad": "SAME_UPPER"}),
}


@pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")  # of a Pad that stays
@pytest.mark.parametrize("case", [*JOINED, *KEPT])
def test_the_network_computes_what_the_runtime_does(case: str, tmp_path: Path) -> None:
    proto = JOINED[case][0] if case in JOINED else KEPT[case]
    model = lieref.load(saved(proto, tmp_path))
    assert pads_of(model.graph) == (JOINED[case][1] if case in JOINED else None)
    wanted = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    # 1e-5: a hundred roundings of float32 of numbers of order one
    np.testing.assert_allclose(model.predict(X), wanted.run(None, {"x": X})[0], rtol=1e-5, atol=1e-5)


def test_it_is_compiled_whole_and_the_pad_is_told_of(tmp_path: Path) -> None:
    report = engine_report(lieref.load(saved(JOINED["other numbers on each side"][0], tmp_path)))
    assert report.engine == "f2"
    assert {row.name: (row.outcome, row.into) for row in report.nodes}["pad"] == ("joined", "conv")


def test_a_pad_that_others_read_stays_for_them(tmp_path: Path) -> None:
    proto = network([0, 0, 1, 0, 0, 0, 1, 1])
    proto.graph.node[-1].output[0] = "scores"
    proto.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["p"], ["m"], keepdims=0, noop_with_empty_axes=1),
            helper.make_node("GlobalMaxPool", ["p"], ["q"]),
            helper.make_node("Flatten", ["q"], ["t"]),
            helper.make_node("Concat", ["scores", "t"], ["y"], axis=1),
        ]
    )
    model = lieref.load(saved(proto, tmp_path))
    assert [node.op for node in model.graph.nodes].count("Pad") == 1
    assert list(next(n for n in model.graph.nodes if n.op == "Conv").attrs["pads"]) == [1, 0, 1, 1]
