"""Root files: what is one, who may follow whom, and when a key has lost its say."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import SSlibKey

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import parse_time
from lieref.adapter.bundle.trust import (
    MAX_ROOT_BYTES,
    holds_private_key,
    key_id,
    next_root,
    parse_root,
    read_root,
)
from tests.adapter.bundle.bundles import keyid, public, root_file, root_payload, signer

PEM = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"


def refused(slug: str, call: Callable[[], Any]) -> str:
    with pytest.raises(BundleRefused) as caught:
        call()
    assert caught.value.slug == slug, str(caught.value)
    return str(caught.value)


def test_what_a_root_file_says() -> None:
    data = root_file(
        root_payload(3, root=("a", "b"), bundle=("c",), thresholds=(2, 1), expires="2030-01-01T00:00:00Z"), ("a", "b")
    )
    root = parse_root(data)
    assert (root.version, root.expires, root.data) == (3, parse_time("2030-01-01T00:00:00Z"), data)
    assert root.keys_of("root") == {keyid("a"): public("a"), keyid("b"): public("b")}
    assert root.keys_of("bundle") == {keyid("c"): public("c")}
    assert (root.roles["root"].threshold, root.roles["bundle"].threshold) == (2, 1)


def test_key_ids_are_those_of_securesystemslib() -> None:
    for name in "abc":
        theirs = SSlibKey.from_crypto(signer(name)._private_key.public_key())
        assert key_id(public(name)) == theirs.keyid


def test_expiry() -> None:
    root = parse_root(root_file(root_payload(expires="2030-01-01T00:00:00Z")))
    root.check_expiry(parse_time("2029-12-31T23:59:59Z"))
    message = refused("expired", lambda: root.check_expiry(parse_time("2030-01-01T00:00:00Z")))
    assert "bring the next root file" in message
    parse_root(root_file()).check_expiry(parse_time("9999-01-01T00:00:00Z"))


def edited(edit: Callable[[dict[str, Any]], Any], **how: Any) -> bytes:
    payload = root_payload(**how)
    edit(payload)
    return root_file(payload)


def key_row(payload: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = payload["keys"][keyid("a")]
    return row


SMALL = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "01" + "00" * 31}}
WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another kind": lambda p: p.update(_type="root"),
    "a key less": lambda p: p.pop("expires"),
    "a key more": lambda p: p.update(more=1),
    "version 0": lambda p: p.update(version=0),
    "version no integer": lambda p: p.update(version=1.0),
    "version true": lambda p: p.update(version=True),
    "expires no time": lambda p: p.update(expires="tomorrow"),
    "expires a number": lambda p: p.update(expires=1),
    "keys a list": lambda p: p.update(keys=[]),
    "no keys": lambda p: p.update(keys={}),
    "too many keys": lambda p: p.update(keys={f"{n}": {} for n in range(33)}),
    "key no object": lambda p: p["keys"].update({keyid("a"): 1}),
    "key without keyval": lambda p: key_row(p).pop("keyval"),
    "key of another type": lambda p: key_row(p).update(keytype="rsa"),
    "key of another scheme": lambda p: key_row(p).update(scheme="ed25519ph"),
    "key with more": lambda p: key_row(p).update(more=1),
    "key in capitals": lambda p: key_row(p)["keyval"].update(public=public("a").hex().upper()),
    "key no hexadecimal": lambda p: key_row(p)["keyval"].update(public="x"),
    "key too short": lambda p: key_row(p)["keyval"].update(public="00"),
    "key of small order": lambda p: p["keys"].update({key_id(bytes([1, *[0] * 31])): SMALL}),
    "key under another id": lambda p: p["keys"].update({"1" * 64: key_row(p)}),
    "roles a list": lambda p: p.update(roles=[]),
    "a role less": lambda p: p["roles"].pop("bundle"),
    "a role more": lambda p: p["roles"].update(targets=p["roles"]["root"]),
    "role no object": lambda p: p["roles"].update(bundle=1),
    "role with more": lambda p: p["roles"]["bundle"].update(more=1),
    "role of a key that is not there": lambda p: p["roles"]["bundle"].update(keyids=[keyid("b")]),
    "role of one key twice": lambda p: p["roles"]["bundle"].update(keyids=[keyid("a")] * 2),
    "role of ids that are no text": lambda p: p["roles"]["bundle"].update(keyids=[1]),
    "role without keys": lambda p: p["roles"]["bundle"].update(keyids=[]),
    "threshold 0": lambda p: p["roles"]["bundle"].update(threshold=0),
    "threshold above the keys": lambda p: p["roles"]["bundle"].update(threshold=2),
    "threshold no integer": lambda p: p["roles"]["root"].update(threshold="1"),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_root_file(edit: Callable[[dict[str, Any]], Any]) -> None:
    assert refused("root", lambda: parse_root(edited(edit))).startswith("parse_root: the root file must have ")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"{", b"\xff"])
def test_what_is_no_envelope(data: bytes) -> None:
    refused("root", lambda: parse_root(data))


def test_a_payload_that_is_no_json() -> None:
    from tests.adapter.bundle.bundles import ROOT_TYPE, envelope

    refused("root", lambda: parse_root(json.dumps(envelope(b"[]", ROOT_TYPE, ("a",))).encode()))


def test_a_root_file_is_signed_by_its_own_keys() -> None:
    refused("root", lambda: parse_root(root_file(names=("b",))))
    two = root_payload(root=("a", "b"), thresholds=(2, 1))
    refused("root", lambda: parse_root(root_file(two)))
    parse_root(root_file(two, ("a", "b")))
    # A key of the other role is none of this one's.
    refused("root", lambda: parse_root(root_file(root_payload(bundle=("b",)), ("b",))))


def test_a_chain_of_roots() -> None:
    """a alone; a and b, both needed; b and c; c alone: each signed by the old and the new."""
    root = parse_root(root_file())
    steps = [
        (root_payload(2, root=("a", "b"), thresholds=(2, 1)), ("a", "b")),
        (root_payload(3, root=("b", "c"), thresholds=(2, 1)), ("a", "b", "c")),
        (root_payload(4, root=("c",), bundle=("c",)), ("b", "c")),
    ]
    for version, (payload, names) in enumerate(steps, 2):
        root = next_root(root, root_file(payload, names))
        assert root.version == version
    assert set(root.keys) == {keyid("c")}


def test_no_version_is_skipped_or_repeated() -> None:
    first = parse_root(root_file())
    for version in (1, 3, 99):
        message = refused("root", partial(next_root, first, root_file(root_payload(version))))
        assert f"the version 2, the next after the one that is trusted; got version {version}" in message


def test_the_next_root_needs_both_thresholds() -> None:
    old = parse_root(root_file(root_payload(root=("a", "b", "c"), thresholds=(2, 1)), ("a", "b")))
    new = root_payload(2, root=("d", "e"), bundle=("d",), thresholds=(2, 1))
    for names in (("a", "b"), ("d", "e"), ("a", "d", "e"), ("a", "b", "d")):
        refused("root", partial(next_root, old, root_file(new, names)))
    assert next_root(old, root_file(new, ("a", "c", "d", "e"))).version == 2


def test_a_threshold_that_changes() -> None:
    """A root with a higher threshold needs it at once, and the one after it as well."""
    one = parse_root(root_file(root_payload(root=("a", "b"))))
    payload = root_payload(2, root=("a", "b"), thresholds=(2, 1))
    refused("root", lambda: next_root(one, root_file(payload, ("a",))))
    two = next_root(one, root_file(payload, ("a", "b")))
    lower = root_payload(3, root=("a", "b"))
    refused("root", lambda: next_root(two, root_file(lower, ("a",))))
    assert next_root(two, root_file(lower, ("a", "b"))).roles["root"].threshold == 1


def test_a_revoked_key_has_no_say() -> None:
    first = parse_root(root_file(root_payload(root=("a", "b"))))
    second = next_root(first, root_file(root_payload(2, root=("b",), bundle=("b",)), ("b",)))
    refused("root", lambda: next_root(second, root_file(root_payload(3), ("a",))))
    refused("root", lambda: next_root(second, root_file(root_payload(3, root=("a", "b")), ("a",))))


def test_an_expired_root_has_a_successor() -> None:
    """A device that was off for long is not lost."""
    old = parse_root(root_file(root_payload(expires="2020-01-01T00:00:00Z")))
    assert next_root(old, root_file(root_payload(2))).version == 2


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(root_file())
    assert read_root(tmp_path).version == read_root(tmp_path / "root.json").version == 1
    assert not holds_private_key(tmp_path)
    (tmp_path / "private_key.pem").write_bytes(PEM)
    assert holds_private_key(tmp_path)
    assert read_root(tmp_path).version == 1


def test_private_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "private_key.pem").write_bytes(PEM)
    refused("private-key", lambda: read_root(tmp_path))
    refused("private-key", lambda: read_root(tmp_path / "private_key.pem"))
    refused("private-key", lambda: parse_root(PEM.replace(b"PRIVATE", b"ENCRYPTED PRIVATE")))
    (tmp_path / "root.json").write_bytes(PEM)
    refused("private-key", lambda: read_root(tmp_path))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    refused("root", lambda: read_root(tmp_path))
    refused("root", lambda: read_root(tmp_path / "nowhere"))
    refused("root", lambda: read_root("a\0b"))
    (tmp_path / "large").write_bytes(b"{" * (MAX_ROOT_BYTES + 1))
    refused("size", lambda: read_root(tmp_path / "large"))


def test_the_payload_names_every_key_by_what_it_is() -> None:
    payload = json.loads(b64decode(json.loads(root_file())["payload"]))
    assert payload["keys"] == {
        keyid("a"): {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public("a").hex()}}
    }
