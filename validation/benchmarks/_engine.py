"""lieref's side of the training benchmarks: a whole step, of the engine alone and through the calls of `lieref.fit`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from lieref._types import Array
from lieref.model.engine import Adapter, compile_graph
from lieref.model.graph import Graph
from lieref.model.network import Network
from lieref.train.loss import CrossEntropy, MeanSquaredError
from lieref.train.optimizer import AdamW
from validation.benchmarks._models import RANK, adapted_weights

RATE = 1e-3


def engine_step(
    graph: Graph, x: Array, y: Array, loss: str, threads: int, winograd: str, rank: int = RANK
) -> Callable[[], None]:
    """A step: adapted weights, forward, backward, factor gradients, AdamW."""
    specs = {name: Adapter("exp", rank=rank) for name in adapted_weights(graph)}
    engine = compile_graph(
        graph, trainable=frozenset(), logits=graph.outputs[0], adapters=specs, threads=threads, winograd=winograd
    )
    for array in engine.parameters.values():
        array[...] = 0.1 / rank
    optimizer = AdamW(weight_decay=0.01)

    def step() -> None:
        _, _, gradients = engine.loss_and_grad(x, y, loss)
        optimizer.step(engine.parameters, gradients, RATE)

    return step


def network_step(graph: Graph, x: Array, y: Array, loss: str, threads: int, winograd: str) -> Callable[[], None]:
    """The same step as `lieref.fit` makes it: the checks of samples and labels, the factors in arrays of their own."""
    network = Network(graph, None, "benchmark", "0" * 64)
    network.threads, network.engine = threads, winograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # ranks above what a layer can have are lowered
        network.attach("liera", r=RANK, target_modules=adapted_weights(graph))
    chosen = CrossEntropy() if loss == "cross_entropy" else MeanSquaredError()
    params, optimizer = network.parameters(), AdamW(weight_decay=0.01)

    def step() -> None:
        _, _, gradients = network.loss_and_grad(x, y, chosen)
        optimizer.step(params, gradients, RATE)

    return step
