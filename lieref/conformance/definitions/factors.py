"""What the definitions of parameterisations share: their types, and the scale in front of a low rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from lieref._types import Shape
from lieref.conformance.definitions.number import Number, Numbers, number, sqrt
from lieref.errors import DomainError

Factors: TypeAlias = Mapping[str, Numbers]
Options: TypeAlias = Mapping[str, Any]
Definition: TypeAlias = Callable[[Factors, Shape, Options], Numbers]


def scaling(options: Options) -> Number:
    """Return alpha / r [Hu21, section 4.1], or alpha / sqrt(r) [Kalajdzievski23, theorem 3.2]."""
    missing = [name for name in ("r", "lora_alpha") if name not in options]
    if missing:
        raise DomainError(f"merge: `options` must hold {' and '.join(missing)}; got {dict(options)}")
    r = number(options["r"])
    return number(options["lora_alpha"]) / (sqrt(r) if options.get("use_rslora") else r)
