"""What memory the training steps of a network take, before one is made."""

from __future__ import annotations

from dataclasses import asdict

from lieref.errors import UnsupportedError
from lieref.model.choice import REFERENCE, EngineChoice
from lieref.model.division import Division
from lieref.model.engine.recompute import NOTHING, Recomputation
from lieref.model.graph import Graph

EVALUATION_BATCH = 256
"""Samples of a prediction, as `Network.predict` takes them by default."""

NUMPY_COPIES = 4
"""Arrays of the size of a weight that an adapter computed in NumPy has at once: the weight, its cotangent, and one of
each for what lies between them and the factors."""


def recomputations(choice: EngineChoice, division: Division, threads: int) -> tuple[Recomputation, ...]:
    """Return the ways to compute activations of a training step again, the first of which is not to."""
    if division.refusal or choice.speed.kind == REFERENCE:
        return (NOTHING,)
    return choice.compiled[choice.asked].engine(choice.graph, division.wanted, threads, division.fused).recomputations


def training_memory(
    choice: EngineChoice,
    division: Division,
    graph: Graph,
    samples: int,
    threads: int,
    *,
    predicts: bool = True,
    recomputation: int = 0,
) -> dict[str, int]:
    """Return the bytes that training steps take, by what they are for; see `Network.training_memory`.

    Parameters
    ----------
    choice : EngineChoice
    division : Division
        Of the steps.
    graph : Graph
        Of the file.
    samples, threads : int
    predicts : bool
        Whether the network predicts between the steps.
    recomputation : int
        Which of its `recomputations` is at work.
    """
    if division.refusal or choice.speed.kind == REFERENCE:
        why = division.refusal or "; ".join(choice.speed.reasons) or "the reference path is asked for"
        raise UnsupportedError(
            f"training_memory: the steps must be compiled, for what NumPy takes is not known ahead; got {why}"
        )
    compiled = choice.compiled[choice.asked]
    learns = compiled.engine(choice.graph, division.wanted, threads, division.fused)
    outside = sum(graph.initializers[site.tensor].nbytes for site in division.outside)
    inside = sum(graph.initializers[one.tensor].nbytes for one in division.fused.sites)
    predictions = 0
    if predicts:  # with the adapted weights as arrays
        other = compiled.engine(choice.graph, frozenset(), threads)
        predictions = other.footprint(EVALUATION_BATCH, threads, training=False).total + inside + outside
    return {
        **asdict(learns.footprint(samples, threads, training=True, recomputation=recomputation)),
        "predictions": predictions,
        "adapters in NumPy": NUMPY_COPIES * outside,
    }
