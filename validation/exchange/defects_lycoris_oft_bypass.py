"""LyCORIS: diag-OFT with bypass_mode turns the bias, without it does not.

The file does not say which was meant.
Run alone: python -m validation.exchange.defects lycoris_oft_bypass
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made

DEFECT = Defect(
    "lycoris-lora", "diag-OFT with bypass_mode turns the bias, without it does not",
    "bypassed against not", "a layer without bias",
)  # fmt: skip


def difference(bias: bool) -> float:
    layer, x = nn.Linear(8, 8, bias=bias), torch.randn(3, 8)
    module = made(layer, "diag-oft")
    plain = module(x)
    module.bypass_mode = True
    return apart(plain, module(x))


def run() -> dict[str, Any]:
    return {"defect": difference(True), "control": difference(False), "limit": ROUNDING}
