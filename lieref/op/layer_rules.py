"""The shape and dtype of what layers give: BatchNormalization, Conv, pooling, Gemm, MatMul; see `shape_rules`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref.errors import DomainError, ShapeError
from lieref.kernel.window import per_axis
from lieref.op.shape_rules import Rule
from lieref.op.spec import (
    TensorSpec,
    broadcast_extents,
    check_channels,
    check_dtypes,
    differ,
    need_float,
    pairs,
    text,
    window_outputs,
)


def batch_normalization(
    x: TensorSpec, scale: TensorSpec, bias: TensorSpec, mean: TensorSpec, var: TensorSpec,
    *, epsilon: float = 1e-5, momentum: float = 0.9, spatial: int = 1, training_mode: int = 0,
) -> TensorSpec:  # fmt: skip
    """Return the shape of x; the four vectors have one number for each channel."""
    function = "BatchNormalization"
    if x.ndim < 2:
        raise ShapeError(f"{function}: `X` must have shape (N, C, ...); got {text(x.shape)}")
    check_dtypes(function, x, scale, bias, mean, var)
    for name, vector in (("scale", scale), ("B", bias), ("input_mean", mean), ("input_var", var)):
        check_channels(function, name, vector, x.shape[1])
    if var.value is not None and np.any(var.value + epsilon <= 0):
        raise DomainError(f"{function}: `input_var` plus epsilon must be positive; got {(var.value + epsilon).min()}")
    return TensorSpec(x.shape, x.dtype)


def conv(
    x: TensorSpec, weight: TensorSpec, bias: TensorSpec | None = None,
    *, auto_pad: str = "NOTSET", dilations: Any = 1, group: int = 1, kernel_shape: Any = None, pads: Any = 0,
    strides: Any = 1,
) -> TensorSpec:  # fmt: skip
    """Return (N, filters, *outputs)."""
    need_float("Conv", x)
    check_dtypes("Conv", x, weight, bias)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"Conv: `X` must have shape (N, C, 1 to 3 spatial axes); got {text(x.shape)}")
    if weight.ndim != x.ndim or 0 in weight.shape:
        raise ShapeError(f"Conv: `W` must have {x.ndim} axes, none empty; got shape {text(weight.shape)}")
    if kernel_shape is not None and any(
        differ(a, b) for a, b in pairs("Conv", "kernel_shape", kernel_shape, weight.shape[2:])
    ):
        raise ShapeError(
            f"Conv: `kernel_shape` must be {text(weight.shape[2:])}, the weight's; got {tuple(kernel_shape)}"
        )
    filters, channels = weight.shape[:2]
    if filters is not None and filters % group:
        raise ShapeError(f"Conv: `group` must divide the {filters} filters of `W`; got {group}")
    if channels is not None and differ(x.shape[1], channels * group):
        raise ShapeError(
            f"Conv: `X` must have {channels * group} channels, {channels} for each of {group} groups; got {x.shape[1]}"
        )
    if bias is not None:
        check_channels("Conv", "B", bias, filters)
    outputs = window_outputs("Conv", x, weight.shape[2:], strides, pads, dilations, auto_pad, False)
    return TensorSpec((x.shape[0], filters, *outputs), x.dtype)


def pool(function: str) -> Rule:
    """Return the rule of MaxPool and AveragePool."""

    def rule(
        x: TensorSpec, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Any = 1,
        pads: Any = 0, strides: Any = 1, storage_order: int = 0, count_include_pad: int = 0,
    ) -> TensorSpec:  # fmt: skip
        if function != "MaxPool" or x.dtype not in (np.int8, np.uint8):
            need_float(function, x)
        if not 3 <= x.ndim <= 5:
            raise ShapeError(f"{function}: `X` must have shape (N, C, 1 to 3 spatial axes); got {text(x.shape)}")
        kernel = per_axis(function, "kernel_shape", kernel_shape, x.ndim - 2, low=1)
        outputs = window_outputs(function, x, kernel, strides, pads, dilations, auto_pad, bool(ceil_mode))
        return TensorSpec((*x.shape[:2], *outputs), x.dtype)

    return rule


def global_pool(function: str) -> Rule:
    """Return the rule of GlobalMaxPool and GlobalAveragePool."""

    def rule(x: TensorSpec) -> TensorSpec:
        need_float(function, x)
        if x.ndim < 3 or 0 in x.shape[2:]:
            raise ShapeError(f"{function}: `X` must have shape (N, C, non-empty spatial axes); got {text(x.shape)}")
        return TensorSpec((*x.shape[:2], *(1 for _ in x.shape[2:])), x.dtype)

    return rule


def gemm(
    a: TensorSpec, b: TensorSpec, c: TensorSpec | None = None,
    *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,  # noqa: N803
) -> TensorSpec:  # fmt: skip
    """Return (rows of A, columns of B)."""
    need_float("Gemm", a)
    check_dtypes("Gemm", a, b, c)
    if a.ndim != 2 or b.ndim != 2:
        raise ShapeError(f"Gemm: `A` and `B` must be matrices; got shapes {text(a.shape)} and {text(b.shape)}")
    m, k = a.shape[::-1] if transA else a.shape
    inner, n = b.shape[::-1] if transB else b.shape
    if differ(k, inner):
        raise ShapeError(f"Gemm: `A` (m, k) and `B` (k, n) must have one k; got {k} and {inner}")
    result = TensorSpec((m, n), a.dtype)
    if c is not None and any(differ(x, y) for x, y in zip(broadcast_extents("Gemm", result, c), (m, n), strict=False)):
        raise ShapeError(f"Gemm: `C` must broadcast to {text((m, n))}; got {text(c.shape)}")
    if c is not None and c.ndim > 2:
        raise ShapeError(f"Gemm: `C` must broadcast to {text((m, n))}; got {text(c.shape)}")
    return result


def matmul(a: TensorSpec, b: TensorSpec) -> TensorSpec:
    """Return the product's shape; leading axes broadcast."""
    need_float("MatMul", a)
    check_dtypes("MatMul", a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"MatMul: inputs must have at least one axis; got {text(a.shape)} and {text(b.shape)}")
    rows = a.shape if a.ndim > 1 else (1, *a.shape)
    columns = b.shape if b.ndim > 1 else (*b.shape, 1)
    if differ(rows[-1], columns[-2]):
        raise ShapeError(
            f"MatMul: the inputs must have shapes (..., m, k) and (..., k, n); got {text(a.shape)} and {text(b.shape)}"
        )
    lead = broadcast_extents("MatMul", TensorSpec(rows[:-2], a.dtype), TensorSpec(columns[:-2], a.dtype))
    shape = lead + ((rows[-2],) if a.ndim > 1 else ()) + ((columns[-1],) if b.ndim > 1 else ())
    return TensorSpec(shape, a.dtype)
