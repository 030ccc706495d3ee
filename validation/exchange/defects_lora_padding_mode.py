"""PEFT: LoRA of a convolution drops its padding mode, so that merging changes the outputs.

LoHa, LoKr and HiRA pad their own convolution with zeros as well. Run alone:
python -m validation.exchange.defects lora_padding_mode
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.defects_lora_dilation import difference

DEFECT = Defect(
    "peft", "LoRA of a convolution drops its padding mode; LoHa, LoKr and HiRA do too",
    "reflected padding: relative difference of the outputs before and after merging", "padding with zeros",
)  # fmt: skip


def of(config: Any) -> float:
    torch.manual_seed(0)
    net = peft.get_peft_model(nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")), config)
    net = net.double().eval()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        before = net(x)
        after = net.merge_and_unload()(x)
    return float((before - after).abs().max() / after.abs().max())


def run() -> dict[str, Any]:
    return {
        "defect": difference(padding=1, padding_mode="reflect"),
        "control": difference(padding=1, padding_mode="zeros"),
        "loha": of(peft.LoHaConfig(r=2, target_modules=["0"], init_weights=False)),
        "lokr": of(peft.LoKrConfig(r=2, target_modules=["0"], init_weights=False)),
        "hira": of(peft.HiraConfig(r=2, target_modules=["0"], init_weights=False)),
    }
