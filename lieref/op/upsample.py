"""Upsample, which Resize took the place of: interpolation at positions that are divided by the scales."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError, UnsupportedError
from lieref.op.axes import either
from lieref.op.resize import resize, resize_shape, resize_vjp
from lieref.op.spec import TensorSpec, specs, text

NAME = "Upsample"


def upsample(x: Array, scales_input: Array | None = None, *, mode: str = "nearest", scales: Any = None) -> Array:
    """Return x with each axis longer by a factor, the extent being the floor of the product in float32.

    Parameters
    ----------
    x
        Any shape; float unless `mode` is nearest.
    scales_input, scales
        A factor for every axis: an attribute below opset 9, an input from then on. At least 1; with linear positive,
        as the Resize of opset 10, which is the same, may have it.
    mode
        nearest: the entry at or before i / scale; linear: the line through both beside it. Older files call it
        bilinear.
    """
    upsample_shape(*specs(x, scales_input), mode=mode, scales=scales)
    return resize(x, None, _scales(scales_input, scales), **as_resize(mode))


# Upsample is a Resize, and so is its derivative one.
def upsample_vjp(
    x: Array, scales_input: Array | None = None, *, y: Array, y_bar: Array, mode: str = "nearest", scales: Any = None
) -> tuple[Array, None]:
    """Return (x_bar, None)."""
    return resize_vjp(x, None, _scales(scales_input, scales), y=y, y_bar=y_bar, **as_resize(mode))[0], None


def upsample_shape(
    x: TensorSpec, scales_input: TensorSpec | None = None, *, mode: str = "nearest", scales: Any = None
) -> TensorSpec:
    """Return the extents that the scales ask for."""
    attribute = None if scales is None else TensorSpec.of(np.asarray(scales, np.float32))
    given = either(NAME, "scales", scales_input, attribute)
    if given is None:
        raise ShapeError(f"{NAME}: `scales` must be given; got none")
    if given.ndim != 1 or given.shape[0] not in (None, x.ndim):
        raise ShapeError(f"{NAME}: `scales` must have {x.ndim} numbers, one an axis; got {text(given.shape)}")
    if mode == "nearest" and given.value is not None and (np.asarray(given.value) < 1).any():
        # ONNX's text leaves open which entry is meant; runtimes take the one behind i / scale.
        got = np.asarray(given.value).tolist()
        raise UnsupportedError(f"{NAME}: `scales` must be at least 1 with mode nearest; got {got}")
    return resize_shape(x, None, given, **as_resize(mode))


def as_resize(mode: str) -> dict[str, Any]:
    """Return the attributes of the Resize that does the same."""
    mode = "linear" if mode == "bilinear" else mode
    return {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def _scales(scales_input: Array | None, scales: Any) -> Array:
    return np.asarray(either(NAME, "scales", scales_input, scales), np.float32)
