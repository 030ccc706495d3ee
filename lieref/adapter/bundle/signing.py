"""Keys and signatures made with securesystemslib (extra ``sign``); what is checked on a device is in `verify`.

A key is a folder of two files: `PRIVATE_KEY_NAME`, which stays where bundles are made, and `ROOT_NAME`, which goes to
the devices. Any other signer of securesystemslib with an Ed25519 key, such as one in a hardware token, can be given in
place of a folder.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lieref._atomic import new_folder
from lieref._check import need
from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.dsse import Envelope, format_envelope
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.trust import (
    PRIVATE_KEY_NAME,
    ROLES,
    ROOT_NAME,
    ROOT_PAYLOAD_TYPE,
    Role,
    Root,
    format_root,
    key_id,
    parse_root,
)
from lieref.errors import DomainError, LierefWarning

ROOT_DAYS = 3650
"""Days until a root file expires unless told otherwise: it outlives most devices, and its successor may come later."""

MAX_KEY_BYTES = 64 * 2**10
"""Cap on a private key's file; one of Ed25519 takes 119 bytes."""


class ReadableKeyWarning(LierefWarning):
    """A private key can be read by other users of the machine."""


def make_key(folder: str | Path, *, expires: datetime | timedelta | None = timedelta(days=ROOT_DAYS)) -> Root:
    """Make a key: write its private half and a root file that trusts it alone, for both roles.

    Parameters
    ----------
    folder : path
        New or empty: a key is never overwritten.
    expires : datetime, timedelta from now, or None
        Of the root file.

    Returns
    -------
    Root

    Raises
    ------
    MissingExtraError
        Without the extra ``sign``.
    DomainError
        If the folder holds anything.
    """
    signer = _crypto_signer().generate_ed25519()
    public = bytes.fromhex(signer.public_key.keyval["public"])
    keyid = key_id(public)
    if isinstance(expires, timedelta):
        expires = datetime.now(UTC).replace(microsecond=0) + expires
    root = Root(1, expires, {keyid: public}, dict.fromkeys(ROLES, Role((keyid,), 1)))
    data = add_signatures(Envelope(format_root(root), ROOT_PAYLOAD_TYPE, ()), [signer])
    with new_folder(folder) as partial:
        # Nobody else may read it, not even before it has its name.
        descriptor = os.open(partial / PRIVATE_KEY_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            if os.name == "posix":
                os.fchmod(descriptor, 0o600)  # its owner may, whatever the umask takes away
            file.write(signer.private_bytes)
        (partial / ROOT_NAME).write_bytes(data)
    return parse_root(data)


def read_signer(path: str | Path) -> Any:
    """Return the signer of a private key: a PEM file, or the folder that `make_key` wrote.

    Returns
    -------
    securesystemslib.signer.CryptoSigner

    Raises
    ------
    MissingExtraError
        Without the extra ``sign``.
    DomainError
        If it is not a private Ed25519 key without a password.

    Warns
    -----
    ReadableKeyWarning
        If others can read it.
    """
    signer = _crypto_signer()
    serialization = need("cryptography.hazmat.primitives.serialization", "sign", "signing")
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "sign", "signing")
    place = Path(path) / PRIVATE_KEY_NAME if Path(path).is_dir() else Path(path)
    try:
        key = serialization.load_pem_private_key(read_regular(place, MAX_KEY_BYTES), None)
    except (BundleRefused, TypeError, ValueError) as error:  # TypeError: it has a password
        raise DomainError(
            f"read_signer: `key` must be a private key without a password; got {place}: {error}"
        ) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise DomainError(f"read_signer: `key` must be an Ed25519 key; got {place}, a {type(key).__name__}")
    if os.name == "posix" and place.stat().st_mode & 0o077:
        text = f"{place} can be read by others: chmod 600 it, and replace the key if it may have been read"
        warnings.warn(text, ReadableKeyWarning, stacklevel=2)
    return signer(key)


def public_key(signer: Any) -> bytes:
    """Return the 32 bytes of a signer's public key.

    Raises
    ------
    DomainError
        If it is not one of Ed25519.
    """
    key = signer.public_key
    if (key.keytype, key.scheme) != ("ed25519", "ed25519"):
        raise DomainError(f"public_key: `signer` must have an Ed25519 key; got {key.keytype}, {key.scheme}")
    return bytes.fromhex(key.keyval["public"])


def add_signatures(envelope: Envelope, signers: Sequence[Any]) -> bytes:
    """Return the file of an envelope with signatures added.

    Parameters
    ----------
    envelope : Envelope
        With those that it has.
    signers : sequence of securesystemslib.signer.Signer

    Raises
    ------
    DomainError
        If a key has signed already, or is given twice.
    """
    dsse = need("securesystemslib.dsse", "sign", "signing")
    signed = dsse.Envelope(envelope.payload, envelope.payload_type, {})
    signatures = list(envelope.signatures)
    for signer in signers:
        keyid = key_id(public_key(signer))
        if any(keyid == known for known, _ in signatures):
            raise DomainError(f"add_signatures: `signers` must be keys that have not signed yet; got {keyid} again")
        signatures.append((keyid, bytes.fromhex(signed.sign(signer).signature)))
    return format_envelope(replace(envelope, signatures=tuple(signatures)))


def _crypto_signer() -> Any:
    signer = need("securesystemslib.signer", "sign", "signing")
    need("cryptography.hazmat.primitives.asymmetric.ed25519", "sign", "signing")
    return signer.CryptoSigner
