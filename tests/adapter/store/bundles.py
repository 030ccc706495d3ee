"""Keys, root files, bases and bundles for stores, made with the format's own writers and the cryptography package."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lieref.adapter.dsse import Envelope, format_envelope, pae
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, encode_adapter
from lieref.adapter.statement import FILES, PAYLOAD_TYPE, BaseDigests, SignedFile, Statement, format_statement
from lieref.adapter.tensor_file import encode_tensors
from lieref.adapter.trust import ROOT_PAYLOAD_TYPE, Role, Root, format_root, key_id
from lieref.adapter.verify import ENVELOPE_NAME, base_digests

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Key:
    """An Ed25519 key that is the same on every run."""

    def __init__(self, number: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = key_id(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


KEY, NEXT_KEY, STRANGER = Key(1), Key(2), Key(3)


def envelope(payload_type: str, payload: bytes, keys: Sequence[Key]) -> bytes:
    signed = pae(payload_type, payload)
    return format_envelope(Envelope(payload, payload_type, tuple((key.id, key.sign(signed)) for key in keys)))


def write_root(
    path: Path, version: int = 1, keys: Sequence[Key] = (KEY,), signers: Sequence[Key] | None = None
) -> Path:
    role = Role(tuple(sorted(key.id for key in keys)), 1)
    root = Root(version, None, {key.id: key.public for key in keys}, {"root": role, "bundle": role})
    path.write_bytes(envelope(ROOT_PAYLOAD_TYPE, format_root(root), keys if signers is None else signers))
    return path


def write_base(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    path.write_bytes(encode_tensors({"conv.weight": rng.normal(size=(3, 2)).astype(np.float32)}))
    return path


def write_bundle(
    folder: Path,
    base: Path,
    counter: int,
    *,
    min_counter: int = 0,
    keys: Sequence[Key] = (KEY,),
    values: int = 8,
    **fields: Any,
) -> Path:
    """Write a bundle of `values` random numbers whose version is its counter with a v before it."""
    digests = base_digests(base)
    config = {
        "peft_type": "LIERA", "r": 1, "lora_alpha": 1.0, "target_modules": None, "base_model_name_or_path": None,
        "lieref": {"base_sha256": digests.file_sha256},
    }  # fmt: skip
    numbers = np.random.default_rng(counter).normal(size=values).astype(np.float32)
    files = encode_adapter({"conv.weight:lora_a": numbers}, config)
    statement = Statement(
        **{
            "files": {name: SignedFile(sha256(files[name]).hexdigest(), len(files[name])) for name in FILES},
            "version": f"v{counter}",
            "counter": counter,
            "min_counter": min_counter,
            "issued": NOW - timedelta(days=1),
            "expires": NOW + timedelta(days=365),
            "compatible": None,
            "base": BaseDigests(digests.file_sha256, digests.weights_sha256),
            "merged_sha256": None,
            **fields,
        }
    )
    folder.mkdir()
    for name in (CONFIG_NAME, TENSORS_NAME):
        (folder / name).write_bytes(files[name])
    (folder / ENVELOPE_NAME).write_bytes(envelope(PAYLOAD_TYPE, format_statement(statement), keys))
    return folder
