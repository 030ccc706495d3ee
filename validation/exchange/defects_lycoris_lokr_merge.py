"""LyCORIS: LoKr merged is scaled twice.

The forward pass multiplies by alpha / r once, get_merged_weight again. The control has alpha = r.
Run alone: python -m validation.exchange.defects lycoris_lokr_merge
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made, merged

DEFECT = Defect(
    "lycoris-lora", "LoKr merged is scaled twice",
    "merged weight against the forward pass, alpha 1 and rank 2", "alpha 2",
)  # fmt: skip


def difference(alpha: float) -> float:
    layer, x = nn.Linear(64, 64), torch.randn(3, 64)
    module = made(layer, "lokr", alpha=alpha, lora_dim=2)
    return apart(module(x), merged(module, layer)(x))


def run() -> dict[str, Any]:
    return {"defect": difference(1.0), "control": difference(2.0), "limit": ROUNDING}
