"""LyCORIS: train_norm on a LayerNorm without bias raises.

It looks whether there is a bias, finds None, and goes on.
Run alone: python -m validation.exchange.defects lycoris_norm_shift
"""

from __future__ import annotations

from typing import Any

import torch
from lycoris.modules.norms import NormModule
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, raised

DEFECT = Defect(
    "lycoris-lora", "train_norm on a LayerNorm without bias raises",
    "LayerNorm without bias", "with bias",
)  # fmt: skip


def refused(bias: bool) -> float:
    module = NormModule("lycoris_norm", nn.LayerNorm(8, bias=bias))
    return raised(lambda: module(torch.randn(2, 8)))


def run() -> dict[str, Any]:
    return {"defect": refused(False), "control": refused(True), "limit": ROUNDING}
