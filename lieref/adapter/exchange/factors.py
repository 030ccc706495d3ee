"""What an adapter of another library gives one module, in lieref's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.model.layer import Layer

DENSE = "dense+additive+exp"
"""The method that adds a whole tensor: W' = W + xi."""


@dataclass(frozen=True)
class Place:
    """Where a module is in the network.

    Attributes
    ----------
    layer : Layer
    weight : array
        Of the file, in canonical layout, float64.
    strides, dilations : tuple of int
        Of a convolution, an entry for each kernel axis; empty for others.
    pads : tuple of int
        Zeros before and behind each kernel axis, as ONNX has them.
    padding_mode : bool
        Whether the module pads with anything but zeros, which is a node of its own in the file.
    """

    layer: Layer
    weight: FloatArray
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    padding_mode: bool = False

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel of a convolution, empty for others."""
        return self.layer.shape[2:]


@dataclass(frozen=True)
class Factors:
    """A method and its factors for one weight.

    Attributes
    ----------
    method : mapping
        Options of `lieref.param.registry.get_method`.
    params : dict of str to array
        Factors as that method has them, conv groups stacked on the first axis.
    adds : bool
        Whether the change is added to the weight of the module. What multiplies the weight instead is the same for a
        weight whose out channels are scaled.
    rows : tuple of str
        Of what is added: factors whose first axis is the out channels and in which the change is linear. Empty where no
        factor can be scaled by channels.
    lengths : tuple of str
        Factors with the length of each filter.
    bias_factor : array or None
        (out,) numbers that the outputs are multiplied with, bias included; the method must be one of the action
        "scaling", which leaves the bias alone.
    notes : tuple of str
        What is not as its user may think, a line each.
    """

    method: Mapping[str, Any]
    params: Params
    adds: bool = True
    rows: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ()
    bias_factor: FloatArray | None = None
    notes: tuple[str, ...] = ()


Read: TypeAlias = Callable[[Place], Factors]
"""What a module gets where it is; raises LierefError where that does not fit, or has no exact form."""


@dataclass(frozen=True)
class Foreign:
    """An adapter of another library, read and not yet matched with a network.

    Attributes
    ----------
    library, kind : str
        Such as "PEFT" and "LORA".
    modules : dict of str to callable
        What each module gets, by its path in the PyTorch network.
    saved : dict of str to dict
        Modules whose own tensors are replaced: ``weight`` and ``bias`` as they are to be, by path.
    biases : dict of str to array
        Biases as they are to be, by the path of their module.
    added : dict of str to dict
        What is added to vectors, by the path of their module: to the ``bias`` of a layer, to ``weight`` and ``bias`` of
        a normalisation.
    separator : str
        What stands between the parts of a path.
    dtype : str
        "float64" where a tensor of the adapter is, else "float32", which holds all others.
    notes : tuple of str
    """

    library: str
    kind: str
    modules: dict[str, Read]
    saved: dict[str, dict[str, Array]] = field(default_factory=dict)
    biases: dict[str, Array] = field(default_factory=dict)
    added: dict[str, dict[str, Array]] = field(default_factory=dict)
    separator: str = "."
    dtype: str = "float32"
    notes: tuple[str, ...] = ()


def dense(change: FloatArray, note: str = "", *, adds: bool = True) -> Factors:
    """Return a change of the weight, in canonical layout, as a whole tensor.

    Parameters
    ----------
    change : array
        W' - W.
    note : str
        Why it is whole.
    adds : bool
        False where it was computed from the weight of the file, not of the module.
    """
    notes = (f"{note}; it is kept as a whole, with {change.size:,} numbers",) if note else ()
    return Factors({"name": DENSE}, {"xi": np.asarray(change, np.float64)}, adds, ("xi",), notes=notes)
