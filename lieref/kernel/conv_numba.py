"""Compiled convolution: patches gathered into tiles, then one register-blocked matrix product.

One image is padded into a flat scratch array; the patches under a tile of at most `TILE` outputs become the columns of
a matrix with one row for each (channel, window element); everything else is a matrix product:

    y            = weight   @ columns     (filters, outputs)
    columns_bar  = weight^T @ y_bar       (products, outputs), added back to where the columns were gathered
    weight_bar^T = columns  @ y_bar^T     (products, filters)

Rows of a tile are stored the constant `PITCH` apart: with distances known at compile time, LLVM proves that rows do not
overlap and keeps sixteen products in registers. Offsets are unsigned, which spares Numba's test for negative indices.
`fastmath` is off and nothing is contracted, so an output is the sum of its products in one order, on any machine:
channels, then window elements, as in `conv_naive`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._jit import njit
from lieref._types import Array

TILE = np.uintp(256)
"""Outputs in one tile at most."""

PITCH = np.uintp(264)
"""Distance between rows of a tile: a little more than `TILE`, so that rows do not all fall into the same cache sets."""

TILE_BYTES = 384 * 1024
"""The columns of a tile should stay in the second-level cache."""


@njit
def multiply_add(a: Array, b: Array, c: Array, rows: Any, depth: Any, width: Any) -> None:
    """Add a[:rows, :depth] @ b to c; b and c are flat tiles, `width` columns of them in use."""
    m = 0
    while m + 4 <= rows:
        c0 = np.uintp(m) * PITCH
        c1, c2, c3 = c0 + PITCH, c0 + PITCH + PITCH, c0 + PITCH + PITCH + PITCH
        k = 0
        while k + 4 <= depth:
            b0 = np.uintp(k) * PITCH
            b1, b2, b3 = b0 + PITCH, b0 + PITCH + PITCH, b0 + PITCH + PITCH + PITCH
            a00, a01, a02, a03 = a[m, k], a[m, k + 1], a[m, k + 2], a[m, k + 3]
            a10, a11, a12, a13 = a[m + 1, k], a[m + 1, k + 1], a[m + 1, k + 2], a[m + 1, k + 3]
            a20, a21, a22, a23 = a[m + 2, k], a[m + 2, k + 1], a[m + 2, k + 2], a[m + 2, k + 3]
            a30, a31, a32, a33 = a[m + 3, k], a[m + 3, k + 1], a[m + 3, k + 2], a[m + 3, k + 3]
            for j in range(width):
                v0, v1, v2, v3 = b[b0 + j], b[b1 + j], b[b2 + j], b[b3 + j]
                c[c0 + j] = c[c0 + j] + a00 * v0 + a01 * v1 + a02 * v2 + a03 * v3
                c[c1 + j] = c[c1 + j] + a10 * v0 + a11 * v1 + a12 * v2 + a13 * v3
                c[c2 + j] = c[c2 + j] + a20 * v0 + a21 * v1 + a22 * v2 + a23 * v3
                c[c3 + j] = c[c3 + j] + a30 * v0 + a31 * v1 + a32 * v2 + a33 * v3
            k += 4
        for last in range(k, depth):
            b0 = np.uintp(last) * PITCH
            a00, a10, a20, a30 = a[m, last], a[m + 1, last], a[m + 2, last], a[m + 3, last]
            for j in range(width):
                v0 = b[b0 + j]
                c[c0 + j] += a00 * v0
                c[c1 + j] += a10 * v0
                c[c2 + j] += a20 * v0
                c[c3 + j] += a30 * v0
        m += 4
    for single in range(m, rows):
        c0 = np.uintp(single) * PITCH
        k = 0
        while k + 4 <= depth:
            b0 = np.uintp(k) * PITCH
            b1, b2, b3 = b0 + PITCH, b0 + PITCH + PITCH, b0 + PITCH + PITCH + PITCH
            a00, a01, a02, a03 = a[single, k], a[single, k + 1], a[single, k + 2], a[single, k + 3]
            for j in range(width):
                c[c0 + j] = c[c0 + j] + a00 * b[b0 + j] + a01 * b[b1 + j] + a02 * b[b2 + j] + a03 * b[b3 + j]
            k += 4
        for last in range(k, depth):
            b0 = np.uintp(last) * PITCH
            a00 = a[single, last]
            for j in range(width):
                c[c0 + j] += a00 * b[b0 + j]


@njit
def pad_image(padded: Array, image: Array, image_rows: Array, plane: Any) -> None:
    """Copy `image` (channels, rows, width) into the flat padded image; what surrounds it is left alone."""
    channels, rows, width = image.shape
    for c in range(channels):
        for r in range(rows):
            start = np.uintp(c) * plane + image_rows[r]
            for w in range(np.uintp(width)):
                padded[start + w] = image[c, r, w]


@njit
def crop_image(image: Array, padded: Array, image_rows: Array, plane: Any) -> None:
    """Copy the inside of the flat padded image to `image` (channels, rows, width)."""
    channels, rows, width = image.shape
    for c in range(channels):
        for r in range(rows):
            start = np.uintp(c) * plane + image_rows[r]
            for w in range(np.uintp(width)):
                image[c, r, w] = padded[start + w]


@njit
def gather(
    columns: Array,
    padded: Array,
    first_channel: Any,
    channels: Any,
    plane: Any,
    taps: Array,
    rows: Any,
    start: Any,
    count: Any,
    step: Any,
) -> None:
    """Fill the tile `columns` with the patches under `count` columns from `start` on, for each of `rows`."""
    target = np.uintp(0)
    for c in range(channels):
        for tap in taps:
            origin = np.uintp(first_channel + c) * plane + tap + start * step
            place = target
            for row in rows:
                source = origin + row
                if step == 1:
                    for w in range(count):
                        columns[place + w] = padded[source + w]
                else:
                    for w in range(count):
                        columns[place + w] = padded[source + w * step]
                place += count
            target += PITCH


@njit
def scatter_add(
    padded: Array,
    columns: Array,
    first_channel: Any,
    channels: Any,
    plane: Any,
    taps: Array,
    rows: Any,
    start: Any,
    count: Any,
    step: Any,
) -> None:
    """Add each entry of the tile `columns` to the place that `gather` took it from."""
    source = np.uintp(0)
    for c in range(channels):
        for tap in taps:
            origin = np.uintp(first_channel + c) * plane + tap + start * step
            place = source
            for row in rows:
                target = origin + row
                if step == 1:
                    for w in range(count):
                        padded[target + w] += columns[place + w]
                else:
                    for w in range(count):
                        padded[target + w * step] += columns[place + w]
                place += count
            source += PITCH


@njit
def tile_shape(rows: Any, width: Any, products: Any, itemsize: Any) -> tuple[int, int]:
    """Return (rows, columns) of a tile: whole rows, as many as fit, or a part of one row."""
    fitting = min(np.int64(TILE), max(32, TILE_BYTES // (products * itemsize)))
    if width <= fitting:
        return min(rows, fitting // width), width
    return 1, fitting


@njit
def convolve(
    y: Array,
    x: Array,
    weight: Array,
    bias: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the convolution of images `first` to `last` to y.

    x is (N, channels, image rows, image width), weight (groups, filters, products), bias (groups * filters,) and y
    (N, groups * filters, rows, width).
    """
    groups, filters, products = weight.shape
    channels, height, width = x.shape[1] // groups, y.shape[2], y.shape[3]
    padded = np.zeros(np.uintp(x.shape[1]) * plane, x.dtype)
    columns = np.empty(np.uintp(products) * PITCH, x.dtype)
    tile = np.empty(np.uintp(filters) * PITCH, x.dtype)
    tile_rows, tile_width = tile_shape(height, width, products, x.itemsize)
    for n in range(first, last):
        pad_image(padded, x[n], image_rows, plane)
        for g in range(groups):
            for r in range(0, height, tile_rows):
                part = rows[r : min(r + tile_rows, height)]
                for w in range(0, width, tile_width):
                    count = min(tile_width, width - w)
                    gather(
                        columns, padded, g * channels, channels, plane, taps, part, np.uintp(w), np.uintp(count), step
                    )
                    used = np.uintp(part.size * count)
                    for o in range(filters):
                        start = np.uintp(o) * PITCH
                        tile[start : start + used] = bias[g * filters + o]
                    multiply_add(weight[g], columns, tile, filters, products, used)
                    for o in range(filters):
                        place = np.uintp(o) * PITCH
                        for i in range(part.size):
                            for j in range(count):
                                y[n, g * filters + o, r + i, w + j] = tile[place]
                                place += np.uintp(1)


@njit
def load_cotangent(
    tile: Array, y_bar: Array, first_row: Any, last_row: Any, first_column: Any, last_column: Any
) -> None:
    """Fill `tile` with one row for each filter of y_bar (filters, rows, width)."""
    for o in range(y_bar.shape[0]):
        place = np.uintp(o) * PITCH
        for r in range(first_row, last_row):
            for w in range(first_column, last_column):
                tile[place] = y_bar[o, r, w]
                place += np.uintp(1)


@njit
def convolve_x_bar(
    x_bar: Array,
    weight: Array,
    y_bar: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the cotangent of images `first` to `last` to x_bar; weight is transposed, (groups, products, filters)."""
    groups, products, filters = weight.shape
    channels, height, width = x_bar.shape[1] // groups, y_bar.shape[2], y_bar.shape[3]
    padded = np.empty(np.uintp(x_bar.shape[1]) * plane, x_bar.dtype)
    columns = np.empty(np.uintp(products) * PITCH, x_bar.dtype)
    tile = np.empty(np.uintp(filters) * PITCH, x_bar.dtype)
    tile_rows, tile_width = tile_shape(height, width, products, x_bar.itemsize)
    for n in range(first, last):
        padded[:] = 0
        for g in range(groups):
            for r in range(0, height, tile_rows):
                part = rows[r : min(r + tile_rows, height)]
                for w in range(0, width, tile_width):
                    count = min(tile_width, width - w)
                    load_cotangent(tile, y_bar[n, g * filters : (g + 1) * filters], r, r + part.size, w, w + count)
                    used = np.uintp(part.size * count)
                    for k in range(products):
                        start = np.uintp(k) * PITCH
                        columns[start : start + used] = 0
                    multiply_add(weight[g], tile, columns, products, filters, used)
                    scatter_add(
                        padded, columns, g * channels, channels, plane, taps, part, np.uintp(w), np.uintp(count), step
                    )
        crop_image(x_bar[n], padded, image_rows, plane)


@njit
def convolve_weight_bar(
    weight_bar: Array,
    x: Array,
    y_bar: Array,
    first: Any,
    last: Any,
    taps: Array,
    rows: Any,
    image_rows: Array,
    plane: Any,
    step: Any,
) -> None:
    """Write the weight cotangent of images `first` to `last` to weight_bar (groups, products + 1, filters).

    The bias is the weight of an input that is one everywhere: its cotangent is the last of the products.
    """
    groups, products, filters = weight_bar.shape
    channels, height, width = x.shape[1] // groups, y_bar.shape[2], y_bar.shape[3]
    padded = np.zeros(np.uintp(x.shape[1]) * plane, x.dtype)
    columns = np.empty(np.uintp(products) * PITCH, x.dtype)
    columns[np.uintp(products - 1) * PITCH :] = 1
    patches = columns.reshape(products, np.int64(PITCH))
    tile = np.empty(TILE * PITCH, x.dtype)
    block = np.int64(TILE)
    sums = np.zeros((groups, (filters + block - 1) // block, np.uintp(products) * PITCH), x.dtype)
    tile_rows, tile_width = tile_shape(height, width, products, x.itemsize)
    for n in range(first, last):
        pad_image(padded, x[n], image_rows, plane)
        for g in range(groups):
            for r in range(0, height, tile_rows):
                part = rows[r : min(r + tile_rows, height)]
                for w in range(0, width, tile_width):
                    count = min(tile_width, width - w)
                    gather(
                        columns, padded, g * channels, channels, plane, taps, part, np.uintp(w), np.uintp(count), step
                    )
                    for o in range(0, filters, block):
                        used = min(block, filters - o)
                        begin = g * filters + o
                        load_transposed(tile, y_bar[n, begin : begin + used], r, r + part.size, w, w + count)
                        multiply_add(patches, tile, sums[g, o // block], products, part.size * count, np.uintp(used))
    for g in range(groups):
        for k in range(products):
            for o in range(filters):
                weight_bar[g, k, o] = sums[g, o // block, k * np.int64(PITCH) + o % block]


@njit
def load_transposed(
    tile: Array, y_bar: Array, first_row: Any, last_row: Any, first_column: Any, last_column: Any
) -> None:
    """Fill `tile` with one row for each output of y_bar (filters, rows, width)."""
    for o in range(y_bar.shape[0]):
        place = np.uintp(o)
        for r in range(first_row, last_row):
            for w in range(first_column, last_column):
                tile[place] = y_bar[o, r, w]
                place += PITCH
