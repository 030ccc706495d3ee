"""Named tensors in one file: the safetensors format, read strictly and written with NumPy alone.

Layout: an unsigned 64-bit little-endian length n; n bytes of JSON, ``{"name": {"dtype", "shape", "data_offsets"}}``
with an optional ``"__metadata__"`` of strings; then the tensors, little-endian, row-major, without holes or overlaps.
The writer gives byte for byte what the safetensors library gives: widest element type first, then by name, and the
JSON padded with spaces to a multiple of eight. The reader refuses more than that library does: duplicate keys, unknown
fields, booleans other than 0 and 1 and, on request, NaN and infinities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.fields import MOST_AXES, is_list, is_size, shown
from lieref.adapter.strict_json import parse_json
from lieref.errors import DomainError, DTypeError, FormatError

# In the library's own order, which is the order on disk from last to first. NumPy has no type for the library's
# others (bfloat16 and the eight-bit and smaller floats).
DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4",
        "F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8",
    }.items()
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANKS = {name: rank for rank, name in enumerate(DTYPES)}

# Enough for some hundred thousand tensors; a longer header is an attack or an accident.
MAX_HEADER_BYTES = 16 * 2**20
_METADATA = "__metadata__"


def encode_tensors(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a tensor file.

    Parameters
    ----------
    tensors : mapping of str to array
        Any shape, any byte order; booleans, integers, float16, float32 and float64.
    metadata : mapping of str to str, optional
        Free text; written with its keys sorted.

    Raises
    ------
    DTypeError
        If an array has an element type the format or NumPy lacks.
    DomainError
        If a name is ``__metadata__`` or empty, a name or a metadata entry is not text that UTF-8 can hold, or all names
        together are longer than the reader allows.
    """
    for word in (*tensors, *(metadata or {}), *(metadata or {}).values()):
        _check_text(word)
    if _METADATA in tensors or "" in tensors:
        raise DomainError(f"encode_tensors: `tensors` must not be named '' or {_METADATA!r}; got {shown([*tensors])}")
    rows = []
    for name, array in tensors.items():
        dtype = np.asarray(array).dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise DTypeError(
                f"encode_tensors: `{name}` must be boolean, integer or float; got {np.asarray(array).dtype}"
            )
        rows.append((-_RANKS[_NAMES[dtype]], name, np.asarray(array, dtype=dtype)))
    rows.sort(key=lambda row: row[:2])

    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for _, name, array in rows:
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise DomainError(
            f"encode_tensors: `tensors` must have names that fit into a header of {MAX_HEADER_BYTES} bytes; "
            f"got {len(text)} for {len(rows)} tensors"
        )
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for _, _, array in rows)])


def decode_tensors(data: bytes, *, finite: bool = False, what: str = "data") -> tuple[dict[str, Array], dict[str, str]]:
    """Return the tensors and the metadata in the bytes of a tensor file.

    Parameters
    ----------
    data : bytes
    finite : bool
        Refuse NaN and infinities.
    what : str
        How error messages call it, such as a path.

    Returns
    -------
    tensors : dict of str to array
        Native byte order, writable, in the order of the header.
    metadata : dict of str to str

    Raises
    ------
    FormatError
        If the bytes are not exactly one valid tensor file.
    DomainError
        If `finite` is set and an entry is not.
    """
    if len(data) < 8:
        raise _refuse(what, "at least 8 bytes", f"{len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise _refuse(what, f"a header of at most {MAX_HEADER_BYTES} bytes", f"{length}")
    if 8 + length > len(data):
        raise _refuse(what, f"its header of {length} bytes", f"{len(data) - 8} bytes (truncated?)")
    text = data[8 : 8 + length]
    if not text.startswith(b"{"):
        raise _refuse(what, "a header that begins with '{'", f"{text[:1]!r} (not a tensor file?)")
    header = parse_json(text, f"{what} header")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refuse(what, f"a {_METADATA} of strings", shown(metadata))

    entries = {name: _check_entry(entry, name, what) for name, entry in header.items()}
    _check_cover([span for _, _, span in entries.values()], len(data) - 8 - length, what)
    tensors = {}
    body = memoryview(data)[8 + length :]  # a slice of it is no copy
    for name, (dtype, shape, (begin, end)) in entries.items():
        tensors[name] = _read_array(body[begin:end], dtype, shape, name, what)
        if finite and dtype.kind == "f" and not np.isfinite(tensors[name]).all():
            raise DomainError(f"decode_tensors: `{name}` in `{what}` must be finite; got NaN or infinity")
    return tensors, metadata


def write_tensor_file(
    path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a tensor file; not atomic: see `lieref._atomic` for that. Raises as `encode_tensors` does."""
    Path(path).write_bytes(encode_tensors(tensors, metadata))


def read_tensor_file(path: str | Path, *, finite: bool = False) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a tensor file; returns and raises as `decode_tensors` does."""
    return decode_tensors(Path(path).read_bytes(), finite=finite, what=str(path))


def _check_text(text: object) -> None:
    try:
        if not isinstance(text, str):
            raise ValueError
        text.encode("utf-8")
    except ValueError:
        raise DomainError(f"encode_tensors: `tensors` must have names of plain text; got {text!r}") from None


def _check_entry(entry: Any, name: str, what: str) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
    """Return dtype, shape and (begin, end) of one header entry."""
    where = f"{what}: {shown(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _refuse(where, "exactly the fields dtype, shape and data_offsets", shown(entry))
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _refuse(where, f"a dtype of {', '.join(DTYPES)}", shown(dtype))
    if not is_list(shape, is_size, MOST_AXES):
        raise _refuse(where, f"a shape of at most {MOST_AXES} integers from 0 to 2**63 - 1", shown(shape))
    if not is_list(span, is_size) or len(span) != 2:
        raise _refuse(where, "two offsets from 0 to 2**63 - 1", shown(span))
    if span[1] - span[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise _refuse(where, f"the bytes of {dtype} of shape {shown(shape)}", f"offsets {span}")
    return DTYPES[dtype], tuple(shape), (span[0], span[1])


def _check_cover(spans: list[tuple[int, int]], size: int, what: str) -> None:
    """Refuse holes, overlaps, and bytes that are missing or left over."""
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _refuse(what, f"a tensor that begins at byte {position}", f"{begin} (a hole or an overlap)")
        position = end
    if position != size:
        raise _refuse(what, f"{position} bytes of tensors", f"{size} (truncated, or something appended?)")


def _read_array(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str, what: str) -> Array:
    if dtype.kind == "b" and len(data) and np.frombuffer(data, np.uint8).max() > 1:
        raise _refuse(f"{what}: {shown(name)}", "booleans stored as 0 or 1", "other bytes")
    try:
        array = np.frombuffer(data, dtype=dtype).reshape(shape)
    except ValueError:
        # Only an empty tensor gets here: a dimension or a number of axes that NumPy cannot hold.
        raise _refuse(f"{what}: {shown(name)}", "a shape that NumPy can hold", shown(list(shape))) from None
    return array.astype(dtype.newbyteorder("="))


def _refuse(what: str, rule: str, got: str) -> FormatError:
    return FormatError(f"decode_tensors: `{what}` must have {rule}; got {got}")
