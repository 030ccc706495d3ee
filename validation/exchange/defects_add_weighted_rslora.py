"""PEFT: of rsLoRA adapters `add_weighted_adapter` makes one of another scale, sqrt(new rank) times too large.

The new configuration keeps `use_rslora`, so that the new adapter is scaled by alpha / sqrt(rank), while alpha is set to
the rank for a scale of 1, as it is without rsLoRA.

Run alone: python -m validation.exchange.defects add_weighted_rslora
"""

from __future__ import annotations

from typing import Any

import peft
import torch
from torch import nn

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "add_weighted_adapter of rsLoRA adapters is sqrt(new rank) times too large",
    "largest difference of the change of two adapters of rank 2 added (cat) and the sum of theirs, over that sum",
    "the same without use_rslora",
)  # fmt: skip


def off(rslora: bool) -> tuple[float, float]:
    """Return the relative difference, and how many times too large the sum is."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=["0"], use_rslora=rslora, init_lora_weights=False)
    net = peft.get_peft_model(nn.Sequential(nn.Linear(6, 5)), config, adapter_name="a").to(torch.float64)
    net.add_adapter("b", config)
    layer = net.base_model.model[0].to(torch.float64)
    wanted = layer.get_delta_weight("a") + layer.get_delta_weight("b")
    net.add_weighted_adapter(["a", "b"], [1.0, 1.0], "sum", combination_type="cat")
    found = layer.to(torch.float64).get_delta_weight("sum")
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    return difference, float((found * wanted).sum() / (wanted * wanted).sum())


def run() -> dict[str, Any]:
    defect, factor = off(True)
    control, _ = off(False)
    return {"defect": defect, "control": control, "limit": 1e-6, "times_too_large": factor}
