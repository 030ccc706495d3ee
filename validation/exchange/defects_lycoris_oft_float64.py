"""LyCORIS: diag-OFT and BOFT in float64 raise.

The inverse is float32.
Run alone: python -m validation.exchange.defects lycoris_oft_float64
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, made, raised

DEFECT = Defect(
    "lycoris-lora", "diag-OFT and BOFT in float64 raise",
    "forward pass in float64", "in float32",
)  # fmt: skip


def refused(dtype: torch.dtype) -> float:
    module = made(nn.Linear(8, 8).to(dtype), "diag-oft").to(dtype)
    return raised(lambda: module(torch.randn(1, 8, dtype=dtype)))


def run() -> dict[str, Any]:
    return {"defect": refused(torch.float64), "control": refused(torch.float32), "limit": ROUNDING}
