"""Operators and their VJPs against PyTorch's autograd in float64, kinks and extreme values included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.op.registry import OPERATORS
from tests.op.examples import spread

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

# every kink of a piecewise function, both zeros, and where exp and tanh saturate
POINTS = np.array([-800.0, -40.0, -3.0, -2.5, -1.0, -1e-9, -0.0, 0.0, 1e-9, 0.5, 1.0, 2.5, 3.0, 40.0, 800.0])
VECTOR = [spread(3, seed=i) for i in range(3)]
MATRIX = spread(2, 4)
ZEROS = np.array([[1.5, 0.0, -2.0, 0.5], [0.0, 3.0, 0.0, 2.0], [2.0, -0.5, 1.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
VARIANCE = spread(3, low=0.3)

CASES: dict[str, tuple[str, dict[str, Any], Callable[..., Any], tuple[Array, ...]]] = {
    "relu": ("Relu", {}, F.relu, (POINTS,)),
    "leaky": ("LeakyRelu", {"alpha": 0.3}, lambda x: F.leaky_relu(x, 0.3), (POINTS,)),
    "elu": ("Elu", {"alpha": 0.3}, lambda x: F.elu(x, 0.3), (POINTS,)),
    "clip": ("Clip", {"min": -1.0, "max": 2.5}, lambda x: torch.nn.functional.hardtanh(x, -1.0, 2.5), (POINTS,)),
    "sigmoid": ("Sigmoid", {}, torch.sigmoid, (POINTS,)),
    "tanh": ("Tanh", {}, torch.tanh, (POINTS,)),
    # not F.hardsigmoid, whose float64 gradient is 1 / 6 rounded to float32
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6}, lambda x: F.hardtanh(x / 6 + 0.5, 0, 1), (POINTS,)),
    "hardswish": ("HardSwish", {}, F.hardswish, (POINTS,)),
    "erf": ("Erf", {}, torch.erf, (POINTS,)),
    "gelu": ("Gelu", {}, F.gelu, (POINTS[1:-1],)),
    "gelu-tanh": ("Gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh"), (POINTS[1:-1],)),
    "softmax": ("Softmax", {"axis": 0}, lambda x: F.softmax(x, 0), (POINTS,)),
    "mul": ("Mul", {}, torch.mul, (spread(2, 3, 4), spread(3, 1, seed=1))),
    "div": ("Div", {}, torch.div, (spread(3, 1), spread(2, 1, 4, seed=1))),
    "pow": ("Pow", {}, torch.pow, (spread(2, 3, low=0.2), spread(3, seed=1))),
    "batch-norm": (
        "BatchNormalization",
        {},
        lambda x, scale, bias: F.batch_norm(x, torch.tensor(VECTOR[2]), torch.tensor(VARIANCE), scale, bias),
        (spread(2, 3, 4, 5), VECTOR[0], VECTOR[1], VECTOR[2], VARIANCE),
    ),
    "gemm": (
        "Gemm",
        {"alpha": 0.3, "beta": 1.7, "transB": 1},
        lambda a, b, c: 0.3 * a @ b.T + 1.7 * c,
        (spread(2, 3), spread(4, 3, seed=1), spread(4, seed=2)),
    ),
    "matmul": ("MatMul", {}, torch.matmul, (spread(5, 1, 2, 3), spread(6, 3, 4, seed=1))),
    "reflect": ("Pad", {"mode": "reflect", "pads": (0, 2, 0, 1)}, lambda x: F.pad(x, (2, 1), "reflect"), (MATRIX,)),
    "edge": ("Pad", {"mode": "edge", "pads": (0, 2, 0, 5)}, lambda x: F.pad(x, (2, 5), "replicate"), (MATRIX,)),
    "constant": ("Pad", {"pads": (1, 2, 0, 3), "value": 1.5}, lambda x: F.pad(x, (2, 3, 1, 0), value=1.5), (MATRIX,)),
    "softplus": ("Softplus", {}, F.softplus, (POINTS,)),
    **{
        name: (name.title(), {}, getattr(torch, name), (POINTS[3:-2],))
        for name in ("abs", "sign", "floor", "ceil", "round", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh")
    },
    **{name: (name.title(), {}, getattr(torch, name), (spread(3, 4) / 3,)) for name in ("asin", "acos", "atanh")},
    "acosh": ("Acosh", {}, torch.acosh, (spread(3, 4, low=1.2),)),
    "log": ("Log", {}, torch.log, (spread(3, 4, low=1e-9),)),
    "reciprocal": ("Reciprocal", {}, torch.reciprocal, (spread(3, 4),)),
    "fmod": ("Mod", {"fmod": 1}, torch.fmod, (spread(2, 1, 4), spread(3, 1, seed=1) + 0.03)),
    "remainder": ("Mod", {}, torch.remainder, (spread(2, 1, 4), spread(3, 1, seed=1) + 0.03)),
    "max": ("Max", {}, torch.maximum, (spread(2, 3), spread(3, seed=1) + 0.11)),
    "min": ("Min", {}, torch.minimum, (spread(2, 3), spread(3, seed=1) + 0.11)),
    "sum": ("Sum", {}, lambda a, b, c: a + b + c, (spread(2, 3), spread(3, seed=1), spread(2, 1, seed=2))),
    "mean-of-inputs": ("Mean", {}, lambda a, b: (a + b) / 2, (spread(2, 3), spread(3, seed=1))),
    "prelu": ("PRelu", {}, F.prelu, (POINTS[:, None] * [1, 1, 0.3], np.array([0.3, -0.5, 0.0]))),
    "celu": ("Celu", {"alpha": 0.25}, lambda x: F.celu(x, 0.25), (POINTS,)),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}, F.selu, (POINTS,)),
    "threshold": ("ThresholdedRelu", {"alpha": 0.5}, lambda x: F.threshold(x, 0.5, 0), (POINTS,)),
    "softshrink": ("Shrink", {"lambd": 0.5, "bias": 0.5}, lambda x: F.softshrink(x, 0.5), (POINTS,)),
    "hardshrink": ("Shrink", {"lambd": 0.5}, lambda x: F.hardshrink(x, 0.5), (POINTS,)),
    "softsign": ("Softsign", {}, F.softsign, (POINTS,)),
    "mish": ("Mish", {}, F.mish, (POINTS,)),
    "silu": ("Swish", {}, F.silu, (POINTS,)),
    "swish": ("Swish", {"alpha": 1.7}, lambda x: x * torch.sigmoid(1.7 * x), (POINTS,)),
    "log-softmax": ("LogSoftmax", {"axis": 0}, lambda x: F.log_softmax(x, 0), (POINTS,)),
    "amax": ("ReduceMax", {"axes": (0, -1), "keepdims": 0}, lambda x: x.amax((0, -1)), (spread(2, 3, 4),)),
    "amin": ("ReduceMin", {"axes": (1,)}, lambda x: x.amin(1, True), (spread(2, 3, 4),)),
    "prod": ("ReduceProd", {"axes": (1,)}, lambda x: x.prod(1, True), (spread(2, 5) / 2,)),
    "prod-zeros": ("ReduceProd", {"axes": (1,), "keepdims": 0}, lambda x: x.prod(1), (ZEROS,)),
    "l1": ("ReduceL1", {"axes": (1,)}, lambda x: x.abs().sum(1, True), (ZEROS,)),
    "l2": ("ReduceL2", {"axes": (1,)}, lambda x: x.norm(dim=1, keepdim=True), (ZEROS,)),
    "sum-square": ("ReduceSumSquare", {"axes": (0, 2)}, lambda x: (x * x).sum((0, 2), True), (spread(2, 3, 4),)),
    "log-sum": ("ReduceLogSum", {"axes": (-1,)}, lambda x: x.sum(-1, True).log(), (spread(2, 3, 4, low=0.2),)),
    "logsumexp": ("ReduceLogSumExp", {"axes": (0,), "keepdims": 0}, lambda x: x.logsumexp(0), (POINTS[:, None],)),
    "l1-normalize": ("LpNormalization", {"p": 1, "axis": 1}, lambda x: F.normalize(x, 1, 1), (spread(2, 3, 4),)),
    "l2-normalize": ("LpNormalization", {"axis": 1}, lambda x: F.normalize(x, 2, 1), (spread(2, 3, 4),)),
    "mean": ("ReduceMean", {"axes": (0, -1), "keepdims": 0}, lambda x: x.mean((0, -1)), (spread(2, 3, 4),)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str) -> None:
    op, attrs, function, inputs = CASES[name]
    y = OPERATORS[op].forward(*inputs, **attrs)
    y_bar = np.cos(np.arange(y.size)).reshape(y.shape)
    bars = OPERATORS[op].vjp(*inputs, y=y, y_bar=y_bar, **attrs)
    count = sum(bar is not None for bar in bars)
    leaves = [torch.tensor(a, requires_grad=True) for a in inputs[:count]]
    expected = function(*leaves)
    expected.backward(torch.tensor(y_bar))
    # both are sums of at most n products of order one; each product has at most eight roundings before it
    n = 8 + max(a.size for a in inputs)
    close(y, expected.detach().numpy(), n)
    for bar, leaf in zip(bars, leaves, strict=False):
        close(bar, leaf.grad.numpy(), n)


def close(mine: Array, theirs: Array, n: int) -> None:
    assert mine.shape == theirs.shape
    assert np.isfinite(mine).all()
    np.testing.assert_allclose(mine, theirs, rtol=n * np.finfo(float).eps, atol=n * np.finfo(float).eps)


@pytest.mark.parametrize("attrs", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
def test_cumulative(op: str, attrs: dict[str, int]) -> None:
    axis = np.array(1)
    y = OPERATORS[op].forward(ZEROS, axis, **attrs)
    y_bar = np.cos(np.arange(y.size)).reshape(y.shape)
    leaf = torch.tensor(ZEROS, requires_grad=True)
    x = leaf.flip(1) if attrs.get("reverse") else leaf
    neutral = torch.full_like(x[:, :1], op == "CumProd")
    x = torch.cat([neutral, x[:, :-1]], 1) if attrs.get("exclusive") else x
    expected = {"CumSum": torch.cumsum, "CumProd": torch.cumprod}[op](x, 1)
    expected = expected.flip(1) if attrs.get("reverse") else expected
    expected.backward(torch.tensor(y_bar))
    close(y, expected.detach().numpy(), 16)
    close(OPERATORS[op].vjp(ZEROS, axis, y=y, y_bar=y_bar, **attrs)[0], leaf.grad.numpy(), 16)


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(largest: int) -> None:
    x, k = spread(2, 5, 3), np.array([2])
    y = OPERATORS["TopK"].forward(x, k, axis=1, largest=largest)
    y_bar = np.cos(np.arange(y.size)).reshape(y.shape)
    leaf = torch.tensor(x, requires_grad=True)
    values, places = leaf.topk(2, dim=1, largest=bool(largest))
    values.backward(torch.tensor(y_bar))
    np.testing.assert_array_equal(OPERATORS["TopK"].forward(x, k, axis=1, largest=largest, output=1), places.numpy())
    close(y, values.detach().numpy(), 1)
    bars = OPERATORS["TopK"].vjp(x, k, y=y, y_bar=y_bar, axis=1, largest=largest)
    close(bars[0], leaf.grad.numpy(), 1)
    assert bars[1] is None
