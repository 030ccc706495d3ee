"""Whom a device trusts: a root file with keys, the two roles they have, and how many must sign (as in TUF).

The keys of the role ``root`` sign root files, those of ``bundle`` sign bundles; one key may have both roles. A device
comes with one root file. Root N + 1 replaces root N if the keys of both say so, each by the threshold
of its own root; no version is skipped. So keys are added, revoked and replaced without touching a device. An expired
root is no base for bundles, but its successor is still accepted, or else a device that was off for long were lost.

The file is a DSSE envelope, its payload ``{"_type": "lieref-root/1", "version": N, "expires": time or null, "keys":
{keyid: {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": hex}}}, "roles": {"root": {"keyids": [...],
"threshold": n}, "bundle": {...}}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lieref._record import dataclass
from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.dsse import MAX_SIGNATURES, Envelope, check_signatures, parse_envelope
from lieref.adapter.bundle.ed25519 import check_public_key
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import format_time, parse_time
from lieref.adapter.fields import is_list, is_size, is_text, shown
from lieref.adapter.strict_json import format_json, parse_json
from lieref.errors import DomainError, FormatError

ROOT_PAYLOAD_TYPE = "application/vnd.lieref.root+json"
ROOT_TYPE = "lieref-root/1"
ROOT_NAME = "root.json"
PRIVATE_KEY_NAME = "private_key.pem"
ROLES = ("root", "bundle")

MAX_ROOT_BYTES = 64 * 2**10
"""Cap on a root file: 32 keys take 10 kB as JSON, 13 kB as base64, and 64 signatures 13 kB."""
MAX_KEYS = MAX_SIGNATURES
"""Cap on the keys of a root: so many that every one of them can sign a bundle."""


@dataclass(frozen=True)
class Role:
    """Ids of the keys that have a role, sorted, and how many of them must sign."""

    keyids: tuple[str, ...]
    threshold: int


@dataclass(frozen=True)
class Root:
    """A root file that is signed by the threshold of its own keys.

    Attributes
    ----------
    version : int
        From 1.
    expires : datetime or None
        UTC.
    keys : mapping of str to bytes
        Key id -> public key of 32 bytes.
    roles : mapping of str to Role
        By the names in `ROLES`.
    data : bytes
        The file, for whoever stores it.
    """

    version: int
    expires: datetime | None
    keys: Mapping[str, bytes]
    roles: Mapping[str, Role]
    data: bytes = field(default=b"", repr=False)

    def keys_of(self, role: str) -> dict[str, bytes]:
        """Return the keys of a role by id."""
        return {keyid: self.keys[keyid] for keyid in self.roles[role].keyids}

    def check_expiry(self, now: datetime) -> None:
        """Raise `BundleRefused` (``expired``) if the root has expired."""
        if self.expires is not None and now >= self.expires:
            raise BundleRefused(
                "expired",
                f"check_expiry: the root file must not have expired; got version {self.version}, which did on "
                f"{format_time(self.expires)}: bring the next root file to the device",
            )


def key_id(public: bytes) -> str:
    """Return the id of an Ed25519 key, as securesystemslib has it: the SHA-256 of its canonical JSON."""
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{public.hex()}"}},"scheme":"ed25519"}}'
    return sha256(text.encode("ascii")).hexdigest()


def format_root(root: Root) -> bytes:
    """Return the payload of a root, to be signed."""
    return format_json(
        {
            "_type": ROOT_TYPE,
            "version": root.version,
            "expires": None if root.expires is None else format_time(root.expires),
            "keys": {
                keyid: {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public.hex()}}
                for keyid, public in sorted(root.keys.items())
            },
            "roles": {
                name: {"keyids": list(root.roles[name].keyids), "threshold": root.roles[name].threshold}
                for name in ROLES
            },
        }
    )


def read_root(path: str | Path) -> Root:
    """Return the root in a file, or in the file `ROOT_NAME` of a folder.

    Raises
    ------
    BundleRefused
        ``private-key``: if it is a private key, or a folder with nothing but one; ``root``: if it is not a valid root.
    """
    place = Path(path)
    if place.is_dir():
        if (place / PRIVATE_KEY_NAME).exists() and not (place / ROOT_NAME).exists():
            raise BundleRefused(
                "private-key", f"read_root: `trust` must hold {ROOT_NAME}; got {place} with a private key alone"
            )
        place = place / ROOT_NAME
    return parse_root(read_regular(place, MAX_ROOT_BYTES, missing="root"))


def holds_private_key(path: str | Path) -> bool:
    """Tell whether a folder that serves as `trust` holds a private key too, which belongs elsewhere."""
    return Path(path, PRIVATE_KEY_NAME).exists()


def parse_root(data: bytes) -> Root:
    """Return the root in the bytes of a root file, which is signed by its own keys.

    Raises
    ------
    BundleRefused
        ``private-key``: if it is a private key; ``root``: if it is not a root file or not signed by its own keys.
    """
    if b"PRIVATE KEY-----" in data:
        raise BundleRefused("private-key", "parse_root: `trust` must be a root file; got a private key: keep it secret")
    envelope, root = open_root(data)
    _check_signed(envelope, root, "the root file")
    return root


def next_root(current: Root, data: bytes) -> Root:
    """Return the root in `data` if it may follow `current`.

    Raises
    ------
    BundleRefused
        ``root``: unless its version is the next one and the thresholds of both roots signed it.
    """
    root = parse_root(data)
    if root.version != current.version + 1:
        raise _refuse(
            f"the version {current.version + 1}, the next after the one that is trusted", f"version {root.version}"
        )
    _check_signed(parse_envelope(data, ROOT_PAYLOAD_TYPE, "root file"), current, "the next root file")
    return root


def open_root(data: bytes) -> tuple[Envelope, Root]:
    """Return the envelope and the root in the bytes of a root file whose signatures are not checked: not yet trusted.

    Raises
    ------
    BundleRefused
        ``root``: if it is not a root file.
    """
    try:
        envelope = parse_envelope(data, ROOT_PAYLOAD_TYPE, "root file")
        value = parse_json(envelope.payload, "root")
    except (BundleRefused, FormatError) as error:
        raise BundleRefused("root", str(error)) from None
    if set(value) != {"_type", "version", "expires", "keys", "roles"} or value["_type"] != ROOT_TYPE:
        raise _refuse(f"_type {ROOT_TYPE} and version, expires, keys and roles", shown(sorted(value)))
    if not is_size(value["version"]) or value["version"] < 1:
        raise _refuse("a version from 1", shown(value["version"]))
    keys = _keys(value["keys"])
    return envelope, Root(value["version"], _time(value["expires"]), keys, _roles(value["roles"], keys), data)


def _keys(value: Any) -> dict[str, bytes]:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_KEYS:
        raise _refuse(f"an object of 1 to {MAX_KEYS} keys", shown(value))
    keys = {}
    for keyid, row in value.items():
        try:
            public = bytes.fromhex(row["keyval"]["public"])
            check_public_key(public)
        except (DomainError, KeyError, TypeError, ValueError):
            raise _refuse("Ed25519 keys", f"{shown(keyid)}: {shown(row)}") from None
        if row != {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public.hex()}}:
            raise _refuse("keys of keytype and scheme ed25519 and a keyval of public alone", shown(row))
        # So one key has one id, and cannot count twice.
        if keyid != key_id(public):
            raise _refuse(f"the id {key_id(public)} of key {public.hex()}", shown(keyid))
        keys[keyid] = public
    return keys


def _roles(value: Any, keys: Mapping[str, bytes]) -> dict[str, Role]:
    if not isinstance(value, dict) or set(value) != set(ROLES):
        raise _refuse(f"the roles {' and '.join(ROLES)}", shown(value))
    roles = {}
    for name, row in value.items():
        if not isinstance(row, dict) or set(row) != {"keyids", "threshold"}:
            raise _refuse("roles of keyids and threshold", shown(row))
        keyids, threshold = row["keyids"], row["threshold"]
        if not is_list(keyids, is_text) or len(set(keyids)) != len(keyids) or not set(keyids) <= set(keys):
            raise _refuse(f"different keyids of its keys in the role {name}", shown(keyids))
        if not is_size(threshold) or not 1 <= threshold <= len(keyids):
            raise _refuse(f"a threshold of 1 to {len(keyids)}, the keys of the role {name}", shown(threshold))
        roles[name] = Role(tuple(sorted(keyids)), threshold)
    return roles


def _time(value: Any) -> datetime | None:
    try:
        return None if value is None else parse_time(value)
    except (TypeError, ValueError):
        raise _refuse("an expires of a time such as 2026-11-29T20:00:00Z or null", shown(value)) from None


def _check_signed(envelope: Envelope, root: Root, what: str) -> None:
    try:
        check_signatures(envelope, root.keys_of("root"), root.roles["root"].threshold, what)
    except BundleRefused as error:
        raise BundleRefused("root", f"{error} (root version {root.version})") from None


def _refuse(rule: str, got: str) -> BundleRefused:
    return BundleRefused("root", f"parse_root: the root file must have {rule}; got {got}")
