"""ConvTranspose: the adjoint of a convolution, by the kernels that give a convolution's gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel import conv as kernel
from lieref.kernel.window import per_axis
from lieref.op.axes import MOST_ELEMENTS, MOST_IN_A_SAMPLE, check_size
from lieref.op.spec import Extents, TensorSpec, check_channels, check_dtypes, differ, need_float, pairs, specs, text

NAME = "ConvTranspose"


class Extent(NamedTuple):
    """One spatial axis: everything a kernel reaches is `full` long, of which the output is `size` from `begin` on."""

    full: int
    begin: int
    size: int
    stride: int
    dilation: int


def conv_transpose(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = 1,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = 0,
    output_shape: Any = None,
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
) -> FloatArray:
    """Return the transposed convolution: each pixel of x adds its multiple of the kernel to the output.

    With q = p * stride + t * dilation - pad and c running over the channels of the group of the output channel o,

        y[n, o, q] = bias[o] + sum over c, p, t with that q of weight[c, o, t] x[n, c, p].

    Parameters
    ----------
    x
        Shape (N, C, *spatial) with one to three spatial axes, none empty.
    weight
        Shape (C, O / group, *kernel), dtype of x.
    bias
        Shape (O,), dtype of x.
    strides, dilations
        For each spatial axis, at least 1.
    pads
        What is cut off: begins, then ends. The output has stride (extent - 1) + reach of the kernel - cuts + its
        padding pixels along an axis.
    output_padding
        Pixels added behind the end, at least 0; nothing but the bias may reach them.
    output_shape
        Spatial extents of the output; the pads follow from it, an odd one at the end where `auto_pad` is SAME_UPPER,
        else at the begin.
    auto_pad
        SAME_UPPER and SAME_LOWER stand for an output of stride times the extent, VALID for no pads.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described, or the result is too large.
    """
    axes, channels = axes_of(
        *specs(x, weight, bias), auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, output_shape=output_shape, pads=pads, strides=strides,
    )  # fmt: skip
    extents = [axis for axis in axes if axis is not None]  # all, for the arrays are here
    like = np.broadcast_to(x.dtype.type(0), (len(x), channels or 0, *(axis.full for axis in extents)))
    options: dict[str, Any] = {"strides": strides, "dilations": dilations, "groups": group, "threads": threads}
    full, _, _ = kernel.conv_vjp(like, weight, None, x, needs=(True, False, False), **options)
    y = np.zeros((*like.shape[:2], *(axis.size for axis in extents)), x.dtype)
    inside, reached = _overlap(extents)
    y[inside] = full[reached]  # type: ignore[index]
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (x.ndim - 2))
    return y


# Let C(z, w) be the convolution with these strides; it is linear in the image z and in w. By definition
#     <z, full> = <C(z, w), x> for all z,   full = what all kernels reach,   y = the window of full that is put out.
# With full_bar = y_bar in its window and zero around it,
#     <full_bar, d full> = <C(full_bar, w), dx> + <C(full_bar, dw), x>:
#     x_bar = C(full_bar, w),   w_bar = the weight gradient of C at the image full_bar for the cotangent x.
def conv_transpose_vjp(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    auto_pad: str = "NOTSET",
    dilations: Any = 1,
    group: int = 1,
    kernel_shape: Any = None,
    output_padding: Any = 0,
    output_shape: Any = None,
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
    needs: tuple[bool, ...] = (True, True, True),
) -> tuple[FloatArray | None, FloatArray | None, FloatArray | None]:
    """Return (x_bar, weight_bar, bias_bar); `needs` says which."""
    axes, _ = axes_of(
        *specs(x, weight, bias), auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, output_shape=output_shape, pads=pads, strides=strides,
    )  # fmt: skip
    extents = [axis for axis in axes if axis is not None]
    options: dict[str, Any] = {"strides": strides, "dilations": dilations, "groups": group, "threads": threads}
    full_bar = np.zeros((*y_bar.shape[:2], *(axis.full for axis in extents)), x.dtype)
    inside, reached = _overlap(extents)
    full_bar[reached] = y_bar[inside]
    x_bar = kernel.conv(full_bar, weight, **options) if needs[0] else None
    _, weight_bar, _ = kernel.conv_vjp(full_bar, weight, None, x, needs=(False, needs[1], False), **options)
    wanted = bias is not None and len(needs) > 2 and needs[2]
    return x_bar, weight_bar, y_bar.sum(axis=(0, *range(2, x.ndim))) if wanted else None


def conv_transpose_shape(
    x: TensorSpec, weight: TensorSpec, bias: TensorSpec | None = None,
    *, auto_pad: str = "NOTSET", dilations: Any = 1, group: int = 1, kernel_shape: Any = None, output_padding: Any = 0,
    output_shape: Any = None, pads: Any = 0, strides: Any = 1,
) -> TensorSpec:  # fmt: skip
    """Return (N, O, *outputs)."""
    axes, channels = axes_of(
        x, weight, bias, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, output_shape=output_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return TensorSpec((x.shape[0], channels, *(None if axis is None else axis.size for axis in axes)), x.dtype)


def axes_of(
    x: TensorSpec, weight: TensorSpec, bias: TensorSpec | None, *, auto_pad: str, dilations: Any, group: int,
    kernel_shape: Any, output_padding: Any, output_shape: Any, pads: Any, strides: Any,
) -> tuple[list[Extent | None], int | None]:  # fmt: skip
    """Return the spatial axes, None where an extent is not known, and the number of output channels."""
    need_float(NAME, x)
    check_dtypes(NAME, x, weight, bias)
    if not 3 <= x.ndim <= 5 or 0 in x.shape[2:]:
        raise ShapeError(f"{NAME}: `X` must have shape (N, C, 1 to 3 spatial axes, none empty); got {text(x.shape)}")
    if weight.ndim != x.ndim or 0 in weight.shape:
        raise ShapeError(f"{NAME}: `W` must have {x.ndim} axes, none empty; got shape {text(weight.shape)}")
    kernels = weight.shape[2:]
    if kernel_shape is not None and any(differ(a, b) for a, b in pairs(NAME, "kernel_shape", kernel_shape, kernels)):
        raise ShapeError(f"{NAME}: `kernel_shape` must be {text(kernels)}, the weight's; got {tuple(kernel_shape)}")
    if differ(x.shape[1], weight.shape[0]):
        raise ShapeError(f"{NAME}: `X` must have {weight.shape[0]} channels as `W` has; got {x.shape[1]}")
    inputs = weight.shape[0] if x.shape[1] is None else x.shape[1]
    if inputs is not None and inputs % group:
        raise ShapeError(f"{NAME}: `group` must divide the {inputs} channels of `X`; got {group}")
    channels = None if weight.shape[1] is None else weight.shape[1] * group
    if bias is not None:
        check_channels(NAME, "B", bias, channels)
    rank = x.ndim - 2
    pads = per_axis(NAME, "pads", pads, 2 * rank, low=0)
    given = (None,) * rank if output_shape is None else per_axis(NAME, "output_shape", output_shape, rank, low=1)
    axes = [
        None if extent is None or kernel_ is None else _axis(extent, kernel_, *rest)
        for extent, kernel_, *rest in zip(
            x.shape[2:], kernels, per_axis(NAME, "strides", strides, rank, low=1),
            per_axis(NAME, "dilations", dilations, rank, low=1),
            per_axis(NAME, "output_padding", output_padding, rank, low=0), given, pads[:rank], pads[rank:],
            (auto_pad,) * rank, strict=True,
        )
    ]  # fmt: skip
    for sizes in ([axis and axis.full for axis in axes], [axis and axis.size for axis in axes]):
        known: Extents = (channels, *sizes)
        check_size(NAME, known, MOST_IN_A_SAMPLE)
    return axes, channels


def _axis(
    extent: int, kernel_: int, stride: int, dilation: int, added: int, given: int | None, begin: int, end: int,
    auto_pad: str,
) -> Extent:  # fmt: skip
    full = stride * (extent - 1) + (kernel_ - 1) * dilation + 1
    if max(stride, dilation, full) > MOST_ELEMENTS:
        raise ShapeError(f"{NAME}: `strides` and `dilations` must be at most {MOST_ELEMENTS}; got {stride}, {dilation}")
    if given is None and auto_pad.startswith("SAME"):
        given = extent * stride
    if given is not None:
        cut = max(0, full + added - given)
        begin = cut // 2 if auto_pad == "SAME_UPPER" else cut - cut // 2
        return Extent(full, begin, given, stride, dilation)
    if auto_pad == "VALID":
        begin = end = 0
    size = full + added - begin - end
    if size < 1:
        raise ShapeError(f"{NAME}: `pads` must leave an output; got {begin} and {end} of {full + added}")
    return Extent(full, begin, size, stride, dilation)


def _overlap(axes: list[Extent]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where in the output, and where in all that is reached, the two overlap; what is else there is zero."""
    counts = [max(0, min(axis.size, axis.full - axis.begin)) for axis in axes]
    both = (slice(None), slice(None))
    inside = tuple(slice(0, count) for count in counts)
    reached = tuple(slice(axis.begin, axis.begin + count) for axis, count in zip(axes, counts, strict=True))
    return both + inside, both + reached
