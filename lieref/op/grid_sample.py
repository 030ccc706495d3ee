"""GridSample: images read at points that another tensor says, between the pixels and beyond the edge."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from lieref._types import Array, FloatArray, Shape
from lieref.errors import ShapeError
from lieref.op.axes import check_size
from lieref.op.spec import TensorSpec, check_dtypes, differ, need_float, specs, text

NAME = "GridSample"
MODES = ("linear", "bilinear", "nearest", "cubic", "bicubic")
PADDINGS = ("zeros", "border", "reflection")

CUBIC_A = -0.75
"""Keys' a, of which the operator has no other."""


class _Taps(NamedTuple):
    """The pixels of one axis that each point reads.

    Attributes
    ----------
    places : (N, P, T) int64
        Inside the image.
    weights : (N, P, T) array
        0 where zeros stand outside.
    slopes : (N, P, T) array
        Derivatives of the weights by the coordinate of the grid.
    """

    places: Array
    weights: FloatArray
    slopes: FloatArray


def grid_sample(
    x: FloatArray, grid: FloatArray, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> FloatArray:
    """Return y[n, c, q] = sum_i prod_a w(p_a - i_a) x[n, c, i]: x interpolated at the points of a grid.

    Parameters
    ----------
    x
        Images (N, C, *positions).
    grid
        Points (N, *outputs, k), one coordinate an image axis, the last axis first; -1 and 1 are its ends.
    align_corners
        1: the ends are the middles of the first and the last pixel; 0: their outer edges.
    mode
        linear, nearest (of two as near the even one) or cubic; older opsets say bilinear and bicubic.
    padding_mode
        What pixels outside are: zeros, those at the border, or those of the image mirrored about its ends. At the
        border a point beyond an end is moved to the nearest pixel, as in ONNX; PyTorch differs there in mode cubic.
    """
    y_shape = grid_sample_shape(
        *specs(x, grid), align_corners=align_corners, mode=mode, padding_mode=padding_mode
    ).shape
    pixels, y = x.reshape(*x.shape[:2], -1), np.zeros((*x.shape[:2], _points(grid)), x.dtype)
    taps = _taps(x.shape[2:], grid, align_corners, mode, padding_mode)
    for chosen in _choices(taps):
        place, weight, _ = _read(taps, chosen, x.shape[2:])
        y += weight[:, None] * np.take_along_axis(pixels, place[:, None], 2)
    return y.reshape([extent or 0 for extent in y_shape])


# y is linear in x: x_bar[n, c, i] = sum_q prod_a w_a y_bar[n, c, q].  By the point, dw_a = w_a' dp_a, so
#     p_bar_a[n, q] = sum_i w_a' prod_(b != a) w_b sum_c x[n, c, i] y_bar[n, c, q],
# and points that are moved to the border have no slope.  Nearest is constant between its jumps.
def grid_sample_vjp(
    x: FloatArray, grid: FloatArray, *, y: FloatArray, y_bar: FloatArray,
    align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros",
) -> tuple[FloatArray, FloatArray]:  # fmt: skip
    """Return (x_bar, grid_bar)."""
    (n, c), points = x.shape[:2], _points(grid)
    pixels, bars = x.reshape(n, c, -1), y_bar.reshape(n, c, points)
    x_bar = np.zeros((n, pixels.shape[2], c), x.dtype)
    p_bar = np.zeros((n, points, len(x.shape) - 2), grid.dtype)
    taps = _taps(x.shape[2:], grid, align_corners, mode, padding_mode)
    samples = np.arange(n)[:, None]
    for chosen in _choices(taps):
        place, weight, slopes = _read(taps, chosen, x.shape[2:])
        np.add.at(x_bar, (samples, place), (weight[:, None] * bars).swapaxes(1, 2))
        product = (np.take_along_axis(pixels, place[:, None], 2) * bars).sum(axis=1)
        for axis, slope in enumerate(slopes):
            p_bar[:, :, axis] += slope * product
    return x_bar.swapaxes(1, 2).reshape(x.shape), p_bar[:, :, ::-1].reshape(grid.shape)


def grid_sample_shape(
    x: TensorSpec, grid: TensorSpec, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> TensorSpec:
    """Return (N, C, *outputs)."""
    need_float(NAME, x)
    check_dtypes(NAME, x, grid)
    if x.ndim < 3 or grid.ndim != x.ndim or differ(grid.shape[-1], x.ndim - 2) or differ(x.shape[0], grid.shape[0]):
        raise ShapeError(
            f"{NAME}: images (N, C, *positions) must have points (N, *outputs, {max(x.ndim - 2, 1)}); "
            f"got {text(x.shape)} and {text(grid.shape)}"
        )
    if 0 in x.shape[2:]:
        raise ShapeError(f"{NAME}: images must not be empty; got {text(x.shape)}")
    n = grid.shape[0] if x.shape[0] is None else x.shape[0]
    shape = (n, x.shape[1], *grid.shape[1:-1])
    check_size(NAME, shape)
    return TensorSpec(shape, x.dtype)


def _points(grid: FloatArray) -> int:
    return int(np.prod(grid.shape[1:-1]))


def _taps(extents: Shape, grid: FloatArray, align_corners: int, mode: str, padding: str) -> list[_Taps]:
    """Return what each axis of the images reads, the first axis first."""
    points = grid.reshape(len(grid), -1, len(extents))
    found = []
    for axis, extent in enumerate(extents):
        coordinate = points[:, :, len(extents) - 1 - axis]
        # -1 to 1 are 0 to extent - 1, or -1/2 to extent - 1/2
        span = extent - 1 if align_corners else extent
        where = ((coordinate + 1) * span - (0 if align_corners else 1)) / 2
        period, still = 2 * span, np.zeros(where.shape, bool)
        if padding == "reflection":
            where = where - period * np.floor(where / period) if period else np.zeros_like(where)
        elif padding == "border":
            edge = 0 if align_corners else 0.5
            still = (where < -edge) | (where > extent - 1 + edge)
            where = np.where(still, np.clip(where, 0, extent - 1), where)
        else:
            where = np.clip(where, -3, extent + 2)  # beyond, all is zero
        first, weights, slopes = _weights(where, mode)
        tap = first[..., None].astype(np.int64) + np.arange(weights.shape[-1])
        inside = (tap >= 0) & (tap < extent)
        if padding == "reflection":
            tap = tap % period if period else np.zeros_like(tap)
            tap = np.where(tap < extent, tap, period - tap - (0 if align_corners else 1))
        kept = inside if padding == "zeros" else np.ones_like(inside)
        slope = np.where(still[..., None], 0, slopes) * (span / 2)
        zero = np.zeros((), grid.dtype)
        found.append(_Taps(np.clip(tap, 0, extent - 1), np.where(kept, weights, zero), np.where(kept, slope, zero)))
    return found


def _weights(where: FloatArray, mode: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the first tap of each point, the weights of its taps, and their derivatives by the position."""
    if mode == "nearest":
        nearest = np.rint(where)
        return nearest, np.ones((*where.shape, 1), where.dtype), np.zeros((*where.shape, 1), where.dtype)
    low = np.floor(where)
    f = where - low
    if mode in ("linear", "bilinear"):
        one = np.ones_like(f)
        return low, np.stack([1 - f, f], axis=-1), np.stack([-one, one], axis=-1)
    near, far = [(f, 1.0), (1 - f, -1.0)], [(1 + f, 1.0), (2 - f, -1.0)]
    a = CUBIC_A
    # [Keys81]: (a + 2) t^3 - (a + 3) t^2 + 1 up to a distance t of one, a (t^3 - 5 t^2 + 8 t - 4) up to two.
    inner = [(((a + 2) * t - (a + 3)) * t * t + 1, sign * (3 * (a + 2) * t - 2 * (a + 3)) * t) for t, sign in near]
    outer = [(a * (((t - 5) * t + 8) * t - 4), sign * a * ((3 * t - 10) * t + 8)) for t, sign in far]
    order = (outer[0], inner[0], inner[1], outer[1])
    return low - 1, np.stack([w for w, _ in order], axis=-1), np.stack([s for _, s in order], axis=-1)


def _choices(taps: list[_Taps]) -> itertools.product[tuple[int, ...]]:
    """Return every choice of one tap an axis."""
    return itertools.product(*(range(each.weights.shape[-1]) for each in taps))


def _read(taps: list[_Taps], chosen: tuple[int, ...], extents: Shape) -> tuple[Array, FloatArray, list[FloatArray]]:
    """Return of one tap an axis: the flat place (N, P), the product of the weights, and its derivative by each axis."""
    places = [each.places[..., tap] for each, tap in zip(taps, chosen, strict=True)]
    weights = [each.weights[..., tap] for each, tap in zip(taps, chosen, strict=True)]
    place = np.ravel_multi_index(tuple(places), extents)
    slopes = []
    for axis, (each, tap) in enumerate(zip(taps, chosen, strict=True)):
        slope = each.slopes[..., tap]
        for other, weight in enumerate(weights):
            slope = slope if other == axis else slope * weight
        slopes.append(slope)
    whole = weights[0]
    for weight in weights[1:]:
        whole = whole * weight
    return place, whole, slopes
