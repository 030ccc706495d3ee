"""LyCORIS: LoCon with bypass_mode drops the dilation.

Its convolutions are made without it, so that the two outputs have different sizes.
Run alone: python -m validation.exchange.defects lycoris_locon_bypass
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, made, raised

DEFECT = Defect(
    "lycoris-lora", "LoCon with bypass_mode drops the dilation",
    "forward pass, dilation 2", "dilation 1",
)  # fmt: skip


def refused(dilation: int) -> float:
    module = made(nn.Conv1d(4, 4, 3, dilation=dilation), "locon")
    module.bypass_mode = True
    return raised(lambda: module(torch.randn(1, 4, 12)))


def run() -> dict[str, Any]:
    return {"defect": refused(2), "control": refused(1), "limit": ROUNDING}
