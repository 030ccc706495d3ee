"""Modules of LyCORIS with numbers of their own, loaded again and merged: what the scripts of its defects share."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from lycoris.modules import get_module
from lycoris.wrapper import network_module_dict
from torch import Tensor, nn

logging.getLogger("LyCORIS").setLevel(logging.ERROR)
ROUNDING = 1e-5
"""What float32 does not explain, relative to the largest number."""


def made(layer: nn.Module, algorithm: str, **options: Any) -> Any:
    """Return a module of LyCORIS of rank 4 and alpha 1 whose numbers are random."""
    torch.manual_seed(0)
    module = network_module_dict[algorithm]("lycoris_fc", layer, 1.0, **{"lora_dim": 4, "alpha": 1.0, **options})
    for name, parameter in module.named_parameters():
        moved = 1 + 0.3 * torch.rand_like(parameter)
        parameter.data = parameter.data * moved if name == "dora_scale" else 0.3 * torch.randn_like(parameter)
    return module


def loaded(module: Any, layer: nn.Module) -> Any:
    """Return the module that LyCORIS makes of another's state dict, as `create_lycoris_from_weights` does."""
    state = {f"lycoris_fc.{key}": value for key, value in module.state_dict().items()}
    kind, tensors = get_module(state, "lycoris_fc")
    with torch.no_grad():
        again = kind.make_module_from_state_dict("lycoris_fc", layer, *tensors)
    again.multiplier = 1.0
    return again


def merged(module: Any, layer: nn.Module) -> nn.Module:
    """Return a copy of a layer with the weight that LyCORIS merges."""
    result = copy.deepcopy(layer)
    result.weight.data = module.get_merged_weight(1.0, layer.weight.shape)[0].detach()
    return result


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the largest number of the first."""
    return float((a - b).detach().abs().max() / a.detach().abs().max())


def raised(call: Callable[[], object]) -> float:
    """Return 1 where a call raises, 0 where it does not."""
    try:
        call()
    except (AttributeError, RuntimeError, TypeError):
        return 1.0
    return 0.0
