"""An adapter on disk: a folder with the tensors, the configuration, and the digests that tie them together.

``adapter_model.safetensors`` holds the trained numbers. ``adapter_config.json`` has the field names of PEFT, so that
its users find their way, and a section ``lieref`` with what PEFT does not record: the format version, the SHA-256 of
the base model this adapter belongs to, and the SHA-256 of the tensor file. Reading needs NumPy alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import write_folder
from lieref._check import check_finite
from lieref._types import Array
from lieref.adapter.strict_json import format_json, parse_json
from lieref.adapter.tensor_file import decode_tensors, encode_tensors
from lieref.errors import DomainError, FormatError, VerificationError

FORMAT = "lieref-adapter/1"
TENSORS_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"

_PEFT_FIELDS = ("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path")


def encode_adapter(tensors: Mapping[str, Array], config: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the two files of an adapter by name.

    Parameters
    ----------
    tensors : mapping of str to array
        Trained numbers by flat name, finite.
    config : mapping
        ``peft_type, r, lora_alpha, target_modules, base_model_name_or_path`` and any other plain JSON; its section
        ``lieref`` must hold ``base_sha256``, 64 hexadecimal digits. ``format``, ``tensors_sha256`` and
        ``tensors_bytes`` are filled in here.

    Raises
    ------
    FormatError
        If the configuration lacks a field or is not plain JSON.
    DomainError
        If a tensor is not finite, or the digest is not one.
    """
    data = encode_tensors(tensors, {"format": FORMAT})
    for name, array in tensors.items():
        check_finite("encode_adapter", name, np.asarray(array))
    missing = [name for name in _PEFT_FIELDS if name not in config]
    if missing:
        raise FormatError(
            f"encode_adapter: `config` must have the fields {', '.join(_PEFT_FIELDS)}; got no {missing[0]}"
        )
    section = config.get("lieref")
    if not isinstance(section, Mapping) or not _is_sha256(section.get("base_sha256")):
        raise DomainError(f"encode_adapter: `config` must have lieref.base_sha256 of 64 hex digits; got {section!r}")
    digests = {"format": FORMAT, "tensors_sha256": hashlib.sha256(data).hexdigest(), "tensors_bytes": len(data)}
    return {TENSORS_NAME: data, CONFIG_NAME: format_json({**config, "lieref": {**section, **digests}})}


def write_adapter(
    folder: str | Path,
    tensors: Mapping[str, Array],
    config: Mapping[str, Any],
    *,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write an adapter folder, whole or not at all; raises as `encode_adapter` and `write_folder` do.

    Parameters
    ----------
    folder : path
        Absent or empty.
    tensors, config
        See `encode_adapter`.
    files : mapping of str to bytes, optional
        Further files of the same folder, such as a report.
    """
    write_folder(folder, {**(files or {}), **encode_adapter(tensors, config)})


def read_adapter(folder: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read and verify an adapter folder.

    Returns
    -------
    tensors : dict of str to array
    config : dict

    Raises
    ------
    FormatError
        If a file is missing or is not what it should be.
    VerificationError
        If the tensor file is not the one the configuration was written with.
    DomainError
        If a number is not finite.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FormatError(f"read_adapter: `folder` must be an adapter folder; got {path}, which is not a folder")
    for name in (CONFIG_NAME, TENSORS_NAME):
        if not (path / name).is_file():
            raise FormatError(f"read_adapter: `folder` must hold {name}; got {path} without it")
    config = parse_json((path / CONFIG_NAME).read_bytes(), str(path / CONFIG_NAME))
    section = config.get("lieref")
    if not isinstance(section, dict) or section.get("format") != FORMAT:
        version = section.get("format") if isinstance(section, dict) else "no section lieref"
        raise FormatError(f"read_adapter: `{path / CONFIG_NAME}` must be of format {FORMAT}; got {version}")
    missing = [name for name in _PEFT_FIELDS if name not in config]
    if missing or not _is_sha256(section.get("base_sha256")):
        raise FormatError(
            f"read_adapter: `{path / CONFIG_NAME}` must have the fields {', '.join(_PEFT_FIELDS)} and "
            f"lieref.base_sha256; got no {missing[0] if missing else 'valid lieref.base_sha256'}"
        )
    data = (path / TENSORS_NAME).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != section.get("tensors_sha256") or len(data) != section.get("tensors_bytes"):
        raise VerificationError(
            f"read_adapter: `{path / TENSORS_NAME}` must have the sha256 and size in {CONFIG_NAME}; got {digest}, "
            f"{len(data)} bytes (damaged, or files of two adapters mixed)"
        )
    tensors, _ = decode_tensors(data, finite=True, what=str(path / TENSORS_NAME))
    return tensors, config


def adapter_bytes(folder: str | Path) -> int:
    """Return the size in bytes of what a device has to receive: the tensor file and the configuration."""
    return sum((Path(folder) / name).stat().st_size for name in (TENSORS_NAME, CONFIG_NAME))


def check_base(config: Mapping[str, Any], base_sha256: str) -> None:
    """Raise `VerificationError` unless the adapter was made for the base model with this SHA-256."""
    promised = config["lieref"]["base_sha256"]
    if promised != base_sha256:
        raise VerificationError(
            f"check_base: `config` must belong to this base model, sha256 {base_sha256}; got an adapter of {promised} "
            f"({config['base_model_name_or_path']})"
        )


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
