"""Compiled matrix product on the register-blocked tiles of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array
from lieref.kernel.conv_numba import PITCH, TILE, multiply_add

ROWS, DEPTH = 128, 256
"""Rows of the result and inner indices in one block: both tiles together stay in the second-level cache."""


@njit
def multiply(y: Array, a: Array, b: Array, first: Any, last: Any) -> None:
    """Add a @ b to rows `first` to `last` of y (batch, m, n), rows counted through the whole batch."""
    inner, height, width = b.shape[1], a.shape[1], b.shape[2]
    tile = np.empty(np.uintp(DEPTH) * PITCH, a.dtype)
    sums = np.empty(np.uintp(ROWS) * PITCH, a.dtype)
    row = first
    while row < last:
        n, top = row // height, row % height
        rows = min(ROWS, height - top, last - row)
        for left in range(0, width, np.int64(TILE)):
            columns = np.uintp(min(np.int64(TILE), width - left))
            sums[:] = 0
            for k in range(0, inner, DEPTH):
                depth = min(DEPTH, inner - k)
                for i in range(depth):
                    start = np.uintp(i) * PITCH
                    for j in range(columns):
                        tile[start + j] = b[n, k + i, np.uintp(left) + j]
                multiply_add(a[n, top : top + rows, k : k + depth], tile, sums, rows, depth, columns)
            for i in range(rows):
                start = np.uintp(i) * PITCH
                for j in range(columns):
                    y[n, top + i, np.uintp(left) + j] = sums[start + j]
        row += rows
