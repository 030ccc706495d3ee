"""PEFT: an adapter inside `nn.TransformerEncoderLayer` does nothing in evaluation.

PyTorch's fast path of that layer reads the weights of its parts instead of calling them, and the weight of a part that
PEFT has wrapped is that of the base. Training does not take that path, so what is trained is not what then runs.

Run alone: python -m validation.exchange.defects transformer_fast_path
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "adapters of linear1 and linear2 in nn.TransformerEncoderLayer are left out in evaluation",
    "largest difference of the outputs in training and in evaluation, without dropout, over the change by the adapter",
    "the same with torch.backends.mha.set_fastpath_enabled(False)",
)  # fmt: skip


def off(fast: bool) -> float:
    torch.manual_seed(0)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        x = torch.randn(3, 5, 8)
        base = layer.eval()(x).detach()
        config = peft.LoraConfig(r=2, target_modules=["linear1", "linear2"], init_lora_weights=False)
        net = peft.get_peft_model(layer, config)
        trained = net.train()(x).detach()
        with torch.no_grad():
            run = net.eval()(x)
        return float((run - trained).abs().max() / (trained - base).abs().max())
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def run() -> dict[str, Any]:
    return {"defect": off(True), "control": off(False), "limit": 1e-3}
