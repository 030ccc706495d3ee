"""PEFT: HRA of a convolution ignores its dilation: an adapter that changes no weight changes the outputs.

HRA starts with pairs of equal reflections, which cancel. Run alone: python -m validation.exchange.defects hra_dilation
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "HRA of a convolution ignores its dilation",
    "dilation 2, no padding: relative change of the outputs by an adapter that has not been trained",
    "the same with dilation 1",
)  # fmt: skip


def change(config: Any, dilation: int) -> float:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Conv2d(4, 6, 3, dilation=dilation)).double()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        plain = base(x)
        net = peft.get_peft_model(base, config).double().eval()
        adapted = net(x)
    # Without dilation the outputs are larger: what both have is compared.
    rows, columns = plain.shape[2:]
    return float((adapted[:, :, :rows, :columns] - plain).abs().max() / plain.abs().max())


def run() -> dict[str, Any]:
    return {"defect": change(peft.HRAConfig(r=2, target_modules=["0"]), 2),
            "control": change(peft.HRAConfig(r=2, target_modules=["0"]), 1)}  # fmt: skip
