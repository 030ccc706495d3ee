"""An update of a quantised file as a folder: numbers in one file, what they are for in another.

``integer_update.bin`` holds the numbers alone, little-endian, layer after layer in the order of the network: all
scales (float32), or the ratio (float32) and all codes (one byte each); then all biases, in their own type; then, where
integers are others, which they are and by how much (`lieref.adapter.integer.moves`). ``integer_update.json`` says which
layers they belong to, and binds them to the file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lieref._types import Array
from lieref.adapter.fields import shown
from lieref.adapter.integer.form import BIN_NAME as BIN_NAME
from lieref.adapter.integer.form import FORMAT, MAX_BYTES, PREPROCESSING, parse_update
from lieref.adapter.integer.form import JSON_NAME as JSON_NAME
from lieref.adapter.integer.moves import decode_moves, encode_moves
from lieref.adapter.integer.update import Codes, IntegerUpdate
from lieref.adapter.strict_json import format_json
from lieref.errors import FormatError, VerificationError
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.layers import IntegerLayer, integer_layers


def encode_update(update: IntegerUpdate, graph: IntegerGraph) -> dict[str, bytes]:
    """Return the files of an update for a network, by name."""
    layers = integer_layers(graph)
    coded = {} if update.codes is None else update.codes.of
    parts = [] if update.codes is None else [np.float32(update.codes.ratio).astype("<f4").tobytes()]
    parts += [coded[layer.weight.name].astype(np.int8).tobytes() for layer in layers if layer.weight.name in coded]
    named = [update.scales.get(layer.weight.name) for layer in layers]
    parts += [scales.astype("<f4").tobytes() for scales in named if scales is not None]
    for layer in layers:
        if layer.bias is not None and layer.bias.name in update.biases:
            parts.append(update.biases[layer.bias.name].astype(_little(layer.bias.dtype)).tobytes())
    changed = [layer for layer in layers if layer.weight.name in update.integers]
    if changed:
        parts.append(encode_moves([(_data(layer), update.integers[layer.weight.name]) for layer in changed]))
    payload = b"".join(parts)
    entries = [_entry(place, layer, update) for place, layer in enumerate(layers)]
    said = {
        "format": FORMAT,
        "method": update.method,
        "base_sha256": update.base_sha256,
        "base_bytes": update.base_bytes,
        "result_sha256": update.result_sha256,
        "bias_rule": update.bias_rule,
        "encoding": "finished" if update.codes is None else "codes",
        "layers": [entry for entry in entries if any(entry[1:])],
        "weight_differences": 0 if not changed else len(parts[-1]),
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }
    if update.preprocessing is not None:
        said[PREPROCESSING] = update.preprocessing
    return {BIN_NAME: payload, JSON_NAME: format_json(said, depth=2)}


def is_update(folder: str | Path) -> bool:
    """Tell whether a folder holds an update of a quantised file."""
    return (Path(folder) / JSON_NAME).is_file()


def read_update(folder: str | Path, graph: IntegerGraph) -> IntegerUpdate:
    """Read the update in a folder for a network.

    Raises
    ------
    FormatError
        If a file is missing or broken, or does not fit the network.
    VerificationError
        If the update is for another file, or the numbers are not those that it was written with.
    """
    return decode_update(_read(folder, JSON_NAME), _read(folder, BIN_NAME), graph, str(folder))


def read_form(folder: str | Path) -> dict[str, Any]:
    """Return what the folder of an update says of it; the network is not needed.

    Returns
    -------
    dict
        The fields of `lieref.adapter.integer.form`. ``layers`` has for each layer its place in the network, and how
        many scales, biases and weights of it the update has.

    Raises
    ------
    FormatError
        If a file is missing or broken.
    VerificationError
        If the numbers are not those that the update was written with.
    """
    said = parse_update(_read(folder, JSON_NAME), str(folder))
    strange = next((entry for entry in said["layers"] if not _is_entry(entry)), None)
    if strange is not None:
        raise FormatError(
            f"read_update: each layer of {folder} must be its place, scales, biases and weights; got {shown(strange)}"
        )
    _check_payload(said, _read(folder, BIN_NAME), str(folder))
    return said


def decode_update(text: bytes, payload: bytes, graph: IntegerGraph, source: str) -> IntegerUpdate:
    """Return the update in the bytes of its files; raises as `read_update` does. `source` is named in errors."""
    said = parse_update(text, source)
    if said["base_sha256"] != graph.digest or said["base_bytes"] != len(graph.content):
        raise VerificationError(
            f"read_update: {source} must be used with the file it is for, {said['base_bytes']} bytes with sha256 "
            f"{shown(said['base_sha256'][:16])}...; got {len(graph.content)} bytes with {graph.digest[:16]}..."
        )
    _check_payload(said, payload, source)
    parts = _layers_of(said["layers"], integer_layers(graph), source)
    cursor = _Cursor(payload, source)
    codes: Codes | None = None
    scales: dict[str, Array] = {}
    scaled = [part.layer for part in parts if part.scales]
    if said["encoding"] == "codes":
        ratio = np.float32(cursor.take("<f4", 1)[0])
        codes = Codes(ratio, {layer.weight.name: cursor.take("i1", layer.factors) for layer in scaled})
    else:
        scales = {layer.weight.name: cursor.take("<f4", layer.factors) for layer in scaled}
    biases = {}
    for part in parts:
        if part.biases and part.layer.bias is not None:
            bias = part.layer.bias
            biases[bias.name] = cursor.take(_little(bias.dtype), part.layer.out)
    integers = _integers([part.layer for part in parts if part.weights], cursor, said["weight_differences"])
    cursor.finish()
    return IntegerUpdate(
        said["method"], said["base_sha256"], said["base_bytes"], said["bias_rule"], scales, codes, biases, integers,
        said["result_sha256"], said.get(PREPROCESSING),
    )  # fmt: skip


def _check_payload(said: dict[str, Any], payload: bytes, source: str) -> None:
    if len(payload) != said["payload_bytes"] or hashlib.sha256(payload).hexdigest() != said["payload_sha256"]:
        raise VerificationError(
            f"read_update: {BIN_NAME} of {source} must be what the update was written with; it is not"
        )


class _Part(NamedTuple):
    """What an update has of a layer."""

    layer: IntegerLayer
    scales: bool
    biases: bool
    weights: bool


class _Cursor:
    """Numbers one behind the other."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source, self.at = data, source, 0

    def raw(self, size: int) -> bytes:
        """Return the next bytes."""
        if size < 0 or self.at + size > len(self.data):
            raise FormatError(f"read_update: {BIN_NAME} of {self.source} must hold all its numbers; it is too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def take(self, dtype: str, count: int) -> Array:
        """Return the next numbers."""
        kind = np.dtype(dtype)
        return np.frombuffer(self.raw(kind.itemsize * count), kind).astype(kind.newbyteorder("="))

    def finish(self) -> None:
        """Check that nothing is left."""
        if self.at != len(self.data):
            raise FormatError(
                f"read_update: {BIN_NAME} of {self.source} must hold its numbers alone; "
                f"{len(self.data) - self.at} bytes are left"
            )


def _integers(layers: Sequence[IntegerLayer], cursor: _Cursor, size: int) -> dict[str, Array]:
    """Return the weights whose moves are next."""
    if not layers:
        return {}
    found = decode_moves(cursor.raw(size), [_data(layer) for layer in layers], cursor.source)
    return {layer.weight.name: new for layer, new in zip(layers, found, strict=True)}


def _data(layer: IntegerLayer) -> Array:
    assert layer.weight.data is not None
    return layer.weight.data


def _entry(place: int, layer: IntegerLayer, update: IntegerUpdate) -> list[int]:
    """Return which layer of the network it is, and how many scales, biases and weights of it the update has."""
    name = layer.weight.name
    changes = name in update.scales or (update.codes is not None and name in update.codes.of)
    biases = layer.bias is not None and layer.bias.name in update.biases
    weights = math.prod(update.integers[name].shape) if name in update.integers else 0
    return [place, layer.factors if changes else 0, layer.out if biases else 0, weights]


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(type(number) is int for number in entry)


def _layers_of(entries: list[Any], layers: Sequence[IntegerLayer], source: str) -> list[_Part]:
    """Return the layers that an update names, in the order of the network, with what it has of each."""
    found, last = [], -1
    for entry in entries:
        if not _is_entry(entry) or not last < entry[0] < len(layers):
            raise FormatError(
                f"read_update: each layer of {source} must be its place, scales, biases and weights, in order of the "
                f"network; got {shown(entry)}"
            )
        last, layer = entry[0], layers[entry[0]]
        weights = 0 if layer.weight.data is None else layer.weight.data.size
        fits = entry[1] in (0, layer.factors) and entry[2] in (0, layer.out) and entry[3] in (0, weights)
        if not fits or (entry[2] and layer.bias is None) or (entry[3] and layer.weight.dtype not in ("int8", "uint8")):
            raise FormatError(f"read_update: a layer of {source} must fit {layer.weight.name}; got {shown(entry)}")
        found.append(_Part(layer, *(bool(number) for number in entry[1:])))
    return found


def _read(folder: str | Path, name: str) -> bytes:
    path = Path(folder) / name
    if not path.is_file():
        raise FormatError(f"read_update: {folder} must hold {name}; there is no such file")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"read_update: {path} must be at most {MAX_BYTES} bytes; got {path.stat().st_size}")
    return path.read_bytes()


def _little(dtype: str) -> str:
    return np.dtype(dtype).newbyteorder("<").str
