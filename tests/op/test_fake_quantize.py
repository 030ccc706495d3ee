"""FakeQuantize: ONNX's two operators one after the other, and its gradient as the rule says it, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref._types import Array
from lieref.op.fake_quantize import fake_quantize, fake_quantize_vjp


def by_onnx(x: Array, step: float, zero_point: int) -> Array:
    onnx = pytest.importorskip("onnx")
    helper, reference = onnx.helper, pytest.importorskip("onnx.reference")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    held = [
        onnx.numpy_helper.from_array(np.array(step, np.float32), "s"),
        onnx.numpy_helper.from_array(np.array(zero_point, np.int8), "z"),
    ]
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    y: Array = reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    return y


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_it_is_quantise_and_dequantise(zero_point: int, rng: np.random.Generator) -> None:
    step = 0.0473
    x = (6 * rng.standard_normal(4000)).astype(np.float32)
    ties = np.float32(0.5) * np.arange(-600, 600, dtype=np.float32)
    for step_, values in ((step, x), (1.0, ties)):
        found = fake_quantize(values, step=step_, lowest=-128 - zero_point, highest=127 - zero_point)
        np.testing.assert_array_equal(found, by_onnx(values, step_, zero_point))


def plain(x: float, bar: float, step: float, lowest: int, highest: int) -> tuple[float, float]:
    """The rule for one number: which whole number it is, and whether that is an end."""
    k = round(x / step)  # halves to even, as Python has it
    if k <= lowest:
        return step * lowest, 0.0
    if k >= highest:
        return step * highest, 0.0
    return step * k, bar


@settings(max_examples=200)
@given(
    x=st.lists(st.floats(-40, 40), min_size=1, max_size=20), step=st.sampled_from([0.25, 0.7, 3.0]),
    lowest=st.integers(-20, 0), size=st.integers(1, 30), seed=st.integers(0, 999),
)  # fmt: skip
def test_forward_and_gradient_are_the_rule(x: Any, step: float, lowest: int, size: int, seed: int) -> None:
    numbers = np.array(x)
    bar = np.random.default_rng(seed).standard_normal(numbers.shape)
    given_: dict[str, Any] = {"step": step, "lowest": lowest, "highest": lowest + size}
    y = fake_quantize(numbers, **given_)
    (x_bar,) = fake_quantize_vjp(numbers, y=y, y_bar=bar, **given_)
    want = [plain(float(a), float(b), **given_) for a, b in zip(numbers, bar, strict=True)]
    np.testing.assert_array_equal(y, [value for value, _ in want])
    np.testing.assert_array_equal(x_bar, [value for _, value in want])


def test_it_changes_nothing_on_the_grid() -> None:
    y = fake_quantize(np.linspace(-9, 9, 301, dtype=np.float32), step=0.113, lowest=-40, highest=33)
    np.testing.assert_array_equal(fake_quantize(y, step=0.113, lowest=-40, highest=33), y)
    assert len(np.unique(y)) == 40 + 33 + 1
