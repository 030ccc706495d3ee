"""LyCORIS: the padding mode of a convolution is ignored.

What is added is padded with zeros whatever the layer does; what is merged is padded as the layer does.
Run alone: python -m validation.exchange.defects lycoris_padding_mode
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made, merged

DEFECT = Defect(
    "lycoris-lora", "the padding mode of a convolution is ignored",
    "forward pass against merged, reflect", "zeros",
)  # fmt: skip


def difference(mode: str) -> float:
    layer, x = nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode), torch.randn(1, 4, 6, 6)
    module = made(layer, "locon")
    return apart(module(x), merged(module, layer)(x))


def run() -> dict[str, Any]:
    return {"defect": difference("reflect"), "control": difference("zeros"), "limit": ROUNDING}
