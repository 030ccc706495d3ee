"""LyCORIS's differences of normalisations: which nodes they are, and which modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lieref._types import Array
from lieref.adapter.exchange.lycoris_form import READ
from lieref.adapter.exchange.names import Traces
from lieref.errors import DomainError, FormatError
from lieref.model.graph import Graph

NORMS = ("LayerNormalization", "GroupNormalization")
"""Operators that LyCORIS's `train_norm` knows."""


@dataclass(frozen=True)
class NormModule:
    """A normalisation of the network.

    Attributes
    ----------
    path : str
        Of its module.
    scale : str
        Initializer.
    shift : str or None
    """

    path: str
    scale: str
    shift: str | None


def norm_modules(graph: Graph, found: Traces) -> list[NormModule]:
    """Return the normalisations of a network whose modules the file tells."""
    modules = []
    for node in graph.nodes:
        scale = node.inputs[1] if node.op in NORMS and len(node.inputs) > 1 else ""
        if scale not in graph.initializers:
            continue
        shift = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] in graph.initializers else None
        path = scale.removesuffix(".weight") if scale.endswith(".weight") else found.module(node.name)
        if path:
            modules.append(NormModule(path, scale, shift))
    return modules


def matched_norms(
    added: Mapping[str, Mapping[str, Array]], graph: Graph, found: Traces, separator: str
) -> dict[str, Array]:
    """Return what is added to the scales and shifts of normalisations, by initializer.

    Parameters
    ----------
    added : mapping
        By module path: ``weight`` and ``bias``.
    graph : Graph
    found : Traces
    separator : str
        Between the parts of the paths in `added`.

    Raises
    ------
    DomainError
        If a module is no normalisation of the network, or several.
    FormatError
        If a difference has another shape.
    """
    result: dict[str, Array] = {}
    modules = norm_modules(graph, found)
    for path, tensors in added.items():
        here = [module for module in modules if module.path.replace(".", separator) == path]
        if len({module.scale for module in here}) != 1:
            got = ", ".join(module.path for module in here) or "none"
            raise DomainError(f"{READ}: `{path}` must be one LayerNorm or GroupNorm of the network; got {got}")
        for key, array in tensors.items():
            name = here[0].scale if key == "weight" else here[0].shift
            if name is None or graph.initializers[name].shape != array.shape:
                raise FormatError(
                    f"{READ}: the {key} of `{path}` must have the shape of the network's; got {array.shape}"
                )
            if name in result or len(graph.consumers(name)) > 1:
                raise DomainError(
                    f"{READ}: the {key} of `{path}` must be a tensor of its own in the file; {name} is that of several "
                    "nodes, as exporters make one of equal ones"
                )
            result[name] = array
    return result
