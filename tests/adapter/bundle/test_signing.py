"""Keys, signatures and rotation by the signer's side, checked by the device's."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519 as crypto
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from securesystemslib.signer import CryptoSigner

from lieref.adapter.bundle.dsse import Envelope
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.rotation import missing_signatures, public_key_of, rotate, sign_root
from lieref.adapter.bundle.signing import ReadableKeyWarning, add_signatures, make_key, public_key, read_signer
from lieref.adapter.bundle.trust import next_root, parse_root, read_root
from lieref.errors import DomainError, LierefError, MissingExtraError
from tests.adapter.bundle.bundles import keyid, public, root_file, root_payload, signer

ROOT = parse_root(root_file())


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    return tmp_path / "key"


def test_a_key(key: Path) -> None:
    assert sorted(p.name for p in key.iterdir()) == ["private_key.pem", "root.json"]
    assert (key / "private_key.pem").stat().st_mode & 0o777 == 0o600
    root = read_root(key)
    (found,) = root.keys.values()
    assert public_key(read_signer(key)) == public_key(read_signer(key / "private_key.pem")) == found
    assert public_key_of(key) == public_key_of(key / "root.json") == found
    assert (root.version, root.roles["root"], root.roles["root"].threshold) == (1, root.roles["bundle"], 1)
    assert root.expires is not None
    assert timedelta(days=3649) < root.expires - datetime.now(UTC) < timedelta(days=3651)


@pytest.mark.parametrize("expires", [None, datetime(2030, 1, 1, tzinfo=UTC)])
def test_the_root_files_expiry(tmp_path: Path, expires: datetime | None) -> None:
    assert make_key(tmp_path / "key", expires=expires).expires == read_root(tmp_path / "key").expires == expires


def test_a_key_is_never_overwritten(key: Path) -> None:
    before = {path.name: path.read_bytes() for path in key.iterdir()}
    with pytest.raises(DomainError, match="new or empty folder"):
        make_key(key)
    (key / "root.json").unlink()
    with pytest.raises(DomainError, match="new or empty folder"):
        make_key(key)
    assert (key / "private_key.pem").read_bytes() == before["private_key.pem"]


@pytest.mark.parametrize("umask", [0, 0o277])
def test_the_private_half_is_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key" / "private_key.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read(key: Path) -> None:
    (key / "private_key.pem").chmod(0o644)
    with pytest.warns(ReadableKeyWarning, match="chmod 600"):
        read_signer(key)


def pem(private: Any, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    made: bytes = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return made


def test_what_is_no_private_key(tmp_path: Path) -> None:
    bad = {
        "text": b"hello",
        "password": pem(crypto.Ed25519PrivateKey.generate(), b"secret"),
        "rsa": pem(generate_private_key(65537, 1024)),
        "public": root_file(),
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        with pytest.raises(DomainError, match=r"read_signer: `key` must be"):
            read_signer(tmp_path / name)
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DomainError, match=r"read_signer: `key` must be a private key"):
            read_signer(path)


def test_signers_of_other_kinds_are_refused() -> None:
    with pytest.raises(DomainError, match="must have an Ed25519 key; got rsa"):
        add_signatures(Envelope(b"x", "t", ()), [CryptoSigner(generate_private_key(65537, 1024))])


def test_no_key_signs_twice() -> None:
    for signers, signatures in (([signer("a")] * 2, ()), ([signer("a")], ((keyid("a"), b"x"),))):
        with pytest.raises(DomainError, match="keys that have not signed yet"):
            add_signatures(Envelope(b"x", "t", signatures), signers)


@pytest.mark.parametrize("module", ["securesystemslib", "cryptography"])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    for name in [*sys.modules, module]:
        if name.split(".")[0] == module:
            monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: make_key(tmp_path / "key"), lambda: read_signer(tmp_path)):
        with pytest.raises(MissingExtraError, match=r"pip install 'lieref\[sign\]'"):
            call()
    assert not (tmp_path / "key").exists()


def test_a_key_is_replaced() -> None:
    data = rotate(ROOT, [signer("a"), signer("b")], add={"root": [public("b")], "bundle": [public("b")]},
                  remove=[keyid("a")])  # fmt: skip
    root = next_root(ROOT, data)
    assert dict(root.keys) == {keyid("b"): public("b")}
    assert missing_signatures(data, ROOT) == {"new": 0, "old": 0}


def test_signatures_that_come_later() -> None:
    """Two keepers of keys in two places: one makes the root file, the other adds a signature."""
    data = rotate(ROOT, [signer("a")], add={"root": [public("b")]}, thresholds={"root": 2})
    assert missing_signatures(data, ROOT) == {"new": 1, "old": 0}
    with pytest.raises(BundleRefused):
        next_root(ROOT, data)
    whole = sign_root(data, [signer("b")])
    assert missing_signatures(whole, ROOT) == {"new": 0, "old": 0}
    root = next_root(ROOT, whole)
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 2)
    assert root.roles["bundle"] == ROOT.roles["bundle"]


def test_a_root_file_without_signatures_yet() -> None:
    """Made where no key is: it cannot be written, for an envelope without signatures is none."""
    with pytest.raises(LierefError):
        rotate(ROOT, [], add={"root": [public("b")]})


def test_the_first_root_file_has_no_predecessor() -> None:
    assert missing_signatures(root_file(), None) == {"new": 0, "old": 0}


def test_roles_apart() -> None:
    """Keys of the root offline, those of bundles where bundles are made."""
    data = rotate(ROOT, [signer("a")], add={"bundle": [public("b"), public("c")]}, thresholds={"bundle": 2})
    root = next_root(ROOT, data)
    assert set(root.roles["bundle"].keyids) == {keyid("a"), keyid("b"), keyid("c")}
    assert root.roles["root"].keyids == (keyid("a"),)
    third = next_root(root, rotate(root, [signer("a")], remove=[keyid("b")], expires=None))
    assert set(third.keys) == {keyid("a"), keyid("c")}
    assert third.expires is None


def test_what_a_rotation_may_not_do() -> None:
    with pytest.raises(DomainError, match="must name keys of the root file"):
        rotate(ROOT, [signer("a")], remove=[keyid("b")])
    with pytest.raises(DomainError, match="must leave the role root 1 to 0"):
        rotate(ROOT, [signer("a")], remove=[keyid("a")])
    with pytest.raises(DomainError, match="must leave the role bundle 1 to 1"):
        rotate(ROOT, [signer("a")], thresholds={"bundle": 2})
    with pytest.raises(DomainError, match="must have the role root"):
        rotate(ROOT, [signer("a"), signer("c")], add={"bundle": [public("c")]})


def test_the_key_that_a_folder_brings(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_bytes(root_file(root_payload(root=("a", "b"))))
    with pytest.raises(DomainError, match="a root file of one key"):
        public_key_of(tmp_path)
