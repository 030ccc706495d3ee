"""What one module has in a file of PEFT's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lieref._types import Array


@dataclass(frozen=True)
class Form:
    """What one module has in a file of PEFT's.

    Attributes
    ----------
    kind : str
        A key of `peft_kinds.KINDS`.
    tensors : dict of str to array
        By what their keys end with.
    settings : dict
        Fields of the configuration that all modules must share.
    r, alpha : number or None
        Of this module, where the kind has patterns for them.
    adds, rows, lengths
        As in `Factors`.
    inputs : bool
        Of IA3: whether the inputs are multiplied.
    shared : dict of str to array
        Tensors of the whole adapter; of all modules the largest is written, of which the others are a corner.
    """

    kind: str
    tensors: Mapping[str, Array]
    settings: Mapping[str, Any] = field(default_factory=dict)
    r: int | None = None
    alpha: float | None = None
    adds: bool = True
    rows: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()
    inputs: bool = False
    shared: Mapping[str, Array] = field(default_factory=dict)
