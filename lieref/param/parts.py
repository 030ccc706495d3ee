"""What a combination type combines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lieref._record import dataclass
from lieref._types import Shape
from lieref.param.element import Adapter
from lieref.param.task_vectors import Options


@dataclass(frozen=True)
class Parts:
    """Adapters of one weight, and how they are to be combined.

    Attributes
    ----------
    function : str
        Of the caller, for messages.
    adapters : tuple of Adapter
        Factors float64.
    weights : tuple of float
        One for each.
    shape, groups
        Of the weight.
    options : Options
        For the rules that leave entries out.
    svd_rank : int or None
        Of the types that bring a sum into low rank.
    """

    function: str
    adapters: tuple[Adapter, ...]
    weights: tuple[float, ...]
    shape: Shape
    groups: int
    options: Options
    svd_rank: int | None = None

    @property
    def names(self) -> str:
        """Names of the methods."""
        return ", ".join(method.name for method, _ in self.adapters)


Combine: TypeAlias = Callable[[Parts], Adapter]
