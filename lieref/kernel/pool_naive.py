"""Pooling in plain loops: the definition that the compiled pooling is checked against."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import FloatArray
from lieref.kernel.window import Window


def max_pool_naive(x: FloatArray, window: Window) -> FloatArray:
    """Return the largest image element under each window, shape (N, C, *window.output)."""
    y = np.empty((*x.shape[:2], *window.output), x.dtype)
    for n, c, *p in np.ndindex(y.shape):
        y[n, c, *p] = max(x[n, c, *q] for t in np.ndindex(window.kernel) if (q := window.position(p, t)) is not None)
    return y


def max_pool_naive_vjp(x: FloatArray, window: Window, y_bar: FloatArray) -> FloatArray:
    """Return x_bar: each y_bar goes to the first of the largest elements under its window."""
    x_bar = np.zeros_like(x)
    for n, c, *p in np.ndindex(y_bar.shape):
        places = [q for t in np.ndindex(window.kernel) if (q := window.position(p, t)) is not None]
        largest = max(places, key=lambda q: x[n, c, *q])
        x_bar[n, c, *largest] += y_bar[n, c, *p]
    return x_bar


def average_pool_naive(x: FloatArray, window: Window, counts: FloatArray) -> FloatArray:
    """Return the sum of the image elements under each window divided by `counts`, one for each output."""
    y = np.zeros((*x.shape[:2], *window.output), x.dtype)
    for n, c, *p in np.ndindex(y.shape):
        for t in np.ndindex(window.kernel):
            q = window.position(p, t)
            if q is not None:
                y[n, c, *p] += x[n, c, *q]
        y[n, c, *p] /= counts[*p]
    return y


def average_pool_naive_vjp(x: FloatArray, window: Window, counts: FloatArray, y_bar: FloatArray) -> FloatArray:
    """Return x_bar: each y_bar divided by its count goes to every image element under its window."""
    x_bar = np.zeros_like(x)
    for n, c, *p in np.ndindex(y_bar.shape):
        for t in np.ndindex(window.kernel):
            q = window.position(p, t)
            if q is not None:
                x_bar[n, c, *q] += y_bar[n, c, *p] / counts[*p]
    return x_bar


def window_counts(window: Window, count_include_pad: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return how many elements each window averages, shape `window.output`.

    Elements of the image, and with `count_include_pad` those of the padding that was asked for; never those beyond it
    that the last window of ceil mode runs over.
    """
    counts = np.ones(window.output, np.int64)
    for axis, outputs in enumerate(window.output):
        begin, end = window.pads_begin[axis], window.pads_end[axis]
        starts = np.arange(outputs) * window.strides[axis] - begin
        places = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-begin, window.image[axis] + end) if count_include_pad else (0, window.image[axis])
        along = ((places >= low) & (places < high)).sum(1)
        counts *= along.reshape([-1 if i == axis else 1 for i in range(counts.ndim)])
    return counts
