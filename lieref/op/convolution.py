"""Conv: the ONNX face of `lieref.kernel.conv`."""

from __future__ import annotations

from typing import Any

from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel import conv as kernel


def conv(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = 1,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
) -> FloatArray:
    """Return ``lieref.linalg.conv``; `kernel_shape` must be that of the weight where it is given."""
    _check_kernel_shape(weight, kernel_shape)
    return kernel.conv(
        x,
        weight,
        bias,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=group,
        auto_pad=auto_pad,
        threads=threads,
    )


def conv_vjp(
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
    pads: Any = 0,
    strides: Any = 1,
    threads: int = 1,
    needs: tuple[bool, ...] = (True, True, True),
) -> tuple[FloatArray | None, FloatArray | None, FloatArray | None]:
    """Return (x_bar, weight_bar, bias_bar); `needs` says which."""
    _check_kernel_shape(weight, kernel_shape)
    return kernel.conv_vjp(
        x,
        weight,
        bias,
        y_bar,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=group,
        auto_pad=auto_pad,
        threads=threads,
        needs=(needs[0], needs[1], len(needs) > 2 and needs[2]),
    )


def _check_kernel_shape(weight: FloatArray, kernel_shape: Any) -> None:
    if kernel_shape is not None and tuple(kernel_shape) != weight.shape[2:]:
        raise ShapeError(f"Conv: `kernel_shape` must be {weight.shape[2:]}, the weight's; got {tuple(kernel_shape)}")
