"""LyCORIS: DoRA with wd_on_out=False on a depthwise layer loads as another network.

Its one length is taken for that of every filter, without an error.
Run alone: python -m validation.exchange.defects lycoris_dora_in_depthwise
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, apart, loaded, made

DEFECT = Defect(
    "lycoris-lora", "DoRA with wd_on_out=False on a depthwise layer loads as another network",
    "loaded against saved, wd_on_out=False", "wd_on_out=True",
)  # fmt: skip


def difference(on_out: bool) -> float:
    layer, x = nn.Conv2d(8, 8, 3, groups=8), torch.randn(1, 8, 5, 5)
    module = made(layer, "locon", weight_decompose=True, wd_on_out=on_out)
    return apart(module(x), loaded(module, layer)(x))


def run() -> dict[str, Any]:
    return {"defect": difference(False), "control": difference(True), "limit": ROUNDING}
