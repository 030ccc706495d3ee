"""PEFT: an adapter with ``bias="all"`` and ``modules_to_save`` saves a bias three times, one of them the base's.

Run alone: python -m validation.exchange.defects bias_twice
"""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "with bias='all' and modules_to_save a bias is saved three times, once that of the base",
    "tensors of one bias beyond the first", "the same with bias='none'",
)  # fmt: skip


def copies(bias: str) -> int:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    config = peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["1"], bias=bias)
    held = peft.get_peft_model_state_dict(peft.get_peft_model(net, config))
    return sum(key.startswith("base_model.model.1.") and key.endswith("bias") for key in held) - 1


def run() -> dict[str, Any]:
    return {"defect": copies("all"), "control": copies("none"), "limit": 0}
