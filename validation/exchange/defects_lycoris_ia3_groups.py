"""LyCORIS: IA3 on the in channels of a convolution with groups raises.

Its factors are as many as in channels, the weight has in channels / groups.
Run alone: python -m validation.exchange.defects lycoris_ia3_groups
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, made, raised

DEFECT = Defect(
    "lycoris-lora", "IA3 on the in channels of a convolution with groups raises",
    "train_on_input, two groups", "one group",
)  # fmt: skip


def refused(groups: int) -> float:
    module = made(nn.Conv2d(8, 8, 3, groups=groups), "ia3", train_on_input=True)
    return raised(lambda: module(torch.randn(1, 8, 5, 5)))


def run() -> dict[str, Any]:
    return {"defect": refused(2), "control": refused(1), "limit": ROUNDING}
