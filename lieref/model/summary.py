"""What a network shows of itself: its layers, and how many numbers are trained of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._table import Rows, html_table, shortened, text_table
from lieref._text import one_line
from lieref.model.site import Site

if TYPE_CHECKING:
    from lieref.model.adapters import Adapters

MOST_ROWS = 24
"""Layers that are shown; of more the first twenty and the last four."""

HEAD = ("layer", "kind", "shape", "trained")


def summary_text(network: Adapters) -> str:
    """Return one line that says what it is, a row for each layer, and what is trained of all."""
    return "\n".join([title(network), text_table([HEAD, *rows(network)], left=3), trained(network)])


def summary_html(network: Adapters) -> str:
    """Return the same as HTML."""
    return html_table([HEAD, *rows(network)], left=3, title=title(network), notes=[trained(network)])


def title(network: Adapters) -> str:
    """Return what the network is: its file, inputs and outputs, its arithmetic and what is attached."""
    graph = network.graph
    inputs = ", ".join(f"{each.name} {_shape(each.shape)}" for each in graph.fed)
    name = f"{type(network).__name__} {network.source}".strip()
    return one_line(f"{name}: {inputs} to {', '.join(graph.outputs)}, {graph.dtype}, {network.method_name}")


def trained(network: Adapters) -> str:
    """Return how many numbers are trained, of how many the network has."""
    everything = sum(v.size for v in network.graph.initializers.values() if v.dtype.kind == "f")
    count = network.num_trainable()
    return f"trainable: {count:,} | all: {everything:,} | {100 * count / max(everything, 1):.2f} %"


def rows(network: Adapters) -> Rows:
    """Return a row for each layer with a weight, and for each tensor beside them that is trained; cut where many."""
    graph, sites = network.graph, dict(network.sites)
    counted: list[tuple[tuple[str, str, str], int]] = []
    for layer in network.layers:
        own = [sites.pop(tensor) for tensor in (layer.weight, layer.bias) if tensor in sites]
        kind = f"{layer.op}, {layer.groups} groups" if layer.groups > 1 else layer.op
        counted.append(((layer.node, kind, _shape(layer.shape)), sum(map(_count, own))))
    for tensor, site in sites.items():
        kind = next((node.op for node in graph.nodes if tensor in node.inputs), "")
        counted.append(((tensor, kind, _shape(graph.initializers[tensor].shape)), _count(site)))
    found = [(*texts, f"{count:,}" if count else "-") for texts, count in counted]
    hidden = [count for _, count in counted[MOST_ROWS - 4 : -4]]
    more = (f"... {len(hidden):,} more", "", "", f"{sum(hidden):,}" if sum(hidden) else "-")
    return shortened(found, MOST_ROWS, more)


def _count(site: Site) -> int:
    return sum(site.params[factor].size for factor in site.method.trainable(site.params))


def _shape(extents: tuple[int | None, ...]) -> str:
    """Return a shape, N where the batch is free and ? where another extent is."""
    free = ["N", *"?" * len(extents)]
    shown = [free[n] if extent is None else str(extent) for n, extent in enumerate(extents)]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
