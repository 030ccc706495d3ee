"""The table of formats that adapters are written in, and the two functions that use it.

A format is one row and one file: a function that takes a `Source`, and its options as keywords, and returns what is to
be written. It writes nothing itself, so that what fails leaves nothing half-written.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lieref._check import check_choice
from lieref.adapter.out.source import Source
from lieref.errors import DomainError


@dataclass(frozen=True)
class Exported:
    """What is to be written.

    Attributes
    ----------
    data : bytes or mapping of str to bytes
        A file, or the files of a folder by name.
    facts : dict
        What there is to report, plain JSON values.
    notes : tuple of str
        What was left out, approximated or done in another way than asked for: a line each.
    """

    data: bytes | Mapping[str, bytes]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return len(self.data) if isinstance(self.data, bytes) else sum(map(len, self.data.values()))


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    name, summary : str
        Name on the command line; one line for people.
    place : str
        ``module:function``, imported when the format is asked for; the function is called as
        ``function(source, **options)`` and returns an `Exported`.
    files : tuple of str
        Names of the files of the folder that it writes; empty where it writes one file.
    options : tuple of str
        Keywords that the function takes.
    """

    name: str
    summary: str
    place: str
    files: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


_ADAPTER = ("adapter_model.safetensors", "adapter_config.json")

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("onnx", "The merged network, as `lieref merge` writes it", "lieref.adapter.out.onnx:export_onnx"),
        Format("delta", "W' - W0 of every changed tensor, that adds up to the merged weights to the bit",
               "lieref.adapter.out.delta:export_delta", ("delta.safetensors", "delta.json")),
        Format("lora", "LoRA factors: exact where the adapter adds a low rank, else the nearest, the error said",
               "lieref.adapter.out.lora:export_lora", _ADAPTER, ("rank", "data")),
        Format("ort-adapter", "ONNX Runtime's .onnx_adapter, and a base whose adapter is a set of inputs",
               "lieref.adapter.out.ort_adapter:export_ort_adapter", ("base.onnx", "adapter.onnx_adapter"),
               ("weights",)),
        Format("c-header", "Changed weights as C99 arrays (out channels first) that check themselves",
               "lieref.adapter.out.c_header:export_c_header", options=("weights", "stem")),
        Format("peft", "A folder that PEFT loads onto the PyTorch network", "lieref.adapter.out.peft:export_peft",
               _ADAPTER, ("model_names",)),
        Format("lycoris", "One .safetensors file that LyCORIS 4 loads", "lieref.adapter.out.lycoris:export_lycoris",
               options=("model_names",)),
    )
}  # fmt: skip


def check_options(name: str, options: Mapping[str, Any]) -> Format:
    """Return a format after checking that it takes these options.

    Raises
    ------
    DomainError
        If there is no such format, or it does not take an option.
    """
    row = FORMATS[check_choice("export", "format", name, tuple(FORMATS))]
    for option in options:
        if option not in row.options:
            takers = ", ".join(each.name for each in FORMATS.values() if option in each.options) or "no format"
            raise DomainError(f"export: `{option}` must be left out for {name}; it is an option of {takers}")
    return row


def export(source: Source, name: str, **options: Any) -> Exported:
    """Return an adapter in another format; nothing is written.

    Parameters
    ----------
    source : Source
        Of `lieref.adapter.out.source.read_source`.
    name : str
        A key of `FORMATS`.
    **options
        Those of the format.

    Raises
    ------
    LierefError
        If there is no such format or option, or the adapter has no such form.
    """
    row = check_options(name, options)
    module, _, function = row.place.partition(":")
    exported: Exported = getattr(importlib.import_module(module), function)(source, **options)
    return exported
