"""How fast a network will be run: compiled, compiled with operators called back, or operator by operator, and why."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from lieref.errors import UnsupportedError
from lieref.model.engine.lower import lower
from lieref.model.graph import Graph
from lieref.param._base import LierefWarning


class SlowPathWarning(LierefWarning):
    """A network, or some of its operators, have no compiled form and are run in Python."""


@dataclass(frozen=True)
class Speed:
    """How the engine takes a network.

    Attributes
    ----------
    kind : {"compiled", "mixed", "reference"}
        Wholly compiled; with operators called back for each sample; or not at all.
    reasons : tuple of str
        What stands in the way, by node.
    """

    kind: str
    reasons: tuple[str, ...] = ()


def assess(graph: Graph, logits: str) -> Speed:
    """Return how the engine takes the part of a graph that computes the tensor `logits`."""
    try:
        net = lower(graph, logits)
    except UnsupportedError as error:
        return Speed("reference", (_reason(error),))
    reasons = tuple(layer.reason for layer in net.layers if layer.kind == "reference")
    return Speed("mixed" if reasons else "compiled", reasons)


def say_slow(source: str, speed: Speed) -> None:
    """Warn, in one line, that a network is not wholly compiled, and what stands in the way."""
    if speed.kind == "compiled":
        return
    named = "; ".join(speed.reasons[:3]) + (f"; and {len(speed.reasons) - 3} more" if len(speed.reasons) > 3 else "")
    how = (
        "is run operator by operator, several times slower than compiled"
        if speed.kind == "reference"
        else f"is compiled, but {len(speed.reasons)} of its operators are called back in Python for each sample"
    )
    warnings.warn(f"predict: {source} {how}: {named}", SlowPathWarning, stacklevel=4)


def _reason(error: Exception) -> str:
    return str(error).removeprefix("compile_graph: ")
