"""Laws of every method for quantised files: what it trains fits, survives its bytes, and goes back to the bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.integer.c_update import c_update
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, decode_update, encode_update
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.settle import settled
from lieref.adapter.integer.update import ENCODINGS, IntegerUpdate
from lieref.errors import DomainError, LierefError
from lieref.model.integer.reader import read_integer
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net

every_method = pytest.mark.parametrize("method", INTEGER_METHODS)
every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised(residual_net(), tmp_path_factory.mktemp("contract"), "qdq")


def data() -> tuple[Array, Array]:
    y = np.arange(60) % 5
    x = np.random.default_rng(2).standard_normal((60, 3, 9, 8)).astype(np.float32)
    return x + 0.4 * y[:, None, None, None].astype(np.float32), y


@pytest.fixture(scope="module")
def trained(file: Path) -> dict[str, IntegerModel]:
    models = {}
    for method in INTEGER_METHODS:
        small = {"r": 1} if INTEGER_METHODS[method].moves else {}  # of a network this small
        models[method] = load_integer(file).attach(method, **small)
        lieref.fit(models[method], *data(), epochs=5, learning_rate=0.03, augment=(), threads=1)
    return models


def update_of(model: IntegerModel, encoding: str) -> IntegerUpdate:
    assert model.integer_method is not None
    if INTEGER_METHODS[model.integer_method].moves:
        return settled(model, data()[0], encoding=encoding)
    if encoding == "codes" and not INTEGER_METHODS[model.integer_method].scales:
        with pytest.raises(DomainError, match="finished"):
            model.update(encoding)
        encoding = "finished"
    return model.update(encoding)


@every_method
@every_encoding
def test_the_file_computes_what_was_trained(method: str, encoding: str, trained: dict[str, IntegerModel]) -> None:
    model, x = trained[method], data()[0]
    before = load_integer(model.source).logits(x)
    wanted, found = model.logits(x), model.patched(update_of(model, encoding)).logits(x)
    moved = np.abs(wanted - before).max()
    assert moved > 0.1
    # Moves that pay 95 % of what all of them would, and codes of equal steps, leave the rest of the way undone.
    assert np.abs(found - wanted).max() < (0.35 if INTEGER_METHODS[method].moves else 0.05) * moved


@every_method
@every_encoding
def test_it_survives_its_bytes_and_goes_back(
    method: str, encoding: str, trained: dict[str, IntegerModel], tmp_path: Path
) -> None:
    graph = trained[method].integer
    update = update_of(trained[method], encoding)
    files = encode_update(update, graph)
    back = decode_update(files[JSON_NAME], files[BIN_NAME], graph, "here")
    assert encode_update(back, graph) == files
    changed, made = back.patched(graph)
    assert hashlib.sha256(changed.content).hexdigest() == update.result_sha256 != graph.digest
    assert made.undo(made.apply(graph.content)) == graph.content
    inside = {at for place in made.places for at in range(place.start, place.stop)}
    pairs = zip(changed.content, graph.content, strict=True)
    assert inside.issuperset(at for at, (one, other) in enumerate(pairs) if one != other)
    (tmp_path / "new.onnx").write_bytes(changed.content)
    again = read_integer(tmp_path / "new.onnx")
    layers = {layer.weight.name: layer for layer in trained[method].integer_layers}
    for name, layer in layers.items():
        old, new = layer.weight.data, again.tensors[name].data
        assert old is not None
        assert new is not None
        assert np.array_equal(old, new) or INTEGER_METHODS[method].moves
        np.testing.assert_array_equal(np.sign(new), np.sign(old))  # zero points are zero here
    text, tables = c_update(update, graph, "u")
    assert tables <= 2 * len(made) + 8 * len(made.places)  # old bytes and new ones, of places that differ
    assert update.result_sha256.encode() in text


@every_method
def test_broken_bytes_are_one_error(method: str, trained: dict[str, IntegerModel]) -> None:
    graph = trained[method].integer
    update = update_of(trained[method], "finished")
    files = encode_update(update, graph)
    payload = files[BIN_NAME]
    for broken in (b"", payload[:-1], payload + b"\0", b"\xff" + payload[1:]):
        with pytest.raises(LierefError):
            decode_update(files[JSON_NAME], broken, graph, "here")
    digest = hashlib.sha256(payload).hexdigest()
    rng = np.random.default_rng(0)
    for _ in range(60):  # with the digest of the broken bytes, so that only their meaning is in the way
        changed = bytearray(payload)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        changed = changed[: rng.integers(1, len(changed) + 1)] if rng.random() < 0.3 else changed
        text = files[JSON_NAME].replace(digest.encode(), hashlib.sha256(changed).hexdigest().encode())
        text = text.replace(f'"payload_bytes": {len(payload)}'.encode(), f'"payload_bytes": {len(changed)}'.encode())
        try:
            found = decode_update(text, bytes(changed), graph, "here").apply(graph)
        except LierefError:
            continue
        assert hashlib.sha256(found).hexdigest() == update.result_sha256
