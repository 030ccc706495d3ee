"""lieref's side of the training benchmarks: one whole step through the engine."""

from __future__ import annotations

from collections.abc import Callable

from lieref._types import Array
from lieref.model.engine import Adapter, compile_graph
from lieref.model.graph import Graph
from lieref.train.optimizer import AdamW
from validation.benchmarks._models import RANK, adapted_weights


def engine_step(
    graph: Graph, x: Array, y: Array, loss: str, threads: int, winograd: str, rank: int = RANK, map_name: str = "exp"
) -> Callable[[], None]:
    """A step: adapted weights, forward, backward, factor gradients, AdamW."""
    specs = {name: Adapter(map_name, rank=rank) for name in adapted_weights(graph)}
    engine = compile_graph(
        graph, trainable=frozenset(), logits=graph.outputs[0], adapters=specs, threads=threads, winograd=winograd
    )
    for array in engine.parameters.values():
        array[...] = 0.1 / rank
    optimizer = AdamW(weight_decay=0.01)
    theta, theta_bar = {"theta": engine.theta}, {"theta": engine.theta_bar}

    def step() -> None:
        engine.loss_and_grad(x, y, loss)
        optimizer.step(theta, theta_bar, 1e-3)

    return step
