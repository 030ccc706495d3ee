"""Operators refuse what they cannot do, in both the attribute and the input form of an argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.op.registry import OPERATORS, resolve_attributes
from lieref.op.spec import TensorSpec
from tests.op.examples import ints

X = np.arange(24.0).reshape(2, 3, 4)
ONES = np.ones(3)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "error", "message"),
    [
        ("Add", (X, np.ones((2, 3))), {}, ShapeError, r"Add: inputs must broadcast; got shapes \(2, 3, 4\), \(2, 3\)"),
        ("Mul", (X, X.astype(np.float32)), {}, DTypeError, "Mul: all arrays must share one dtype"),
        ("Div", (X, X), {}, DomainError, "Div: `b` must be nonzero"),
        ("Sqrt", (-X,), {}, DomainError, "Sqrt: `x` must be at least 0; got -23"),
        ("Pow", (-X, np.array(0.5)), {}, DomainError, "Pow: the power must exist"),
        ("Pow", (X, np.array(-1.0)), {}, DomainError, "Pow: the power must exist"),
        ("Clip", (X, np.array(0.0)), {"min": 1.0}, DomainError, "Clip: `min` must be an input or an attribute"),
        ("Log", (-X,), {}, DomainError, "Log: `x` must be at least 0; got -23"),
        ("Reciprocal", (X,), {}, DomainError, "Reciprocal: `x` must be nonzero; got 0"),
        ("Mod", (X, X), {}, DomainError, "Mod: `b` must be nonzero; got 0"),
        ("Asin", (X,), {}, DomainError, "Asin: `x` must be -1 to 1; got 2"),
        ("Acos", (X - 9,), {}, DomainError, "Acos: `x` must be -1 to 1; got -9"),
        ("Acosh", (X,), {}, DomainError, "Acosh: `x` must be at least 1; got 0"),
        ("Atanh", (X,), {}, DomainError, "Atanh: `x` must be above -1 and below 1; got 1"),
        ("Celu", (X,), {"alpha": 0.0}, DomainError, "Celu: `alpha` must be nonzero"),
        ("PRelu", (X, np.ones((2, 2, 3, 4))), {}, ShapeError, r"PRelu: `slope` must broadcast to \(2, 3, 4\)"),
        ("PRelu", (X[:1], X), {}, ShapeError, r"PRelu: `slope` must broadcast to \(1, 3, 4\)"),
        ("Max", (X, X[:, 0], X[:, :, :2]), {}, ShapeError, r"Max: inputs must broadcast; got shapes \(2, 3, 4\)"),
        ("Min", (X, X.astype(int)), {}, DTypeError, "Min: all arrays must share one dtype"),
        ("Mean", (ints(1), ints(2)), {}, DTypeError, "Mean: the input"),
        ("Less", (X, X.astype(int)), {}, DTypeError, "Less: all arrays must share one dtype"),
        ("And", (X, X), {}, DTypeError, "And: condition must be bool"),
        ("Xor", (X > 1, X), {}, DTypeError, "Xor: condition must be bool"),
        ("BitwiseAnd", (X, X), {}, DTypeError, "BitwiseAnd: the inputs must be integers; got float64"),
        ("LogSoftmax", (X,), {"axis": -4}, DomainError, "LogSoftmax: `axis` must be -3 to 2; got -4"),
        ("Hardmax", (X,), {"axis": 3}, DomainError, "Hardmax: `axis` must be -3 to 2; got 3"),
        ("Concat", (X, X[:, :2]), {"axis": 0}, ShapeError, "Concat: inputs must agree on every axis but 0"),
        ("Concat", (X, X), {"axis": 3}, DomainError, "Concat: `axis` must be -3 to 2; got 3"),
        ("Concat", (X, X.astype(int)), {"axis": 0}, DTypeError, "Concat: all arrays must share one dtype"),
        ("Conv", (X, np.ones((2, 3, 2))), {"kernel_shape": (3,)}, ShapeError, r"`kernel_shape` must be \(2,\)"),
        ("Conv", (X, np.ones((2, 2, 2))), {}, ShapeError, "conv: `x` must have 2 channels"),
        ("Dropout", (X, None, np.array(True)), {}, UnsupportedError, "Dropout: `training_mode` must be false"),
        ("Flatten", (X,), {"axis": 4}, DomainError, "Flatten: `axis` must be -3 to 3; got 4"),
        ("Gelu", (X,), {"approximate": "erf"}, UnsupportedError, "Gelu: `approximate` must be none or tanh"),
        ("Gemm", (X[0], X[0]), {}, ShapeError, "matmul: `a` and `b`"),
        ("Gemm", (X[0], X[0].T, np.ones((2, 3, 3))), {}, ShapeError, r"Gemm: `C` must broadcast to \(3, 3\)"),
        ("GlobalAveragePool", (X[0],), {}, ShapeError, "GlobalAveragePool: `X` must have shape"),
        ("GlobalMaxPool", (X[..., :0],), {}, ShapeError, "GlobalMaxPool: `X` must have shape"),
        ("MatMul", (X, np.array(2.0)), {}, ShapeError, "MatMul: inputs must have at least one axis"),
        ("MatMul", (X, X), {}, ShapeError, "matmul: `a` and `b` must have shapes"),
        ("MaxPool", (X,), {"kernel_shape": (5,)}, ShapeError, "max_pool: the padded image must be at least as large"),
        ("Pad", (X,), {}, ShapeError, "Pad: `pads` must be given"),
        ("Pad", (X, ints(1, 2)), {}, ShapeError, r"Pad: `pads` must have 6 integers; got \(1, 2\)"),
        ("Pad", (X,), {"pads": (2, 0, 0, 0, 0, 0), "mode": "reflect"}, ShapeError, "must fit mode reflect"),
        ("Pad", (X,), {"pads": (-2, 0, 0, -1, 0, 0)}, ShapeError, "Pad: `pads` of axis 0 must fit"),
        ("ReduceMean", (X, ints(1)), {"axes": (1,)}, DomainError, "`axes` must be an input or an attribute"),
        ("ReduceMean", (X,), {"axes": (1, -2)}, DomainError, r"ReduceMean: `axes` must be all different; got \(1, 1\)"),
        ("ReduceMean", (X[:0],), {}, ShapeError, "ReduceMean: reduced axes must not be empty"),
        ("ReduceSum", (X,), {"axes": (3,)}, DomainError, "ReduceSum: `axis` must be -3 to 2; got 3"),
        ("ReduceMax", (X,), {"axes": (3,)}, DomainError, "ReduceMax: `axis` must be -3 to 2; got 3"),
        ("ReduceL2", (X.astype(int),), {}, DTypeError, "ReduceL2: the input must be float32 or float64; got int64"),
        ("ReduceLogSum", (-X,), {}, DomainError, "ReduceLogSum: the sums must be at least 0; got -276"),
        ("ArgMax", (X[:0],), {}, ShapeError, "ArgMax: the axis must not be empty"),
        ("ArgMin", (X,), {"axis": 3}, DomainError, "ArgMin: `axis` must be -3 to 2; got 3"),
        ("CumSum", (X, ints(0, 1)), {}, ShapeError, r"CumSum: `axis` must be one integer; got \(0, 1\)"),
        ("CumProd", (X, ints(3)), {}, DomainError, "CumProd: `axis` must be -3 to 2; got 3"),
        ("LpNormalization", (X,), {"axis": 3}, DomainError, "LpNormalization: `axis` must be -3 to 2; got 3"),
        ("TopK", (X, ints(5)), {}, DomainError, "TopK: `k` must be 0 to 4, the extent of the axis; got 5"),
        ("TopK", (X,), {}, DomainError, "TopK: `k` must be given; got none"),
        ("TopK", (X, ints(1, 2)), {}, ShapeError, r"TopK: `k` must be one integer; got \(1, 2\)"),
        ("ConstantOfShape", (ints(2, -1),), {}, ShapeError, r"ConstantOfShape: `shape` must be at least 0; got \(2,"),
        ("ConstantOfShape", (ints(2**20, 2**20),), {}, DomainError, "ConstantOfShape: an array must have at most"),
        ("ConstantOfShape", (ints(2),), {"value": ONES}, ShapeError, "ConstantOfShape: `value` must be one number"),
        ("Range", (np.array(0), np.array(5), np.array(0)), {}, DomainError, "Range: .* `delta` nonzero; got 0, 5, 0"),
        ("Range", (np.array(0.0), np.array(np.inf), np.array(1.0)), {}, DomainError, "Range: the numbers must be"),
        ("Range", (np.array(0.0), np.array(1.0), np.array(1e-12)), {}, DomainError, "Range: an array must have at"),
        ("Range", (ints(0, 1), np.array(1), np.array(1)), {}, ShapeError, "Range: `start` must be one number"),
        ("Range", (np.array(0), np.array(1.0), np.array(1)), {}, DTypeError, "Range: all arrays must share one dtype"),
        ("EyeLike", (X,), {}, ShapeError, "EyeLike: the input must be a matrix"),
        ("EyeLike", (X[0],), {"dtype": 14}, UnsupportedError, "EyeLike: `dtype` must be one of"),
        ("OneHot", (ints(1), np.array(0), ONES[:2]), {}, DomainError, "OneHot: `depth` must be one number of at least"),
        ("OneHot", (ints(1), np.array(2), ONES), {}, ShapeError, r"OneHot: `values` must have shape \(2,\)"),
        ("OneHot", (ints(1), np.array(2), ONES[:2]), {"axis": 2}, DomainError, "OneHot: `axis` must be -2 to 1"),
        ("GatherElements", (X, ints(0)), {}, ShapeError, r"GatherElements: `indices` must fit the shape \(2, 3, 4\)"),
        ("GatherElements", (X[0], ints(4)[None]), {"axis": 1}, DomainError, "GatherElements: `indices` must be -4 to"),
        ("GatherElements", (X[0], X[0]), {}, DTypeError, "GatherElements: `indices` must be integers"),
        ("GatherND", (X, ints(0, 0, 0, 0)), {}, ShapeError, r"GatherND: `indices` must have shape \(..., 1 to 3\)"),
        ("GatherND", (X, ints(1, 3)), {}, DomainError, "GatherND: `indices` must be -3 to 2; got 3 to 3"),
        ("GatherND", (X, np.array([[0]])), {"batch_dims": 1}, ShapeError, r"`indices` must begin as \(2,\); got \(1,"),
        ("ScatterElements", (X[0], ints(0, 1)[None], ONES[:1, None]), {}, ShapeError, "ScatterElements: `updates`"),
        ("ScatterElements", (X[0], ints(3)[None], ONES[:1, None]), {}, DomainError, "ScatterElements: `indices` must"),
        ("ScatterND", (X, ints(1, 1), ONES), {}, ShapeError, r"ScatterND: `updates` must have shape \(4,\); got"),
        ("ScatterND", (X, ints(1, 5), X[0, 0]), {}, DomainError, "ScatterND: `indices` must be -3 to 2"),
        ("ScatterND", (X, ints(1, 1), ints(1)), {}, DTypeError, "ScatterND: all arrays must share one dtype"),
        ("Compress", (X, X[0, 0] > 1), {"axis": 1}, ShapeError, r"Compress: `condition` must be a list of at most 3"),
        ("Compress", (X, ONES), {"axis": 1}, DTypeError, "Compress: condition must be bool"),
        ("Unique", (X,), {"axis": 3}, DomainError, "Unique: `axis` must be -3 to 2"),
        ("Trilu", (ONES,), {}, ShapeError, "Trilu: the input must have shape"),
        ("Trilu", (X, ints(1, 2)), {}, ShapeError, "Trilu: `k` must be one integer"),
        ("ReverseSequence", (X, ints(1, 2)), {}, ShapeError, r"ReverseSequence: `sequence_lens` must be \(3,\)"),
        ("ReverseSequence", (X, ints(1, 2, 3)), {}, DomainError, "ReverseSequence: `sequence_lens` must be 0 to 2"),
        ("ReverseSequence", (X, ints(1, 2)), {"batch_axis": 0}, DomainError, "`batch_axis` and `time_axis` must be 0"),
        ("Pad", (X[:, :0],), {"pads": (0, 1, 0, 0, 0, 0), "mode": "wrap"}, ShapeError, "must fit mode wrap and extent"),
        ("Reshape", (X, ints(5, -1)), {}, ShapeError, "Reshape: `shape` must keep the 24 elements"),
        ("Reshape", (X, ints(-1, -1)), {}, ShapeError, "Reshape: `shape` must have at most one -1"),
        ("Reshape", (X, ints(2, 3, 4, 0)), {}, ShapeError, "Reshape: a 0 in `shape` must have an axis of x to copy"),
        ("Reshape", (X, ints(0, -1)), {"allowzero": 1}, ShapeError, "Reshape: `shape` must not mix -1"),
        ("Reshape", (X, np.array([2.0, 12.0])), {}, DTypeError, "Reshape: `shape` must be integers"),
        ("Reshape", (X, np.array([[2, 12]])), {}, ShapeError, "Reshape: `shape` must be a list"),
        ("Expand", (X, ints(5, 1)), {}, ShapeError, "Expand: inputs must broadcast"),
        ("Softmax", (X,), {"axis": -4}, DomainError, "Softmax: `axis` must be -3 to 2; got -4"),
        ("Squeeze", (X,), {"axes": (0,)}, ShapeError, "Squeeze: `axes` must have extent one"),
        ("Transpose", (X,), {"perm": (0, 1)}, ShapeError, "Transpose: `perm` must be a permutation of 3 axes"),
        ("Unsqueeze", (X,), {}, DomainError, "Unsqueeze: `axes` must be given"),
        ("Unsqueeze", (X, ints(0, 0)), {}, DomainError, "Unsqueeze: `axes` must be all different"),
        ("BatchNormalization", (X, ONES, ONES, ONES, ONES[:2]), {}, ShapeError, r"`input_var` must have shape \(3,\)"),
        ("BatchNormalization", (X, ONES, ONES, ONES, -ONES), {}, DomainError, "plus epsilon must be positive"),
        ("BatchNormalization", (ONES, ONES, ONES, ONES, ONES), {}, ShapeError, r"`X` must have shape \(N, C, ...\)"),
        ("Gather", (X, ints(2)), {}, DomainError, "Gather: `indices` must be -2 to 1; got 2 to 2"),
        ("Gather", (X, ONES), {}, DTypeError, "Gather: `indices` must be integers"),
        ("Slice", (X, ints(0), ints(1, 2)), {}, ShapeError, "Slice: .* must have one length"),
        ("Slice", (X, ints(0), ints(1), ints(0), ints(0)), {}, DomainError, "Slice: `steps` must be nonzero"),
        ("Tile", (X, ints(1, 2)), {}, ShapeError, "Tile: `repeats` must be 3 integers"),
        ("Cast", (X,), {"to": 8}, UnsupportedError, "Cast: `to` must be one of"),
        ("CastLike", (X, X.astype(complex)), {}, UnsupportedError, "CastLike: arrays must be of a type lieref has"),
        ("Not", (X,), {}, DTypeError, "Not: condition must be bool"),
        ("Where", (X, X, X), {}, DTypeError, "Where: condition must be bool"),
        ("Equal", (X, X.astype(int)), {}, DTypeError, "Equal: all arrays must share one dtype"),
        ("Constant", (), {}, DomainError, "Constant: exactly one value must be given; got 0"),
        ("Constant", (), {"value_int": 1, "value_float": 1.0}, DomainError, "exactly one value must be given; got 2"),
    ],
)  # fmt: skip
def test_bad_input(op: str, inputs: Any, attrs: dict[str, Any], error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=message):
        OPERATORS[op].forward(*inputs, **attrs)
    # these look at numbers that are known only when the network runs, or at an attribute that has its table of values
    numbers = ("Div", "Pow", "Sqrt", "Log", "Reciprocal", "Mod", "Asin", "Acos", "Acosh", "Atanh", "ReduceLogSum")
    if op not in (*numbers, "Gelu"):
        with pytest.raises(LierefError, match=f"^{op}: "):
            OPERATORS[op].shape(*(None if a is None else TensorSpec.of(a) for a in inputs), **attrs)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("Clip", (X, np.array(3.0), np.array(9.0)), {"min": 3.0, "max": 9.0}),
        ("Pad", (X, ints(0, 1, 0, 2, 0, 1), np.array(1.5)), {"pads": (0, 1, 0, 2, 0, 1), "value": 1.5}),
        ("Squeeze", (X[:1], ints(0)), {"axes": (0,)}),
        ("Unsqueeze", (X, ints(1)), {"axes": (1,)}),
        ("ReduceSum", (X, ints(1)), {"axes": (1,)}),
        ("Dropout", (X, np.array(0.3)), {"ratio": 0.3}),
    ],
)
def test_attribute_and_input_form_agree(op: str, inputs: Any, attrs: dict[str, Any]) -> None:
    operator = OPERATORS[op]
    y = operator.forward(*inputs)
    np.testing.assert_array_equal(operator.forward(inputs[0], **attrs), y)
    by_input, by_attribute = (
        operator.vjp(*inputs, y=y, y_bar=y),
        operator.vjp(inputs[0], y=y, y_bar=y, **attrs),
    )
    assert len(by_input) == len(inputs)
    assert len(by_attribute) == 1
    np.testing.assert_array_equal(by_input[0], by_attribute[0])


def test_shape_arithmetic_stays_integer() -> None:
    a, b = ints(7, -7, 7, -7), ints(2, 2, -2, -2)
    np.testing.assert_array_equal(OPERATORS["Div"].forward(a, b), [3, -3, -3, 3])
    for op in ("Add", "Sub", "Mul", "Div"):
        assert OPERATORS[op].forward(a, b).dtype == np.int64
    np.testing.assert_array_equal(OPERATORS["Concat"].forward(a, b, axis=0), [*a, *b])
    np.testing.assert_array_equal(OPERATORS["Clip"].forward(a, ints(-1)[0], None), [7, -1, 7, -1])


def test_softmax_before_opset_13_sums_over_all_later_axes() -> None:
    y = OPERATORS["Softmax"].forward(X, **resolve_attributes("Softmax", {}, 12))
    np.testing.assert_allclose(y.sum(axis=(1, 2)), 1, rtol=1e-15)
    y = OPERATORS["Softmax"].forward(X, **resolve_attributes("Softmax", {}, 13))
    np.testing.assert_allclose(y.sum(axis=2), 1, rtol=1e-15)


def test_logarithm_of_zero_is_minus_infinity_without_a_gradient() -> None:
    x = np.array([0.0, 1.0, np.e])
    y = OPERATORS["Log"].forward(x)
    np.testing.assert_allclose(y, [-np.inf, 0, 1], rtol=0, atol=2e-16)
    np.testing.assert_allclose(OPERATORS["Log"].vjp(x, y=y, y_bar=np.ones(3))[0], [0, 1, 1 / np.e], rtol=1e-15)


@pytest.mark.parametrize(("op", "x"), [("Asin", [-1.0, 1.0]), ("Acos", [-1.0, 1.0]), ("Acosh", [1.0, 1.0])])
def test_an_infinite_slope_is_taken_as_zero(op: str, x: list[float]) -> None:
    y = OPERATORS[op].forward(np.array(x))
    assert OPERATORS[op].vjp(np.array(x), y=y, y_bar=np.ones(2))[0].tolist() == [0, 0]


def test_functions_without_an_end_do_not_overflow() -> None:
    x = np.array([-1e300, 1e300])
    for op in ("Softsign", "Mish", "Swish", "Asinh", "LogSoftmax"):
        y = OPERATORS[op].forward(x)
        assert np.isfinite(y).all()
        assert np.isfinite(OPERATORS[op].vjp(x, y=y, y_bar=np.ones(2))[0]).all()


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceProd", 1), ("ReduceL1", 0), ("ReduceL2", 0),
        ("ReduceSumSquare", 0), ("ReduceLogSum", -np.inf), ("ReduceLogSumExp", -np.inf),
    ],
)  # fmt: skip
def test_a_reduction_of_nothing(op: str, value: float) -> None:
    x = np.zeros((2, 0, 3))
    y = OPERATORS[op].forward(x, ints(1))
    assert y.tolist() == np.full((2, 1, 3), value).tolist()
    assert OPERATORS[op].vjp(x, ints(1), y=y, y_bar=np.ones_like(y))[0].shape == x.shape


@pytest.mark.parametrize("p", [1, 2])
def test_norms_are_those_of_any_size_and_a_zero_stays_one(p: int) -> None:
    x = np.array([[3e200, 4e200], [3e-200, -4e-200], [0.0, 0.0]])
    y = OPERATORS["LpNormalization"].forward(x, p=p)
    np.testing.assert_allclose(y, np.array([[3, 4], [3, -4], [0, 0]]) / (7 if p == 1 else 5), rtol=1e-15)
    (x_bar,) = OPERATORS["LpNormalization"].vjp(x, y=y, y_bar=np.ones_like(y), p=p)
    assert np.isfinite(x_bar).all()
    assert x_bar[2].tolist() == [0, 0]


def test_infinite_results_have_no_gradient() -> None:
    for op, x in (("ReduceLogSum", np.zeros(3)), ("ReduceLogSumExp", np.full(3, -np.inf))):
        y = OPERATORS[op].forward(x)
        assert y == -np.inf
        assert OPERATORS[op].vjp(x, y=y, y_bar=np.ones(1))[0].tolist() == [0, 0, 0]


def test_infinities_are_told_apart_by_sign() -> None:
    x = np.array([-np.inf, np.inf, np.nan, 1.0])
    assert OPERATORS["IsInf"].forward(x).tolist() == [True, True, False, False]
    assert OPERATORS["IsInf"].forward(x, detect_positive=0).tolist() == [True, False, False, False]
    assert OPERATORS["IsInf"].forward(x, detect_negative=0).tolist() == [False, True, False, False]
    assert OPERATORS["IsNaN"].forward(x).tolist() == [False, False, True, False]


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Softmax", "LogSoftmax", "Hardmax", "Flatten", "GlobalAveragePool"])
def test_empty_batch(op: str) -> None:
    x = np.zeros((0, 3, 4), np.float32)
    y = OPERATORS[op].forward(x)
    assert y.shape[0] == 0
    (x_bar,) = OPERATORS[op].vjp(x, y=y, y_bar=y)
    assert x_bar.shape == x.shape


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_no_channels_are_no_empty_image(op: str) -> None:
    x = np.zeros((2, 0, 4, 5), np.float32)
    assert OPERATORS[op].forward(x).shape == OPERATORS[op].shape(TensorSpec.of(x)).shape == (2, 0, 1, 1)
