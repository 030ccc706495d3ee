"""An adapter on disk: a folder with the tensors, the configuration, and the digests that tie them together.

``adapter_model.safetensors`` holds the trained numbers. ``adapter_config.json`` has the field names of PEFT, so that
its users find their way, and a section ``lieref`` with what PEFT does not record: the format version, the SHA-256 of
the base model's file, the one of the network in it, which stays the same when that is saved again, the SHA-256 of the
tensor file, and where a new head has its place. Reading needs NumPy alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import write_folder
from lieref._check import check_finite
from lieref._text import near_path
from lieref._types import Array
from lieref.adapter.fields import FORMAT_3, check_fields, is_sha256, shown
from lieref.adapter.strict_json import format_json, parse_json
from lieref.adapter.tensor_file import decode_tensors, encode_tensors
from lieref.errors import DomainError, FormatError, VerificationError

FORMATS = {"lieref-adapter/1": 1, "lieref-adapter/2": 2, FORMAT_3: 2}
"""Formats that are read, and the version of `lieref.param.upgrade` under which their methods were configured."""
FORMAT = FORMAT_3
"""The format that is written."""
TENSORS_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"

MAX_CONFIG_BYTES = 64 * 2**20
"""Cap on a configuration: that of a network of some hundred thousand adapted tensors."""


def encode_adapter(tensors: Mapping[str, Array], config: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the two files of an adapter by name.

    Parameters
    ----------
    tensors : mapping of str to array
        Trained numbers by flat name, finite.
    config : mapping
        ``peft_type, r, lora_alpha, target_modules, base_model_name_or_path`` and any other plain JSON; its section
        ``lieref`` must hold ``base_sha256`` and may hold ``network_sha256``, each 64 hexadecimal digits. ``format``,
        ``tensors_sha256`` and ``tensors_bytes`` are filled in here.

    Raises
    ------
    FormatError
        If the configuration lacks a field, has one of a wrong type, or is not plain JSON.
    DomainError
        If a tensor is not finite, or the digest is not one.
    """
    data = encode_tensors(tensors, {"format": FORMAT})
    for name, array in tensors.items():
        check_finite("encode_adapter", name, np.asarray(array))
    section = config.get("lieref")
    if not isinstance(section, Mapping) or not is_sha256(section.get("base_sha256")):
        raise DomainError(
            f"encode_adapter: `config` must have lieref.base_sha256 of 64 hex digits; got {shown(section)}"
        )
    check_fields("encode_adapter", config, "`config`", complete=True)
    digests = {"format": FORMAT, "tensors_sha256": hashlib.sha256(data).hexdigest(), "tensors_bytes": len(data)}
    return {TENSORS_NAME: data, CONFIG_NAME: format_json({**config, "lieref": {**section, **digests}}, depth=3)}


def write_adapter(
    folder: str | Path,
    tensors: Mapping[str, Array],
    config: Mapping[str, Any],
    *,
    files: Mapping[str, bytes] | None = None,
    replaces: Collection[str] = (),
) -> None:
    """Write an adapter folder, whole or not at all; raises as `encode_adapter` and `write_folder` do.

    Parameters
    ----------
    folder : path
        Absent, empty, or with nothing in it but files named in `replaces`.
    tensors, config
        See `encode_adapter`.
    files : mapping of str to bytes, optional
        Further files of the same folder, such as a report.
    replaces : collection of str
        Names of files that may be there; a folder of these alone is replaced.
    """
    write_folder(folder, {**(files or {}), **encode_adapter(tensors, config)}, replaces=replaces)


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
        got = f"{path}, which is not a folder" if path.exists() else f"{path}, which does not exist{near_path(path)}"
        raise FormatError(f"read_adapter: `folder` must be an adapter folder; got {got}")
    for name in (CONFIG_NAME, TENSORS_NAME):
        if not (path / name).is_file():
            # Here, for a device that installs reads no more modules than it must.
            from lieref.adapter.integer.form import JSON_NAME

            if (path / JSON_NAME).is_file():
                raise FormatError(
                    f"read_adapter: `folder` must hold the adapter of a float network; got {path}, which holds the "
                    "update of a quantised file"
                )
            raise FormatError(f"read_adapter: `folder` must hold {name}; got {path} without it")
    size = (path / CONFIG_NAME).stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise FormatError(
            f"read_adapter: `{path / CONFIG_NAME}` must have at most {MAX_CONFIG_BYTES} bytes; got {size}"
        )
    config = decode_config((path / CONFIG_NAME).read_bytes(), str(path / CONFIG_NAME))
    # The size first: a file that is not the promised one is not read at all.
    size = (path / TENSORS_NAME).stat().st_size
    if size != config["lieref"].get("tensors_bytes"):
        raise _wrong_tensors(str(path / TENSORS_NAME), "another size", size)
    return decode_adapter_tensors((path / TENSORS_NAME).read_bytes(), config, str(path / TENSORS_NAME)), config


def decode_config(data: bytes, what: str) -> dict[str, Any]:
    """Return the configuration in the bytes of its file, every field of its type.

    Parameters
    ----------
    data : bytes
    what : str
        How error messages call it, such as a path.

    Raises
    ------
    FormatError
        If it is not what it should be.
    """
    config = parse_json(data, what)
    section = config.get("lieref")
    if not isinstance(section, dict) or str(section.get("format")) not in FORMATS:
        version = shown(section.get("format")).strip("'") if isinstance(section, dict) else "no section lieref"
        raise FormatError(f"read_adapter: `{what}` must be of format {' or '.join(FORMATS)}; got {version}")
    check_fields("read_adapter", config, f"`{what}`")
    if not is_sha256(section.get("base_sha256")):
        raise FormatError(f"read_adapter: `{what}` must have the digest of its base; got no valid lieref.base_sha256")
    return config


def decode_adapter_tensors(data: bytes, config: Mapping[str, Any], what: str) -> dict[str, Array]:
    """Return the tensors in the bytes of their file, if a configuration was written with it.

    Raises
    ------
    VerificationError
        If it is another file.
    FormatError
        If it is not a tensor file.
    DomainError
        If a number is not finite.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != config["lieref"].get("tensors_sha256") or len(data) != config["lieref"].get("tensors_bytes"):
        raise _wrong_tensors(what, digest, len(data))
    return decode_tensors(data, finite=True, what=what)[0]


def _wrong_tensors(what: str, digest: str, size: int) -> VerificationError:
    return VerificationError(
        f"read_adapter: `{what}` must have the sha256 and size in {CONFIG_NAME}; got {digest}, {size} bytes (damaged, "
        "or files of two adapters mixed)"
    )


def adapter_bytes(folder: str | Path) -> int:
    """Return the size in bytes of what a device has to receive: the tensor file and the configuration."""
    return sum((Path(folder) / name).stat().st_size for name in (TENSORS_NAME, CONFIG_NAME))


def check_base(config: Mapping[str, Any], base_sha256: str, network_sha256: str | None = None) -> None:
    """Raise `VerificationError` unless the adapter was made for this base model.

    Parameters
    ----------
    config : mapping
        Of an adapter that has been read.
    base_sha256 : str
        SHA-256 of the model's file.
    network_sha256 : str, optional
        Of the network in it, `lieref.model.identity.network_digest`: another file of the same network is the same base.
    """
    section = config["lieref"]
    if section["base_sha256"] == base_sha256:
        return
    if network_sha256 is None or section.get("network_sha256") != network_sha256:
        raise VerificationError(
            f"check_base: `config` must belong to this base model, sha256 {base_sha256}; got an adapter of "
            f"{section['base_sha256']} ({str(config['base_model_name_or_path'])[:80]}), whose weights or layers differ"
        )
