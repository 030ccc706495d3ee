"""The bound on float32 logits against its formula, written out again for networks of one and two layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import UnsupportedError
from lieref.model.error_bound import logit_error_bound
from tests.model.nets import make_onnx, saved

UNIT = 2.0**-24
# what the bound adds for its own arithmetic and for inputs that are not exact
INFLATION = 1 + 2.0**-10


def gamma(n: int) -> float:
    """The bound of a sum of n products and the nine roundings of bias, fold and weight."""
    return (n + 9) * UNIT / (1 - (n + 9) * UNIT)


def bound_of(nodes: list[Any], tensors: dict[str, np.ndarray], x: np.ndarray, folder: Path, **options: Any) -> Any:
    """Values and bound of a network whose last node gives (N, 5) logits `y`."""
    proto = make_onnx(nodes, tensors, ["N", *x.shape[1:]], "y", ["N", 5])
    return logit_error_bound(lieref.load(saved(proto, folder)), x, **options)


def f32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def head(name: str, **attrs: Any) -> Any:
    return helper.make_node("Gemm", [name, "w", "b"], ["y"], name="head", **attrs)


@pytest.mark.parametrize("op", ["Gemm", "Gemm transposed", "MatMul"])
def test_one_product(op: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x, w, b = f32(rng, 3, 7), f32(rng, 7, 5), f32(rng, 5)
    size = np.abs(x).astype(np.float64) @ np.abs(w)
    if op == "MatMul":
        node, tensors = helper.make_node("MatMul", ["x", "w"], ["y"], name="head"), {"w": w}
    elif op == "Gemm":
        node, tensors, size = head("x"), {"w": w, "b": b}, size + np.abs(b)
    else:
        node, tensors, size = head("x", transB=1), {"w": w.T.copy(), "b": b}, size + np.abs(b)
    values, bound = bound_of([node], tensors, x, tmp_path)
    exact = x.astype(np.float64) @ w + (b if op != "MatMul" else 0)
    np.testing.assert_allclose(values, exact.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bound, INFLATION * gamma(7) * size.T, rtol=1e-12)


def test_a_slope_of_negative_numbers_rounds_once(tmp_path: Path, rng: np.random.Generator) -> None:
    x, w, b = f32(rng, 3, 7), f32(rng, 7, 5), f32(rng, 5)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="head"),
        helper.make_node("LeakyRelu", ["h"], ["y"], name="leaky", alpha=0.25),
    ]
    _, bound = bound_of(nodes, {"w": w, "b": b}, x, tmp_path)
    before = x.astype(np.float64) @ w + b
    slope, size = np.where(before > 0, 1.0, 0.25), np.abs(x).astype(np.float64) @ np.abs(w) + np.abs(b)
    want = slope * gamma(7) * size + np.where(before < 0, UNIT * np.abs(0.25 * before), 0.0)
    np.testing.assert_allclose(bound, INFLATION * want.T, rtol=1e-12)


@pytest.mark.parametrize("normed", [False, True])
def test_errors_of_a_convolution_pass_what_follows(normed: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """Conv, ReLU, mean, Gemm: the derivative of a logit by the convolution's output times the error there."""
    x, kernel, bias = f32(rng, 3, 4, 6, 5), f32(rng, 8, 2, 3, 2), f32(rng, 8)
    w, b = f32(rng, 8, 5), f32(rng, 5)
    tensors = {"kernel": kernel, "bias": bias, "w": w, "b": b}
    norm = [np.abs(f32(rng, 8)) + np.float32(0.5), f32(rng, 8), f32(rng, 8), np.abs(f32(rng, 8)) + np.float32(0.5)]
    nodes = [helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], name="conv", group=2)]
    if normed:
        tensors |= dict(zip(("s", "t", "m", "v"), norm, strict=True))
        nodes.append(helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"], name="bn", epsilon=1e-3))
    nodes += [
        helper.make_node("Relu", ["n" if normed else "c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        head("f"),
    ]
    _, bound = bound_of(nodes, tensors, x, tmp_path)

    scale, shift, mean, var = (v.astype(np.float64) for v in norm) if normed else (np.ones(8), 0.0, 0.0, np.ones(8))
    a = scale / np.sqrt(var + (1e-3 if normed else 0))
    spread = np.abs(a * bias) + np.abs(a * mean) + np.abs(shift)
    folded = (kernel * a[:, None, None, None]).astype(np.float32)
    moved = (a * (bias - mean) + shift).astype(np.float32)

    def conv(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
        y = np.zeros((3, 8, 4, 4))
        for o in range(8):
            part = image[:, 2 * (o // 4) : 2 * (o // 4) + 2].astype(np.float64)
            for i, j in np.ndindex(4, 4):
                y[:, o, i, j] = (part[:, :, i : i + 3, j : j + 2] * weight[o]).sum(axis=(1, 2, 3))
        return y

    value = conv(x, folded) + moved[:, None, None]
    error = gamma(2 * 3 * 2) * (conv(np.abs(x), np.abs(folded)) + spread[:, None, None])
    relu = np.maximum(value, 0)
    of_mean = (4 * 4 + 2) * UNIT / (1 - (4 * 4 + 2) * UNIT) * relu.mean(axis=(2, 3))
    passed = ((value > 0) * error).mean(axis=(2, 3)) + of_mean
    size = np.abs(w).astype(np.float64)
    total = passed @ size + gamma(8) * (relu.mean(axis=(2, 3)) @ size + np.abs(b))
    np.testing.assert_allclose(bound, INFLATION * total.T, rtol=1e-6)


def test_a_sum_rounds_once_and_a_pool_by_its_window(tmp_path: Path, rng: np.random.Generator) -> None:
    """AveragePool over 2 x 3, then the sum with a constant: errors of both pass the head."""
    x, w, b = f32(rng, 2, 3, 2, 3), f32(rng, 3, 5), f32(rng, 5)
    other = f32(rng, 3, 1, 1)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], name="pool", kernel_shape=[2, 3]),
        helper.make_node("Add", ["p", "other"], ["s"], name="sum"),
        helper.make_node("Flatten", ["s"], ["f"], name="flatten"),
        head("f"),
    ]
    _, bound = bound_of(nodes, {"other": other, "w": w, "b": b}, x, tmp_path)
    wide = x.astype(np.float64)
    total = wide.mean(axis=(2, 3)) + other[:, 0, 0]
    error = (6 + 2) * UNIT / (1 - 8 * UNIT) * np.abs(wide).mean(axis=(2, 3)) + UNIT * np.abs(total)
    size = np.abs(w).astype(np.float64)
    wanted = error @ size + gamma(3) * (np.abs(total) @ size + np.abs(b))
    np.testing.assert_allclose(bound, INFLATION * wanted.T, rtol=1e-12)


def test_residuals_and_directions(tmp_path: Path, rng: np.random.Generator) -> None:
    """A residual at a tensor adds |J| |r|; a direction takes the difference of two logits, not of two bounds."""
    x, w, b = f32(rng, 3, 4), f32(rng, 4, 5), f32(rng, 5)
    nodes = [helper.make_node("Relu", ["x"], ["r"], name="relu"), head("r")]
    form = np.zeros((1, 3, 5))
    form[:, :, 1], form[:, :, 3] = 1, -1
    options = {"directions": form, "residuals": {"r": np.full((3, 4), -2e-3)}}
    values, bound = bound_of(nodes, {"w": w, "b": b}, x, tmp_path, **options)
    relu = np.maximum(x, 0).astype(np.float64)
    logits = relu @ w + b
    np.testing.assert_allclose(values[0], logits[:, 1] - logits[:, 3], rtol=1e-12, atol=1e-12)
    at_head = gamma(4) * (relu @ np.abs(w) + np.abs(b))
    wanted = at_head[:, 1] + at_head[:, 3] + 2e-3 * np.abs(w[:, 1].astype(np.float64) - w[:, 3]).sum()
    np.testing.assert_allclose(bound[0], INFLATION * wanted, rtol=1e-9)


def test_an_operator_without_a_bound_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [helper.make_node("Tanh", ["x"], ["t"], name="bend"), head("t")]
    with pytest.raises(UnsupportedError, match="node bend"):
        bound_of(nodes, {"w": f32(rng, 4, 5), "b": f32(rng, 5)}, f32(rng, 3, 4), tmp_path)
