"""What a training run costs in floating-point operations, counted from the shapes of layers: a cost without a clock.

Two operations a multiply-add. Counted are the products of `lieref.model.arithmetic`; left out is what takes a few
operations an element or a step: activations, normalisation, the loss, the making of adapted weights, the optimiser.
"""

from __future__ import annotations

from dataclasses import replace

from lieref.adapter.model import Model
from lieref.model.arithmetic import multiply_adds
from lieref.model.graph import Graph


def inference_flops(model: Model, sample: tuple[int, ...]) -> int | None:
    """Return the operations of one prediction for a sample of this shape; None where a size stays free."""
    return _times(2, _counts(_sized(model.graph, sample)))


# Derivation.  A layer y = W x costs M multiply-adds forward.  Backward, W_bar = y_bar x^T costs M where W is trained,
# and x_bar = W^T y_bar costs M where something that is trained lies before x.
def training_flops(model: Model, sample: tuple[int, ...], samples: int) -> int | None:
    """Return the operations of training on so many samples, epochs included, with what is attached now.

    Parameters
    ----------
    model : Model
        Nothing trained costs nothing here.
    sample : tuple of int
        Shape of one sample, in the model's layout.
    samples : int
        Samples a run trains on: their number times the epochs.

    Returns
    -------
    int or None
        None where a size of the network stays free.
    """
    if not model.parameters():
        return 0
    graph = _sized(model.graph, sample)
    counts = _counts(graph)
    if counts is None:
        return None
    trained = {name for site in model.sites.values() for name in site.tensors}
    weights = {site.owner for site in model.sites.values() if site.layer is not None}
    moved: set[str] = set()  # tensors that depend on something that is trained
    total = 0
    for node in graph.nodes:
        count = counts[node.name]
        behind = not moved.isdisjoint(node.inputs)
        own = not trained.isdisjoint(node.inputs)
        total += count * (1 + behind + (node.name in weights))
        if behind or own:
            moved.update(node.outputs)
    return 2 * total * samples


def run_flops(model: Model, sample: tuple[int, ...], samples: int, epochs: int, estimated_of: int | None) -> int | None:
    """Return the operations of a whole run: its epochs, and the statistics where they are estimated of some samples.

    None where a size of the network stays free.
    """
    trained = training_flops(model, sample, samples * epochs)
    if estimated_of is None or trained is None:
        return trained
    more = statistics_flops(model, sample, estimated_of)
    return None if more is None else trained + more


def statistics_flops(model: Model, sample: tuple[int, ...], samples: int) -> int | None:
    """Return the operations of re-estimating every BatchNormalization: each looks at all that lies before it."""
    graph = _sized(model.graph, sample)
    counts = _counts(graph)
    if counts is None:
        return None
    norms = [node for node in graph.nodes if node.op == "BatchNormalization"]
    return 2 * samples * sum(counts[name] for node in norms for name in graph.ancestors(node.inputs[0]))


def _sized(graph: Graph, sample: tuple[int, ...]) -> Graph:
    """Return the graph for samples of this shape, where its input leaves an axis free."""
    info = graph.inputs[0]
    return replace(graph, inputs=(replace(info, shape=(info.shape[0], *sample)), *graph.inputs[1:]))


def _counts(graph: Graph) -> dict[str, int] | None:
    found = multiply_adds(graph)
    return None if None in found.values() else {name: count or 0 for name, count in found.items()}


def _times(factor: int, counts: dict[str, int] | None) -> int | None:
    return None if counts is None else factor * sum(counts.values())
