"""Modes of a tensor: unfolding, folding and the product with a matrix on one mode, with their VJPs.

The unfolding is the one of a C-ordered array: the mode becomes the rows, the other axes keep their order and their
last one runs fastest. Its columns are a permutation of those of Kolda and Bader [Kolda09], who let the first run
fastest.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._check import check_float, check_int, check_same_dtype, check_shape
from lieref._types import FloatArray, Shape
from lieref.errors import ShapeError


def unfold(x: FloatArray, mode: int) -> FloatArray:
    """Return the (n_mode, product of the other sizes) matrix of a tensor.

    Raises
    ------
    ShapeError
        If the tensor has no axes.
    DomainError
        If there is no such mode.
    """
    x = check_float("unfold", "x", x)
    mode = _check_mode("unfold", mode, x.shape)
    return np.moveaxis(x, mode, 0).reshape(x.shape[mode], -1)


# A permutation of the entries: its adjoint is its inverse, fold.
def unfold_vjp(shape: Shape, mode: int, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent, of `shape`, of the tensor that was unfolded."""
    return fold(y_bar, mode, shape)


def fold(matrix: FloatArray, mode: int, shape: Shape) -> FloatArray:
    """Return the tensor of `shape` whose unfolding along `mode` is `matrix`.

    Raises
    ------
    ShapeError
        If the matrix is not (n_mode, product of the other sizes).
    """
    matrix = check_float("fold", "matrix", matrix)
    mode = _check_mode("fold", mode, shape)
    others = (*shape[:mode], *shape[mode + 1 :])
    check_shape("fold", "matrix", matrix, (shape[mode], math.prod(others)))
    return np.moveaxis(matrix.reshape(shape[mode], *others), 0, mode)


def fold_vjp(mode: int, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of the matrix that was folded."""
    return unfold(y_bar, mode)


def mode_dot(x: FloatArray, matrix: FloatArray, mode: int) -> FloatArray:
    """Return x ×_mode matrix: Y[.., i, ..] = sum_j matrix[i, j] X[.., j, ..].

    Parameters
    ----------
    x : (..., n, ...) array
    matrix : (m, n) array
    mode : int
        Axis of `x` of size n, 0 to its number of axes - 1.

    Returns
    -------
    (..., m, ...) array

    Raises
    ------
    ShapeError
        If the matrix does not have n columns.
    """
    x, matrix, mode = _check_operands("mode_dot", x, matrix, mode)
    shape = (*x.shape[:mode], matrix.shape[0], *x.shape[mode + 1 :])
    return fold(matrix @ unfold(x, mode), mode, shape)


# Unfolded: Y = M X, dY = dM X + M dX; <Y_bar, dY> = <Y_bar X^T, dM> + <M^T Y_bar, dX>.
def mode_dot_vjp(x: FloatArray, matrix: FloatArray, mode: int, y_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the cotangents of `x` and `matrix`."""
    x, matrix, mode = _check_operands("mode_dot_vjp", x, matrix, mode)
    check_shape("mode_dot_vjp", "y_bar", y_bar, (*x.shape[:mode], matrix.shape[0], *x.shape[mode + 1 :]))
    return mode_dot(y_bar, matrix.T, mode), unfold(y_bar, mode) @ unfold(x, mode).T


def multi_mode_dot(core: FloatArray, factors: list[FloatArray], modes: list[int]) -> FloatArray:
    """Return core ×_m1 factors[0] ×_m2 factors[1] ... over distinct modes: the Tucker form."""
    for factor, mode in zip(factors, modes, strict=True):
        core = mode_dot(core, factor, mode)
    return core


# Products on distinct modes commute, so the cotangent of factor k sees the core with every other factor applied.
def multi_mode_dot_vjp(
    core: FloatArray, factors: list[FloatArray], modes: list[int], y_bar: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    """Return the cotangents of the core and of each factor."""
    partial = [core]
    for factor, mode in zip(factors, modes, strict=True):
        partial.append(mode_dot(partial[-1], factor, mode))
    factor_bars: list[FloatArray] = []
    for before, factor, mode in zip(reversed(partial[:-1]), reversed(factors), reversed(modes), strict=True):
        y_bar, factor_bar = mode_dot_vjp(before, factor, mode, y_bar)
        factor_bars.append(factor_bar)
    return y_bar, factor_bars[::-1]


def _check_mode(function: str, mode: int, shape: Shape) -> int:
    if not shape:
        raise ShapeError(f"{function}: the tensor must have at least one axis; got shape {shape}")
    return check_int(function, "mode", mode, low=0, high=len(shape) - 1)


def _check_operands(function: str, x: FloatArray, matrix: FloatArray, mode: int) -> tuple[FloatArray, FloatArray, int]:
    x, matrix = check_float(function, "x", x), check_float(function, "matrix", matrix, ndim=2)
    check_same_dtype(function, x=x, matrix=matrix)
    mode = _check_mode(function, mode, x.shape)
    if matrix.shape[1] != x.shape[mode]:
        raise ShapeError(f"{function}: `matrix` must have {x.shape[mode]} columns; got shape {matrix.shape}")
    return x, matrix, mode
