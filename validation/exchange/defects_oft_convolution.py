"""PEFT: OFT of a convolution computes one thing before it is merged, and another thing after.

Its forward pass turns the patches of the input and adds them up where they overlap, without dividing by how many do;
merging turns the filters. For a 1x1 kernel nothing overlaps. Run alone:
python -m validation.exchange.defects oft_convolution
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "OFT of a convolution is not what merging makes of it",
    "3x3 kernel: relative difference of the outputs before and after merging", "the same with a 1x1 kernel",
)  # fmt: skip


def difference(kernel: int) -> float:
    torch.manual_seed(0)
    config = peft.OFTConfig(oft_block_size=4, target_modules=["0"], init_weights=False, use_cayley_neumann=False)
    net = peft.get_peft_model(nn.Sequential(nn.Conv2d(4, 6, kernel)), config).double().eval()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = net(x)
        after = net.merge_and_unload()(x)
    return float((before - after).abs().max() / after.abs().max())


def run() -> dict[str, Any]:
    return {"defect": difference(3), "control": difference(1)}
