"""Which engine runs a network: what was asked for, what takes it, and what is said where that is slow."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from lieref._check import check_choice
from lieref._types import Array
from lieref.kernel.simd.isa import best
from lieref.kernel.simd.machine_code import library
from lieref.model.arithmetic import multiply_adds
from lieref.model.backend import NONE_FUSED, Backend, Compiled, Reference
from lieref.model.division import Division
from lieref.model.engine import WINOGRAD
from lieref.model.engine.version import PROGRAM_VERSION
from lieref.model.fusion import FusedSites
from lieref.model.graph import Graph
from lieref.model.speed import (
    SlowPathWarning,
    Speed,
    assess,
    outside_is_slow,
    outside_text,
    refusal_text,
    slow_text,
)

REFERENCE = "reference"
TOOLS = frozenset({"_judged", "_reference", "compiled"})
"""What is no state: every copy makes its own."""


class EngineChoice:
    """The engine of one network.

    Parameters
    ----------
    graph : Graph
        Folded.
    logits : str
        Tensor that is computed.
    source : str
        Name of the network, for warnings.

    Attributes
    ----------
    asked : str
        A key of `WINOGRAD`, or "reference".
    compiled : dict of str to Compiled
        By the keys of `WINOGRAD`.
    """

    def __init__(self, graph: Graph, logits: str, source: str) -> None:
        self.graph = graph
        self.logits = logits
        self.source = source
        self.asked = "f2"
        self._said: frozenset[str] = frozenset()
        self._make_tools()

    def _make_tools(self) -> None:
        self._judged: Division | None = None
        self._reference = Reference(self.logits)
        self.compiled = {name: Compiled(self.logits, name) for name in WINOGRAD}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with."""
        return {name: value for name, value in vars(self).items() if name not in TOOLS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy."""
        vars(self).update(state)
        self._make_tools()

    def ask(self, name: str) -> None:
        """Ask for an engine.

        Raises
        ------
        DomainError
            If there is none of that name.
        """
        self.asked = check_choice("engine", "engine", name, (*WINOGRAD, REFERENCE))

    @property
    def wants_compiled(self) -> bool:
        """Whether the engine is asked for, and made for the network's numbers."""
        return self.asked != REFERENCE and self.graph.dtype == np.float32

    @property
    def arithmetic(self) -> dict[str, str | int]:
        """What the bits of training depend on besides the numbers."""
        if self.speed.kind == REFERENCE:
            return {"engine": REFERENCE}
        return {"engine": self.asked, "program": PROGRAM_VERSION, "instruction set": best().name}

    @property
    def compiles_first(self) -> bool:
        """Whether the machine code that every network wants has to be made first."""
        return self.speed.kind != REFERENCE and not library(best().name, "float32").is_ready("core")

    @property
    def speed(self) -> Speed:
        """How the engine takes the network, whatever is attached."""
        return self._assessed if self.wants_compiled else Speed(REFERENCE)

    @cached_property
    def _assessed(self) -> Speed:
        fixed = None not in self.graph.inputs[0].shape[1:]
        return assess(self.graph, self.logits, self.compiled[self.asked].lowered if fixed else None)

    @cached_property
    def _multiply_adds(self) -> int:
        return sum(count or 0 for count in multiply_adds(self.graph).values())

    def name(self, division: Division | None) -> str:
        """Return what runs the network: the engine asked for, "mixed" or "reference".

        Parameters
        ----------
        division : Division or None
            Of its training steps, None while there has been none.
        """
        if not self.wants_compiled or self.speed.kind != "compiled":
            return self.speed.kind
        return "mixed" if division is not None and division.refusal else self.asked

    def reasons(self, division: Division | None) -> tuple[str, ...]:
        """Return what keeps nodes, training steps or the adapters of layers from being compiled, a line each."""
        if division is None or self.speed.kind == REFERENCE:
            return self.speed.reasons
        if division.refusal:
            return (*self.speed.reasons, f"training: {division.refusal}")
        outside = (site for site in division.outside if site.layer is not None)
        return (*self.speed.reasons, *(f"adapter of {s.owner!r}: {division.reasons[s.tensor].reason}" for s in outside))

    def backend(self, wanted: frozenset[str], threads: int, fused: FusedSites = NONE_FUSED) -> tuple[Backend, str]:
        """Return what runs the network for these gradients and adapters, and why that is not the engine asked for."""
        if not self.wants_compiled:
            return self._reference, ""
        compiled = self.compiled[self.asked]
        refusal = compiled.refusal(self.graph, wanted, threads, fused)
        return (self._reference if refusal else compiled), refusal

    def say_slow(self) -> None:
        """Say once that the network is not run compiled, or not wholly."""
        self._say(slow_text(self.source, self.speed))

    def say_training(self, division: Division, base: Mapping[str, Array], samples: int) -> None:
        """Say once what of the training steps is not compiled, judged by the first of them.

        Parameters
        ----------
        division : Division
        base : mapping of str to array
            Tensors of the file.
        samples : int
            Of the batch.
        """
        if division is self._judged:
            return
        self._judged = division
        self.say_slow()
        if self.speed.kind == REFERENCE:
            return
        outside = [site for site in division.outside if site.layer is not None]
        sizes = [base[site.tensor].size for site in outside]
        if division.refusal:
            self._say(refusal_text(self.source, division.refusal))
        elif outside_is_slow(sizes, self._multiply_adds, samples):
            self._say(outside_text(self.source, outside, division.reasons))

    def _say(self, text: str) -> None:
        if text and text not in self._said:
            self._said |= {text}
            warnings.warn(text, SlowPathWarning, stacklevel=4)
