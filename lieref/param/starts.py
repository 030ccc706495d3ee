"""PEFT's ``init_lora_weights``: where the factors of a low rank start.

True, "gaussian" and False are ways to draw A and B, of any low rank; "eva" draws as True does until training shows the
layers their inputs, and "eva_rho_N" then gives the ranks to the layers whose inputs need them. The others are starts of
an added low rank that counts from there, and make its xi a `Principal`; those of CorDA are parts of the weight alone
until the layers are shown their inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lieref.errors import DomainError, DTypeError, UnsupportedError

STARTS = ("pissa", "pissa_niter_N", "olora", "orthogonal", "corda", "corda_kpm")
"""Values of `Principal.start`; N is a number of iterations."""

KEEPS = "corda_kpm"
"""The value that keeps what the network does with the inputs it is shown, PEFT's ``corda_method="kpm"``: training data
are the wrong ones for that."""

CORDA = ("corda", KEEPS)
"""Those made of the second moments of what the layer reads [Yang24]; the first is PEFT's ``corda_method="ipm"``."""

NITER = r"pissa_niter_(\d{1,3})"
"""The second of them, with ``re.ASCII``."""

FROM_INPUTS = "eva"
"""The value whose A is made of what the layer reads: the directions in which its inputs are largest [Paischer24]."""

WITH_RANKS = "eva_rho_N"
"""That one with a number of at least 1: N times the rank are looked at in each layer, and ranks move between layers."""

_RHO = r"eva_rho_(\d{1,3}(?:\.\d{1,3})?)"

DRAWS: tuple[bool | str, ...] = (True, False, "gaussian", FROM_INPUTS, WITH_RANKS)
"""Values that say how A and B are drawn."""

REFUSED: dict[str, str] = {
    "loftq": "it puts what quantising the base takes into a branch beside it; an adapter here starts at the base, and "
    "merged into its integers a branch is rounded with them (of a quantised file see finetune --unlabelled --float)",
    "lora_ga": "it needs gradients of the loss on training data, and factors are made before any data are seen",
}
"""PEFT's values that there are not, and why."""

LEARNING_RATES = {"pissa": 1e-3, "olora": 1e-3, "orthogonal": 2e-3, "corda": 1e-3}
"""Of starts away from zero. On ResNet-8 with 50 images a class under JPEG, 10 epochs, the best of a third, once and
three times 1e-3 for the first two; of 1.7e-3, 5e-3 and 1.5e-2 the first for the third. The last has PiSSA's."""


def check_draw(function: str, value: object) -> None:
    """Raise an error unless this is one of `DRAWS`.

    Raises
    ------
    UnsupportedError
        If it is one of PEFT's that there is not; the message says why.
    DomainError
        If it is another.
    """
    if isinstance(value, bool) or value in ("gaussian", FROM_INPUTS):
        return
    if isinstance(value, str) and (found := re.fullmatch(_RHO, value, re.ASCII)) and float(found[1]) >= 1:
        return
    if isinstance(value, str) and value in REFUSED:
        raise UnsupportedError(f"{function}: `init_lora_weights` must not be {value!r}: {REFUSED[value]}")
    known = ", ".join(map(repr, DRAWS))
    raise DomainError(
        f"{function}: `init_lora_weights` must be {known} or, of an added low rank that is unfolded, "
        f"{', '.join(map(repr, STARTS))}; got {value!r}"
    )


def rho_of(draw: object) -> float:
    """Return how many times the rank a way to draw looks at in each layer: 1 but for `WITH_RANKS`."""
    found = re.fullmatch(_RHO, draw, re.ASCII) if isinstance(draw, str) else None
    return float(found[1]) if found else 1.0


def is_start(text: object) -> bool:
    """Tell whether this is a value of `Principal.start`.

    Raises
    ------
    DTypeError
        If it is no text.
    """
    if not isinstance(text, str):
        raise DTypeError(f"Principal: `start` must be text; got {text!r}")
    return text in ("pissa", "olora", "orthogonal", *CORDA) or re.fullmatch(NITER, text, re.ASCII) is not None


def starts_elsewhere(fields: Mapping[str, Any]) -> bool:
    """Tell whether the fields of an added low rank ask for a `Principal`."""
    value = fields.get("init_lora_weights")
    unfolded = fields.get("matricisation", "unfold") == "unfold"
    return unfolded and isinstance(value, str) and is_start(value)


def principal_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Principal` for those of `LowRank` that start elsewhere."""
    kept = {name: fields[name] for name in ("r", "lora_alpha", "use_rslora", "share_groups") if name in fields}
    return {**kept, "start": fields["init_lora_weights"]}


def learning_rate_of(start: str) -> float:
    """Return the default learning rate of a start."""
    return LEARNING_RATES[start.partition("_")[0]]
