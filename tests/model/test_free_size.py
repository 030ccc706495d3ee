"""Networks for images of any size: compiled for each size that comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.model.backend import Compiled
from tests.model.nets import make_onnx, saved


def free_net(folder: Path, rng: np.random.Generator) -> Path:
    """A convolution, its pixels in one line by way of Shape, as exporters write it, and their mean."""

    def op(name: str, inputs: list[str], output: str, **attrs: Any) -> Any:
        return helper.make_node(name, inputs, [output], name=f"{output}_node", **attrs)

    def f32(*shape: int) -> np.ndarray:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    nodes = [
        op("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1], strides=[2, 1]),
        op("Relu", ["c"], "r"),
        op("Shape", ["r"], "s"),
        op("Slice", ["s", "zero", "two"], "kept"),
        op("Concat", ["kept", "rest"], "to", axis=0),
        op("Reshape", ["r", "to"], "line"),
        op("ReduceMean", ["line"], "m", axes=[2], keepdims=0),
        op("Gemm", ["m", "v"], "y", transB=1),
    ]
    tensors = {"w": f32(6, 3, 3, 3), "b": f32(6), "v": f32(5, 6)}
    tensors |= {name: np.array([value]) for name, value in (("zero", 0), ("two", 2), ("rest", -1))}
    return saved(make_onnx(nodes, tensors, ["N", 3, "H", "W"], "y", ["N", 5]), folder)


def test_a_free_height_and_width_are_compiled_for_each_size(tmp_path: Path, rng: np.random.Generator) -> None:
    path = free_net(tmp_path, rng)
    model, exact = (lieref.load(path, dtype=dtype).attach("liera", r=2) for dtype in ("float32", "float64"))
    assert model.input_shape == (None, 3, None, None)
    assert (model.engine, model.slow_reasons) == ("f2", ())
    for name, factor in model.parameters().items():
        factor[...] = 0.3 * rng.standard_normal(factor.shape)
        exact.parameters()[name][...] = factor
    y, loss = np.array([0, 3, 1, 4]), lieref.CrossEntropy()
    for size in ((9, 11), (12, 7), (9, 11)):
        x = rng.standard_normal((4, 3, *size)).astype(np.float32)
        np.testing.assert_allclose(model.predict(x), exact.predict(x), rtol=1e-5, atol=1e-6)
        value, _, gradients = model.loss_and_grad(x, y, loss)
        want_value, _, want = exact.loss_and_grad(x, y, loss)
        assert value == pytest.approx(want_value, rel=1e-6)
        for name, gradient in gradients.items():
            assert np.linalg.norm(gradient - want[name]) <= 5e-6 * np.linalg.norm(want[name]), name
    division = model.division()
    assert isinstance(division.backend, Compiled)
    assert division.outside == ()
