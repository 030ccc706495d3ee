"""Batched matrix product and its VJP: each entry is summed in the order of the inner index, whatever the threads."""

from __future__ import annotations

import math

import numpy as np

from lieref._check import check_float, check_int, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.kernel.parallel import for_each_chunk
from lieref.kernel.window import kernel_array


def matmul_naive(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the product of `matmul` for two matrices, one product at a time."""
    y = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for i, j in np.ndindex(y.shape):
        for k in range(a.shape[1]):
            y[i, j] += a[i, k] * b[k, j]
    return y


def matmul(a: FloatArray, b: FloatArray, *, threads: int = 1) -> FloatArray:
    """Return the matrix products y[..., i, j] = sum over k of a[..., i, k] b[..., k, j].

    Parameters
    ----------
    a, b
        Shapes (..., m, k) and (..., k, n), one dtype, float32 or float64; leading axes broadcast. Any extent may be 0.
    threads
        Number of threads, at least 1. The result has the same bits for any number.

    Returns
    -------
    Shape (..., m, n), dtype of a. The k products of an entry are added one by one without contraction, so that its
    error is at most gamma_k sum |a| |b|.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If an argument is not as described.
    """
    a, b = _check("matmul", a, b)
    check_int("matmul", "threads", threads, low=1)
    return _matmul(a, b, threads)


# y = a b:  <y_bar, a_dot b + a b_dot> = <y_bar b^T, a_dot> + <a^T y_bar, b_dot>; a leading axis that was repeated by
# broadcasting adds the cotangents of its repeats.
def matmul_vjp(a: FloatArray, b: FloatArray, y_bar: FloatArray, *, threads: int = 1) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents (a_bar, b_bar) of `matmul`, with the shapes of a and b."""
    a, b = _check("matmul_vjp", a, b)
    check_int("matmul_vjp", "threads", threads, low=1)
    y_bar = check_float("matmul_vjp", "y_bar", y_bar)
    check_same_dtype("matmul_vjp", a=a, y_bar=y_bar)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    check_shape("matmul_vjp", "y_bar", y_bar, (*lead, a.shape[-2], b.shape[-1]))
    if b.ndim == 2:
        # one matrix for the whole batch: its cotangent is a single product over all rows
        count = math.prod(a.shape[:-1])
        b_bar = _matmul(a.reshape(count, b.shape[0]).T, y_bar.reshape(count, b.shape[1]), threads)
    else:
        b_bar = sum_to_shape(_matmul(np.swapaxes(a, -1, -2), y_bar, threads), b.shape)
    return sum_to_shape(_matmul(y_bar, np.swapaxes(b, -1, -2), threads), a.shape), b_bar


def _matmul(a: FloatArray, b: FloatArray, threads: int) -> FloatArray:
    from lieref.kernel.matmul_numba import multiply

    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if b.ndim == 2:
        a_batch, b_batch = a.reshape(1, math.prod(a.shape[:-1]), a.shape[-1]), b[None]
    else:
        a_batch, b_batch = (
            np.broadcast_to(c, (*lead, *c.shape[-2:])).reshape(math.prod(lead), *c.shape[-2:]) for c in (a, b)
        )
    a_batch, b_batch = kernel_array(a_batch), kernel_array(b_batch)
    y = np.zeros((len(a_batch), a_batch.shape[1], b.shape[-1]), a.dtype)

    def work(_chunk: int, first: int, last: int) -> None:
        multiply(y, a_batch, b_batch, first, last)

    if a.shape[-1]:
        for_each_chunk(work, math.prod(y.shape[:2]), threads)
    return y.reshape(*lead, a.shape[-2], b.shape[-1])


def _check(function: str, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b = check_float(function, "a", a), check_float(function, "b", b)
    check_same_dtype(function, a=a, b=b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{function}: `a` and `b` must have shapes (..., m, k) and (..., k, n); got {a.shape} and {b.shape}"
        )
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"{function}: leading axes of `a` and `b` must broadcast; got {a.shape} and {b.shape}"
        ) from None
    return a, b
