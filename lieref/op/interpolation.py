"""Interpolation along one axis as a sparse matrix: which entries an output reads, and with what weights.

Where output i reads is ONNX's `coordinate_transformation_mode`, what it makes of the entries around is its `mode`. All
is in float64, also for float32 data: a position that is rounded may fall on the other side of a pixel's middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lieref._types import Array, FloatArray

TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)  # fmt: skip
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Taps:
    """A matrix (outputs, inputs) of few entries a row.

    Attributes
    ----------
    indices : (outputs, k) array of int
        Columns; a column may come several times.
    weights : (outputs, k) array of float64
    inputs : int
    """

    indices: Array
    weights: FloatArray
    inputs: int

    def apply(self, x: Array, axis: int) -> Array:
        """Return the product with every vector of x along `axis`, summed in the order of the taps."""
        shape = [1] * x.ndim
        shape[axis] = len(self.indices)
        y = np.zeros((*x.shape[:axis], len(self.indices), *x.shape[axis + 1 :]), x.dtype)
        for k in range(self.indices.shape[1]):
            weights = self.weights[:, k].astype(x.dtype)
            y += np.take(x, self.indices[:, k], axis=axis) * weights.reshape(shape)
        return y

    # y_i = sum_k w[i, k] x[c[i, k]], so x_bar_j is the sum of w[i, k] y_bar_i over all (i, k) with c[i, k] = j: a
    # matrix of taps again. Sorted by j, the taps of one j lie side by side; shorter rows are filled with zero weights.
    def transposed(self) -> Taps:
        """Return the transposed matrix."""
        flat = self.indices.ravel()
        order = np.argsort(flat, kind="stable")
        counts = np.bincount(flat, minlength=self.inputs)
        place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        indices = np.zeros((self.inputs, int(counts.max(initial=0))), np.int64)
        weights = np.zeros(indices.shape)
        indices[flat[order], place] = order // max(self.indices.shape[1], 1)
        weights[flat[order], place] = self.weights.ravel()[order]
        return Taps(indices, weights, len(self.indices))


def positions(
    transformation: str, inputs: int, outputs: int, scale: float, start: float = 0.0, end: float = 1.0
) -> FloatArray:
    """Return where each output reads, in pixels of the input, as ONNX's Resize defines it.

    Parameters
    ----------
    transformation
        One of `TRANSFORMATIONS`.
    inputs, outputs
        Extents of the axis, at least 1 and 0.
    scale
        Positive; outputs / inputs, or the number that it was rounded from.
    start, end
        Of the region of interest in tf_crop_and_resize, the whole axis being 0 to 1.
    """
    i = np.arange(outputs, dtype=np.float64)
    match transformation:
        case "align_corners":
            return i * ((inputs - 1) / max(outputs - 1, 1))
        case "asymmetric":
            return i / scale
        case "tf_half_pixel_for_nn":
            return (i + 0.5) / scale
        case "tf_crop_and_resize" if outputs > 1:
            return start * (inputs - 1) + i * ((end - start) * (inputs - 1) / (outputs - 1))
        case "tf_crop_and_resize":
            return np.full(outputs, 0.5 * (start + end) * (inputs - 1))
        case "pytorch_half_pixel" if outputs == 1:
            return np.zeros(1)
        case "half_pixel_symmetric":
            # The outputs are centred on the input, where there are fewer than scale times the inputs.
            return inputs / 2 * (1 - outputs / (scale * inputs)) + (i + 0.5) / scale - 0.5
    return (i + 0.5) / scale - 0.5


def nearest(where: FloatArray, inputs: int, rounding: str) -> Taps:
    """Return the taps of the nearest entry; `rounding`, one of `ROUNDINGS`, says which that is."""
    match rounding:
        case "round_prefer_floor":
            near = np.ceil(where - 0.5)
        case "round_prefer_ceil":
            near = np.floor(where + 0.5)
        case "floor":
            near = np.floor(where)
        case _:
            near = np.ceil(where)
    indices = np.clip(near, 0, inputs - 1).astype(np.int64)[:, None]
    return Taps(indices, np.ones(indices.shape), inputs)


def linear(where: FloatArray, inputs: int) -> Taps:
    """Return the taps of the line through the entries on both sides; beyond the ends the last entry goes on."""
    low = np.floor(where)
    ratio = where - low
    return _clamped(low[:, None] + np.arange(2), np.stack([1 - ratio, ratio], axis=1), inputs)


def cubic(where: FloatArray, inputs: int, a: float, exclude_outside: bool) -> Taps:
    """Return the taps of cubic convolution through four entries (Keys 1981, eq. 4, with a free `a`).

    Beyond the ends the last entry goes on, or, with `exclude_outside`, weighs nothing and the others sum to one.
    """
    columns = np.floor(where)[:, None] + np.arange(-1, 3)
    weights = _keys(np.abs(where[:, None] - columns), a)
    return _clamped(columns, _without_outside(columns, weights, inputs) if exclude_outside else weights, inputs)


def antialiased(where: FloatArray, inputs: int, scale: float, mode: str, a: float, exclude_outside: bool) -> Taps:
    """Return the taps of a filter that widens where the image shrinks: weights w(scale distance), which sum to one.

    w is that of `linear` or `cubic`, as `mode` says; the ends are as there.
    """
    narrow = min(scale, 1.0)
    reach = math.ceil((1 if mode == "linear" else 2) / narrow)
    columns = np.floor(where)[:, None] + np.arange(1 - reach, reach + 1)
    distance = narrow * np.abs(where[:, None] - columns)
    weights = np.maximum(1 - distance, 0) if mode == "linear" else _keys(distance, a)
    weights /= weights.sum(axis=1, keepdims=True)
    return _clamped(columns, _without_outside(columns, weights, inputs) if exclude_outside else weights, inputs)


def _keys(distance: FloatArray, a: float) -> FloatArray:
    """Return the weights of cubic convolution at distances of at least zero."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _without_outside(columns: Array, weights: FloatArray, inputs: int) -> FloatArray:
    """Return the weights without those of columns that there are not, scaled to sum to one."""
    kept = np.where((columns < 0) | (columns >= inputs), 0.0, weights)
    kept /= kept.sum(axis=1, keepdims=True)
    return kept


def _clamped(columns: Array, weights: FloatArray, inputs: int) -> Taps:
    return Taps(np.clip(columns, 0, inputs - 1).astype(np.int64), weights, inputs)
