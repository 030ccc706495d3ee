"""PEFT: the gradients of LoHa's Tucker form (use_effective_conv2d) are wrong.

Its backward pass is written by hand; it is compared with that of the same expression by autograd. The control is LoHa
without the core. Run alone: python -m validation.exchange.defects loha_gradient
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.loha.layer import make_weight, make_weight_cp
from torch import Tensor

from validation.exchange.defects import Defect

DEFECT = Defect(
    "peft", "LoHa's own backward pass of its Tucker form is not the derivative of its forward pass",
    "Tucker form: largest relative difference of a factor's gradient from autograd's", "LoHa without a core",
)  # fmt: skip


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def tucker(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("ijkl,ip,jr->prkl", t, a, b)


def worst(theirs: Tensor, plain: Tensor, factors: list[Tensor]) -> float:
    """Return the largest relative difference of the gradients of both, after checking that the values agree."""
    assert torch.allclose(theirs, plain)
    direction = torch.randn_like(plain)
    both = [torch.autograd.grad((value * direction).sum(), factors) for value in (theirs, plain)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*both, strict=True))


def run() -> dict[str, Any]:
    torch.manual_seed(0)
    scale = torch.tensor(1.5)
    core = [drawn(2, 2, 3, 3), drawn(2, 5), drawn(2, 4), drawn(2, 2, 3, 3), drawn(2, 5), drawn(2, 4)]
    flat = [drawn(5, 2), drawn(2, 4), drawn(5, 2), drawn(2, 4)]
    return {
        "defect": worst(make_weight_cp(*core, scale), tucker(*core[:3]) * tucker(*core[3:]) * 1.5, core),
        "control": worst(make_weight(*flat, scale), (flat[0] @ flat[1]) * (flat[2] @ flat[3]) * 1.5, flat),
    }
