"""A folder that PEFT loads: see `lieref.adapter.exchange.peft_write`."""

from __future__ import annotations

from pathlib import Path

from lieref.adapter.exchange.given import read_given
from lieref.adapter.exchange.peft_write import write_peft
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Source


def export_peft(source: Source, *, model_names: str | Path | None = None) -> Exported:
    """Return the folder of a PEFT adapter that computes the same.

    Parameters
    ----------
    source : Source
    model_names : path, optional
        What `read_given` reads: names of modules, or the tensors of the PyTorch network.

    Raises
    ------
    DomainError, UnsupportedError
        As `write_peft`.
    """
    given = None if model_names is None else read_given(model_names)
    written = write_peft(source.model, given)
    return Exported(written.files, {"kind": written.kind, "modules": written.modules}, written.notes)
