"""Keys, root files and bundles for tests: right ones, and ones that a signer with bad intentions would make."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from lieref._types import Array
from lieref.adapter.folder import encode_adapter
from tests.adapter.bundle.updates import quantised_file, update_files

CONFIG, TENSORS, ENVELOPE = "adapter_config.json", "adapter_model.safetensors", "bundle.dsse.json"
BUNDLE_TYPE, ROOT_TYPE = "application/vnd.in-toto+json", "application/vnd.lieref.root+json"
ADAPTER, UPDATE = "adapter", "integer-update"
FILES = {ADAPTER: (CONFIG, TENSORS), UPDATE: ("integer_update.json", "integer_update.bin")}
"""The files of each kind of bundle: what says what the other holds, and the numbers."""
PREDICATES = {ADAPTER: "urn:lieref:adapter-bundle:v1", UPDATE: "urn:lieref:integer-update-bundle:v1"}
NOW = "2026-12-01T00:00:00Z"
Edit = Callable[[dict[str, Any]], None]


@cache
def signer(name: str) -> CryptoSigner:
    """A key of its own for each name, the same on every run."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def keyid(name: str) -> str:
    return str(signer(name).public_key.keyid)


def public(name: str) -> bytes:
    return bytes.fromhex(signer(name).public_key.keyval["public"])


def envelope(payload: bytes, payload_type: str, names: tuple[str, ...]) -> dict[str, Any]:
    """A DSSE envelope, its signatures made by the cryptography library over bytes put together here."""
    signed = b" ".join([b"DSSEv1", b"%d" % len(payload_type), payload_type.encode(), b"%d" % len(payload), payload])
    signatures = [
        {"keyid": keyid(name), "sig": b64encode(bytes.fromhex(signer(name).sign(signed).signature)).decode()}
        for name in names
    ]
    return {"payload": b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}


def root_payload(
    version: int = 1,
    *,
    root: tuple[str, ...] = ("a",),
    bundle: tuple[str, ...] = ("a",),
    thresholds: tuple[int, int] = (1, 1),
    expires: str | None = None,
) -> dict[str, Any]:
    keys = sorted({*root, *bundle}, key=keyid)
    return {
        "_type": "lieref-root/1",
        "version": version,
        "expires": expires,
        "keys": {
            keyid(name): {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public(name).hex()}}
            for name in keys
        },
        "roles": {
            "root": {"keyids": sorted(map(keyid, root)), "threshold": thresholds[0]},
            "bundle": {"keyids": sorted(map(keyid, bundle)), "threshold": thresholds[1]},
        },
    }


def root_file(payload: Mapping[str, Any] | None = None, names: tuple[str, ...] = ("a",)) -> bytes:
    text = json.dumps(root_payload() if payload is None else payload).encode()
    return json.dumps(envelope(text, ROOT_TYPE, names)).encode()


def base_file(seed: int = 0, kind: str = ADAPTER) -> bytes:
    """A base as a tensor file, or a quantised file; made by hand, so that what reads it is checked and not used."""
    if kind == UPDATE:
        return quantised_file(seed)
    weight = np.random.default_rng(seed).normal(size=(3, 2)).astype("<f4")
    header = json.dumps({"conv/w": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}).encode()
    return len(header).to_bytes(8, "little") + header + weight.tobytes()


SITE = {
    "method": {"name": "liera"},
    "shape": [3, 2],
    "weight": True,
    "groups": 1,
    "transposed": False,
    "directions": 0,
    "bias": None,
}


def adapter_config(base: bytes, **section: Any) -> dict[str, Any]:
    return {
        "peft_type": "LIERA",
        "r": 1,
        "lora_alpha": 1.0,
        "target_modules": ["conv*"],
        "base_model_name_or_path": "base.safetensors",
        "lieref": {
            "base_sha256": sha256(base).hexdigest(),
            **dict.fromkeys(("task", "output", "classes", "head", "preprocessing", "tokenizer_sha256", "integers")),
            "input_shapes": {},
            "methods": [],
            "statistics": [],
            "sites": {"conv/w": SITE},
            "tensors": {"conv/w": {"dtype": "float32", "shape": [3, 2], "source": "file"}},
            **section,
        },
    }


def adapter_tensors(seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in
            (("conv/w:lora_a", (1, 2)), ("conv/w:lora_b", (3, 1)))}  # fmt: skip


KIND = [ADAPTER]
"""The kind of bundles that are made where none is named: a fixture runs a test for each."""


@dataclass
class Bundle:
    """The recipe of a bundle; what is changed before `write` is signed like the rest.

    `tensors` and `config` are bytes if they are given; `edit` changes the statement before it is signed, `after` the
    envelope after.
    """

    counter: int = 5
    names: tuple[str, ...] = ("a",)
    base: bytes = b""
    seed: int = 0
    tensors: bytes | None = None
    config: bytes | None = None
    edit: Edit = lambda statement: None
    after: Edit = lambda envelope: None
    fields: dict[str, Any] = field(default_factory=dict)
    kind: str = field(default_factory=lambda: KIND[0])

    def __post_init__(self) -> None:
        self.base = self.base or base_file(kind=self.kind)

    def files(self) -> dict[str, bytes]:
        config, tensors = FILES[self.kind]
        if self.kind == UPDATE:
            made = update_files(self.base, self.seed)
        else:
            made = encode_adapter(adapter_tensors(self.seed), adapter_config(self.base))
        if self.tensors is not None and self.kind == UPDATE:
            said = json.loads(made[config])
            said |= {"payload_sha256": sha256(self.tensors).hexdigest(), "payload_bytes": len(self.tensors)}
            made = {tensors: self.tensors, config: json.dumps(said).encode()}
        elif self.tensors is not None:
            digests = {"tensors_sha256": sha256(self.tensors).hexdigest(), "tensors_bytes": len(self.tensors)}
            said = json.loads(made[CONFIG])
            said["lieref"] |= digests
            made = {TENSORS: self.tensors, CONFIG: json.dumps(said).encode()}
        if self.config is not None:
            made[config] = self.config
        statement = self.statement(made)
        self.edit(statement)
        wrapped = envelope(json.dumps(statement).encode(), BUNDLE_TYPE, self.names)
        self.after(wrapped)
        return {**made, ENVELOPE: json.dumps(wrapped).encode()}

    def statement(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        subject = [
            {"name": name, "digest": {"sha256": sha256(files[name]).hexdigest()},
             "annotations": {"bytes": len(files[name])}}
            for name in sorted(FILES[self.kind])
        ]  # fmt: skip
        merged = None
        if self.kind == UPDATE:
            merged = json.loads(update_files(self.base, self.seed)["integer_update.json"])["result_sha256"]
        return {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subject,
            "predicateType": PREDICATES[self.kind],
            "predicate": {
                "version": "1.0",
                "counter": self.counter,
                "min_counter": 0,
                "issued": "2026-11-01T00:00:00Z",
                "expires": "2027-11-01T00:00:00Z",
                "compatible": None,
                "base": {
                    "file_sha256": sha256(self.base).hexdigest(),
                    "network_sha256": None,
                    "weights_sha256": "0" * 64,
                },
                "merged_sha256": merged,
                "requires": [],
                **self.fields,
            },
        }

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)
        return folder
