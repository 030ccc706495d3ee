"""Layers refuse what they cannot do with one message, whether arrays come or only their shapes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec
from tests.op.example import ints

X = np.arange(24.0).reshape(2, 3, 4)
ONES, FOUR = np.ones(3), np.ones(4)
NORMALIZATIONS = [
    ("LayerNormalization", (X, FOUR), {"axis": 3}, DomainError, "`axis` must be -3 to 2; got 3"),
    ("LayerNormalization", (X, ONES), {}, ShapeError, r"inputs must broadcast; got shapes \(2, 3, 4\), \(3,\)"),
    ("LayerNormalization", (X, FOUR, np.ones((1, 1, 1, 4))), {}, ShapeError, "`B` must broadcast to"),
    ("LayerNormalization", (X[:, :1], ONES[:, None]), {}, ShapeError, r"`Scale` must broadcast to \(2, 1, 4\)"),
    ("LayerNormalization", (X[..., :0], FOUR[:0]), {}, ShapeError, "the normalised axes must not be empty"),
    ("LayerNormalization", (X.astype(int), FOUR.astype(int)), {}, DTypeError, "must be float32 or float64"),
    ("LayerNormalization", (X, FOUR.astype(np.float32)), {}, DTypeError, "all arrays must share one dtype"),
    ("RMSNormalization", (X, np.ones((3, 1, 1))), {}, ShapeError, r"inputs must broadcast"),
    ("InstanceNormalization", (X, FOUR, ONES), {}, ShapeError, r"`scale` must have shape \(3,\); got \(4,\)"),
    ("InstanceNormalization", (X[0], FOUR, FOUR), {}, ShapeError, r"`input` must have shape \(N, C, non-empty"),
    ("GroupNormalization", (X, ONES, ONES), {"num_groups": 2}, ShapeError, "`num_groups` must divide the 3 channels"),
    ("GroupNormalization", (X, ONES, ONES), {"num_groups": 0}, ShapeError, "`num_groups` must divide the 3 channels"),
    ("LRN", (X[0],), {"size": 3}, ShapeError, r"`X` must have shape \(N, C, spatial axes\); got \(3, 4\)"),
    ("LRN", (X,), {"size": 0}, DomainError, "`size` must be at least 1; got 0"),
    ("MeanVarianceNormalization", (X,), {}, DomainError, "`axis` must be -3 to 2; got 3"),
    ("MeanVarianceNormalization", (X[:0],), {"axes": (0,)}, ShapeError, "the normalised axes must not be empty"),
    ("GroupNormalization", (X, ONES, FOUR), {"num_groups": 3}, ShapeError, r"`bias` must have shape \(3,\)"),
]
W = np.ones((3, 2, 5))
PIXELS = np.ones((1, 6, 4, 9))
TRANSPOSED = [
    ("ConvTranspose", (X[0], W), {}, ShapeError, r"`X` must have shape \(N, C, 1 to 3 spatial axes, none empty\)"),
    ("ConvTranspose", (X[..., :0], W), {}, ShapeError, "`X` must have shape"),
    ("ConvTranspose", (X, W[0]), {}, ShapeError, "`W` must have 3 axes, none empty"),
    ("ConvTranspose", (X, W[:2]), {}, ShapeError, "`X` must have 2 channels as `W` has; got 3"),
    ("ConvTranspose", (X, W), {"group": 2}, ShapeError, "`group` must divide the 3 channels of `X`; got 2"),
    ("ConvTranspose", (X, W, ONES), {}, ShapeError, r"`B` must have shape \(2,\); got \(3,\)"),
    ("ConvTranspose", (X, W), {"kernel_shape": (3,)}, ShapeError, r"`kernel_shape` must be \(5,\), the weight's"),
    ("ConvTranspose", (X, W), {"pads": (4, 4)}, ShapeError, "`pads` must leave an output; got 4 and 4 of 8"),
    ("ConvTranspose", (X, W), {"output_padding": (-1,)}, DomainError, "`output_padding` must be at least 0; got -1"),
    ("ConvTranspose", (X, W), {"output_shape": (0,)}, DomainError, "`output_shape` must be at least 1; got 0"),
    ("ConvTranspose", (X, W), {"strides": (2**60,)}, ShapeError, "`strides` and `dilations` must be at most"),
    ("ConvTranspose", (X, W), {"strides": (2**28,)}, DomainError, "an array must have at most"),
    ("DepthToSpace", (PIXELS,), {"blocksize": 2}, ShapeError, "`blocksize` squared must divide the 6 channels; got 2"),
    ("DepthToSpace", (PIXELS,), {"blocksize": 0}, ShapeError, "`blocksize` must be at least 1; got 0"),
    ("SpaceToDepth", (PIXELS,), {"blocksize": 2}, ShapeError, "`blocksize` must divide height and width; got 2"),
    ("SpaceToDepth", (X,), {"blocksize": 2}, ShapeError, r"`input` must have shape \(N, C, H, W\)"),
]
SCALES, SIZES = np.array([1.0, 1.0, 2.0]), ints(2, 3, 8)
RESIZE = [
    ("Resize", (X,), {}, ShapeError, "one of `scales` and `sizes` must be given; got 0"),
    ("Resize", (X, None, SCALES, SIZES), {}, ShapeError, "one of `scales` and `sizes` must be given; got 2"),
    ("Resize", (X, None, SCALES[:2]), {}, ShapeError, r"`scales` must have 3 numbers, one an axis; got \(2,\)"),
    ("Resize", (X, None, -SCALES), {}, DomainError, r"`scales` must be positive; got \[-1.0, -1.0, -2.0\]"),
    ("Resize", (X, None, SCALES * np.inf), {}, DomainError, "`scales` must be positive"),
    ("Resize", (X, None, SCALES * 1e30), {}, DomainError, "an array must have at most"),
    ("Resize", (X, None, None, SIZES - 2), {}, DomainError, r"`sizes` must be at least 1; got \(0, 1, 6\)"),
    ("Resize", (X, None, None, SCALES), {}, DTypeError, "`sizes` must be integers"),
    ("Resize", (X[..., :0], None, None, SIZES), {}, ShapeError, "axis 2 must not be empty"),
    ("Resize", (X, None, None, SIZES[:2]), {"axes": (1, -2)}, DomainError, "`axes` must be all different"),
    ("Resize", (X, None, None, SIZES[:1]), {"axes": (3,)}, DomainError, "`axis` must be -3 to 2; got 3"),
    ("Resize", (X.astype(int), None, SCALES), {"mode": "linear"}, DTypeError, "must be float32 or float64"),
    ("Resize", (X, None, SCALES), {"coordinate_transformation_mode": "tf_crop_and_resize"}, ShapeError,
     "`roi` must have 6 numbers; got none"),
    ("Upsample", (X,), {}, ShapeError, "`scales` must be given; got none"),
    ("Upsample", (X, SCALES), {"scales": (1.0, 1.0, 2.0)}, DomainError, "`scales` must be an input or an attribute"),
    ("Upsample", (X, 0.5 * SCALES), {}, UnsupportedError, "`scales` must be at least 1 with mode nearest"),
    ("Upsample", (X,), {"scales": (1.0, 2.0)}, ShapeError, r"`scales` must have 3 numbers, one an axis; got \(2,\)"),
]  # fmt: skip
Q, K, V = np.ones((2, 4, 3, 5)), np.ones((2, 2, 6, 5)), np.ones((2, 2, 6, 3))
ATTENTION = [
    ("Attention", (Q[0, 0], K, V), {}, ShapeError, r"`Q` must have three or four axes; got shape \(3, 5\)"),
    ("Attention", (X, X, X), {}, ShapeError, "`q_num_heads` must be given for a `Q` of three axes; got None"),
    ("Attention", (X, X, X), {"q_num_heads": 3}, ShapeError, "`q_num_heads` must divide the 4 features of `Q`; got 3"),
    ("Attention", (X, X, X), {"q_num_heads": 2, "kv_num_heads": 0}, ShapeError, "`kv_num_heads` must be given"),
    ("Attention", (Q, K[:1], V), {}, ShapeError, "`Q`, `K` and `V` must fit; got"),
    ("Attention", (Q, K, V[:, :1]), {}, ShapeError, "`Q`, `K` and `V` must fit; got"),
    ("Attention", (Q[:, :3], K, V), {}, ShapeError, "the 3 heads of `Q` must be a multiple of those of `K`; got 2"),
    ("Attention", (Q, K[:, :0], V[:, :0]), {}, ShapeError, "the 4 heads of `Q` must be a multiple"),
    ("Attention", (Q[..., :0], K[..., :0], V), {}, ShapeError, "the heads of `Q` must not be empty"),
    ("Attention", (Q, K, V.astype(np.float32)), {}, DTypeError, "all arrays must share one dtype"),
    ("Attention", (Q, K, V, ints(1)), {}, DTypeError, "`attn_mask` must be bool or float64; got int64"),
    ("Attention", (Q, K, V, np.ones((2, 6))), {}, ShapeError, r"`attn_mask` must broadcast to \(2, 4, 3, 6\)"),
    ("Attention", (Q, K, V, np.ones((1,) * 5)), {}, ShapeError, "`attn_mask` must broadcast to"),
    ("Attention", (Q, K, V, None, K, V), {}, UnsupportedError, "`past_key` must be absent; got shape"),
    ("Attention", (Q, K, V), {"scale": -1.0}, DomainError, "`scale` must be at least 0; got -1.0"),
    ("Einsum", (X,), {"equation": "a1->a"}, DomainError, "`equation` must hold letters, commas"),
    ("Einsum", (X,), {"equation": "ab..c->a"}, DomainError, "`equation` must hold letters, commas"),
    ("Einsum", (X,), {"equation": "abc,d->a"}, DomainError, "`equation` must have 1 terms, one an input"),
    ("Einsum", (X,), {"equation": "ab->a"}, ShapeError, "the term 'ab' of `equation` must have 3 axes"),
    ("Einsum", (X,), {"equation": "abcd->a"}, ShapeError, "the term 'abcd' of `equation` must have 3 axes"),
    ("Einsum", (X,), {"equation": "abc->d"}, DomainError, "the output of `equation` must have letters of the inputs"),
    ("Einsum", (X,), {"equation": "abc->aa"}, DomainError, "the output of `equation` must have letters of the inputs"),
    ("Einsum", (X,), {"equation": "a...->a"}, DomainError, "the output of `equation` must have the dots of the inputs"),
    ("Einsum", (X,), {"equation": "aab->b"}, ShapeError, "the axes a of 'aab->b' must agree"),
    ("Einsum", (X, X), {"equation": "abc,bac->abc"}, ShapeError, "the axes b of 'abc,bac->abc' must agree"),
    ("Einsum", (X, X.astype(int)), {"equation": "abc,abc->a"}, DTypeError, "all arrays must share one dtype"),
]
CASES = [*NORMALIZATIONS, *TRANSPOSED, *RESIZE, *ATTENTION]


@pytest.mark.parametrize(("op", "inputs", "attrs", "error", "message"), CASES)
def test_bad_input(op: str, inputs: Any, attrs: dict[str, Any], error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=f"^{op}: .*{message}"):
        OPERATORS[op].forward(*inputs, **attrs)
    with pytest.raises(error, match=f"^{op}: .*{message}"):
        OPERATORS[op].shape(*(None if a is None else TensorSpec.of(a) for a in inputs), **attrs)


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
def test_equal_numbers_have_no_deviation_to_divide_by(op: str) -> None:
    with pytest.raises(DomainError, match=f"^{op}: the mean square plus `epsilon` must be positive; got 0.0"):
        OPERATORS[op].forward(np.zeros((2, 4)), FOUR, epsilon=0.0)


@pytest.mark.parametrize(("size", "covered"), [(3, 3), (8, 8), (11, 8)])
def test_an_output_of_any_size_is_a_window_of_what_the_kernels_reach(size: int, covered: int) -> None:
    x, w = np.ones((1, 1, 4)), np.arange(1.0, 3)[None, None]
    y = OPERATORS["ConvTranspose"].forward(x, w, strides=2, output_shape=(size,), auto_pad="SAME_UPPER")
    full = np.tile([1.0, 2.0], 4)
    begin = (8 - covered) // 2
    np.testing.assert_array_equal(y[0, 0], [*full[begin : begin + covered], *[0] * (size - covered)])


def test_extents_by_factors_are_rounded_in_float32() -> None:
    # The float32 next to 5 / 3 is smaller; three times that is 5 in float32, and 4.99... before it is rounded.
    scales = np.array([1, 1, np.float32(5 / 3)], np.float64)
    assert OPERATORS["Resize"].forward(X[:, :, :3], None, scales).shape == (2, 3, 5)


def test_nearest_keeps_integers() -> None:
    y = OPERATORS["Resize"].forward(ints(3, 5), None, None, ints(4))
    assert y.dtype == np.int64
    assert y.tolist() == [3, 3, 5, 5]


def test_a_query_that_no_key_takes_part_in_gives_zero_and_moves_nothing() -> None:
    q, k, v = (np.arange(float(a.size)).reshape(a.shape) / a.size for a in (Q, K, V))
    for mask in (np.zeros((3, 6), bool), np.full((3, 6), -np.inf)):
        y = OPERATORS["Attention"].forward(q, k, v, mask)
        assert not y.any()
        for bar in OPERATORS["Attention"].vjp(q, k, v, mask, y=y, y_bar=np.ones_like(y)):
            assert bar is None or not bar.any()


def test_sums_of_squares_that_are_not_positive_have_no_power() -> None:
    with pytest.raises(DomainError, match=r"^LRN: `bias` plus the squares times `alpha` must be positive; got -"):
        OPERATORS["LRN"].forward(X, size=3, alpha=-1.0)
    with pytest.raises(DomainError, match=r"^LRN: `result` must be finite"):
        OPERATORS["LRN"].forward(X, size=3, bias=1e-30, beta=1e30)


def test_equal_numbers_have_a_derivative_of_their_deviation() -> None:
    x = np.ones((2, 3, 4, 1))
    y = OPERATORS["MeanVarianceNormalization"].forward(x)
    assert not y.any()
    (x_bar,) = OPERATORS["MeanVarianceNormalization"].vjp(x, y=y, y_bar=np.arange(24.0).reshape(x.shape))
    assert np.isfinite(x_bar).all()
