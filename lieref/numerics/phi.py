"""The phi functions phi_k(x) = sum over j of x^j / (j + k)!, of numbers and of matrices.

phi_0 = exp and phi_k(x) = (phi_{k-1}(x) - 1/(k-1)!) / x, which loses digits near zero: below a switch point the series
is summed instead.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._check import check_float, check_int, check_same_dtype, check_shape
from lieref._types import FloatArray
from lieref.errors import DomainError
from lieref.numerics import entrywise
from lieref.numerics.expm import check_square, expm, expm_vjp

SWITCH = {2: 2.0, 3: 2.5}
"""|x| up to which the series of phi_k is used: from the table of `validation/against_mpmath/switch_points.py`."""

TERMS = 26
"""Terms of the series: the remainder at the largest switch point is below 2^-60."""


def phi(x: FloatArray, k: int) -> FloatArray:
    """Return phi_k of each entry for k = 0 .. 3; float32 is computed in float64 and rounded.

    Relative error at most 4 u in float64, 1 u in float32.

    Raises
    ------
    DomainError
        If an entry is not finite or above the overflow threshold of its dtype, or k is out of range.
    """
    x = check_float("phi", "x", x)
    check_int("phi", "k", k, low=0, high=3)
    if k == 0:
        return entrywise.exp(x)
    wide = x.astype(np.float64)
    safe = np.where(wide == 0, 1.0, wide)
    value = np.where(wide == 0, 1.0, entrywise.expm1(safe) / safe)
    for j in range(2, k + 1):
        by_recurrence = (value - 1.0 / math.factorial(j - 1)) / safe
        value = np.where(np.abs(wide) > SWITCH[j], by_recurrence, phi_series(np.clip(wide, -SWITCH[j], SWITCH[j]), j))
    with np.errstate(over="ignore"):
        rounded: FloatArray = value.astype(x.dtype, copy=False)
    if not np.isfinite(rounded).all():
        raise DomainError(f"phi: `x` must have a result that fits {x.dtype}; got {x.max()}")
    return rounded


def phi_series(x: FloatArray, k: int) -> FloatArray:
    """Return the first `TERMS` terms of the series of phi_k, in float64, summed from the last."""
    total = np.zeros_like(x, dtype=np.float64)
    for j in range(TERMS - 1, -1, -1):
        total = total * x + 1.0 / math.factorial(j + k)
    return total


def matrix_phi(a: FloatArray, k: int = 1) -> FloatArray:
    """Return phi_k(a) = sum over j of a^j / (j + k)! of each matrix, k at least 1; phi_1(a) = (exp(a) - I) a^-1.

    `a` is (..., n, n), float32 or float64, and so is the result. It is the top right block of exp of the block matrix
    with `a` and zeros on the diagonal and I above it [Higham08].

    Raises
    ------
    ShapeError, DomainError
        As `expm`.
    """
    block = _block(a, k)
    n = block.shape[-1] // (k + 1)
    return expm(block)[..., :n, -n:]


# phi_k(a) is a block of exp of a matrix that holds a as a block: embed the cotangent, take the VJP of exp, cut out.
def matrix_phi_vjp(a: FloatArray, k: int, y_bar: FloatArray) -> FloatArray:
    """Return the cotangent of `a` in `matrix_phi`; `y_bar` is (..., n, n), of the dtype of `a`. Raises as it does."""
    block = _block(a, k)
    n = block.shape[-1] // (k + 1)
    y_bar = check_float("matrix_phi_vjp", "y_bar", y_bar)
    check_shape("matrix_phi_vjp", "y_bar", y_bar, (*block.shape[:-2], n, n))
    check_same_dtype("matrix_phi_vjp", a=block, y_bar=y_bar)
    block_bar = np.zeros_like(block)
    block_bar[..., :n, -n:] = y_bar
    return expm_vjp(block, block_bar)[..., :n, :n]


def _block(a: FloatArray, k: int) -> FloatArray:
    a = check_square("matrix_phi", "a", a)
    check_int("matrix_phi", "k", k, low=1)
    n = a.shape[-1]
    block = np.zeros((*a.shape[:-2], (k + 1) * n, (k + 1) * n), a.dtype)
    block[..., :n, :n] = a
    for j in range(k):
        block[..., j * n : (j + 1) * n, (j + 1) * n : (j + 2) * n] = np.eye(n, dtype=a.dtype)
    return block
