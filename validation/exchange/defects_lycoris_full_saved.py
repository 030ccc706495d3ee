"""LyCORIS: Full saved before apply_to has the weight taken off its difference.

state_dict() subtracts W from what is W' - W already. The control has W = 0.
Run alone: python -m validation.exchange.defects lycoris_full_saved
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made

DEFECT = Defect(
    "lycoris-lora", "Full saved before apply_to has the weight taken off its difference",
    "saved against own difference", "a layer of zeros",
)  # fmt: skip


def difference(scale: float) -> float:
    layer = nn.Linear(8, 8)
    layer.weight.data *= scale
    module = made(layer, "full")
    return apart(module.weight, module.state_dict()["diff"])


def run() -> dict[str, Any]:
    return {"defect": difference(1.0), "control": difference(0.0), "limit": ROUNDING}
