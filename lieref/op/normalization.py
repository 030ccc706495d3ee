"""Normalisation by statistics of the data at hand: over a layer, an instance, a group of channels, or by mean squares.

All are one map and an affine one behind it. Over a set of axes with n entries,

    LayerNormalization, Instance-, Group-:   h = (x - mean x) / sqrt(mean (x - mean x)^2 + epsilon)
    RMSNormalization:                        h = x / sqrt(mean x^2 + epsilon)

and y = scale h + bias. MeanVarianceNormalization divides by the deviation itself, and has neither scale nor bias.
Sources: Ba, Kiros and Hinton 2016, eq. 3 and 4; Ulyanov, Vedaldi and Lempitsky 2016, eq. 2; Wu and He 2018, eq. 1 to 7;
Zhang and Sennrich 2019, eq. 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.errors import DomainError, ShapeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.op.axes import many_axes, one_axis
from lieref.op.spec import (
    Extents,
    TensorSpec,
    broadcast_extents,
    check_channels,
    check_dtypes,
    differ,
    need_float,
    specs,
    text,
)  # fmt: skip


def standardize(function: str, x: FloatArray, axes: Shape, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Return (h, r): x with mean zero and variance one over `axes`, and r = 1 / sqrt(variance + epsilon).

    The variance is the mean of squared deviations, taken after the mean is subtracted: E x^2 - (E x)^2 cancels.
    """
    return scale_by_mean_square(function, x - x.mean(axis=axes, keepdims=True), axes, epsilon)


# With d = x - mean x, r = (mean d^2 + epsilon)^(-1/2), h = r d:   dr = -r^2 mean(h dd), so
#     dh = r (dd - h mean(h dd)),   dd = dx - mean dx.
# Both maps are symmetric, and mean h = 0, so that the mean of h_bar is all that the second takes away:
#     x_bar = r (h_bar - mean h_bar - h mean(h h_bar)).
def standardize_vjp(h: FloatArray, r: FloatArray, h_bar: FloatArray, axes: Shape) -> FloatArray:
    """Return x_bar from what `standardize` returned."""
    x_bar = scale_by_mean_square_vjp(h, r, h_bar, axes)
    x_bar -= r * h_bar.mean(axis=axes, keepdims=True)
    return x_bar


def scale_by_mean_square(function: str, x: FloatArray, axes: Shape, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Return (r x, r) with r = 1 / sqrt(mean x^2 + epsilon) over `axes`.

    Raises
    ------
    DomainError
        If a mean square plus epsilon is not positive.
    """
    square = np.square(x).mean(axis=axes, keepdims=True) + np.asarray(epsilon, x.dtype)
    if np.any(square <= 0):
        raise DomainError(f"{function}: the mean square plus `epsilon` must be positive; got {square.min()}")
    r: FloatArray = 1 / np.sqrt(square)
    return x * r, r


# h = r x with dr = -r^2 mean(h dx):   dh = r (dx - h mean(h dx)), a symmetric map of dx.
def scale_by_mean_square_vjp(h: FloatArray, r: FloatArray, h_bar: FloatArray, axes: Shape) -> FloatArray:
    """Return x_bar from what `scale_by_mean_square` returned."""
    x_bar: FloatArray = r * (h_bar - h * (h * h_bar).mean(axis=axes, keepdims=True))
    return x_bar


def layer_normalization(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    output: int = 0,
) -> FloatArray:
    """Return scale h + bias, h standardised over the axes from `axis` on.

    Parameters
    ----------
    x
        Any shape with at least one axis; the axes from `axis` on must not be empty.
    scale, bias
        Broadcast to the shape of x; usually the shape of its axes from `axis` on.
    epsilon
        Added to the variance, which must be positive with it.
    stash_type
        1: ONNX takes the statistics in float32 at least; they have the dtype of x here.
    output
        Which of the node's outputs: 0 is y, 1 the mean, 2 r = 1 / sqrt(variance + epsilon); of these two the axes from
        `axis` on are one long.
    """
    layer_normalization_shape(*specs(x, scale, bias), axis=axis)
    axes = _from(axis, x.ndim)
    if output == 1:
        return np.asarray(x.mean(axis=axes, keepdims=True))
    h, r = standardize("LayerNormalization", x, axes, epsilon)
    if output == 2:
        return r
    y: FloatArray = scale * h
    if bias is not None:
        y += bias
    return y


# scale_bar = y_bar h and bias_bar = y_bar, summed over repeats; h_bar = scale y_bar goes on to x. With n entries,
# d mean = mean dx and dr = -r^2 mean(h dx) give x_bar = mean_bar / n and x_bar = -r^2 h r_bar / n.
def layer_normalization_vjp(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    output: int = 0,
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return (x_bar, scale_bar, bias_bar)."""
    axes = _from(axis, x.ndim)
    h, r = standardize("LayerNormalization", x, axes, epsilon)
    if output:
        each = (np.ones_like(x) if output == 1 else -(r**2) * h) / math.prod(x.shape[axes[0] :])
        return each * y_bar, np.zeros_like(scale), None if bias is None else np.zeros_like(bias)
    x_bar = standardize_vjp(h, r, scale * y_bar, axes)
    return x_bar, sum_to_shape(y_bar * h, scale.shape), None if bias is None else sum_to_shape(y_bar, bias.shape)


def layer_normalization_shape(
    x: TensorSpec,
    scale: TensorSpec,
    bias: TensorSpec | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    output: int = 0,
) -> TensorSpec:
    """Return the shape of x, to which scale and bias broadcast; of the statistics, ones from `axis` on."""
    y = _over_last_axes("LayerNormalization", x, axis, Scale=scale, B=bias)
    first = axis % x.ndim
    return TensorSpec((*x.shape[:first], *(1,) * (x.ndim - first)), x.dtype) if output else y


def rms_normalization(
    x: FloatArray, scale: FloatArray, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> FloatArray:
    """Return scale x / sqrt(mean x^2 + epsilon), the mean over the axes from `axis` on; see `layer_normalization`."""
    rms_normalization_shape(*specs(x, scale), axis=axis)
    h, _ = scale_by_mean_square("RMSNormalization", x, _from(axis, x.ndim), epsilon)
    y: FloatArray = scale * h
    return y


def rms_normalization_vjp(
    x: FloatArray,
    scale: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[FloatArray, FloatArray]:
    """Return (x_bar, scale_bar)."""
    axes = _from(axis, x.ndim)
    h, r = scale_by_mean_square("RMSNormalization", x, axes, epsilon)
    return scale_by_mean_square_vjp(h, r, scale * y_bar, axes), sum_to_shape(y_bar * h, scale.shape)


def rms_normalization_shape(
    x: TensorSpec, scale: TensorSpec, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> TensorSpec:
    """Return the shape of x; scale broadcasts to it."""
    return _over_last_axes("RMSNormalization", x, axis, scale=scale)


def instance_normalization(x: FloatArray, scale: FloatArray, bias: FloatArray, *, epsilon: float = 1e-5) -> FloatArray:
    """Return scale h + bias, h standardised over the pixels of each channel of each sample.

    Parameters
    ----------
    x
        Shape (N, C, *spatial), the spatial axes not empty.
    scale, bias
        Shape (C,).
    epsilon
        Added to the variance.
    """
    instance_normalization_shape(*specs(x, scale, bias))
    h, _ = standardize("InstanceNormalization", x, tuple(range(2, x.ndim)), epsilon)
    y: FloatArray = _channel(scale, x) * h + _channel(bias, x)
    return y


def instance_normalization_vjp(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    epsilon: float = 1e-5,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (x_bar, scale_bar, bias_bar)."""
    axes = tuple(range(2, x.ndim))
    h, r = standardize("InstanceNormalization", x, axes, epsilon)
    x_bar = standardize_vjp(h, r, _channel(scale, x) * y_bar, axes)
    return x_bar, (y_bar * h).sum(axis=(0, *axes)), y_bar.sum(axis=(0, *axes))


def instance_normalization_shape(
    x: TensorSpec, scale: TensorSpec, bias: TensorSpec, *, epsilon: float = 1e-5
) -> TensorSpec:
    """Return the shape of x; scale and bias have one number for each channel."""
    function = "InstanceNormalization"
    _check_image(function, "input", x)
    check_dtypes(function, x, scale, bias)
    check_channels(function, "scale", scale, x.shape[1])
    check_channels(function, "B", bias, x.shape[1])
    return TensorSpec(x.shape, x.dtype)


def group_normalization(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> FloatArray:
    """Return scale h + bias, h standardised over the pixels and channels of each group of each sample.

    Parameters
    ----------
    x
        Shape (N, C, *spatial), nothing behind the batch empty.
    scale, bias
        Shape (C,). The form of opset 18, with one number for each group, was withdrawn: onnx.checker refuses it.
    num_groups
        Divides C.
    epsilon
        Added to the variance.
    stash_type
        1: ONNX takes the statistics in float32 at least; they have the dtype of x here.
    """
    group_normalization_shape(*specs(x, scale, bias), num_groups=num_groups)
    groups = _groups(x, num_groups)
    h = standardize("GroupNormalization", groups, (2,), epsilon)[0].reshape(x.shape)
    y: FloatArray = _channel(scale, x) * h + _channel(bias, x)
    return y


def group_normalization_vjp(
    x: FloatArray,
    scale: FloatArray,
    bias: FloatArray,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (x_bar, scale_bar, bias_bar)."""
    h, r = standardize("GroupNormalization", _groups(x, num_groups), (2,), epsilon)
    h_bar = _groups(_channel(scale, x) * y_bar, num_groups)
    x_bar = standardize_vjp(h, r, h_bar, (2,)).reshape(x.shape)
    others = (0, *range(2, x.ndim))
    return x_bar, (y_bar * h.reshape(x.shape)).sum(axis=others), y_bar.sum(axis=others)


def group_normalization_shape(
    x: TensorSpec,
    scale: TensorSpec,
    bias: TensorSpec,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> TensorSpec:
    """Return the shape of x; scale and bias have one number for each channel."""
    function = "GroupNormalization"
    _check_image(function, "X", x)
    channels = x.shape[1]
    if num_groups < 1 or (channels is not None and (channels % num_groups or not channels)):
        raise ShapeError(f"{function}: `num_groups` must divide the {channels} channels of `X`; got {num_groups}")
    check_dtypes(function, x, scale, bias)
    check_channels(function, "scale", scale, channels)
    check_channels(function, "bias", bias, channels)
    return TensorSpec(x.shape, x.dtype)


SMALLEST_DEVIATION = 1e-9
"""What ONNX's MeanVarianceNormalization adds to the standard deviation."""


def mean_variance_normalization(x: FloatArray, *, axes: Any = (0, 2, 3)) -> FloatArray:
    """Return (x - mean) / (deviation + 1e-9), mean and standard deviation over `axes`, none of them empty."""
    mean_variance_normalization_shape(*specs(x), axes=axes)
    d, deviation = _deviations(x, axes)
    y: FloatArray = d / (deviation + SMALLEST_DEVIATION)
    return y


# With d = x - mean x, s = sqrt(mean d^2), q = s + e:   dy = dd / q - d ds / q^2,   ds = mean(d dd) / s, so
#     d_bar = y_bar / q - d mean(d y_bar) / (s q^2),   x_bar = d_bar - mean d_bar; where s is zero so is d.
def mean_variance_normalization_vjp(
    x: FloatArray, *, y: FloatArray, y_bar: FloatArray, axes: Any = (0, 2, 3)
) -> tuple[FloatArray]:
    """Return (x_bar,)."""
    over = many_axes("MeanVarianceNormalization", axes, x.ndim)
    d, s = _deviations(x, axes)
    q = s + SMALLEST_DEVIATION
    mean = (d * y_bar).mean(axis=over, keepdims=True)
    d_bar = y_bar / q - d * mean / (np.where(s > 0, s, 1) * np.square(q))
    return (d_bar - d_bar.mean(axis=over, keepdims=True),)


def mean_variance_normalization_shape(x: TensorSpec, *, axes: Any = (0, 2, 3)) -> TensorSpec:
    """Return the shape of x."""
    need_float("MeanVarianceNormalization", x)
    over = many_axes("MeanVarianceNormalization", axes, x.ndim)
    if any(x.shape[axis] == 0 for axis in over):
        raise ShapeError(f"MeanVarianceNormalization: the normalised axes must not be empty; got shape {text(x.shape)}")
    return TensorSpec(x.shape, x.dtype)


def _deviations(x: FloatArray, axes: Any) -> tuple[FloatArray, FloatArray]:
    over = many_axes("MeanVarianceNormalization", axes, x.ndim)
    d = x - x.mean(axis=over, keepdims=True)
    return d, np.sqrt(np.square(d).mean(axis=over, keepdims=True))


def _over_last_axes(function: str, x: TensorSpec, axis: int, **affine: TensorSpec | None) -> TensorSpec:
    need_float(function, x)
    check_dtypes(function, x, *affine.values())
    first = one_axis(function, axis, x.ndim)
    if 0 in x.shape[first:]:
        raise ShapeError(f"{function}: the normalised axes must not be empty; got shape {text(x.shape)}")
    for name, spec in affine.items():
        if spec is not None and not _fits(function, x, spec):
            raise ShapeError(f"{function}: `{name}` must broadcast to {text(x.shape)}; got {text(spec.shape)}")
    return TensorSpec(x.shape, x.dtype)


def _fits(function: str, x: TensorSpec, spec: TensorSpec) -> bool:
    """Tell whether an array broadcasts to the shape of x without making it larger."""
    if spec.ndim > x.ndim:
        return False
    common: Extents = broadcast_extents(function, x, spec)
    return not any(differ(a, b) for a, b in zip(common, x.shape, strict=True))


def _check_image(function: str, name: str, x: TensorSpec) -> None:
    need_float(function, x)
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"{function}: `{name}` must have shape (N, C, non-empty spatial axes); got {text(x.shape)}")


def _from(axis: int, ndim: int) -> Shape:
    return tuple(range(axis % ndim, ndim))


def _channel(vector: FloatArray, x: FloatArray) -> FloatArray:
    return vector.reshape(-1, *(1,) * (x.ndim - 2))


def _groups(x: FloatArray, count: int) -> FloatArray:
    return x.reshape(len(x), count, math.prod(x.shape[1:]) // count)
