"""PEFT: LoKr of a 1-D convolution is no Kronecker product of its factors.

With a whole w2 (c, d, k) the axes of w1 (a, b) are set against those of d and k. The control is a 2-D convolution.
Run alone: python -m validation.exchange.defects lokr_conv1d
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "LoKr of a 1-D convolution with a whole w2 is no Kronecker product of w1 and w2",
    "Conv1d: relative difference from s w1[a, b] w2[c, d, k] at [(a, c), (b, d), k]", "Conv2d",
)  # fmt: skip


def difference(layer: nn.Module) -> float:
    torch.manual_seed(0)
    config = peft.LoKrConfig(r=8, alpha=8, target_modules=["0"], init_weights=False)
    net = peft.get_peft_model(nn.Sequential(layer), config).double()
    module = net.base_model.model[0]
    w1, w2 = module.lokr_w1["default"], module.lokr_w2["default"]
    kron = torch.einsum("ab,cd...->acbd...", w1, w2).reshape(layer.weight.shape)
    return float((module.get_delta_weight("default") - kron).abs().max() / kron.abs().max())


def run() -> dict[str, Any]:
    return {"defect": difference(nn.Conv1d(4, 6, 3)), "control": difference(nn.Conv2d(4, 6, 3))}
