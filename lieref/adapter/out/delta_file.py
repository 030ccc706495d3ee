"""Dense differences of weights on disk, read and added with NumPy alone.

``delta.safetensors`` holds, for a tensor ``NAME`` of the network, ``NAME:delta`` with W' = W0 + delta in the type of
the delta, rounded to nearest once. Where no delta of that type gives W', ``NAME:places`` (positions in row-major
order) and ``NAME:values`` say what stands there instead. ``delta.json`` names base and adapter by their digests, and
has a digest of every tensor before and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.fields import is_list, is_sha256, is_size, is_text, shown
from lieref.adapter.strict_json import parse_json
from lieref.adapter.tensor_file import decode_tensors
from lieref.errors import FormatError, VerificationError

FORMAT = "lieref-delta/1"
TENSORS_NAME = "delta.safetensors"
CONFIG_NAME = "delta.json"

MAX_CONFIG_BYTES = 64 * 2**20
"""Cap on ``delta.json``: that of a network of some hundred thousand changed tensors."""

ROW = {"dtype": is_text, "shape": lambda v: is_list(v, is_size, 64), "before_sha256": is_sha256,
       "after_sha256": is_sha256}  # fmt: skip
"""What ``delta.json`` says of each tensor: its type in the file, its shape, and its digest before and after."""


def summing(before: FloatArray, after: FloatArray, difference: FloatArray) -> tuple[FloatArray, Array]:
    """Return the delta nearest to a difference for which W0 + delta rounds to W', and where there is none.

    For |W'| / 2 <= |W0| <= 2 |W'| of one sign, W' - W0 is a number of the type (Sterbenz), so that there is one. Where
    W' is smaller than half of W0, or of the other sign, the spacing of the numbers around the delta may exceed that
    around W', and there may be none.

    Parameters
    ----------
    before, after : float32 or float64 array
        W0 and W', finite.
    difference : float64 array
        W' - W0 as exactly as it is known.

    Returns
    -------
    delta : array of the type of `before`
        Finite.
    missed : array of bool
        Where W0 + delta is not W', bit for bit.
    """
    dtype = before.dtype
    with np.errstate(over="ignore", under="ignore"):
        nearest = difference.astype(dtype)
        nearest = np.where(np.isfinite(nearest), nearest, np.zeros((), dtype))
        inf = np.array(np.inf, dtype)
        # The nearest number may lie on the wrong side of the middle between two sums; the one beside it does not. What
        # comes last keeps a negative zero.
        beside = np.nextafter(nearest, inf), np.nextafter(nearest, -inf)
        candidates = (nearest, *beside, after - before, np.full_like(before, -0.0))
        delta, missed = nearest, np.ones(before.shape, bool)
        for candidate in candidates:
            hit = missed & _same_bits(before + candidate, after) & np.isfinite(candidate)
            delta, missed = np.where(hit, candidate, delta), missed & ~hit
    return delta, missed


def apply_delta(folder: str | Path, base: Mapping[str, Array]) -> dict[str, Array]:
    """Return the changed tensors of a network, W0 + delta, to the bit those of the merged file.

    Parameters
    ----------
    folder : path
        With ``delta.safetensors`` and ``delta.json``.
    base : mapping of str to array
        Tensors of the base by name, at least those that change, of the types and shapes in its file.

    Returns
    -------
    dict of str to array
        In the types of the file; `base` is not changed.

    Raises
    ------
    FormatError
        If a file is missing or is not what it should be.
    VerificationError
        If a digest is another: of the file, of a tensor of the base, or of what the sum makes of it.
    DomainError
        If a number is not finite.
    """
    tensors, config = read_delta(folder)
    result = {}
    for name, row in config["tensors"].items():
        if name not in base:
            raise VerificationError(f"apply_delta: `base` must hold the tensor {shown(name)}; it does not")
        stored = np.asarray(base[name])
        if stored_digest(stored) != row["before_sha256"]:
            raise VerificationError(
                f"apply_delta: `base` must hold the {shown(name)} that the delta was made for; got another, of type "
                f"{stored.dtype} and shape {stored.shape}"
            )
        delta = tensors[f"{name}:delta"]
        if delta.shape != stored.shape:
            raise FormatError(
                f"apply_delta: the delta of {shown(name)} must have shape {stored.shape}; got {delta.shape}"
            )
        with np.errstate(over="ignore"):
            # Not in place, and one rounding: the sum is what was checked when the file was written.
            total = np.asarray(stored.astype(delta.dtype) + delta)
            if f"{name}:places" in tensors:
                total.reshape(-1)[tensors[f"{name}:places"]] = tensors[f"{name}:values"]
            total = total.astype(row["dtype"])
        if stored_digest(total) != row["after_sha256"]:
            raise VerificationError(f"apply_delta: {shown(name)} must come out as it was merged; it has another digest")
        result[name] = total
    return result


def read_delta(folder: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors and the configuration of a delta's folder; raises as `apply_delta` does."""
    path = Path(folder)
    for name in (CONFIG_NAME, TENSORS_NAME):
        if not (path / name).is_file():
            raise FormatError(f"read_delta: `folder` must hold {name}; got {path} without it")
    size = (path / CONFIG_NAME).stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise FormatError(f"read_delta: {CONFIG_NAME} must have at most {MAX_CONFIG_BYTES} bytes; got {size}")
    config = parse_json((path / CONFIG_NAME).read_bytes(), str(path / CONFIG_NAME))
    if config.get("format") != FORMAT:
        raise FormatError(
            f"read_delta: {path / CONFIG_NAME} must be of format {FORMAT}; got {shown(config.get('format'))}"
        )
    rows = config.get("tensors")
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise FormatError(
            f"read_delta: tensors of {path / CONFIG_NAME} must be an object of objects; got {shown(rows)}"
        )
    for name, row in rows.items():
        wrong = next((field for field, holds in ROW.items() if not holds(row.get(field))), None)
        if wrong is not None or row["dtype"] not in ("float16", "float32", "float64"):
            raise FormatError(f"read_delta: {shown(name)} of {path / CONFIG_NAME} must have a valid {wrong or 'dtype'}")
    if not is_size(config.get("delta_bytes")) or (path / TENSORS_NAME).stat().st_size != config["delta_bytes"]:
        raise VerificationError(
            f"read_delta: {path / TENSORS_NAME} must have the size in {CONFIG_NAME}; it has another"
        )
    data = (path / TENSORS_NAME).read_bytes()
    if hashlib.sha256(data).hexdigest() != config.get("delta_sha256"):
        raise VerificationError(
            f"read_delta: {path / TENSORS_NAME} must have the sha256 in {CONFIG_NAME}; it has another"
        )
    tensors = decode_tensors(data, finite=True, what=str(path / TENSORS_NAME))[0]
    _check_tensors(tensors, rows, str(path))
    return tensors, config


def stored_digest(array: Array) -> str:
    """Return the SHA-256 of a tensor: its type, its shape, and its numbers, little-endian in row-major order."""
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    said = f"{array.dtype.name} {list(array.shape)}\n".encode()
    return hashlib.sha256(said + stored.tobytes()).hexdigest()


def _check_tensors(tensors: Mapping[str, Array], rows: Mapping[str, Any], what: str) -> None:
    """Refuse tensors that are missing, left over, or of other types and shapes than their rows say."""
    left = set(tensors)
    for name, row in rows.items():
        delta = tensors.get(f"{name}:delta")
        if delta is None or delta.dtype not in (np.float32, np.float64) or list(delta.shape) != row["shape"]:
            raise FormatError(
                f"read_delta: {what} must hold a delta of floats of {shown(name)}, of shape {row['shape']}"
            )
        left.discard(f"{name}:delta")
        places, values = tensors.get(f"{name}:places"), tensors.get(f"{name}:values")
        if places is None and values is None:
            continue
        left -= {f"{name}:places", f"{name}:values"}
        fit = (
            places is not None and values is not None and places.ndim == 1 and places.shape == values.shape
            and places.dtype == np.int64 and values.dtype == delta.dtype
            and (not places.size or (places.min() >= 0 and places.max() < delta.size))
        )  # fmt: skip
        if not fit:
            raise FormatError(f"read_delta: {what} must hold places and values of {shown(name)} that fit it")
    if left:
        raise FormatError(f"read_delta: {what} must hold no other tensors; got {shown(min(left))}")


def _same_bits(a: FloatArray, b: FloatArray) -> Array:
    """Return where two arrays hold the same number, signs of zeros included; NaN nowhere."""
    same: Array = (a == b) & (np.signbit(a) == np.signbit(b))
    return same
