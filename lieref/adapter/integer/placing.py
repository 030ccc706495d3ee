"""Where in its file the numbers of an update belong, for those who cannot read the network: see `places`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lieref.adapter.integer.folder import encode_update
from lieref.adapter.integer.form import BIN_NAME, JSON_NAME, PLACES, parse_update
from lieref.adapter.integer.places import apply_payload, read_payload
from lieref.adapter.integer.update import IntegerUpdate
from lieref.adapter.strict_json import format_json
from lieref.errors import LierefError, UnsupportedError
from lieref.model.integer.graph import ByteRange, IntegerGraph
from lieref.model.integer.layers import IntegerLayer, integer_layers


def encode_placed(update: IntegerUpdate, graph: IntegerGraph, more: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of an update as a bundle has them: with its places, in few bytes.

    Parameters
    ----------
    update : IntegerUpdate
    graph : IntegerGraph
        The file that it is for.
    more : mapping
        Further fields of the file of text.

    Raises
    ------
    UnsupportedError
        If the same bytes cannot be made by places alone.
    LierefError
        As `IntegerUpdate.patched` does.
    """
    changed = update.patched(graph)[0].content
    files = encode_update(update, graph)
    said = parse_update(files[JSON_NAME], JSON_NAME)
    said[PLACES] = places_of(said["layers"], update.bias_rule, graph)
    try:
        made = apply_payload(read_payload(said, files[BIN_NAME]), said, graph.content)
    except LierefError as error:
        raise UnsupportedError(
            f"encode_placed: the update must be one that byte places can say; it is not ({error})"
        ) from error
    assert made == changed  # the digest of both was compared
    return {BIN_NAME: files[BIN_NAME], JSON_NAME: format_json({**said, **more}, compact=True)}


def places_of(entries: Sequence[Sequence[int]], rule: str, graph: IntegerGraph) -> list[list[int]]:
    """Return the places of the layers of an update, in the order of `lieref.adapter.integer.places.PLACE`."""
    layers = integer_layers(graph)
    return [_place(layers[place], bool(s), bool(b), bool(w), rule) for place, s, b, w in entries]


def _place(layer: IntegerLayer, scales: bool, biases: bool, weights: bool, rule: str) -> list[int]:
    bias = layer.bias
    said = None if bias is None else bias.quantisation
    units = bias is not None and said is not None and bias.scale_at is not None and scales
    moves = bias is not None and (biases or (scales and rule == "follow"))
    bits = int(np.array([layer.input_scale], "<f4").view("<u4")[0])
    numbers = [
        _start(layer.weight.scale_at) if scales else 0,
        _start(bias.scale_at) if units and bias is not None else 0,
        int(said.scale.size) if units and said is not None else 0,
        bits if units or (moves and not biases) else 0,
        int(units and moves and layer.stored_bias_scale_counts),
        _start(bias.data_at) if moves and bias is not None else 0,
        layer.out if moves else 0,
        np.dtype(bias.dtype).itemsize if moves and bias is not None else 0,
        _start(layer.weight.data_at) if weights else 0,
        int(weights and layer.weight.dtype == "uint8"),
    ]
    while numbers and not numbers[-1]:
        del numbers[-1]
    return numbers


def _start(place: ByteRange | None) -> int:
    return 0 if place is None else place.start
