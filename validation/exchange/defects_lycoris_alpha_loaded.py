"""LyCORIS: load_state_dict does not use the alpha of the file.

It is stored, and the scale stays that of the constructor.
Run alone: python -m validation.exchange.defects lycoris_alpha_loaded
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, made

DEFECT = Defect(
    "lycoris-lora", "load_state_dict does not use the alpha of the file",
    "loaded into a network of alpha 1, saved with 4", "saved with 1",
)  # fmt: skip


def difference(alpha: float) -> float:
    layer, x = nn.Linear(8, 8), torch.randn(3, 8)
    first, second = made(layer, "locon", alpha=alpha), made(layer, "locon", alpha=1.0)
    second.load_state_dict(first.state_dict())
    return apart(first(x), second(x))


def run() -> dict[str, Any]:
    return {"defect": difference(4.0), "control": difference(1.0), "limit": ROUNDING}
