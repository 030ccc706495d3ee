"""An update of a quantised file written by byte offsets: what a device does, which has no reader of networks.

A bundle says for each layer of the update where its numbers stand in the file, in the order of `PLACE`: offsets of the
weight's scales; of the scales that the file stores for the bias, and how many; the bits of the input's scale as
float32; whether those stored scales count, as in QDQ; of the bias, how many, and the bytes of each; of the weight's
integers, and whether they are uint8. 0 stands for what the layer has not, for no format has anything of these at byte
0, and zeros at the end are left out. All numbers are little-endian. The arithmetic is that of
`lieref.adapter.integer.update`, so that the bytes are the same; the digest of the result is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, FloatArray
from lieref.adapter.fields import is_list, is_size, shown
from lieref.adapter.integer.codes import decode, table
from lieref.adapter.integer.form import BIN_NAME, PLACES
from lieref.adapter.integer.moves import decode_moves
from lieref.errors import DomainError, FormatError, VerificationError

PLACE = (
    "scale_at", "unit_at", "units", "input_scale_bits", "units_count", "bias_at", "biases", "bias_bytes", "weight_at",
    "unsigned",
)  # fmt: skip
"""Numbers of a row of `places`."""
LEAST_SCALE, MOST_SCALE = 2.0**-126, 2.0**30


@dataclass(frozen=True)
class Part:
    """What an update has of one layer, and where it belongs.

    Attributes
    ----------
    at : dict of str to int
        By the names of `PLACE`.
    scales : (C,) array or None
        Finished float32 scales, or int8 codes.
    biases : bytes or None
        As the file holds them.
    weights : int
        Integers that the moves of the payload are about.
    """

    at: dict[str, int]
    scales: Array | None
    biases: bytes | None
    weights: int


@dataclass(frozen=True)
class Payload:
    """The numbers of an update, each found to be one that a file can take.

    Attributes
    ----------
    parts : tuple of Part
    ratio : float32 or None
        Of the codes.
    moves : bytes
        Integers of weights that are others (`lieref.adapter.integer.moves`): what they say depends on the file.
    """

    parts: tuple[Part, ...]
    ratio: np.float32 | None
    moves: bytes = b""


def read_payload(said: Mapping[str, Any], payload: bytes) -> Payload:
    """Return the numbers in the bytes of an update that says its places; the file they are for is not needed.

    Parameters
    ----------
    said : mapping
        From `lieref.adapter.integer.form.parse_update`.
    payload : bytes

    Raises
    ------
    VerificationError
        If they are not the bytes that the update was written with.
    FormatError
        If they are too few or too many, or the places do not go with the layers or lie outside the file.
    DomainError
        If a scale is not positive and finite, or a code is none.
    """
    if len(payload) != said["payload_bytes"] or hashlib.sha256(payload).hexdigest() != said["payload_sha256"]:
        raise VerificationError(
            f"read_payload: {BIN_NAME} must be the {said['payload_bytes']} bytes that the update was written with; got "
            f"{len(payload)} bytes, others"
        )
    rows = [_row(*pair, said) for pair in _pairs(said)]
    cursor, ratio = _Cursor(payload), None
    if said["encoding"] == "codes":
        ratio = np.float32(cursor.take("<f4", 1)[0])
        table(ratio)  # raises where it is none
    scales = [_scales(cursor, counts[0], ratio) for counts, _ in rows]
    biases = [cursor.raw(counts[1] * at["bias_bytes"]) if counts[1] else None for counts, at in rows]
    sizes = [counts[2] for counts, _ in rows]
    moves = cursor.raw(said["weight_differences"]) if any(sizes) else b""
    if cursor.at != len(payload):
        raise FormatError(f"read_payload: {BIN_NAME} must hold its numbers alone; got {len(payload) - cursor.at} more")
    parts = tuple(
        Part(at, new, bias, size) for (_, at), new, bias, size in zip(rows, scales, biases, sizes, strict=True)
    )
    return Payload(parts, ratio, moves)


def apply_payload(payload: Payload, said: Mapping[str, Any], content: bytes) -> bytes:
    """Return the file with the numbers in it, of the same length; every byte elsewhere stays.

    Raises
    ------
    VerificationError
        If the file is another one than the update is for, or the result not what the update says.
    FormatError
        If two numbers would be written to one place, or the moves are not coded as `lieref` codes them.
    DomainError
        If a new scale or bias is out of range.
    """
    if len(content) != said["base_bytes"] or hashlib.sha256(content).hexdigest() != said["base_sha256"]:
        raise VerificationError(
            f"apply_payload: the file must be the one that the update is for, sha256 {said['base_sha256']}; got "
            f"another of {len(content)} bytes"
        )
    writes: list[tuple[int, bytes]] = []
    for part in payload.parts:
        writes += _writes(part, payload.ratio, said["bias_rule"], content)
    writes += _moved(payload, content)
    made, end = bytearray(content), 0
    for start, data in sorted(writes):
        if start < end:
            raise FormatError(f"apply_payload: every byte must be written once; got two numbers at {start}")
        end = start + len(data)
        made[start:end] = data
    found = hashlib.sha256(made).hexdigest()
    if found != said["result_sha256"]:
        raise VerificationError(
            f"apply_payload: the file must become the one with sha256 {said['result_sha256']}; got {found}"
        )
    return bytes(made)


class _Cursor:
    """Numbers one behind the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise FormatError(f"read_payload: {BIN_NAME} must hold all its numbers; it is too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def take(self, dtype: str, count: int) -> Array:
        kind = np.dtype(dtype)
        return np.frombuffer(self.raw(kind.itemsize * count), kind).astype(kind.newbyteorder("="))


def _pairs(said: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    layers, places = said["layers"], said.get(PLACES)
    if places is None or len(places) != len(layers):
        raise FormatError("read_payload: the update must say the places of every layer; it does not")
    return list(zip(layers, places, strict=True))


def _row(layer: Any, place: list[int], said: Mapping[str, Any]) -> tuple[list[int], dict[str, int]]:
    """Return the numbers of scales, biases and integers of a layer, and where they belong, all inside the file."""
    if not is_list(layer, is_size) or len(layer) != 4 or len(place) > len(PLACE):
        raise FormatError(
            f"read_payload: a layer must be its place in the network and three counts, with at most {len(PLACE)} "
            f"places; got {shown(layer)} and {shown(place)}"
        )
    at, counts = {**dict.fromkeys(PLACE, 0), **dict(zip(PLACE, place, strict=False))}, layer[1:]
    scales, biases, weights = counts
    spans = [(at["scale_at"], 4 * scales), (at["unit_at"], 4 * at["units"]), (at["weight_at"], weights)]
    spans.append((at["bias_at"], at["biases"] * at["bias_bytes"]))
    fits = all(start >= 4 and start + size <= said["base_bytes"] for start, size in spans if size)
    given = biases in (0, at["biases"]) and (not at["biases"] or at["bias_bytes"] in (4, 8))
    units = at["units"] in (0, scales) or (scales == 1 and at["units"] > 1)
    counted = at["units_count"] == 0 or (at["units_count"] == 1 and at["units"] > 0)
    if at["unsigned"] > 1 or not fits or not given or not units or not counted or at["input_scale_bits"] >= 2**32:
        raise FormatError(
            f"read_payload: every place must lie in the file of {said['base_bytes']} bytes, and hold what the layer "
            f"has; got {shown(at)} for {shown(layer)}"
        )
    return counts, at


def _scales(cursor: _Cursor, count: int, ratio: np.float32 | None) -> Array | None:
    if not count:
        return None
    if ratio is None:
        return _sane(cursor.take("<f4", count))
    codes = cursor.take("i1", count)
    decode(np.ones(count, np.float32), codes, ratio)  # raises where one is none
    return codes


def _sane(scales: Array) -> Array:
    good = (scales >= LEAST_SCALE) & (scales <= MOST_SCALE)  # a NaN is neither
    if not good.all():
        raise DomainError(f"places: every scale must be positive and finite, 2^-126 to 2^30; got {scales[~good][0]}")
    return scales


def _writes(part: Part, ratio: np.float32 | None, rule: str, content: bytes) -> list[tuple[int, bytes]]:
    """Return what is written where for one layer."""
    at, found = part.at, []
    bias = part.biases
    if part.scales is not None:
        old = _sane(_numbers(content, "<f4", at["scale_at"], len(part.scales)))
        new = part.scales if ratio is None else _sane(decode(old, part.scales, ratio))
        found.append((at["scale_at"], new.astype("<f4").tobytes()))
        scale_in = np.array([at["input_scale_bits"]], "<u4").view("<f4")[0]
        if at["units"]:
            unit = np.broadcast_to((scale_in * new).astype("<f4"), (at["units"],))
            found.append((at["unit_at"], unit.tobytes()))
        if rule == "follow" and bias is None and at["biases"] and (new != old).any():
            bias = _requantised(at, float(scale_in), old, new, content)
    if bias is not None:
        found.append((at["bias_at"], bias))
    return found


def _moved(payload: Payload, content: bytes) -> list[tuple[int, bytes]]:
    """Return the weights whose integers are others, and where they belong."""
    moving = [part for part in payload.parts if part.weights]
    if not moving:
        return []
    olds = [_numbers(content, "u1" if part.at["unsigned"] else "i1", part.at["weight_at"], part.weights)
            for part in moving]  # fmt: skip
    news = decode_moves(payload.moves, olds, BIN_NAME)
    return [(part.at["weight_at"], new.tobytes()) for part, new in zip(moving, news, strict=True)]


def _requantised(at: Mapping[str, int], scale_in: float, old: Array, new: Array, content: bytes) -> bytes:
    """Return the integers next to the real bias in the unit of the new scales, halves to even."""
    kind = f"<i{at['bias_bytes']}"
    count = at["biases"]
    unit = scale_in * old.astype(np.float64)
    if at["units_count"]:
        unit = _numbers(content, "<f4", at["unit_at"], at["units"]).astype(np.float64)
    real: FloatArray = _numbers(content, kind, at["bias_at"], count) * unit
    whole = np.rint(np.broadcast_to(real, (count,)) / (scale_in * new.astype(np.float64)))
    limits = np.iinfo(kind)
    if not ((whole >= limits.min) & (whole <= limits.max)).all():
        raise DomainError(f"places: every bias must fit {8 * at['bias_bytes']} bits; got {np.abs(whole).max():.6g}")
    return whole.astype(np.int64).astype(kind).tobytes()


def _numbers(content: bytes, dtype: str, start: int, count: int) -> Array:
    kind = np.dtype(dtype)
    return np.frombuffer(content, kind, count, start).astype(kind.newbyteorder("="))
