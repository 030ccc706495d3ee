"""LyCORIS: LoKr with unbalanced_factorization does not load.

The loader makes balanced factors alone.
Run alone: python -m validation.exchange.defects lycoris_lokr_unbalanced
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, loaded, made, raised

DEFECT = Defect(
    "lycoris-lora", "LoKr with unbalanced_factorization does not load",
    "loading, unbalanced", "balanced",
)  # fmt: skip


def refused(unbalanced: bool) -> float:
    layer = nn.Linear(12, 8)
    module = made(layer, "lokr", unbalanced_factorization=unbalanced)
    return raised(lambda: loaded(module, layer))


def run() -> dict[str, Any]:
    return {"defect": refused(True), "control": refused(False), "limit": ROUNDING}
