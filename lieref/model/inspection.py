"""What the engine does with a network: every node of the file, the adapters, and what the programs take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lieref.model.arithmetic import multiply_adds
from lieref.model.engine.describe import (
    COMPILED,
    JOINED,
    UNREACHED,
    NodeRow,
    ProgramSizes,
    all_trainable,
    describe,
    refused,
    ways_of,
)
from lieref.model.engine.lower import LOWER, lower
from lieref.model.network import Network
from lieref.model.provenance import file_nodes, trace
from lieref.model.simplify import at_some_size

ASKED = "the reference path is asked for"


@dataclass(frozen=True)
class EngineReport:
    """What the engine does with a network.

    Attributes
    ----------
    engine : str
        What `Network.engine` reads.
    reasons : tuple of str
        What `Network.slow_reasons` reads, after a training step.
    remedy : str
        What would help, "" where nothing is to be helped.
    nodes : tuple of NodeRow
        Of every node of the file, in its order.
    multiply_adds : int or None
        Of one sample; None where a size is free.
    compiled_share : float or None
        Which share of them is compiled; None where there are none, or a size is free.
    sizes : ProgramSizes or None
        With the adapters that are attached, or, where there is none, with all weights trained; None where nothing is
        compiled.
    operators : tuple of str
        Those with a compiled form.
    """

    engine: str
    reasons: tuple[str, ...]
    remedy: str
    nodes: tuple[NodeRow, ...]
    multiply_adds: int | None
    compiled_share: float | None
    sizes: ProgramSizes | None
    operators: tuple[str, ...]


def engine_report(network: Network) -> EngineReport:
    """Return what the engine does with a network; its programs are compiled for it."""
    choice, graph, logits = network.choice, network.folded, network.logits_name
    counts = multiply_adds(graph)
    sizes = None
    if choice.speed.kind == "reference":
        rows = refused(graph, (*choice.speed.reasons, ASKED)[0], counts)
    else:
        net = lower(at_some_size(graph), logits)
        rows = describe(net, logits, ways_of(net, choice.asked), counts)
        compiled = choice.compiled[choice.asked]
        if not network.sites:
            sizes = compiled.engine(graph, all_trainable(net), network.threads).sizes
        elif not (division := network.division()).refusal:
            engine = compiled.engine(graph, division.wanted, network.threads, division.fused)
            engine.recompute(network.recomputation)
            sizes = engine.sizes
    file = network.proto
    if file is not None:
        rows = trace(file_nodes(file), network.outputs[0], graph, rows)
    reached = [row for row in rows if row.outcome != UNREACHED]
    total = _sum(row.multiply_adds for row in reached)
    compiled_sum = _sum(row.multiply_adds for row in reached if row.outcome in (COMPILED, JOINED))
    return EngineReport(
        engine=network.engine,
        reasons=network.slow_reasons,
        remedy=choice.speed.remedy,
        nodes=rows,
        multiply_adds=total,
        compiled_share=compiled_sum / total if total and compiled_sum is not None else None,
        sizes=sizes,
        operators=tuple(sorted(LOWER)),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum, None where a summand is not known."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)
