"""LyCORIS: Full saved after loading is rounded.

It keeps W + d, and saves (W + d) - W. The control has W = 0.
Run alone: python -m validation.exchange.defects lycoris_full_rounded
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made

DEFECT = Defect(
    "lycoris-lora", "Full saved after loading is rounded",
    "saved against the difference given, 2^-12 of the weight", "a layer of zeros",
)  # fmt: skip


def difference(scale: float) -> float:
    layer = nn.Linear(8, 8)
    layer.weight.data *= scale
    module = made(layer, "full")
    module.weight.data *= 2.0**-12
    given = module.weight.detach().clone()
    module.apply_to()
    return apart(given, module.state_dict()["diff"])


def run() -> dict[str, Any]:
    return {"defect": difference(1.0), "control": difference(0.0), "limit": ROUNDING}
