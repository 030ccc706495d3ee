"""The next root file: keys added, revoked, thresholds changed; signed by the old keys and the new (as in TUF)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lieref.adapter.bundle.dsse import Envelope, parse_envelope
from lieref.adapter.bundle.signing import ROOT_DAYS, add_signatures
from lieref.adapter.bundle.trust import (
    ROLES,
    ROOT_PAYLOAD_TYPE,
    Role,
    Root,
    format_root,
    key_id,
    next_root,
    open_root,
    parse_root,
)
from lieref.errors import DomainError


def rotate(
    current: Root,
    signers: Sequence[Any],
    *,
    add: Mapping[str, Collection[bytes]] | None = None,
    remove: Collection[str] = (),
    thresholds: Mapping[str, int] | None = None,
    expires: datetime | timedelta | None = timedelta(days=ROOT_DAYS),
) -> bytes:
    """Return the file of the next root, with the signatures of the keys at hand.

    Parameters
    ----------
    current : Root
    signers : sequence of securesystemslib.signer.Signer
        Of the old root's keys and the new one's; `missing_signatures` tells whether they are enough.
    add : mapping of str to collection of bytes, optional
        Role -> public keys that get it.
    remove : collection of str
        Ids of keys that lose every role: revoked.
    thresholds : mapping of str to int, optional
        Role -> how many must sign; as before by default.
    expires : datetime, timedelta from now, or None

    Raises
    ------
    DomainError
        If a key to be removed is not there, a role would have fewer keys than its threshold, nothing would change, or
        a signer has no part in either root.
    """
    keys = dict(current.keys)
    for keyid in remove:
        if keyid not in keys:
            raise DomainError(f"rotate: `remove` must name keys of the root file; got {keyid}")
        del keys[keyid]
    roles = {}
    for name in ROLES:
        new = {key_id(public): public for public in (add or {}).get(name, ())}
        keys |= new
        keyids = {keyid for keyid in current.roles[name].keyids if keyid in keys and keyid not in remove} | set(new)
        threshold = (thresholds or {}).get(name, current.roles[name].threshold)
        if not 1 <= threshold <= len(keyids):
            raise DomainError(
                f"rotate: `thresholds` must leave the role {name} 1 to {len(keyids)}, its keys; got {threshold}"
            )
        roles[name] = Role(tuple(sorted(keyids)), threshold)
    used = {keyid: public for keyid, public in keys.items() if any(keyid in role.keyids for role in roles.values())}
    if isinstance(expires, timedelta):
        expires = datetime.now(UTC).replace(microsecond=0) + expires
    root = Root(current.version + 1, expires, used, roles)
    may_sign = {*current.roles["root"].keyids, *roles["root"].keyids}
    for signer in signers:
        keyid = signer.public_key.keyid
        if keyid not in may_sign:
            raise DomainError(f"rotate: `signers` must have the role root, in the old root or the new; got {keyid}")
    data = add_signatures(Envelope(format_root(root), ROOT_PAYLOAD_TYPE, ()), signers)
    open_root(data)
    return data


def missing_signatures(data: bytes, previous: Root | None) -> dict[str, int]:
    """Return how many signatures a root file lacks, those of a damaged file aside.

    Parameters
    ----------
    data : bytes
        The root file.
    previous : Root or None
        The one that it follows.

    Returns
    -------
    dict of str to int
        ``new``: of its own keys; ``old``: of the keys of `previous`. Zero both: the file can go out.
    """
    envelope, root = open_root(data)
    signed = {keyid for keyid, _ in envelope.signatures}
    lacks = {"new": _lacks(root, signed), "old": 0 if previous is None else _lacks(previous, signed)}
    if not any(lacks.values()):
        parse_root(data) if previous is None else next_root(previous, data)
    return lacks


def _lacks(root: Root, signed: set[str]) -> int:
    role = root.roles["root"]
    return max(0, role.threshold - len(signed.intersection(role.keyids)))


def sign_root(data: bytes, signers: Sequence[Any]) -> bytes:
    """Return a root file with signatures added; raises as `add_signatures` does."""
    open_root(data)
    return add_signatures(parse_envelope(data, ROOT_PAYLOAD_TYPE, "root file"), signers)


def public_key_of(path: str | Path) -> bytes:
    """Return the public key that a folder of `make_key`, or its root file, brings to a rotation.

    Raises
    ------
    DomainError
        If the root file has more than one key.
    BundleRefused
        If it is not a root file.
    """
    from lieref.adapter.bundle.trust import read_root

    root = read_root(path)
    if len(root.keys) != 1:
        raise DomainError(f"public_key_of: `path` must be a root file of one key; got {path} of {len(root.keys)}")
    return next(iter(root.keys.values()))
