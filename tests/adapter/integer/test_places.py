"""Updates by byte places: the same file as by the reader of networks, for every kind of update; else refused."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.integer import placing
from lieref.adapter.integer.folder import decode_update
from lieref.adapter.integer.form import BIN_NAME, JSON_NAME, PLACES, parse_update
from lieref.adapter.integer.model import load_integer
from lieref.adapter.integer.moves import encode_moves
from lieref.adapter.integer.places import apply_payload, read_payload
from lieref.adapter.integer.placing import encode_placed
from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError, FormatError, UnsupportedError, VerificationError
from tests.adapter.bundle.updates import (
    BIAS_AT,
    CHANNELS,
    SCALE_AT,
    UNIT_AT,
    WEIGHT_AT,
    quantised_file,
    update_payload,
    update_text,
    updated_file,
)
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net

BASE = quantised_file()


def text_of(payload: bytes, result: bytes = BASE, **fields: Any) -> dict[str, Any]:
    """What an update says, with the digest of its result worked out by the test."""
    sums = {"payload_bytes": len(payload), "payload_sha256": sha256(payload).hexdigest()}
    return {**update_text(BASE, update_payload()), "result_sha256": sha256(result).hexdigest(), **sums, **fields}


def patched(**numbers: np.ndarray) -> bytes:
    """The file with numbers in it, by the names of their places."""
    places = {"scales": SCALE_AT, "units": UNIT_AT, "biases": BIAS_AT, "weights": WEIGHT_AT}
    made = bytearray(BASE)
    for name, values in numbers.items():
        raw = values.tobytes()
        made[places[name] : places[name] + len(raw)] = raw
    return bytes(made)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize(
    ("method", "encoding"),
    [("tied-scale", "codes"), ("tied-scale", "finished"), ("scale", "codes"), ("scale", "finished"),
     ("bias", "finished")],
)  # fmt: skip
def test_the_same_file_as_by_the_network(form: str, method: str, encoding: str, tmp_path: Path) -> None:
    path = quantised(residual_net(), tmp_path, form)
    model = load_integer(path).attach(method)
    rng = np.random.default_rng(0)
    for values in model.parameters().values():
        values[...] += 0.1 * rng.standard_normal(values.shape)
    update = model.update(encoding)
    files = encode_placed(update, model.integer, {})
    said = parse_update(files[JSON_NAME], "here")
    made = apply_payload(read_payload(said, files[BIN_NAME]), said, path.read_bytes())
    assert made == update.apply(model.integer) != path.read_bytes()
    assert decode_update(files[JSON_NAME], files[BIN_NAME], model.integer, "here").apply(model.integer) == made


def test_weights_that_change(tmp_path: Path) -> None:
    path = quantised(residual_net(), tmp_path, "qoperator")
    graph = load_integer(path).integer
    name = next(layer.weight.name for layer in load_integer(path).integer_layers)
    data = graph.tensors[name].data
    assert data is not None
    new = data.copy()
    new.flat[::3] ^= 1
    update = IntegerUpdate("liera", graph.digest, len(graph.content), "stay", integers={name: new}).sealed(graph)
    files = encode_placed(update, graph, {})
    said = parse_update(files[JSON_NAME], "here")
    assert apply_payload(read_payload(said, files[BIN_NAME]), said, graph.content) == update.apply(graph)


def test_what_places_cannot_say_is_not_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator")).attach("tied-scale")
    monkeypatch.setattr(placing, "places_of", lambda entries, rule, graph: [[8]] * len(entries))
    with pytest.raises(UnsupportedError, match="byte places can say"):
        encode_placed(model.update(), model.integer, {})


def test_codes_by_hand() -> None:
    payload = update_payload()
    said = text_of(payload, updated_file(BASE, payload))
    assert apply_payload(read_payload(said, payload), said, BASE) == updated_file(BASE, payload)


@pytest.mark.parametrize("stored", [False, True])
def test_biases_that_follow(stored: bool) -> None:
    """The real bias stays: to the nearest integer in the new unit, from the unit of the product or the stored one."""
    scales = np.array([0.01, 0.02, 0.04], "<f4")
    old = np.frombuffer(BASE, "<f4", CHANNELS, SCALE_AT).astype(np.float64)
    unit = np.frombuffer(BASE, "<f4", CHANNELS, UNIT_AT).astype(np.float64) if stored else 0.125 * old
    real = np.frombuffer(BASE, "<i4", CHANNELS, BIAS_AT) * unit
    result = patched(
        scales=scales, units=(np.float32(0.125) * scales).astype("<f4"),
        biases=np.rint(real / (0.125 * scales.astype(np.float64))).astype("<i4"),
    )  # fmt: skip
    bits = int(np.array([0.125], "<f4").view("<u4")[0])
    row = [SCALE_AT, UNIT_AT, CHANNELS, bits, int(stored), BIAS_AT, CHANNELS, 4]
    said = text_of(scales.tobytes(), result, encoding="finished", bias_rule="follow", places=[row])
    assert apply_payload(read_payload(said, scales.tobytes()), said, BASE) == result


@pytest.mark.parametrize("kind", ["i1", "u1"])
def test_biases_and_weights_as_given(kind: str) -> None:
    biases = np.array([5, -6, 7], "<i4")
    old = np.frombuffer(BASE, kind, 4, WEIGHT_AT)
    middle = np.clip(old + np.array([1, -1, 0, 3]), np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    moves = encode_moves([(old, middle)])
    row = [0, 0, 0, 0, 0, BIAS_AT, CHANNELS, 4, WEIGHT_AT, int(kind == "u1")]
    fields = {
        "encoding": "finished", "bias_rule": "given", "layers": [[0, 0, CHANNELS, 4]], "places": [row],
        "weight_differences": len(moves),
    }  # fmt: skip
    payload = biases.tobytes() + moves
    result = patched(biases=biases, weights=middle.view(np.uint8))
    said = text_of(payload, result, **fields)
    assert apply_payload(read_payload(said, payload), said, BASE) == result
    for wrong in (moves + b"\1", b"\xff" * 20):
        worse = biases.tobytes() + wrong
        lying = text_of(worse, result, **{**fields, "weight_differences": len(wrong)})
        with pytest.raises(FormatError, match="coded"):
            apply_payload(read_payload(lying, worse), lying, BASE)
    with pytest.raises(FormatError, match="too short"):
        read_payload(text_of(payload, **{**fields, "weight_differences": 999}), payload)
    with pytest.raises(FormatError, match="more"):
        read_payload(text_of(payload, **{**fields, "weight_differences": 0}), payload)


def test_what_is_refused_when_it_is_applied() -> None:
    payload = update_payload()
    said = text_of(payload, updated_file(BASE, payload))
    for other in (BASE[:-1], BASE + b"\0", quantised_file(1)):
        with pytest.raises(VerificationError, match="the one that the update is for"):
            apply_payload(read_payload(said, payload), said, other)
    with pytest.raises(VerificationError, match="must become"):
        apply_payload(read_payload(said, payload), {**said, "result_sha256": "1" * 64}, BASE)
    overlapping = {**said, PLACES: [[SCALE_AT, SCALE_AT + 8, *said[PLACES][0][2:]]]}
    with pytest.raises(FormatError, match="written once"):
        apply_payload(read_payload(overlapping, payload), overlapping, BASE)
    # Where the places say that scales are, none stand.
    nowhere = quantised_file()[:SCALE_AT] + b"\xff" * 12 + BASE[SCALE_AT + 12 :]
    lying = {**said, "base_sha256": sha256(nowhere).hexdigest()}
    with pytest.raises(DomainError, match="every scale"):
        apply_payload(read_payload(lying, payload), lying, nowhere)
    tiny = np.full(CHANNELS, 1e-37, "<f4")
    row = [SCALE_AT, 0, 0, 0x3E000000, 0, BIAS_AT, CHANNELS, 4]
    said = text_of(tiny.tobytes(), encoding="finished", bias_rule="follow", places=[row])
    with pytest.raises(DomainError, match="must fit 32 bits"):
        apply_payload(read_payload(said, tiny.tobytes()), said, BASE)


def test_fields_of_the_text() -> None:
    right = text_of(update_payload())
    assert parse_update(json.dumps(right).encode(), "here") == right
    wrong: list[dict[str, Any]] = [
        {"format": "lieref-integer-update-2"}, {"base_sha256": "x"}, {"base_bytes": -1}, {"base_bytes": True},
        {"bias_rule": "go"}, {"bias_rule": []}, {"encoding": 1}, {"layers": {}}, {"places": [1]}, {"places": [[-1]]},
        {"self_test": []}, {"more": 1}, {"payload_bytes": 7.0}, {"result_sha256": "0"}, {"method": 1},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(FormatError, match="must"):
            parse_update(json.dumps({**right, **change}).encode(), "here")
    for name in right:
        if name != "places":
            with pytest.raises(FormatError):
                parse_update(json.dumps({k: v for k, v in right.items() if k != name}).encode(), "here")
