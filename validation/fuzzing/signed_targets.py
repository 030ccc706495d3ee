"""What a device reads of a signed bundle, as targets of the coverage-guided fuzzer: each file by itself, and all."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from validation.fuzzing import mutate
from validation.fuzzing.target import Change, Target, pack, put, unpack
from validation.fuzzing.targets import JSON, Networks, TensorFile

ENVELOPE_WORDS = (*JSON, b'"payload":', b'"payloadType":', b'"signatures":', b'"keyid":', b'"sig":', b"==", b"AAAA",
                  b"application/vnd.in-toto+json", b"application/vnd.lieref.root+json")  # fmt: skip
TIMES = (b"2026-11-29T20:00:00Z", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z", b"+23:59", b"-23:59", b".000001")
STATEMENT_WORDS = (
    *JSON, *TIMES, b'"_type":', b'"subject":', b'"predicateType":', b'"predicate":', b'"version":', b'"counter":',
    b'"min_counter":', b'"issued":', b'"expires":', b'"compatible":', b'"base":', b'"merged_sha256":', b'"requires":',
    b'"digest":', b'"sha256":', b'"annotations":', b'"bytes":', b'"merged"', b'"self-test"',
)  # fmt: skip
ROOT_WORDS = (
    *ENVELOPE_WORDS, *TIMES, b"PRIVATE KEY-----", b'"keys":', b'"roles":', b'"threshold":', b'"keyids":', b'"keytype":',
    b'"scheme":', b'"ed25519"', b'"keyval":', b'"public":', b'"bundle":', b'"root":', b'"lieref-root/1"',
)  # fmt: skip


def change_json(data: bytes, change: Change, rng: np.random.Generator) -> bytes:
    """Return JSON with changed values, or changed bytes."""
    if rng.random() < 0.4:
        with suppress(Exception):
            return json.dumps(mutate.damage_json(json.loads(data), rng)).encode()
    return change(data)


def change_payload(data: bytes, change: Change, rng: np.random.Generator) -> bytes:
    """Return an envelope whose payload is changed, in base64 that holds."""
    if rng.random() < 0.6:
        with suppress(Exception):
            value = json.loads(data)
            value["payload"] = b64encode(change_json(b64decode(value["payload"]), change, rng)).decode()
            return json.dumps(value).encode()
    return change_json(data, change, rng)


@contextmanager
def trusting(every: bool = True) -> Iterator[None]:
    """Let every signature count as right meanwhile: what is behind them is read."""
    from lieref.adapter.bundle import ed25519

    check = ed25519.verify
    if every:
        ed25519.verify = lambda *_: True
    try:
        yield
    finally:
        ed25519.verify = check


def fitted(envelope: bytes, config: bytes, tensors: bytes) -> tuple[bytes, bytes]:
    """Return envelope and configuration with the digests of what they are about, where there are places for them."""
    with suppress(Exception):
        value = json.loads(config)
        value["lieref"] |= {"tensors_sha256": sha256(tensors).hexdigest(), "tensors_bytes": len(tensors)}
        config = json.dumps(value).encode()
    with suppress(Exception):
        value = json.loads(envelope)
        statement = json.loads(b64decode(value["payload"]))
        for row, data in zip(statement["subject"], (config, tensors), strict=True):
            row |= {"digest": {"sha256": sha256(data).hexdigest()}, "annotations": {"bytes": len(data)}}
        value["payload"] = b64encode(json.dumps(statement).encode()).decode()
        envelope = json.dumps(value).encode()
    return envelope, config


class Envelopes(Target):
    """Envelopes of bundles."""

    name, modules, max_length, words = "envelope", ("lieref.adapter",), 4096, ENVELOPE_WORDS

    def seeds(self) -> list[bytes]:
        from tests.adapter.bundle.bundles import ENVELOPE, Bundle

        return [Bundle(names=names).files()[ENVELOPE] for names in (("a",), ("a", "b", "c"))]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.bundle.dsse import format_envelope, parse_envelope
        from lieref.adapter.bundle.statement import PAYLOAD_TYPE

        def read(data: bytes) -> None:
            envelope = parse_envelope(data, PAYLOAD_TYPE, "envelope")
            assert parse_envelope(format_envelope(envelope), PAYLOAD_TYPE, "again") == envelope

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return change_json(data, change, rng)


class Statements(Target):
    """What is signed of bundles."""

    name, modules, max_length, words = "statement", ("lieref.adapter",), 4096, STATEMENT_WORDS

    def seeds(self) -> list[bytes]:
        from tests.adapter.bundle.bundles import Bundle

        more = {"requires": ["merged", "self-test"], "merged_sha256": "0" * 64, "compatible": "camera", "expires": None}
        fields: list[dict[str, Any]] = [{}, more]
        return [json.dumps(Bundle(fields=each).statement(Bundle().files())).encode() for each in fields]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.bundle.statement import format_statement, parse_statement

        def read(data: bytes) -> None:
            statement = parse_statement(data)
            assert parse_statement(format_statement(statement)) == statement

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return change_json(data, change, rng)


class Roots(Target):
    """Root files, whose signatures count as right: what is behind them is read."""

    name, modules, max_length, words = "root", ("lieref.adapter",), 4096, ROOT_WORDS

    def seeds(self) -> list[bytes]:
        from tests.adapter.bundle.bundles import root_file, root_payload

        payloads = [
            root_payload(), root_payload(2, root=("a", "b"), bundle=("b", "c"), thresholds=(2, 1)),
            root_payload(expires="2027-01-01T00:00:00Z"),
        ]  # fmt: skip
        return [root_file(payload, ("a", "b")) for payload in payloads]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.bundle.trust import parse_root

        def read(data: bytes) -> None:
            with trusting():
                root = parse_root(data)
            assert root.data == data
            assert all(0 < role.threshold <= len(role.keyids) for role in root.roles.values())

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return change_payload(data, change, rng)


class Bundles(Target):
    """Folders of bundles; where the first byte is even, signatures count as right and digests are made to fit."""

    name, modules, max_length = "bundle", ("lieref.adapter",), 8192
    words = (*STATEMENT_WORDS, *ENVELOPE_WORDS)

    def seeds(self) -> list[bytes]:
        from tests.adapter.bundle.bundles import CONFIG, ENVELOPE, TENSORS, Bundle

        made = [Bundle().files(), Bundle(names=("a", "b"), fields={"requires": ["merged"]}).files()]
        return [
            flag + pack(files[ENVELOPE], files[CONFIG], files[TENSORS]) for files in made for flag in (b"\0", b"\1")
        ]

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.bundle.statement import BaseDigests, parse_time
        from lieref.adapter.bundle.trust import parse_root
        from lieref.adapter.bundle.verify import NAMES, verify_bundle
        from tests.adapter.bundle.bundles import NOW, base_file, root_file

        known = {"base": BaseDigests(sha256(base_file()).hexdigest(), "0" * 64), "trust": parse_root(root_file())}
        now = parse_time(NOW)
        (folder / "bundle").mkdir()

        def read(data: bytes) -> None:
            envelope, config, tensors = unpack(data[1:], 3)
            fits = bool(data) and data[0] % 2 == 0
            if fits:
                envelope, config = fitted(envelope, config, tensors)
            for name, content in zip(NAMES, (config, tensors, envelope), strict=True):
                put(folder / "bundle" / name, content)
            with trusting(fits):
                found = verify_bundle(folder / "bundle", now=now, **known)
            assert found.files == dict(zip(NAMES, (config, tensors, envelope), strict=True))

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        envelope, config, tensors = unpack(data[1:], 3)
        chosen = rng.random()
        if chosen < 0.35:
            envelope = change_payload(envelope, change, rng)
        elif chosen < 0.6:
            config = change_json(config, change, rng)
        elif chosen < 0.85:
            tensors = TensorFile().mutate(tensors, change, rng)
        else:
            return change(data)
        return data[:1] + pack(envelope, config, tensors)


class Weights(Target):
    """Constant tensors of ONNX files, by the reader of devices."""

    name, modules, max_length = "weights", ("lieref.adapter",), 4096
    words = Networks.words

    def seeds(self) -> list[bytes]:
        return Networks().seeds()

    def open(self, folder: Path) -> Callable[[bytes], None]:
        from lieref.adapter.weights import decode_weights, weights_digest

        def read(data: bytes) -> None:
            assert len(weights_digest(decode_weights(data, "net.onnx"))) == 64

        return read

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        return Networks().mutate(data, change, rng)
