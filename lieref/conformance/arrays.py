"""Arrays on disk: C99 hexadecimal floats or integers for small ones, stored .npy members of an .npz for the others."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import FormatError

INLINE_LIMIT: Final = 64
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_ALIGNMENT: Final = 8
_PADDING_FIELD: Final = 0xD935


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as an uncompressed .npz: little-endian, row-major, the same bytes every time.

    Members start at multiples of 8 bytes, so that a C program can map the file and use the data in place.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", _DATE)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            start = archive.fp.tell() + 30 + len(info.filename) + 4  # type: ignore[union-attr]
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            archive.writestr(info, _npy(array))


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def compact(bound: FloatArray) -> FloatArray:
    """Return an error bound as float32, rounded up to 8 significant bits: short in text, and at most 0.8 % larger.

    Unchanged where float32 cannot hold its entries.
    """
    with np.errstate(over="ignore", under="ignore"):
        mantissa, exponent = np.frexp(bound)
        up = np.ldexp(np.ceil(mantissa * 256.0) / 256.0, exponent).astype(np.float32)
    small = (bound > 0) & (bound < 2.0**-126)
    return bound if small.any() or not np.isfinite(up).all() else up


def hexadecimal(value: float) -> str:
    """Return a float as a C99 hexadecimal literal without trailing zeros."""
    head, _, exponent = float(value).hex().partition("p")
    return f"{head.rstrip('0').rstrip('.') if '.' in head else head}p{exponent}"


def encode(array: Array, reference: str, members: dict[str, Array], archive: str) -> Any:
    """Return an array as JSON: inline if it is small, else a reference to a member it is added to."""
    if array.dtype.kind in "iu":
        if array.size <= INLINE_LIMIT:
            return {"shape": list(array.shape), "dtype": array.dtype.name, "int": array.reshape(-1).tolist()}
        members[reference] = array
        return f"{archive}#{reference}"
    repeated = array.size > 1 and bool((array == array.flat[0]).all()) and not np.signbit(array).any()
    if repeated or array.size <= INLINE_LIMIT:
        numbers = array.flat[:1] if repeated else array.flat
        return {"shape": list(array.shape), "dtype": array.dtype.name, "hex": [hexadecimal(v) for v in numbers]}
    members[reference] = array
    return f"{archive}#{reference}"


def decode(value: Any, members: Mapping[str, Array]) -> Array:
    """Return the array that `encode` wrote.

    Raises
    ------
    FormatError
        If the reference or the inline form is not valid.
    """
    try:
        if isinstance(value, str):
            return members[value.partition("#")[2]]
        if "int" in value:
            return np.array(value["int"], dtype=np.dtype(value["dtype"])).reshape(value["shape"])
        numbers = [float.fromhex(text) for text in value["hex"]]
        array, shape = np.array(numbers, dtype=np.dtype(value["dtype"])), tuple(value["shape"])
        return np.full(shape, array[0]) if array.size == 1 else array.reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"decode: an array must be inline or in the archive; got {str(value)[:60]!r}") from error
