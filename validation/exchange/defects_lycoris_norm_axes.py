"""LyCORIS: train_norm on a LayerNorm over several axes raises.

The difference has the size of the first axis alone.
Run alone: python -m validation.exchange.defects lycoris_norm_axes
"""

from __future__ import annotations

from typing import Any

import torch
from lycoris.modules.norms import NormModule
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, raised

DEFECT = Defect(
    "lycoris-lora", "train_norm on a LayerNorm over several axes raises",
    "LayerNorm over two axes", "over one",
)  # fmt: skip


def refused(*axes: int) -> float:
    module = NormModule("lycoris_norm", nn.LayerNorm(axes))
    return raised(lambda: module(torch.randn(2, *axes)))


def run() -> dict[str, Any]:
    return {"defect": refused(4, 6), "control": refused(6), "limit": ROUNDING}
