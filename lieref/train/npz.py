"""NumPy archives read without trust: no pickles, no lying headers, a cap on the size, and a checksum on every byte.

A member is read in this order: the claims of the archive, the header of the array, the memory for it, its bytes. Each
is compared with the one before, so that nothing is allocated on the word of one field.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from lieref._text import near_path
from lieref._types import Array
from lieref.errors import FormatError
from lieref.train.cap import memory_cap

_MAGIC = b"\x93NUMPY"
# Number of bytes that hold the header's length, by format version.
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
# NumPy's own limit for headers it does not trust; it writes about 120 bytes.
_MAX_HEADER = 10000
# NumPy has no more axes than this in its oldest supported version.
_MAX_AXES = 32
# What deflate can reach at most: 258 bytes for two bits.
_MAX_DEFLATE = 1032
_CHUNK = 2**20

_NUMBER = re.compile(r"[<>|=]?(b1|[iu][1248]|f(2|4|8|16))|\?")


def read_npz(
    path: str | Path, names: tuple[str, ...] | None = None, *, max_bytes: int | None = None
) -> dict[str, Array]:
    """Return arrays of an ``.npz`` file by name.

    Parameters
    ----------
    path : str or Path
    names : tuple of str, optional
        The arrays wanted; all by default.
    max_bytes : int, optional
        Cap on their total size in memory; None takes that of `memory_cap`.

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
        size = Path(path).stat().st_size
        with _archive(path) as archive:
            members = _members(archive, path)
            if names is None:
                names = tuple(members)
            missing = [name for name in names if name not in members]
            if missing:
                held = ", ".join(members) or "nothing"
                raise FormatError(f"read_npz: {path} must hold the array {missing[0]!r}; it holds {held[:200]}")
            total, cap = sum(members[name].file_size for name in names), memory_cap(size, max_bytes)
            if total > cap:
                raise FormatError(
                    f"read_npz: {path} must hold at most {cap} bytes of arrays; got {total} (max_bytes raises the cap)"
                )
            return {name: _read_member(archive, members[name], f"{path}, array {name!r}") for name in names}
    except FormatError:
        raise
    except FileNotFoundError as error:
        raise FormatError(f"read_npz: {path} must exist; there is no such file{near_path(Path(path))}") from error
    # zipfile trusts the offsets of its file: a wrong one shows as any of these.
    except (
        OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error,
        zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise FormatError(f"read_npz: {path} must be a whole .npz file; {error}") from error


def npz_names(path: str | Path) -> tuple[str, ...]:
    """Return the names of the arrays in an ``.npz`` file, none where it is no such file: `read_npz` says so."""
    try:
        with _archive(path) as archive:
            return tuple(info.filename.removesuffix(".npy") for info in archive.infolist())
    except (
        OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error,
        zipfile.BadZipFile,
    ):  # fmt: skip
        return ()


def npz_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in an ``.npz`` file by name, none where it is not whole: `read_npz` says so."""
    return {name: shape for name, (shape, _) in npz_kinds(path).items()}


def npz_kinds(path: str | Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype's name of the arrays in an ``.npz`` file by name, as `npz_shapes` does."""
    try:
        with _archive(path) as archive:
            kinds = {}
            for name, info in _members(archive, path).items():
                with archive.open(info) as member:
                    dtype, shape = _read_header(member, str(path))[:2]
                    kinds[name] = shape, dtype.name
            return kinds
    except (
        OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error,
        zipfile.BadZipFile, zlib.error, FormatError,
    ):  # fmt: skip
        return {}


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


def _archive(path: str | Path) -> zipfile.ZipFile:
    """Return an archive to read; raise `OSError` for a device or a pipe, which may have no end to search from."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("it is no regular file")
    return zipfile.ZipFile(path)


def _members(archive: zipfile.ZipFile, path: str | Path) -> dict[str, zipfile.ZipInfo]:
    """Return what the archive says of its arrays, by name; refuse what cannot be true."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise FormatError(f"read_npz: {path} must hold each array once; got {name!r} twice")
        members[name] = info
        match info.compress_type:
            case zipfile.ZIP_STORED:
                largest = info.compress_size
            case zipfile.ZIP_DEFLATED:
                largest = _MAX_DEFLATE * info.compress_size
            case _:
                raise FormatError(f"read_npz: {path} must be stored or deflated, as NumPy does; {name!r} is neither")
        if info.file_size > largest:
            raise FormatError(
                f"read_npz: {path} must be a whole .npz file; {name!r} claims {info.file_size} bytes in "
                f"{info.compress_size} compressed ones"
            )
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> Array:
    """Return the array of one ``.npy`` file in the archive."""
    with archive.open(info) as member:
        dtype, shape, is_fortran, before = _read_header(member, source)
        held = info.file_size - before
        # math.prod has no overflow, so a header cannot claim more than the file holds.
        if held != math.prod(shape) * dtype.itemsize:
            raise FormatError(f"read_npz: {source} must have the data of shape {shape}, {dtype}; got {held} bytes")
        data = np.empty(held, np.uint8)
        position = 0
        while position < held:
            chunk = member.read(min(_CHUNK, held - position))
            if not chunk:
                raise FormatError(f"read_npz: {source} must have {held} bytes of data; it ends after {position}")
            data[position : position + len(chunk)] = np.frombuffer(chunk, np.uint8)
            position += len(chunk)
        # The checksum is compared at the end of the member.
        if member.read(1):
            raise FormatError(f"read_npz: {source} must have {held} bytes of data; it has more")
    if dtype.kind == "b" and held and data.max() > 1:
        raise FormatError(f"read_npz: {source} must store booleans as 0 or 1; got {data.max()}")
    flat = data.view(dtype)
    array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def _read_header(member: IO[bytes], source: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, order, and the bytes before the data of a ``.npy`` file."""
    start = member.read(len(_MAGIC) + 2)
    version = start[6] if len(start) == 8 and start.startswith(_MAGIC) else 0
    if version not in _LENGTH_BYTES:
        raise FormatError(f"read_npz: {source} must be in NumPy's format, version 1 to 3")
    length = int.from_bytes(member.read(_LENGTH_BYTES[version]), "little")
    if length > _MAX_HEADER:
        raise FormatError(f"read_npz: {source} must have a header of at most {_MAX_HEADER} bytes; got {length}")
    return *_parse_header(member.read(length), source), 8 + _LENGTH_BYTES[version] + length


def _parse_header(header: bytes, source: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape and order from the header, a Python literal."""
    try:
        fields = ast.literal_eval(header.decode("utf-8").strip())
        descr, shape, is_fortran = fields["descr"], fields["shape"], fields["fortran_order"]
    except (
        ValueError, SyntaxError, TypeError, KeyError, IndexError, MemoryError, RecursionError, OverflowError
    ) as error:  # fmt: skip
        raise FormatError(f"read_npz: {source} must have a valid header; {type(error).__name__}") from error
    if not isinstance(descr, str) or not _NUMBER.fullmatch(descr):
        raise FormatError(f"read_npz: {source} must hold numbers, never Python objects or text; got {_short(descr)}")
    # Beyond 63 bits of bytes there is neither a file nor an array, and a number of 4,000 digits is not even printed.
    well_formed = (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_AXES
        and all(type(n) is int and 0 <= n < 2**63 for n in shape)
        and isinstance(is_fortran, bool)
        and math.prod(n for n in shape if n) < 2**59
    )
    if not well_formed:
        raise FormatError(f"read_npz: {source} must have a valid shape and order of the axes")
    return np.dtype(descr), shape, is_fortran


def _short(value: object) -> str:
    """Return a value of the file for a message, which it must not fill."""
    text = repr(value) if isinstance(value, str) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
