"""Images of another size: the nearest pixel, or a bilinear mean in fixed point of 10 bits.

Output pixel i of an axis lies at input position p(i), in 1/1024 pixels for the bilinear mean:

    p(i) = i s                  corners or edges aligned
    p(i) = i s + s // 2 - 512   half-pixel centres

with s = floor((1024 n_in + n_out // 2) / n_out), and n - 1 for both n where corners are aligned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lieref._types import Array
from lieref.op.integer.multiplier import away_shift, half_up_shift, round_away


def _nearest(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """Return the input index of each output index; positions are float32."""
    aligned = align_corners and n_out > 1
    scale = np.float32(n_in - 1) / np.float32(n_out - 1) if aligned else np.float32(n_in) / np.float32(n_out)
    place = (np.arange(n_out, dtype=np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    index = round_away(place) if align_corners else np.floor(place)
    return np.clip(index.astype(np.int64), 0, n_in - 1)


def resize_nearest(x: Array, size: tuple[int, int], align_corners: bool, half_pixel_centers: bool) -> Array:
    """Return images (N, H, W, C) with `size` rows and columns, in the type of x."""
    rows = _nearest(x.shape[1], size[0], align_corners, half_pixel_centers)
    cols = _nearest(x.shape[2], size[1], align_corners, half_pixel_centers)
    return x[:, rows][:, :, cols]


def _between(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, Array, Array]:
    """Return lower index, upper index and the upper one's weight in 1/1024, for each output index.

    s is rounded, so p(i) may pass the last pixel, by up to n_out / 2048 of one: there both are the last pixel.
    """
    place = _in_fixed_point(n_in, n_out, align_corners, half_pixel_centers)
    low = np.minimum(np.maximum(place, 0) >> 10, n_in - 1)
    high = np.minimum((place + 1023) >> 10, n_in - 1)
    return low, np.maximum(high, 0), place - (low << 10)


def _in_fixed_point(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    a, b = (n_in - 1, n_out - 1) if align_corners and n_out > 1 else (n_in, n_out)
    scale = ((a << 10) + b // 2) // b
    return np.arange(n_out, dtype=np.int64) * scale + (scale // 2 - 512 if half_pixel_centers else 0)


def passes_the_edge(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> bool:
    """Return whether p(i) reaches a pixel that is not there: kernels of TFLite read whatever lies behind the row."""
    return bool((_in_fixed_point(n_in, n_out, align_corners, half_pixel_centers) >> 10 >= n_in).any())


def resize_bilinear_float(
    x: Array, size: tuple[int, int], align_corners: bool, half_pixel_centers: bool, weights_first: bool
) -> Array:
    """Return images in float32 throughout, as TFLite resizes uint8 ones.

    With v, u the distances from the upper and the left pixel: the reference kernel multiplies each pixel by its two
    weights in turn and adds upper left, lower left, upper right, lower right; the optimised one multiplies the weights
    first and adds row by row. Both add 1/2, which rounds too: the number next below 1/2 becomes 1.
    """
    y0, y1, v = _places(x.shape[1], size[0], align_corners, half_pixel_centers)
    x0, x1, u = _places(x.shape[2], size[1], align_corners, half_pixel_centers)
    v, u, one = v[:, None, None], u[:, None], np.float32(1)
    wide = x.astype(np.float32)
    top, bottom = wide[:, y0], wide[:, y1]
    if weights_first:
        total = top[:, :, x0] * ((one - v) * (one - u)) + top[:, :, x1] * ((one - v) * u)
        total = total + bottom[:, :, x0] * (v * (one - u)) + bottom[:, :, x1] * (v * u)
    else:
        total = top[:, :, x0] * (one - v) * (one - u) + bottom[:, :, x0] * v * (one - u)
        total = total + top[:, :, x1] * (one - v) * u + bottom[:, :, x1] * v * u
    return np.asarray(np.floor(total + np.float32(0.5)).astype(np.int64))


def _places(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, Array, Array]:
    """Return lower index, upper index and the distance from the lower one, in float32."""
    i, half = np.arange(n_out, dtype=np.float32), np.float32(0.5)
    a, b = (n_in - 1, n_out - 1) if align_corners and n_out > 1 else (n_in, n_out)
    scale = np.float32(a) / np.float32(b)
    place = (i + half) * scale - half if half_pixel_centers else i * scale
    low = np.maximum(np.floor(place).astype(np.int64), 0)
    high = np.minimum(np.ceil(place).astype(np.int64), n_in - 1)
    return low, np.maximum(high, 0), place - low.astype(np.float32)


def _between_float(n_in: int, n_out: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, Array, Array]:
    """Return the same in XNNPACK's way: positions in float32, weights in 1/2048."""
    i, half = np.arange(n_out, dtype=np.float32), np.float32(0.5)
    a, b = (n_in - 1, n_out - 1) if align_corners and n_out > 1 else (n_in, n_out)
    scale = np.float32(a) / np.float32(b)
    place = np.clip(i * scale + (half * scale - half), 0, n_in - 1) if half_pixel_centers else i * scale
    low = np.minimum(np.floor(place).astype(np.int64), n_in - 1)
    return low, np.minimum(low + 1, n_in - 1), np.rint((place - low.astype(np.float32)) * 2048).astype(np.int64)


def resize_bilinear_eleven(x: Array, size: tuple[int, int], align_corners: bool, half_pixel_centers: bool) -> Array:
    """Return images as XNNPACK resizes them: weights of 11 bits, positions in float32, halves up."""
    y0, y1, v = _between_float(x.shape[1], size[0], align_corners, half_pixel_centers)
    x0, x1, u = _between_float(x.shape[2], size[1], align_corners, half_pixel_centers)
    wide, u, v = x.astype(np.int64), u[:, None], v[:, None, None]
    rows = wide[:, y0] * (2048 - v) + wide[:, y1] * v
    return half_up_shift(rows[:, :, x0] * (2048 - u) + rows[:, :, x1] * u, 22)


def resize_bilinear(x: Array, size: tuple[int, int], align_corners: bool, half_pixel_centers: bool) -> Array:
    """Return images (N, H, W, C) with `size` rows and columns, halves rounded away from zero.

    Returns
    -------
    int64 array
        Before a clamp. Left of the first pixel's centre the weights are extrapolating ones, as in the kernels, but of
        one pixel with itself.
    """
    y0, y1, v = _between(x.shape[1], size[0], align_corners, half_pixel_centers)
    x0, x1, u = _between(x.shape[2], size[1], align_corners, half_pixel_centers)
    wide = x.astype(np.int64)
    v = v[:, None, None]
    rows = wide[:, y0] * (1024 - v) + wide[:, y1] * v
    u = u[:, None]
    total = rows[:, :, x0] * (1024 - u) + rows[:, :, x1] * u
    return away_shift(total, 20)


def onnx_places(n_in: int, n_out: int, factor: float, way: str) -> Array:
    """Return where output pixels lie in the input, float32, in a way of ONNX (`coordinate_transformation_mode`).

    Parameters
    ----------
    factor : float
        Output size over input size as the file or the quotient of sizes gives it, a float32 number.
    way : {"half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"}
    """
    i, f, half = np.arange(n_out, dtype=np.float32), np.float32(factor), np.float32(0.5)
    if f == 1:
        return i
    if way == "asymmetric":
        return i / f
    if way == "align_corners":
        return np.zeros_like(i) if n_out == 1 else i * np.float32(n_in - 1) / np.float32(n_out - 1)
    if way == "pytorch_half_pixel" and n_out == 1:
        return np.zeros_like(i)
    place = (i + half) / f - half
    if way == "half_pixel_symmetric":
        middle = np.float32(n_in) / 2
        place = middle * (1 - np.float32(n_out) / (f * np.float32(n_in))) + place
    return place


_NEAREST: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda p: np.ceil(p - np.float32(0.5)),
    "round_prefer_ceil": lambda p: np.floor(p + np.float32(0.5)),
}


def resize_nearest_at(x: Array, places: tuple[Array, Array], rounding: str) -> Array:
    """Return the pixels of images (N, H, W, C) next to positions, in the type of x.

    Parameters
    ----------
    places : (rows, columns), float32 arrays
        Of `onnx_places`.
    rounding : {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}
        ONNX's `nearest_mode`.
    """
    index = [
        np.clip(_NEAREST[rounding](p).astype(np.int64), 0, n - 1) for p, n in zip(places, x.shape[1:3], strict=True)
    ]
    return x[:, index[0]][:, :, index[1]]


def resize_bilinear_at(x: Array, places: tuple[Array, Array]) -> Array:
    """Return a bilinear mean of float32 images (N, H, W, C) at positions, in float32.

    Weights are distances to the two neighbours, 1/2 each where both are one pixel; upper left, upper right, lower left,
    lower right are added in that order, as ONNX Runtime does.
    """
    y0, y1, far_y, near_y = _neighbours(x.shape[1], places[0])
    x0, x1, far_x, near_x = _neighbours(x.shape[2], places[1])
    far_y, near_y, far_x, near_x = far_y[:, None, None], near_y[:, None, None], far_x[:, None], near_x[:, None]
    top, bottom = x[:, y0], x[:, y1]
    total = far_x * far_y * top[:, :, x0] + near_x * far_y * top[:, :, x1]
    return np.asarray(total + far_x * near_y * bottom[:, :, x0] + near_x * near_y * bottom[:, :, x1])


def _neighbours(size: int, places: Array) -> tuple[Array, Array, Array, Array]:
    """Return both neighbours of each position, the distance from the second, and that from the first."""
    place = np.clip(places, 0, size - 1)
    low = np.minimum(place.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    same = low == high
    far, near = (np.where(same, np.float32(0.5), np.abs(place - n.astype(np.float32))) for n in (high, low))
    return low, high, far, near
