"""LyCORIS: LoKr of low rank on a convolution may not load.

The loader takes the columns of lokr_w2_b, kernel and all, for in channels, and guesses another factor.
Run alone: python -m validation.exchange.defects lycoris_lokr_convolution
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, loaded, made, raised

DEFECT = Defect(
    "lycoris-lora", "LoKr of low rank on a convolution may not load",
    "loading, kernel 3", "kernel 1",
)  # fmt: skip


def refused(kernel: int) -> float:
    layer = nn.Conv2d(16, 8, kernel)
    module = made(layer, "lokr", lora_dim=1, factor=8)
    return raised(lambda: loaded(module, layer))


def run() -> dict[str, Any]:
    return {"defect": refused(3), "control": refused(1), "limit": ROUNDING}
