"""From one adapted layer of lieref to the tensors of one module of LyCORIS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lieref._types import FloatArray, Params
from lieref.adapter.exchange.lycoris_dense import write_full, write_ia3
from lieref.adapter.exchange.lycoris_form import Adapted, Target
from lieref.adapter.exchange.lycoris_low_rank import write_locon, write_loha, write_lokr
from lieref.adapter.exchange.lycoris_rotation import write_oft

_Write: TypeAlias = Callable[[Adapted, Target], tuple[Params, list[str]] | None]

WRITERS: tuple[_Write, ...] = (write_locon, write_loha, write_lokr, write_ia3, write_oft)
"""Each returns the tensors of the methods that are its algorithm, None for others."""

_ROWS = {
    "lora_up.weight": 1.0, "hada_w1_a": 1.0, "diff": 1.0, "diff_b": 1.0, "dora_scale": 0.0,
}  # fmt: skip
"""Tensors that follow where the out channels of a weight are scaled; a length (0) does not see the sign."""


def write_module(
    weight: Adapted | None,
    bias: Adapted | None,
    target: Target,
    *,
    norm: bool = False,
    scales: FloatArray | None = None,
) -> tuple[Params, list[str]]:
    """Return the tensors of a module by name, and what is to be said.

    Parameters
    ----------
    weight, bias : Adapted or None
        What is adapted, of one at least.
    target : Target
        The weight and the bias in the network's file.
    norm : bool
        Whether it is a normalisation, of which weight and bias are scale and shift.
    scales : array (out,), optional
        a, where the file has a W for the weight W of the module, see `lieref.adapter.exchange.fold`: the module of
        W' = W'_file / a is returned.

    Raises
    ------
    UnsupportedError
        If the bias is adapted in a way that is no addition.
    """
    found = None
    if weight is not None and bias is None and not norm and not (weight.method.moves_bias and target.bias is not None):
        found = next((pair for write in WRITERS if (pair := write(weight, target)) is not None), None)
    if found is not None and scales is not None and not _scalable(found[0]):
        found = None
    tensors, said = found or write_full(weight, bias, target, norm)
    if scales is not None and "on_input" not in tensors:
        tensors = {name: _unscaled(name, tensor, scales) for name, tensor in tensors.items()}
        said = [*said, "a BatchNormalization is folded into its weight: its change is scaled back"]
    return {name: np.array(tensor, order="C") for name, tensor in tensors.items()}, said


def _scalable(tensors: Params) -> bool:
    """Tell whether a module is that of a scaled weight when some of its tensors are scaled, or none."""
    return "on_input" in tensors or any(name in tensors for name in _ROWS)


def _unscaled(name: str, tensor: FloatArray, scales: FloatArray) -> FloatArray:
    if name not in _ROWS:
        return tensor
    a = scales if _ROWS[name] else np.abs(scales)
    result: FloatArray = (tensor.astype(np.float64) / a.reshape(-1, *(1,) * (tensor.ndim - 1))).astype(tensor.dtype)
    return result
