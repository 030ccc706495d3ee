"""Resize: interpolation along some axes, one after the other."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lieref._types import Array, Shape
from lieref.errors import DomainError, ShapeError
from lieref.op.axes import check_size, integers, one_axis
from lieref.op.interpolation import Taps, antialiased, cubic, linear, nearest, positions
from lieref.op.spec import Extents, TensorSpec, need_float, specs, text

NAME = "Resize"


class Target(NamedTuple):
    """What becomes of an axis: its new extent, None where it is not known, and the factor that positions have."""

    extent: int | None
    scale: float


def resize(
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Array:
    """Return x with other extents: y = (M_1 x ... x M_k) x with one interpolation matrix for each axis.

    Parameters
    ----------
    x
        Any shape; float unless `mode` is nearest.
    roi
        Starts, then ends, of the region that is read in tf_crop_and_resize, each axis being 0 to 1.
    scales, sizes
        For each of `axes`: a positive factor, the extent being the floor of the product in float32, or the extent. One
        of the two; an empty array is none.
    antialias
        1: a filter that widens where the image shrinks; nearest has none.
    axes
        Which axes; all by default.
    coordinate_transformation_mode, nearest_mode, cubic_coeff_a, exclude_outside
        See `lieref.op.interpolation`.
    extrapolation_value
        What stands where tf_crop_and_resize reads outside the image.
    keep_aspect_ratio_policy
        not_larger, not_smaller: the extents of the axes follow from one factor, the largest or smallest that keeps
        them within `sizes`, by rounding to the nearest, halves up.
    mode
        nearest, linear or cubic.
    """
    resize_shape(
        *specs(x, roi, scales, sizes), antialias=antialias, axes=axes, mode=mode,
        coordinate_transformation_mode=coordinate_transformation_mode,
        keep_aspect_ratio_policy=keep_aspect_ratio_policy,
    )  # fmt: skip
    rows = matrices(
        x.shape, roi, scales, sizes, axes, coordinate_transformation_mode, cubic_coeff_a, exclude_outside,
        keep_aspect_ratio_policy, mode, nearest_mode, antialias,
    )  # fmt: skip
    y = x
    for axis, (taps, _) in rows.items():
        y = taps.apply(y, axis)
    beyond = _beyond(y.ndim, rows)
    if beyond is not None:
        y = np.where(beyond, np.asarray(extrapolation_value, x.dtype), y)
    return y.copy() if y is x else y


# y = (M_1 x ... x M_k) x along k axes, so x_bar = (M_1^T x ... x M_k^T) y_bar; a pixel put in from outside has no x.
def resize_vjp(
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    y: Array,
    y_bar: Array,
    antialias: int = 0,
    axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> tuple[Array, None, None, None]:
    """Return (x_bar, None, None, None)."""
    rows = matrices(
        x.shape, roi, scales, sizes, axes, coordinate_transformation_mode, cubic_coeff_a, exclude_outside,
        keep_aspect_ratio_policy, mode, nearest_mode, antialias,
    )  # fmt: skip
    beyond = _beyond(y.ndim, rows)
    x_bar = y_bar if beyond is None else np.where(beyond, np.zeros((), y_bar.dtype), y_bar)
    for axis, (taps, _) in reversed(rows.items()):
        x_bar = taps.transposed().apply(x_bar, axis)
    return x_bar.copy() if x_bar is y_bar else x_bar, None, None, None


def resize_shape(
    x: TensorSpec, roi: TensorSpec | None = None, scales: TensorSpec | None = None, sizes: TensorSpec | None = None,
    *, antialias: int = 0, axes: Any = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> TensorSpec:  # fmt: skip
    """Return the extents that scales or sizes ask for."""
    if mode != "nearest":
        need_float(NAME, x)
    places = _places(axes, x.ndim)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None or roi.ndim != 1 or roi.shape[0] not in (None, 2 * len(places)):
            got = "none" if roi is None else f"shape {text(roi.shape)}"
            raise ShapeError(f"{NAME}: `roi` must have {2 * len(places)} numbers; got {got}")
    given = [(name, spec) for name, spec in (("scales", scales), ("sizes", sizes)) if spec is not None]
    given = [(name, spec) for name, spec in given if 0 not in spec.shape]
    if len(given) != 1:
        raise ShapeError(f"{NAME}: one of `scales` and `sizes` must be given; got {len(given)}")
    name, spec = given[0]
    if spec.ndim != 1 or spec.shape[0] not in (None, len(places)):
        raise ShapeError(f"{NAME}: `{name}` must have {len(places)} numbers, one an axis; got {text(spec.shape)}")
    if spec.value is None:
        return TensorSpec(tuple(None if axis in places else n for axis, n in enumerate(x.shape)), x.dtype)
    shape = list(x.shape)
    found = _targets(x.shape, places, keep_aspect_ratio_policy, **{name: spec.value})
    for axis, target in found.items():
        shape[axis] = target.extent
        if x.shape[axis] == 0:
            raise ShapeError(f"{NAME}: axis {axis} must not be empty; got shape {text(x.shape)}")
    check_size(NAME, shape)
    return TensorSpec(tuple(shape), x.dtype)


def _places(axes: Any, ndim: int) -> Shape:
    places = tuple(range(ndim)) if axes is None else integers(NAME, "axes", axes)
    found = tuple(one_axis(NAME, axis, ndim) for axis in places)
    if len(set(found)) != len(found):
        raise DomainError(f"{NAME}: `axes` must be all different; got {found}")
    return found


def _targets(
    shape: Extents, places: Shape, policy: str, scales: Array | None = None, sizes: Array | None = None
) -> dict[int, Target]:
    """Return what becomes of each axis."""
    if scales is not None and scales.size:
        factors = np.asarray(scales, np.float32)
        if not (np.isfinite(factors) & (factors > 0)).all():
            raise DomainError(f"{NAME}: `scales` must be positive; got {factors.tolist()}")
        return {
            axis: Target(None if shape[axis] is None else _floor(shape[axis], factor), float(factor))
            for axis, factor in zip(places, factors, strict=True)
        }
    wanted = integers(NAME, "sizes", sizes)
    if min(wanted, default=1) < 1:
        raise DomainError(f"{NAME}: `sizes` must be at least 1; got {wanted}")
    extents = [shape[axis] for axis in places]
    ratios = [size / extent if extent else 1.0 for size, extent in zip(wanted, extents, strict=True)]
    if policy == "stretch":
        return {axis: Target(size, ratio) for axis, size, ratio in zip(places, wanted, ratios, strict=True)}
    ratio = (min if policy == "not_larger" else max)(ratios)
    known = None not in extents
    return {
        axis: Target(math.floor(ratio * (extent or 0) + 0.5) if known else None, ratio)
        for axis, extent in zip(places, extents, strict=True)
    }


def _floor(extent: int | None, factor: Any) -> int:
    # In float32, as exporters compute the factor: 3 times the float next to 5 / 3 is 5.
    return int(np.floor(np.float32(extent) * factor))


def matrices(
    shape: Shape, roi: Array | None, scales: Array | None, sizes: Array | None, axes: Any, transformation: str,
    a: float, exclude_outside: int, policy: str, mode: str, rounding: str, antialias: int,
) -> dict[int, tuple[Taps, Array | None]]:  # fmt: skip
    """Return the matrix of each axis that changes, and which of its outputs lie outside the image, None where none can.

    Parameters are those of `resize`, for an x of this shape.
    """
    places = _places(axes, len(shape))
    targets = _targets(shape, places, policy, scales, sizes)
    crop = transformation == "tf_crop_and_resize"
    found: dict[int, tuple[Taps, Array | None]] = {}
    for number, axis in enumerate(places):
        extent, outputs, scale = shape[axis], targets[axis].extent, targets[axis].scale
        if not crop and outputs == extent and scale == 1:
            continue
        region = (float(roi[number]), float(roi[number + len(places)])) if crop and roi is not None else (0.0, 1.0)
        where = positions(transformation, extent, outputs or 0, scale, *region)
        if mode == "nearest":
            taps = nearest(where, extent, rounding)
        elif antialias:
            taps = antialiased(where, extent, scale, mode, a, bool(exclude_outside))
        else:
            taps = linear(where, extent) if mode == "linear" else cubic(where, extent, a, bool(exclude_outside))
        found[axis] = taps, (where < 0) | (where > extent - 1) if crop else None
    return found


def _beyond(ndim: int, rows: dict[int, tuple[Taps, Array | None]]) -> Array | None:
    """Return which pixels lie outside the image along any axis, None where nothing can."""
    result: Array | None = None
    for axis, (_, outside) in rows.items():
        if outside is not None and outside.any():
            along = outside.reshape([-1 if i == axis else 1 for i in range(ndim)])
            result = along if result is None else result | along
    return result
