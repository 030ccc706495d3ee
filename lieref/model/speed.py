"""How fast a network will be run: compiled, compiled with operators called back, or operator by operator, and why."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lieref.errors import UnsupportedError
from lieref.model.arithmetic import multiply_adds
from lieref.model.attaching import listed
from lieref.model.engine.layer import FusedLayer
from lieref.model.engine.lower import lower
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.fusion import Outside
from lieref.model.graph import Graph
from lieref.model.simplify import at_some_size
from lieref.model.site import Site
from lieref.param._base import LierefWarning

RATE = 3e10
"""Multiply-adds a second of compiled code on one core: 15 to 110 thousand millions were seen, few in small networks."""

TRAINING = 3
"""Forward passes that a training step takes as long as."""

CALL_SECONDS, ELEMENT_SECONDS = 2e-5, 1e-8
"""Of a call back in the forward pass, and of each number that it reads or writes: Erf of 256, 8,192 and 131,072 numbers
took 10, 64 and 2,000 microseconds, a training step 65, 146 and 2,500."""

SITE_SECONDS, WEIGHT_SECONDS = 3e-4, 1.5e-7
"""Of an adapter that is computed in NumPy in a training step, and of each of its weights, unpacking and packing it
included: `full` and `oft` made steps of ResNet-8 13 and 23 ms longer (77,000 weights), of MobileNet-0.25 46 and 64 ms
(208,000), `dora` one of 313,000 weights 41 ms."""

WORTH_SAYING = 0.1
"""Share of the time from which on it is said that something is not compiled: what costs less changes no decision."""

WORTH_SAYING_SECONDS = 0.005
"""The same of the adapters of a training step: a thousand steps are five seconds."""


class SlowPathWarning(LierefWarning):
    """A network, some of its operators, or some adapters have no compiled form and are run in Python."""


@dataclass(frozen=True)
class Speed:
    """How the engine takes a network.

    Attributes
    ----------
    kind : {"compiled", "mixed", "reference"}
        Wholly compiled; with operators called back for each sample; or not at all.
    reasons : tuple of str
        What stands in the way, by node.
    remedy : str
        What would help.
    share : float
        About this share of the time goes into what is not compiled, by the constants of this file.
    """

    kind: str
    reasons: tuple[str, ...] = ()
    remedy: str = ""
    share: float = 0.0


def assess(graph: Graph, logits: str, lowered: LoweredGraph | None = None) -> Speed:
    """Return how the engine takes the part of a graph that computes the tensor `logits`.

    Parameters
    ----------
    graph : Graph
    logits : str
    lowered : LoweredGraph, optional
        Its layers, where they are known.
    """
    if compiled_code_is_off():
        return Speed("reference", ("compiled code is switched off",), "unset NUMBA_DISABLE_JIT", 1.0)
    sized = at_some_size(graph)
    try:
        net = lowered or lower(sized, logits)
    except UnsupportedError as error:
        return Speed("reference", (str(error).removeprefix("compile_graph: "),), _remedy(sized), 1.0)
    # One without a reason only hands an image over: 20,480 and 344,000 numbers took 8 and 654 microseconds.
    called = [layer for layer in net.layers if layer.kind == "reference" and layer.reason]
    if not called:
        return Speed("compiled")
    counts = multiply_adds(graph)
    python = sum(_call_seconds(layer) for layer in called)
    compiled = sum(counts[node.name] or 0 for node in graph.nodes) / RATE
    remedy = "operators with a compiled form in their place, which `lieref inspect MODEL --engine` lists"
    return Speed("mixed", tuple(layer.reason for layer in called), remedy, python / (python + compiled))


def compiled_code_is_off() -> bool:
    """Tell whether the environment forbids machine code."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def _call_seconds(layer: FusedLayer) -> float:
    numbers = math.prod(layer.shape) + sum(math.prod(shape) for _, shape in layer.reads.values())
    return CALL_SECONDS + ELEMENT_SECONDS * numbers


def _remedy(graph: Graph) -> str:
    """Return what would bring a refused network into the engine; axes that are free still are those no size fits."""
    if None in graph.inputs[0].shape[1:]:
        return "an export with a fixed image size"
    return "an export whose samples do not meet, from one input of floats to one result of up to three axes a sample"


def outside_is_slow(sizes: Sequence[int], multiply_adds_of_sample: int, samples: int) -> bool:
    """Return whether adapters that are computed in NumPy take a share of a training step that is worth saying.

    Parameters
    ----------
    sizes : sequence of int
        Weights of each of them.
    multiply_adds_of_sample : int
    samples : int
        Of a batch.
    """
    python = sum(SITE_SECONDS + WEIGHT_SECONDS * size for size in sizes)
    compiled = TRAINING * multiply_adds_of_sample * samples / RATE
    return python >= WORTH_SAYING_SECONDS and python >= WORTH_SAYING * (python + compiled)


def slow_text(source: str, speed: Speed) -> str:
    """Return one line on a network that is not wholly compiled, "" where that is, or costs too little to be said."""
    if speed.kind == "compiled" or speed.share < WORTH_SAYING:
        return ""
    how = (
        "is run operator by operator, several times slower than compiled"
        if speed.kind == "reference"
        else f"is compiled, but {len(speed.reasons)} of its operators are called back in Python for each sample"
    )
    return f"predict: {source} {how}: {listed(speed.reasons, '; ', 3)}; what helps: {speed.remedy}"


def refusal_text(source: str, refusal: str) -> str:
    """Return one line on a network that predicts compiled and trains operator by operator."""
    return (
        f"fit: {source} is trained operator by operator, several times slower than compiled: {refusal}; "
        "what helps: other target_modules, or another method"
    )


def outside_text(source: str, sites: Iterable[Site], reasons: Mapping[str, Outside]) -> str:
    """Return one line on adapters that are computed in NumPy at every step."""
    owners: dict[Outside, list[str]] = {}
    for site in sites:
        owners.setdefault(reasons[site.tensor], []).append(site.owner)
    of = "; ".join(f"{listed(names, most=3)}: {why.reason}" for why, names in owners.items())
    helps = listed(dict.fromkeys(why.remedy for why in owners), " or ")
    return f"fit: adapters of {source} are computed in NumPy at every step, those of {of}; what helps: {helps}"
