"""Compiled pooling on flat padded images, one channel at a time; the tables are those of `Window`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array
from lieref.kernel.conv_numba import crop_image, pad_image


@njit
def max_pool(
    y: Array, x: Array, first: Any, last: Any, taps: Array, rows: Any, image_rows: Array, plane: Any, step: Any
) -> None:
    """Write the maxima of planes `first` to `last` to y (planes, rows, width); x is (planes, image rows, width)."""
    padded = np.full(plane, -np.inf, x.dtype)
    height, width = y.shape[1], np.uintp(y.shape[2])
    for n in range(first, last):
        pad_image(padded, x[n : n + 1], image_rows, plane)
        for r in range(height):
            for w in range(width):
                y[n, r, w] = -np.inf
            for tap in taps:
                start = tap + rows[r]
                for w in range(width):
                    y[n, r, w] = max(y[n, r, w], padded[start + w * step])


@njit
def max_pool_vjp(
    x_bar: Array,
    x: Array,
    y: Array,
    y_bar: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the cotangent of planes `first` to `last` to x_bar: to the first element equal to the maximum."""
    padded = np.full(plane, -np.inf, x.dtype)
    padded_bar = np.empty(plane, x.dtype)
    height, width = y.shape[1], np.uintp(y.shape[2])
    for n in range(first, last):
        pad_image(padded, x[n : n + 1], image_rows, plane)
        padded_bar[:] = 0
        for r in range(height):
            for w in range(width):
                for tap in taps:
                    place = tap + rows[r] + w * step
                    if padded[place] == y[n, r, w]:
                        padded_bar[place] += y_bar[n, r, w]
                        break
        crop_image(x_bar[n : n + 1], padded_bar, image_rows, plane)


@njit
def average_pool(
    y: Array,
    x: Array,
    counts: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the averages of planes `first` to `last` to y; counts is (rows, width) in the dtype of x."""
    padded = np.zeros(plane, x.dtype)
    height, width = y.shape[1], np.uintp(y.shape[2])
    for n in range(first, last):
        pad_image(padded, x[n : n + 1], image_rows, plane)
        for r in range(height):
            for w in range(width):
                y[n, r, w] = 0
            for tap in taps:
                start = tap + rows[r]
                for w in range(width):
                    y[n, r, w] += padded[start + w * step]
            for w in range(width):
                y[n, r, w] /= counts[r, w]


@njit
def average_pool_vjp(
    x_bar: Array,
    y_bar: Array,
    counts: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the cotangent of planes `first` to `last` to x_bar."""
    padded_bar = np.empty(plane, x_bar.dtype)
    height, width = y_bar.shape[1], np.uintp(y_bar.shape[2])
    for n in range(first, last):
        padded_bar[:] = 0
        for r in range(height):
            for tap in taps:
                start = tap + rows[r]
                for w in range(width):
                    padded_bar[start + w * step] += y_bar[n, r, w] / counts[r, w]
        crop_image(x_bar[n : n + 1], padded_bar, image_rows, plane)
