"""NumPy archives read without trust: no pickles, no lying headers, a cap on the size, and a checksum on every byte."""

from __future__ import annotations

import ast
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError

MAX_BYTES = 2**33
"""Default cap on the arrays of one archive, 8 GiB: more than a small device's training set, less than most memories."""

_MAGIC = b"\x93NUMPY"
# Number of bytes that hold the header's length, by format version.
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_MAX_HEADER = 65536


def read_npz(path: str | Path, names: tuple[str, ...] | None = None, *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Return arrays of an ``.npz`` file by name.

    Parameters
    ----------
    path : str or Path
    names : tuple of str, optional
        The arrays wanted; all by default.
    max_bytes : int
        Cap on their total size in memory.

    Returns
    -------
    dict of str to array
        Numbers or booleans, native byte order, read-only.

    Raises
    ------
    FormatError
        If the file is missing, truncated, damaged, not an archive, too large, lacks a name, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if names is None:
                names = tuple(members)
            missing = [name for name in names if name not in members]
            if missing:
                held = ", ".join(members) or "nothing"
                raise FormatError(f"read_npz: {path} must hold the array {missing[0]!r}; it holds {held}")
            total = sum(members[name].file_size for name in names)
            if total > max_bytes:
                raise FormatError(f"read_npz: {path} must hold at most {max_bytes} bytes of arrays; got {total}")
            return {name: _parse_npy(archive.read(members[name]), f"{path}, array {name!r}") for name in names}
    except FileNotFoundError as error:
        raise FormatError(f"read_npz: {path} must exist; there is no such file") from error
    except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"read_npz: {path} must be a whole .npz file; {error}") from error


def write_npz(arrays: dict[str, Array]) -> bytes:
    """Return the bytes of an ``.npz`` file; the same arrays always give the same bytes.

    Parameters
    ----------
    arrays : dict of str to array
        Numbers or booleans.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            # A ZipInfo made by hand carries a fixed date, unlike `writestr` with a plain name.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def _parse_npy(data: bytes, source: str) -> Array:
    """Return the array in the bytes of one ``.npy`` file."""
    version = data[6] if len(data) > 7 and data.startswith(_MAGIC) else 0
    if version not in _LENGTH_BYTES:
        raise FormatError(f"read_npz: {source} must be in NumPy's format, version 1 to 3")
    start = 8 + _LENGTH_BYTES[version]
    length = int.from_bytes(data[8:start], "little")
    if length > _MAX_HEADER:
        raise FormatError(f"read_npz: {source} must have a header of at most {_MAX_HEADER} bytes; got {length}")
    dtype, shape, is_fortran = _parse_header(data[start : start + length], source)
    # math.prod has no overflow, so a header cannot claim more than the file holds.
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - start - length != expected:
        raise FormatError(f"read_npz: {source} must have {expected} bytes of data; got {len(data) - start - length}")
    flat = np.frombuffer(data, dtype, offset=start + length)
    array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _parse_header(header: bytes, source: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape and order from the header, a Python literal."""
    try:
        fields = ast.literal_eval(header.decode("utf-8").strip())
        descr, shape, is_fortran = fields["descr"], fields["shape"], fields["fortran_order"]
        dtype = np.dtype(descr) if isinstance(descr, str) else np.dtype(object)
        well_formed = all(type(n) is int and n >= 0 for n in shape) and isinstance(shape, tuple)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise FormatError(f"read_npz: {source} must have a valid header; {error!r}") from error
    if dtype.kind not in "biuf":
        raise FormatError(f"read_npz: {source} must hold numbers, never Python objects or text; got {descr!r}")
    if not well_formed or not isinstance(is_fortran, bool):
        raise FormatError(f"read_npz: {source} must have a valid shape and order; got {shape!r}, {is_fortran!r}")
    return dtype, shape, is_fortran
