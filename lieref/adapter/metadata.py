"""Where a merged network comes from, in the metadata of its ONNX file.

``lieref.base_sha256`` is the digest of the base's file, ``lieref.adapter_sha256`` that of the adapter's tensor file, as
its configuration has it, ``lieref.method`` the name of the method and ``lieref.version`` the version of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from lieref import __version__
from lieref._types import Array
from lieref.adapter.folder import TENSORS_NAME, encode_adapter

BASE, ADAPTER, METHOD, VERSION = "lieref.base_sha256", "lieref.adapter_sha256", "lieref.method", "lieref.version"
"""Entries of the metadata."""


def origin(tensors: Mapping[str, Array], config: Mapping[str, Any], method: str) -> dict[str, str]:
    """Return the entries for base and adapter; `tensors` and `config` are what would be saved."""
    digest = hashlib.sha256(encode_adapter(tensors, config)[TENSORS_NAME]).hexdigest()
    return {BASE: config["lieref"]["base_sha256"], ADAPTER: digest, METHOD: method, VERSION: __version__}


def write_metadata(proto: Any, entries: Mapping[str, str | None]) -> None:
    """Write entries into a ModelProto's metadata, in place of those of their names; None takes one out."""
    kept = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key not in entries]
    new = [(key, value) for key, value in entries.items() if value is not None]
    del proto.metadata_props[:]
    for key, value in [*kept, *new]:
        proto.metadata_props.add(key=key, value=value)
