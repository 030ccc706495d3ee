"""DepthToSpace and SpaceToDepth: blocks of pixels for channels and back, a permutation of the entries."""

from __future__ import annotations

from lieref._types import Array
from lieref.errors import ShapeError
from lieref.op.spec import Extents, TensorSpec, specs, text


def depth_to_space(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """Return (N, C, H b, W b) from (N, C b^2, H, W).

    With b = `blocksize`, y[n, c, h b + i, w b + j] = x[n, k, h, w], where k = (i b + j) C + c in mode DCR (depth,
    column, row) and k = (c b + i) b + j in mode CRD.
    """
    depth_to_space_shape(*specs(x), blocksize=blocksize, mode=mode)
    (n, depth, h, w), b = x.shape, blocksize
    c = depth // b**2
    if mode == "DCR":
        y = x.reshape(n, b, b, c, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c, h * b, w * b)


# A permutation is orthogonal: its adjoint is its inverse.
def depth_to_space_vjp(x: Array, *, y: Array, y_bar: Array, blocksize: int, mode: str = "DCR") -> tuple[Array]:
    """Return the entries of y_bar in the places they came from."""
    return (space_to_depth(y_bar, blocksize=blocksize, mode=mode),)


def depth_to_space_shape(x: TensorSpec, *, blocksize: int, mode: str = "DCR") -> TensorSpec:
    """Return (N, C / b^2, H b, W b)."""
    n, c, h, w = _image("DepthToSpace", x, blocksize)
    if c is not None and c % blocksize**2:
        raise ShapeError(f"DepthToSpace: `blocksize` squared must divide the {c} channels; got {blocksize}")
    fewer = None if c is None else c // blocksize**2
    return TensorSpec((n, fewer, *(None if extent is None else extent * blocksize for extent in (h, w))), x.dtype)


def space_to_depth(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """Return (N, C b^2, H, W) from (N, C, H b, W b): the inverse of `depth_to_space` in the same mode."""
    space_to_depth_shape(*specs(x), blocksize=blocksize, mode=mode)
    (n, c, *_), b = x.shape, blocksize
    h, w = x.shape[2] // b, x.shape[3] // b
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, c, h, b, w, b).transpose(order).reshape(n, c * b**2, h, w)


def space_to_depth_vjp(x: Array, *, y: Array, y_bar: Array, blocksize: int, mode: str = "DCR") -> tuple[Array]:
    """Return the entries of y_bar in the places they came from."""
    return (depth_to_space(y_bar, blocksize=blocksize, mode=mode),)


def space_to_depth_shape(x: TensorSpec, *, blocksize: int, mode: str = "DCR") -> TensorSpec:
    """Return (N, C b^2, H / b, W / b)."""
    n, c, *image = _image("SpaceToDepth", x, blocksize)
    if any(extent is not None and extent % blocksize for extent in image):
        raise ShapeError(f"SpaceToDepth: `blocksize` must divide height and width; got {blocksize}, {text(x.shape)}")
    more = None if c is None else c * blocksize**2
    return TensorSpec((n, more, *(None if extent is None else extent // blocksize for extent in image)), x.dtype)


def _image(function: str, x: TensorSpec, blocksize: int) -> Extents:
    if x.ndim != 4:
        raise ShapeError(f"{function}: `input` must have shape (N, C, H, W); got {text(x.shape)}")
    if blocksize < 1:
        raise ShapeError(f"{function}: `blocksize` must be at least 1; got {blocksize}")
    return x.shape
