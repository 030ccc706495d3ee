"""Layers as ONNX defines them: folded BatchNormalization, Gemm, pooling."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import ceil, floor
from typing import Any

import numpy as np

from lieref.conformance.definitions.matrix import matmul
from lieref.conformance.definitions.number import Number, Numbers, each, number, sqrt, total
from lieref.errors import UnsupportedError


# BN(W x + b) = scale (W x + b - mean) / sqrt(var + epsilon) + shift = (a W) x + a (b - mean) + shift.
def fold_batch_normalization(values: Mapping[str, Numbers], epsilon: float) -> dict[str, Numbers]:
    """Return weight and bias of the layer that is the given one followed by a BatchNormalization."""
    a = values["scale"] / each(sqrt, values["var"] + epsilon)
    rows = values["weight"].reshape(len(a), -1) * a[:, None]
    bias = a * (values["bias"] - values["mean"]) + values["shift"]
    return {"weight": rows.reshape(values["weight"].shape), "bias": bias}


def gemm(values: Mapping[str, Numbers], attrs: Mapping[str, Any]) -> Numbers:
    """Return alpha A B + beta C, each of A and B transposed if asked for, C broadcast."""
    a = values["a"].T if attrs["transA"] else values["a"]
    b = values["b"].T if attrs["transB"] else values["b"]
    y = matmul(a, b) * attrs["alpha"]
    return y + values["c"] * attrs["beta"] if "c" in values else y


def pool(x: Numbers, attrs: Mapping[str, Any]) -> Numbers:
    """Return MaxPool or AveragePool of x (N, C, *spatial).

    ``kind`` ``max`` or ``average``, ``kernel_shape``, ``strides``, ``pads`` (begins, then ends), ``dilations``,
    ``ceil_mode``, ``count_include_pad``. A window that would start in the padding at the end is dropped, padding is
    never a maximum, and of equal maxima the first one counts.
    """
    n = x.ndim - 2
    kernel, strides, dilations = (attrs[name] for name in ("kernel_shape", "strides", "dilations"))
    begins, ends = attrs["pads"][:n], attrs["pads"][n:]
    outputs = []
    for i in range(n):
        span = x.shape[2 + i] + begins[i] + ends[i] - (kernel[i] - 1) * dilations[i] - 1
        count = (ceil if attrs["ceil_mode"] else floor)(span / strides[i]) + 1
        if (count - 1) * strides[i] >= x.shape[2 + i] + begins[i]:
            count -= 1
        outputs.append(count)
    y = np.empty((*x.shape[:2], *outputs), dtype=object)
    for index in np.ndindex(y.shape):
        inside, counted = [], 0
        for offset in product(*map(range, kernel)):
            at = [
                p * s + k * d - b for p, s, k, d, b in zip(index[2:], strides, offset, dilations, begins, strict=True)
            ]
            if all(0 <= q < size for q, size in zip(at, x.shape[2:], strict=True)):
                inside.append(x[(*index[:2], *at)])
                counted += 1
            elif attrs["count_include_pad"]:
                counted += all(q < size + e for q, size, e in zip(at, x.shape[2:], ends, strict=True))
        y[index] = _reduced(attrs["kind"], inside, counted)
    return y


def _reduced(kind: str, inside: list[Number], counted: int) -> Number:
    if kind == "max":
        return max(inside, key=lambda entry: entry.value)
    if kind == "average":
        return total(inside) / number(counted)
    raise UnsupportedError(f"pool: `kind` must be max or average; got {kind!r}")
