"""DSSE envelopes: bytes, their type, and signatures over both, in one file of JSON.

``{"payload": base64, "payloadType": text, "signatures": [{"keyid": text, "sig": base64}, ...]}``. What is signed is the
pre-authentication encoding (PAE) of type and payload, so that nothing of the JSON has to be brought into a canonical
form. The reader is stricter than the specification, so that a change of any bit is seen: the keys stand in the order
above, which is the one of securesystemslib, no other key is allowed, nothing stands around the object, base64 is the
standard alphabet with padding and without stray bits, and every signature names its key.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from lieref._record import dataclass
from lieref.adapter.bundle import ed25519
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.fields import is_text, shown
from lieref.adapter.strict_json import parse_json
from lieref.errors import FormatError

MAX_ENVELOPE_BYTES = 64 * 2**10
"""Cap on a bundle's envelope: a statement takes 2 kB in it and each signature 0.2 kB, so that 32 take 9 kB."""
MAX_SIGNATURES = 32
"""Cap on signatures: each costs 2 ms to check, and no root file may ask for more."""


@dataclass(frozen=True)
class Envelope:
    """What a file in the form of DSSE holds; nothing of it is trusted before `check_signatures`.

    Attributes
    ----------
    payload : bytes
    payload_type : str
    signatures : tuple of (str, bytes)
        Key id and signature, in the order of the file.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: the pre-authentication encoding of DSSE, version 1."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def format_envelope(envelope: Envelope) -> bytes:
    """Return the file of an envelope: one line of ASCII, without an end of line that could be cut off unseen."""
    signatures = [{"keyid": keyid, "sig": _text(sig)} for keyid, sig in envelope.signatures]
    value = {"payload": _text(envelope.payload), "payloadType": envelope.payload_type, "signatures": signatures}
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def parse_envelope(data: bytes, payload_type: str, what: str) -> Envelope:
    """Return the envelope in a file.

    Parameters
    ----------
    data : bytes
    payload_type : str
        The type that it must have.
    what : str
        How messages call the file.

    Raises
    ------
    BundleRefused
        ``format``: if it is not exactly one such envelope; ``duplicate-key``: if a key id signs twice.
    """
    if not data.startswith(b"{") or not data.endswith(b"}"):
        raise _refuse(what, "a JSON object and nothing around it", f"{len(data)} bytes (truncated?)")
    try:
        value = parse_json(data, what)
    except FormatError as error:
        raise BundleRefused("format", str(error)) from None
    if list(value) != ["payload", "payloadType", "signatures"]:
        raise _refuse(what, "the keys payload, payloadType and signatures, in this order", shown(list(value)))
    if value["payloadType"] != payload_type:
        raise _refuse(what, f"the payloadType {payload_type}", shown(value["payloadType"]))
    rows = value["signatures"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_SIGNATURES:
        raise _refuse(what, f"a list of 1 to {MAX_SIGNATURES} signatures", shown(rows))
    signatures = tuple(_signature(row, what) for row in rows)
    keyids = [keyid for keyid, _ in signatures]
    twice = next((keyid for keyid in keyids if keyids.count(keyid) > 1), None)
    if twice is not None:
        raise BundleRefused(
            "duplicate-key", f"parse_envelope: {what} must have one signature a key; got two by {shown(twice)}"
        )
    return Envelope(_bytes(value["payload"], "payload", what), payload_type, signatures)


def check_signatures(envelope: Envelope, keys: Mapping[str, bytes], threshold: int, what: str) -> tuple[str, ...]:
    """Return the ids of the trusted keys that signed.

    A signature by a key that is not among `keys` counts for nothing and harms nothing: during a rotation one bundle is
    signed by old keys and new. One that is by a trusted key and does not fit refuses the whole.

    Parameters
    ----------
    envelope : Envelope
    keys : mapping of str to bytes
        Key id -> public key of 32 bytes.
    threshold : int
        How many of them must have signed, at least 1.
    what : str
        How messages call the file.

    Raises
    ------
    BundleRefused
        ``signature``, ``unknown-key`` or ``threshold``.
    """
    message = pae(envelope.payload_type, envelope.payload)
    known = tuple(keyid for keyid, _ in envelope.signatures if keyid in keys)
    for keyid, signature in envelope.signatures:
        if keyid in keys and not ed25519.verify(keys[keyid], signature, message):
            raise BundleRefused(
                "signature",
                f"check_signatures: {what} must have signatures that fit what they sign; got one of {keyid} that does "
                "not (changed after it was signed?)",
            )
    if len(known) < threshold:
        unknown = [keyid for keyid, _ in envelope.signatures if keyid not in keys]
        slug = "unknown-key" if len(known) + len(unknown) >= threshold else "threshold"
        raise BundleRefused(
            slug,
            f"check_signatures: {what} must be signed by {threshold} of the {len(keys)} trusted keys; got {len(known)}"
            + (
                f", and {len(unknown)} by others: {', '.join(shown(keyid) for keyid in unknown[:3])}" if unknown else ""
            ),
        )
    return known


def _signature(row: Any, what: str) -> tuple[str, bytes]:
    if not isinstance(row, dict) or list(row) != ["keyid", "sig"] or not is_text(row["keyid"]):
        raise _refuse(what, "signatures of the keys keyid and sig, in this order", shown(row))
    return row["keyid"], _bytes(row["sig"], "sig", what)


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _bytes(text: Any, name: str, what: str) -> bytes:
    """Decode base64 that has one form only: decoders ignore bits behind the last whole byte."""
    try:
        data = b64decode(text, validate=True) if is_text(text) else None
    except ValueError:
        data = None
    if data is None or _text(data) != text:
        raise _refuse(what, f"a {name} of standard base64", shown(text))
    return data


def _refuse(what: str, rule: str, got: str) -> BundleRefused:
    return BundleRefused("format", f"parse_envelope: {what} must have {rule}; got {got}")
