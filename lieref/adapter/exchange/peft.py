"""Adapters of Hugging Face's PEFT, as 0.21.2 saves and computes them.

A folder has ``adapter_config.json`` and ``adapter_model.safetensors``, whose keys are ``base_model.model.`` and the
path of a module, then what the kind has there: see `peft_kinds`. Other tensors are modules or biases that were trained
whole. ``adapter_model.bin`` is a pickle and not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.exchange.factors import Foreign, Read
from lieref.adapter.exchange.foreign_tensors import read_foreign_tensors
from lieref.adapter.exchange.given import PICKLES, converted
from lieref.adapter.exchange.peft_kinds import KINDS, Kind, read_module
from lieref.adapter.exchange.peft_options import options_of
from lieref.adapter.exchange.peft_refused import WHY_NOT
from lieref.adapter.fields import shown
from lieref.adapter.folder import CONFIG_NAME, MAX_CONFIG_BYTES, TENSORS_NAME
from lieref.adapter.strict_json import parse_json
from lieref.errors import FormatError, LierefError, ShapeError, UnsupportedError

PREFIX, SHARED_PREFIX = "base_model.model.", "base_model."
WRAPPED = re.compile(r"\.(base_layer|modules_to_save|original_module)$")
"""What PEFT puts between the path of a module and its own tensors."""

ON_THE_BASE = {True, False, None, "gaussian", "eva", "orthogonal", "lycoris"}
"""Starts of LoRA that leave the weights of the base as they are; the others take their start out of them."""

REFUSED = {
    "use_qalora": "QALoRA", "alora_invocation_tokens": "aLoRA", "layer_replication": "layer replication",
    "target_parameters": "adapters of single parameters", "trainable_token_indices": "trained tokens",
    "use_bdlora": "BD-LoRA", "arrow_config": "Arrow", "kasa_config": "KaSA", "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
}  # fmt: skip
"""Settings under which PEFT computes something else than the kind says."""


def recognises(path: Path) -> bool:
    """Tell whether a path is a folder of PEFT's: with its configuration, and without lieref's section."""
    file = path / CONFIG_NAME
    try:
        if not path.is_dir() or not file.is_file() or file.stat().st_size > MAX_CONFIG_BYTES:
            return False
        config = parse_json(file.read_bytes(), str(file))
    except (LierefError, OSError):
        return path.is_dir()
    return "lieref" not in config and "peft_type" in config


def read(path: Path) -> Foreign:
    """Read a folder of PEFT's.

    Raises
    ------
    FormatError
        If a file is missing, broken or a pickle, or a key is none of the kind's.
    UnsupportedError
        If the kind, or a setting, has no exact form here; the message names it.
    DomainError
        If a number is not finite.
    """
    path = Path(path)
    config = parse_json((path / CONFIG_NAME).read_bytes(), str(path / CONFIG_NAME))
    if not (path / TENSORS_NAME).is_file():
        pickled = next((one for one in sorted(path.iterdir()) if one.suffix in PICKLES), None)
        why = f"; {converted(pickled)}" if pickled else ""
        raise FormatError(f"import: {path} must hold {TENSORS_NAME}{why}")
    kind = config.get("peft_type")
    if not isinstance(kind, str) or kind not in KINDS:
        why = WHY_NOT.get(str(kind), f"known are {', '.join(KINDS)}")
        raise UnsupportedError(f"import: `peft_type` must be a kind that has a form here; {shown(kind)}: {why}")
    _check_settings(config)
    return foreign_of(str(kind), config, read_foreign_tensors(path / TENSORS_NAME), str(path))


def foreign_of(kind: str, config: Mapping[str, Any], tensors: Mapping[str, Array], source: str) -> Foreign:
    """Return an adapter of PEFT's from its configuration and tensors; see `read`."""
    row = KINDS[kind]
    parts: dict[str, dict[str, Array]] = {}
    whole: dict[str, dict[str, Array]] = {}
    shared: dict[str, Array] = {}
    for key, tensor in tensors.items():
        common = key.removeprefix(SHARED_PREFIX) in row.shared
        path, name, own = ("", "", False) if common else _split(key, row, source)
        whole_numbers = name in row.integers
        if tensor.dtype.kind not in ("iu" if whole_numbers else "f"):
            wanted = "integers" if whole_numbers else "floats"
            raise FormatError(f"import: {shown(key)} of {source} must hold {wanted}; got {tensor.dtype}")
        if common:
            shared[key.removeprefix(SHARED_PREFIX)] = tensor
            continue
        if own and ".base_layer." in path:
            raise UnsupportedError(
                f"import: {path.partition('.base_layer.')[0]} of {source} must be a linear layer or a convolution; it "
                "is wrapped by PEFT together with a layer inside, as is MultiheadAttention, which has no form here"
            )
        if own:
            parts.setdefault(path, {})[name] = tensor
        elif not key.removesuffix(f".{name}").endswith(("original_module", "modules_to_save")):
            whole.setdefault(path, {})[name] = tensor
    if not parts:
        raise FormatError(f"import: {source} must hold tensors of {kind}; got none")
    saved: dict[str, dict[str, Array]] = {}
    biases = {}
    if row.read is None:
        saved = {path: {name.rpartition(".")[2]: tensor for name, tensor in held.items()}
                 for path, held in parts.items()}  # fmt: skip
        parts = {}
    for path, held in whole.items():
        if _ends_with(path, config.get("modules_to_save") or ()):
            saved[path] = held
        elif set(held) == {"bias"}:
            biases[path] = held["bias"]
        else:
            raise FormatError(f"import: {shown(f'{path}.{min(held)}')} of {source} must be of {kind} or a bias")
    modules = {path: _reader(kind, {**held, **shared}, config, path) for path, held in parts.items()}
    wide = any(tensor.dtype == np.float64 for tensor in tensors.values())
    dropped = [name for name in config if name.endswith("_dropout") and config[name]]
    notes = (f"{', '.join(dropped)} of its training is not kept",) if dropped else ()
    return Foreign("PEFT", kind, modules, saved, biases, dtype="float64" if wide else "float32", notes=notes)


def _reader(kind: str, tensors: Mapping[str, Array], config: Mapping[str, Any], path: str) -> Read:
    missing = sorted(set(KINDS[kind].names[:1]) - set(tensors)) if kind != "LOKR" else []
    if missing:
        raise FormatError(f"import: the module {path} must have {missing[0]}; it has {sorted(tensors)}")
    options = options_of(kind, config, path)

    def read_at(place: Any) -> Any:
        try:
            return read_module(kind, tensors, options, place)
        except KeyError as error:
            raise ShapeError(f"import: a module of {kind} must have {error.args[0]}; got {sorted(tensors)}") from error

    return read_at


def _split(key: str, row: Kind, source: str) -> tuple[str, str, bool]:
    """Return the path of a key's module, the tensor's name there, and whether it is one of the kind."""
    if not key.startswith(PREFIX):
        raise FormatError(f"import: the keys of {source} must begin with {PREFIX}; got {shown(key)}")
    rest = key.removeprefix(PREFIX)
    for name in sorted((*row.names, *row.refused), key=len, reverse=True):
        if rest.endswith(f".{name}"):
            if name in row.refused:
                raise UnsupportedError(f"import: {shown(rest)} has no form here: it is {row.refused[name]}")
            return (
                WRAPPED.sub("", rest.removesuffix(f".{name}")),
                name.removesuffix(".weight") if (name == "lora_magnitude_vector.weight") else name,
                True,
            )
    path, _, name = rest.rpartition(".")
    return WRAPPED.sub("", path), name, False


def _check_settings(config: Mapping[str, Any]) -> None:
    for name, what in REFUSED.items():
        if config.get(name):
            raise UnsupportedError(f"import: {name} must not be set; {what} has no form here")
    start = config.get("init_lora_weights", True)
    if not isinstance(start, (bool, str, type(None))) or start not in ON_THE_BASE:
        raise UnsupportedError(
            f"import: the adapter must be one of the base as it is; init_lora_weights {shown(start)} changes the base "
            "(PEFT's save_pretrained with path_initial_model_for_weight_conversion converts it)"
        )


def _ends_with(path: str, names: Any) -> bool:
    return isinstance(names, (list, tuple)) and any(
        path == name or path.endswith(f".{name}") for name in names if isinstance(name, str)
    )
