"""What a store is tested with: a base, root files, and bundles whose merged weights or updated files are signed."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lieref.adapter.merge.merging import merge_weights, merged_digest
from lieref.adapter.tensor_file import decode_tensors, encode_tensors
from lieref.adapter.weights import weights_digest
from tests.adapter.bundle.bundles import (
    FILES,
    KIND,
    SITE,
    UPDATE,
    Bundle,
    adapter_config,
    adapter_tensors,
    base_file,
    root_file,
    root_payload,
)
from tests.adapter.bundle.updates import update_files

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def write_base(path: Path, seed: int = 0) -> Path:
    path.write_bytes(base_file(seed, KIND[0]))
    return path


def write_root(path: Path, version: int = 1, names: tuple[str, ...] = ("a",), **roles: Any) -> Path:
    path.write_bytes(root_file(root_payload(version, **roles), names))
    return path


def write_bundle(
    folder: Path, base: Path, counter: int, /, *, values: int = 0, names: tuple[str, ...] = ("a",), **fields: Any
) -> Path:
    """Write a bundle whose version is its counter with a v before it, with `values` numbers beside the adapter's."""
    data = base.read_bytes()
    if KIND[0] == UPDATE:
        return _write_update(folder, data, counter, values, names, fields)
    weights = decode_tensors(data)[0]
    tensors = adapter_tensors(counter)
    site = {**SITE, "method": {"name": "liera", "r": 1}}
    config = adapter_config(data, sites={"conv/w": site}, format="lieref-adapter/3")
    extra = {"selftest.input": np.random.default_rng(counter).normal(size=values).astype(np.float32)} if values else {}
    said = {
        "version": f"v{counter}",
        "merged_sha256": merged_digest(merge_weights(tensors, config, weights)),
        "base": {
            "file_sha256": sha256(data).hexdigest(), "network_sha256": None, "weights_sha256": weights_digest(weights),
        },
        **fields,
    }  # fmt: skip
    encoded = encode_tensors({**tensors, **extra}, {"format": "lieref-adapter/3"})
    return Bundle(
        counter=counter, names=names, base=data, tensors=encoded, config=_config(config, encoded), fields=said
    ).write(folder)


def _write_update(
    folder: Path, base: bytes, counter: int, values: int, names: tuple[str, ...], fields: dict[str, Any]
) -> Path:
    """Write the bundle of an update, `values` numbers of float32 beside it as the input of a self-test."""
    sample = b64encode(np.random.default_rng(counter).integers(0, 256, 4 * values, np.uint8).tobytes()).decode()
    test = {
        "semantics": "tflite-reference",
        "input": {"shape": [1, 4 * values], "dtype": "int8", "real": None, "samples": [sample]},
        "output": {"size": 1, "values": [[counter]], "real": None},
    }
    files = update_files(base, counter, **({"self_test": test} if values else {}))
    said = {
        "version": f"v{counter}",
        "base": {"file_sha256": sha256(base).hexdigest(), "network_sha256": None,
                 "weights_sha256": sha256(base).hexdigest()},
        **fields,
    }  # fmt: skip
    config, _ = FILES[UPDATE]
    return Bundle(counter=counter, names=names, base=base, seed=counter, config=files[config], fields=said).write(
        folder
    )


def _config(config: dict[str, Any], tensors: bytes) -> bytes:
    digests = {"tensors_sha256": sha256(tensors).hexdigest(), "tensors_bytes": len(tensors)}
    return json.dumps({**config, "lieref": {**config["lieref"], **digests}}).encode()
