"""AffineGrid: where an affine map of the unit square or cube takes the pixels of an image."""

from __future__ import annotations

import numpy as np

from lieref._types import Array, FloatArray, Shape
from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.axes import check_size, integers
from lieref.op.spec import Extents, TensorSpec, differ, need_float, specs, text

NAME = "AffineGrid"


def affine_grid(theta: FloatArray, size: Array, *, align_corners: int = 0) -> FloatArray:
    """Return the points (N, *positions, k) that k-dimensional images are read at: theta (p, 1) at each pixel p.

    Parameters
    ----------
    theta
        Affine maps (N, k, k + 1), k two or three; coordinates are x, y(, z), the last image axis first.
    size
        Extents (N, C, *positions) of the image to be made.
    align_corners
        1: -1 and 1 are the middles of the first and the last pixel; 0: their outer edges.
    """
    affine_grid_shape(*specs(theta, size), align_corners=align_corners)
    points = _points(integers(NAME, "size", size)[2:], align_corners, theta)
    grid: FloatArray = np.einsum("nij,...j->n...i", theta, points)
    return grid


# grid[n, p] = theta[n] (p, 1) is linear in theta: theta_bar[n] = sum_p grid_bar[n, p] (p, 1)^T.
def affine_grid_vjp(
    theta: FloatArray, size: Array, *, y: FloatArray, y_bar: FloatArray, align_corners: int = 0
) -> tuple[FloatArray, None]:
    """Return (theta_bar, None)."""
    k = theta.shape[1]
    points = _points(integers(NAME, "size", size)[2:], align_corners, theta).reshape(-1, k + 1)
    return np.einsum("npi,pj->nij", y_bar.reshape(len(theta), -1, k), points), None


def affine_grid_shape(theta: TensorSpec, size: TensorSpec, *, align_corners: int = 0) -> TensorSpec:
    """Return (N, *positions, k)."""
    need_float(NAME, theta)
    if size.dtype.kind not in "iu":
        raise DTypeError(f"{NAME}: `size` must be integers; got {size.dtype}")
    if size.ndim != 1 or size.shape[0] not in (None, 4, 5):
        raise ShapeError(f"{NAME}: `size` must have 4 or 5 numbers; got shape {text(size.shape)}")
    if theta.ndim != 3:
        raise ShapeError(f"{NAME}: `theta` must be (N, k, k + 1); got {text(theta.shape)}")
    k = theta.shape[1]
    if k is None and theta.shape[2] is not None:
        k = theta.shape[2] - 1
    if k is None and size.shape[0] is not None:
        k = size.shape[0] - 2
    if k is None:
        raise ShapeError(f"{NAME}: the number of dimensions must be known; got {text(theta.shape)}")
    wanted: Extents = (None,) * (k + 2) if size.value is None else integers(NAME, "size", size.value)
    if k not in (2, 3) or len(wanted) != k + 2 or differ(theta.shape[1], k) or differ(theta.shape[2], k + 1):
        raise ShapeError(
            f"{NAME}: `theta` (N, k, k + 1) and `size` must be of two or three dimensions; "
            f"got {text(theta.shape)} and {len(wanted)} numbers"
        )
    if any(extent is not None and extent < 1 for extent in wanted):
        raise DomainError(f"{NAME}: `size` must be at least 1; got {wanted}")
    if differ(theta.shape[0], wanted[0]):
        raise ShapeError(f"{NAME}: `size` must be of {theta.shape[0]} images; got {wanted[0]}")
    shape = (wanted[0] if theta.shape[0] is None else theta.shape[0], *wanted[2:], k)
    check_size(NAME, shape)
    return TensorSpec(shape, theta.dtype)


def _points(positions: Shape, align_corners: int, like: FloatArray) -> FloatArray:
    """Return (x, y(, z), 1) of every pixel, (*positions, k + 1)."""
    lines = []
    for n in positions:
        step = np.arange(n)
        if align_corners:
            lines.append(2.0 * step / (n - 1) - 1.0 if n > 1 else np.zeros(1))
        else:
            lines.append((2.0 * step + 1.0) / n - 1.0)
    mesh = np.meshgrid(*lines, indexing="ij")
    return np.stack([*mesh[::-1], np.ones(positions)], axis=-1).astype(like.dtype)
