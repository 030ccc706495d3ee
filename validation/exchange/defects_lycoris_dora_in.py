"""LyCORIS: DoRA with wd_on_out=False does not load.

The loader knows the lengths of filters alone.
Run alone: python -m validation.exchange.defects lycoris_dora_in
"""

from __future__ import annotations

from typing import Any

from torch import nn

from validation.exchange.defects import Defect
from validation.exchange.lycoris_module import ROUNDING, loaded, made, raised

DEFECT = Defect(
    "lycoris-lora", "DoRA with wd_on_out=False does not load",
    "loading, wd_on_out=False", "wd_on_out=True",
)  # fmt: skip


def refused(on_out: bool) -> float:
    layer = nn.Linear(6, 8)
    module = made(layer, "locon", weight_decompose=True, wd_on_out=on_out)
    return raised(lambda: loaded(module, layer))


def run() -> dict[str, Any]:
    return {"defect": refused(False), "control": refused(True), "limit": ROUNDING}
