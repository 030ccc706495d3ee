"""An adapter as a file of LyCORIS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.exchange.fold import FOLDED, GIVE, OWN, folding_of
from lieref.adapter.exchange.given import Given, read_given
from lieref.adapter.exchange.lycoris import SEPARATOR
from lieref.adapter.exchange.lycoris_dense import write_ia3
from lieref.adapter.exchange.lycoris_form import WRITE, Adapted, Target
from lieref.adapter.exchange.lycoris_norms import NormModule, norm_modules
from lieref.adapter.exchange.lycoris_writer import write_module
from lieref.adapter.exchange.names import Traces, paths_for, traces
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Source
from lieref.adapter.tensor_file import encode_tensors
from lieref.errors import DomainError, UnsupportedError
from lieref.model.graph import Graph
from lieref.model.layer import Layer
from lieref.model.site import Site

PREFIX = "lycoris"


def export_lycoris(source: Source, *, model_names: str | Path | None = None) -> Exported:
    """Return the .safetensors file that LyCORIS loads.

    Parameters
    ----------
    source : Source
    model_names : path, optional
        As of ``lieref import``: module paths and names of nodes, or the tensors of the PyTorch network.

    Raises
    ------
    UnsupportedError
        If the adapter holds statistics or a new head, or changes a weight that a BatchNormalization is folded into and
        whose scales are not known.
    DomainError
        If a node has no module path, or two have one name.
    """
    model = source.model
    if model.statistics or model.head is not None:
        what = "a new head" if model.head is not None else "re-estimated statistics"
        raise UnsupportedError(f"{WRITE}: the adapter must hold what LyCORIS has a place for; got {what}")
    given = Given() if model_names is None else read_given(model_names)
    found, graph = traces(model.proto), model.graph
    norms = {module.scale: module for module in norm_modules(graph, found)}
    shifts = {module.shift: module for module in norms.values() if module.shift}
    layers = {layer.weight: layer for layer in reversed(model.layers)}
    biases = {layer.bias: layer for layer in model.layers if layer.bias is not None}
    for tensor in model.sites:
        _check_alone(tensor, graph, found)
    owners = dict.fromkeys(_owner(tensor, layers, biases, norms, shifts) for tensor in model.sites)
    paths = paths_for(
        [owner for owner in owners if isinstance(owner, Layer)], found, given,
        lambda layer: layer.to_canonical(graph.initializers[layer.weight]),
    )  # fmt: skip
    tensors: dict[str, Array] = {}
    modules: dict[str, str] = {}
    notes: list[str] = []
    for owner in owners:
        names: tuple[str, str | None]
        if isinstance(owner, NormModule):
            path, names, groups = owner.path, (owner.scale, owner.shift), 1
            stored = graph.initializers[owner.scale]
        else:
            path, names, groups = paths[owner.weight], (owner.weight, owner.bias), owner.groups
            stored = owner.to_canonical(graph.initializers[owner.weight])
        vector = None if names[1] is None else graph.initializers[names[1]].astype(np.float64)
        target = Target(path, stored.astype(np.float64), vector, groups)
        weight, bias = (_adapted(model.sites.get(name)) if name else None for name in names)
        alone = weight is not None and bias is None and write_ia3(weight, target) is not None
        # IA3 is the same for a weight whose out channels are scaled, whatever the scales.
        scales = None if alone or isinstance(owner, NormModule) else _scales(owner, path, found, given, source)
        own, said = write_module(weight, bias, target, norm=isinstance(owner, NormModule), scales=scales)
        name = f"{PREFIX}_{path.replace('.', SEPARATOR)}"
        if name in modules:
            raise DomainError(f"{WRITE}: each module must have a name of its own; {name} is {modules[name]} and {path}")
        modules[name] = path
        tensors |= {f"{name}.{key}": _narrow(array, model.dtype) for key, array in own.items()}
        notes += [f"{path}: {text}" for text in said]
    facts = {"modules": len(modules), "numbers": sum(array.size for array in tensors.values())}
    return Exported(encode_tensors(tensors, {"format": "pt", **source.digests}), facts, tuple(notes))


def _check_alone(tensor: str, graph: Graph, found: Traces) -> None:
    """Raise unless all nodes that read a tensor are of one module, which alone gets the change."""
    readers = [node.name for node in graph.consumers(tensor)]
    modules = {found.module(node) for node in readers}
    if len(readers) > 1 and (len(modules) > 1 or None in modules):
        raise UnsupportedError(
            f"{WRITE}: every adapted tensor must be of one module; {tensor} is read by {', '.join(readers[:3])}, as "
            "exporters write equal tensors once"
        )


def _owner(
    tensor: str, layers: dict[str, Layer], biases: dict[str, Layer], norms: dict[str, NormModule],
    shifts: dict[str, NormModule],
) -> Layer | NormModule:  # fmt: skip
    """Return the module that a tensor is of."""
    for table in (layers, biases, norms, shifts):
        if tensor in table:
            one = table[tensor]
            return layers[one.weight] if isinstance(one, Layer) else one
    raise UnsupportedError(
        f"{WRITE}: every adapted tensor must be of a module that LyCORIS adapts, a layer, a LayerNorm or a GroupNorm; "
        f"got {tensor}"
    )


def _scales(layer: Layer, path: str, found: Traces, given: Given, source: Source) -> FloatArray | None:
    model = source.model
    weight = layer.to_canonical(model.graph.initializers[layer.weight])
    folding = folding_of(path, layer, weight, model.graph, found, given if given.tensors else None)
    if folding.state == OWN:
        return None
    if folding.scales is None or not folding.scales.all():
        raise UnsupportedError(
            f"{WRITE}: the change of {path} must be scaled back where a BatchNormalization is folded into its weight; "
            f"{folding.why if folding.state != FOLDED or folding.scales is None else 'a scale is zero'}: {GIVE}"
        )
    return folding.scales


def _adapted(site: Site | None) -> Adapted | None:
    return None if site is None else Adapted(site.method, site.params)


def _narrow(array: Array, dtype: np.dtype[np.floating[Any]]) -> Array:
    return array.astype(dtype) if array.dtype.kind == "f" else array
