"""PEFT: BOFT of a convolution ignores its dilation: an adapter that changes no weight changes the outputs.

Run alone: python -m validation.exchange.defects boft_dilation
"""

from __future__ import annotations

from typing import Any

import peft

from validation.exchange.defects import Defect
from validation.exchange.defects_hra_dilation import change

DEFECT = Defect(
    "peft", "BOFT of a convolution ignores its dilation",
    "dilation 2, no padding: relative change of the outputs by an adapter that has not been trained",
    "the same with dilation 1",
)  # fmt: skip


def run() -> dict[str, Any]:
    config = {"boft_block_size": 4, "target_modules": ["0"]}
    return {"defect": change(peft.BOFTConfig(**config), 2), "control": change(peft.BOFTConfig(**config), 1)}
