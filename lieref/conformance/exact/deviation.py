"""How mistakes are made: a case asked again with another attribute, or another input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np

from lieref._types import Array


class Asked(Protocol):
    """What a mistake is made of: a case, or one in the making."""

    @property
    def op(self) -> str:
        """Operation."""

    @property
    def inputs(self) -> dict[str, Array]:
        """Inputs by name."""

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes by name."""


Changed: TypeAlias = tuple[str, dict[str, Array], dict[str, Any]]
"""What a form of a mistake is called, and the inputs and attributes with which it computes."""
Mistake: TypeAlias = Callable[[Asked], Iterator[Changed]]

# --- builders --------------------------------------------------------------------------------------------------------


def deviates(name: str, *values: Any, needs: Callable[[Asked], bool] | None = None) -> Mistake:
    """Return the mistake of computing with other values of an attribute, each a form of it."""

    def ask(case: Asked) -> Iterator[Changed]:
        if needs is None or needs(case):
            for value in values:
                if case.attrs.get(name) != value:
                    yield f"{name} {value}", dict(case.inputs), {**case.attrs, name: value}

    return ask


def forgets(name: str) -> Mistake:
    """Return the mistake of taking a zero point for 0."""
    return deviates(name, 0, needs=lambda case: bool(case.attrs.get(name)))


def misreads(name: str, *changes: Callable[[Array], Array]) -> Mistake:
    """Return the mistake of reading an input changed."""

    def ask(case: Asked) -> Iterator[Changed]:
        if name in case.inputs:
            for number, change in enumerate(changes):
                changed = np.ascontiguousarray(change(case.inputs[name]))
                if not np.array_equal(changed, case.inputs[name]):
                    yield f"{name} {number}", {**case.inputs, name: changed}, dict(case.attrs)

    return ask
