"""DSSE envelopes: the specification's vector, securesystemslib both ways, and what is refused."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from securesystemslib import dsse as peer

from lieref.adapter.bundle.dsse import (
    MAX_SIGNATURES,
    Envelope,
    check_signatures,
    format_envelope,
    pae,
    parse_envelope,
)
from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused
from lieref.adapter.bundle.signing import add_signatures
from tests.adapter.bundle.bundles import envelope, keyid, public, signer

KIND = "application/x"
KEYS = {keyid(name): public(name) for name in "abc"}


def refused(slug: str, call: Callable[[], Any]) -> str:
    with pytest.raises(BundleRefused) as caught:
        call()
    assert caught.value.slug == slug
    assert slug in REFUSALS
    return str(caught.value)


def parsed(value: Any) -> Envelope:
    return parse_envelope(json.dumps(value).encode(), KIND, "envelope")


def test_pae_of_the_specification() -> None:
    """The example in the specification's protocol.md."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_pae_counts_bytes() -> None:
    assert pae("é", b"\xff") == b"DSSEv1 2 \xc3\xa9 1 \xff"


def test_securesystemslib_accepts_ours() -> None:
    data = add_signatures(Envelope(b"payload", KIND, ()), [signer("a"), signer("b")])
    theirs = peer.Envelope.from_dict(json.loads(data))
    accepted = theirs.verify([signer("a").public_key, signer("b").public_key], threshold=2)
    assert set(accepted) == {keyid("a"), keyid("b")}
    assert (theirs.payload, theirs.payload_type) == (b"payload", KIND)


@pytest.mark.parametrize("indent", [None, 2])
def test_we_accept_those_of_securesystemslib(indent: int | None) -> None:
    theirs = peer.Envelope(b"payload", KIND, {})
    theirs.sign(signer("a"))
    theirs.sign(signer("c"))
    ours = parse_envelope(json.dumps(theirs.to_dict(), indent=indent).encode(), KIND, "envelope")
    assert ours.payload == b"payload"
    assert check_signatures(ours, KEYS, 2, "envelope") == (keyid("a"), keyid("c"))


def test_format_is_read_back() -> None:
    made = Envelope(bytes(range(256)), KIND, (("k", b"\0" * 64), ("l", b"")))
    data = format_envelope(made)
    assert parse_envelope(data, KIND, "envelope") == made
    assert data.isascii()
    assert b"\n" not in data


RIGHT = envelope(b"payload", KIND, ("a", "b"))
WRONG: dict[str, Any] = {
    "a list": [],
    "no keys": {},
    "a key less": {key: RIGHT[key] for key in ("payload", "payloadType")},
    "a key more": {**RIGHT, "more": 1},
    "another order": {key: RIGHT[key] for key in ("payloadType", "payload", "signatures")},
    "another type": {**RIGHT, "payloadType": "application/y"},
    "a type that is no text": {**RIGHT, "payloadType": 1},
    "payload no text": {**RIGHT, "payload": 1},
    "payload no base64": {**RIGHT, "payload": "!"},
    "payload not ASCII": {**RIGHT, "payload": "é"},
    "payload without padding": {**RIGHT, "payload": "YQ"},
    "payload with stray bits": {**RIGHT, "payload": "YR=="},
    "payload of the other alphabet": {**RIGHT, "payload": "-_-_"},
    "payload with a space": {**RIGHT, "payload": "YWFh YWFh"},
    "signatures no list": {**RIGHT, "signatures": {}},
    "no signature": {**RIGHT, "signatures": []},
    "too many signatures": {**RIGHT, "signatures": [{"keyid": f"{n}", "sig": ""} for n in range(MAX_SIGNATURES + 1)]},
    "signature no object": {**RIGHT, "signatures": [1]},
    "signature without key id": {**RIGHT, "signatures": [{"sig": ""}]},
    "signature with more": {**RIGHT, "signatures": [{**RIGHT["signatures"][0], "cert": ""}]},
    "signature in another order": {**RIGHT, "signatures": [{"sig": "", "keyid": "a"}]},
    "key id no text": {**RIGHT, "signatures": [{"keyid": 1, "sig": ""}]},
    "sig no text": {**RIGHT, "signatures": [{"keyid": "a", "sig": None}]},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_envelope(value: Any) -> None:
    message = refused("format", lambda: parsed(value))
    assert message.startswith("parse_envelope: envelope must have ")


@pytest.mark.parametrize("data", [b"", b"{", b"{]}", b" {}", b"{}\n", b'{"a":1,"a":1}', b'{"\xff":1}', b'{"a":NaN}'])
def test_what_is_no_strict_json(data: bytes) -> None:
    refused("format", lambda: parse_envelope(data, KIND, "envelope"))


def test_one_key_twice() -> None:
    row = RIGHT["signatures"][0]
    refused("duplicate-key", lambda: parsed({**RIGHT, "signatures": [row, row]}))


def test_thresholds() -> None:
    both = parsed(RIGHT)
    assert check_signatures(both, KEYS, 1, "envelope") == (keyid("a"), keyid("b"))
    assert check_signatures(both, KEYS, 2, "envelope") == (keyid("a"), keyid("b"))
    message = refused("threshold", lambda: check_signatures(both, KEYS, 3, "envelope"))
    assert message.endswith("must be signed by 3 of the 3 trusted keys; got 2")


def test_keys_that_are_not_trusted_count_for_nothing() -> None:
    both = parsed(RIGHT)
    only = {keyid("a"): public("a")}
    assert check_signatures(both, only, 1, "envelope") == (keyid("a"),)
    assert keyid("b") in refused("unknown-key", lambda: check_signatures(both, only, 2, "envelope"))
    refused("threshold", lambda: check_signatures(both, only, 3, "envelope"))
    refused("unknown-key", lambda: check_signatures(both, {}, 1, "envelope"))


def test_a_wrong_signature_by_a_trusted_key_refuses_the_whole() -> None:
    changed = bytearray(b64decode(RIGHT["signatures"][1]["sig"]))
    changed[0] ^= 1
    row = {**RIGHT["signatures"][1], "sig": b64encode(changed).decode()}
    wrong = parsed({**RIGHT, "signatures": [RIGHT["signatures"][0], row]})
    assert keyid("b") in refused("signature", lambda: check_signatures(wrong, KEYS, 1, "envelope"))
    assert check_signatures(wrong, {keyid("a"): public("a")}, 1, "envelope") == (keyid("a"),)


def test_a_signature_holds_for_its_payload_type_alone() -> None:
    other = parse_envelope(json.dumps({**RIGHT, "payloadType": "application/y"}).encode(), "application/y", "envelope")
    refused("signature", lambda: check_signatures(other, KEYS, 1, "envelope"))
