"""What the table of operators says of each: its two functions, its rule of shapes, what may be differentiated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lieref._types import Array, AttrValue
from lieref.op import shape_rules as rules

REQUIRED = inspect.Parameter.empty
"""Default of an attribute that a node must give."""

_RUN_OPTIONS = frozenset({"threads", "needs", "y", "y_bar"})


@dataclass(frozen=True)
class Operator:
    """An ONNX operator.

    Attributes
    ----------
    name
        ONNX's name.
    function, function_vjp
        ``f(*inputs, **attributes) -> y`` and ``f_vjp(*inputs, y, y_bar, **attributes) -> cotangents``; an absent
        optional input is None. Attributes have ONNX's names.
    shape
        Gives the shape and dtype of the output from those of the inputs: `lieref.op.shape_rules`.
    differentiable
        Positions of the inputs that get a cotangent; None for all.
    allowed
        For an attribute that takes only some values here, those values.
    outputs
        How many of the node's outputs are computed; a node that names more cannot be run. Where there are several, the
        attribute `output` says which the functions give: a node of a network has one output, and one of a file that
        has several is as many nodes.
    """

    name: str
    function: Callable[..., Any]
    function_vjp: Callable[..., tuple[Any, ...]]
    shape: rules.Rule
    differentiable: tuple[int, ...] | None = (0,)
    allowed: Mapping[str, tuple[AttrValue, ...]] = field(default_factory=dict)
    outputs: int = 1

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attribute names and their defaults, `REQUIRED` where there is none."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _RUN_OPTIONS}

    @cached_property
    def arity(self) -> tuple[int, float]:
        """Fewest inputs, all of them present, and most inputs."""
        kinds = inspect.Parameter
        parameters = inspect.signature(self.function).parameters.values()
        places = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
        several = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
        return sum(p.default is REQUIRED for p in places) + several, math.inf if several else len(places)

    @cached_property
    def threaded(self) -> bool:
        """Whether `forward` and `vjp` take a keyword `threads`."""
        return "threads" in inspect.signature(self.function).parameters

    @cached_property
    def selective(self) -> bool:
        """Whether `vjp` takes a keyword `needs`: which inputs' cotangents to compute."""
        return "needs" in inspect.signature(self.function_vjp).parameters

    def forward(self, *inputs: Array | None, **attrs: Any) -> Any:
        """Return the output."""
        return self.function(*inputs, **attrs)

    def vjp(self, *inputs: Array | None, y: Any, y_bar: Any, **attrs: Any) -> tuple[Array | None, ...]:
        """Return one cotangent for each input passed, None for one that has none."""
        return self.function_vjp(*inputs, y=y, y_bar=y_bar, **attrs)[: len(inputs)]
