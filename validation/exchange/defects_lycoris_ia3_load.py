"""LyCORIS: IA3 does not load.

The loader passes on_input to a function that does not take it, and would not use it.
Run alone: python -m validation.exchange.defects lycoris_ia3_load
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, loaded, made, raised

DEFECT = Defect(
    "lycoris-lora", "IA3 does not load",
    "create_lycoris_from_weights on IA3", "on LoCon",
)  # fmt: skip


def refused(algorithm: str) -> float:
    layer = nn.Linear(8, 8)
    module = made(layer, algorithm)
    return raised(lambda: loaded(module, layer))


def run() -> dict[str, Any]:
    return {"defect": refused("ia3"), "control": refused("locon"), "limit": ROUNDING}
