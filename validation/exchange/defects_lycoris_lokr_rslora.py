"""LyCORIS: LoKr with rs_lora and both factors whole loses its scale in the file.

It is trained with sqrt(r); the loader takes 1, for the rank is not in the file.
Run alone: python -m validation.exchange.defects lycoris_lokr_rslora
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, loaded, made

DEFECT = Defect(
    "lycoris-lora", "LoKr with rs_lora and both factors whole loses its scale in the file",
    "loaded against saved, rs_lora", "without rs_lora",
)  # fmt: skip


def difference(rs_lora: bool) -> float:
    layer, x = nn.Linear(8, 8), torch.randn(3, 8)
    module = made(layer, "lokr", rs_lora=rs_lora)
    return apart(module(x), loaded(module, layer)(x))


def run() -> dict[str, Any]:
    return {"defect": difference(True), "control": difference(False), "limit": ROUNDING}
