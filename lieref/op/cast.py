"""Cast, CastLike and Shape: facts about an array, and another dtype for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError

DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}
"""NumPy's type for ONNX's TensorProto.DataType."""


def check_type(function: str, dtype: np.dtype[Any]) -> None:
    """Raise `UnsupportedError` unless lieref has arrays of a type."""
    if dtype.newbyteorder("=") not in (np.dtype(known) for known in DTYPES.values()):
        raise UnsupportedError(f"{function}: arrays must be of a type lieref has; got {dtype}")


def cast(x: Array, *, to: int, round_mode: str = "up", saturate: int = 1) -> Array:
    """Return x converted to the type with ONNX's number `to`; a float too large for its new type is infinite.

    `round_mode` and `saturate` concern 8-bit floats only.
    """
    if to not in DTYPES:
        raise UnsupportedError(f"Cast: `to` must be one of {', '.join(map(str, DTYPES))}; got {to}")
    with np.errstate(over="ignore"):
        result: Array = x.astype(DTYPES[to])
    return result


def cast_vjp(
    x: Array, *, y: Array, y_bar: Array, to: int, round_mode: str = "up", saturate: int = 1
) -> tuple[Array | None]:
    """Return (y_bar in the dtype of x,), None where either side is not a float."""
    if x.dtype.kind != "f" or y.dtype.kind != "f":
        return (None,)
    return (y_bar.astype(x.dtype),)


def cast_like(x: Array, like: Array, *, round_mode: str = "up", saturate: int = 1) -> Array:
    """Return x converted to the type of `like`; `round_mode` and `saturate` concern 8-bit floats only."""
    check_type("CastLike", like.dtype)
    with np.errstate(over="ignore"):
        result: Array = x.astype(like.dtype.newbyteorder("="))
    return result


def cast_like_vjp(
    x: Array, like: Array, *, y: Array, y_bar: Array, round_mode: str = "up", saturate: int = 1
) -> tuple[Array | None, None]:
    """Return (y_bar in the dtype of x, None), None for both where either side is not a float."""
    return (None if x.dtype.kind != "f" or y.dtype.kind != "f" else y_bar.astype(x.dtype)), None


def shape_of(x: Array, *, start: int = 0, end: int | None = None) -> Array:
    """Return the extents of axes `start` to `end` as int64; limits count from the end where negative."""
    return np.array(x.shape[start:end], np.int64)


def shape_of_vjp(x: Array, *, y: Array, y_bar: Array, start: int = 0, end: int | None = None) -> tuple[None]:
    """Return (None,): a shape has no derivative."""
    return (None,)
