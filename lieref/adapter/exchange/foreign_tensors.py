"""Tensor files of other libraries: safetensors, bfloat16 too, which NumPy has no type for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lieref._types import Array
from lieref.adapter.strict_json import parse_json
from lieref.adapter.tensor_file import MAX_HEADER_BYTES, decode_tensors
from lieref.errors import FormatError

MAX_FILE_BYTES = 2**34
"""More than the adapters of the largest networks, and what is read at once."""


def read_foreign_tensors(path: str | Path) -> dict[str, Array]:
    """Read a tensor file; bfloat16 becomes float32, which holds each of its numbers.

    Raises
    ------
    FormatError
        As `decode_tensors`.
    DomainError
        If a number is not finite.
    """
    size = Path(path).stat().st_size
    if size > MAX_FILE_BYTES:
        raise FormatError(f"import: `{path}` must have at most {MAX_FILE_BYTES} bytes; got {size}")
    data = Path(path).read_bytes()
    plain, halves = _without_bfloat16(data, str(path))
    tensors, _ = decode_tensors(plain, finite=True, what=str(path))
    for name in halves:
        tensors[name] = (tensors[name].astype(np.uint32) << 16).view(np.float32)
    return tensors


def _without_bfloat16(data: bytes, what: str) -> tuple[bytes, list[str]]:
    """Return the file with bfloat16 declared as plain 16-bit words, and the names of those tensors."""
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length]
    if length > MAX_HEADER_BYTES or len(text) < length or b'"BF16"' not in text or not text.startswith(b"{"):
        return data, []
    header = parse_json(text, f"{what} header")
    halves = [name for name, entry in header.items() if isinstance(entry, dict) and entry.get("dtype") == "BF16"]
    for name in halves:
        header[name] = {**header[name], "dtype": "U16"}
    changed = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"".join([len(changed).to_bytes(8, "little"), changed, data[8 + length :]]), halves
