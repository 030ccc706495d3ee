"""PEFT: LoRA of a convolution drops its dilation, so that merging changes the outputs.

With padding "same" the shapes fit all the same; with numbers the forward pass fails. Run alone:
python -m validation.exchange.defects lora_dilation
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "LoRA of a convolution drops its dilation",
    "dilation 2, padding same: relative difference of the outputs before and after merging", "dilation 1",
)  # fmt: skip


def difference(**geometry: Any) -> float:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    net = peft.get_peft_model(nn.Sequential(nn.Conv2d(4, 6, 3, **geometry)), config).double().eval()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        before = net(x)
        after = net.merge_and_unload()(x)
    return float((before - after).abs().max() / after.abs().max())


def fails() -> bool:
    """Return whether the forward pass of a dilated convolution with a padding of numbers fails."""
    try:
        difference(padding=1, dilation=2)
    except RuntimeError:
        return True
    return False


def run() -> dict[str, Any]:
    return {"defect": difference(padding="same", dilation=2), "control": difference(padding="same"),
            "fails_with_padding_of_numbers": fails()}  # fmt: skip
