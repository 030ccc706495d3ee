"""Which tensors of a network a method adapts, the sites made for them, and what is said of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from lieref._flat import gather
from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from lieref.model.graph import Graph, Node
from lieref.model.layer import RECURRENT_OPERATORS, Layer, find_layers, unadaptable
from lieref.model.site import Site
from lieref.param._base import LierefWarning, ManyTrainablesWarning, RankLoweredWarning
from lieref.param.method import FEWER, Method
from lieref.param.registry import get_method
from lieref.param.targets import Targets
from lieref.rng import stream

NORMALISATIONS = (
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "RMSNormalization",
)
"""Operators whose second input is a scale and whose third, if any, a shift."""

ALL = Targets()
"""Every layer."""


class SkippedLayersWarning(LierefWarning):
    """A method has no meaning for some layers of a network, or they do not reach its output, and stay as they are."""


class StillLayersWarning(LierefWarning):
    """Some layers get factors that no training can move: their weights are zero, and the method multiplies them."""


def adaptable_tensors(graph: Graph) -> dict[str, Layer | None]:
    """Return every tensor an adapter may carry: the weights of layers, each with its layer, biases, scales, shifts."""
    layers, norms = find_layers(graph), _norms(graph)
    vectors = [*_biases(graph, layers), *(name for node in norms for name in node.inputs[1:3])]
    known: dict[str, Layer | None] = {name: None for name in vectors if name in graph.initializers}
    return known | {layer.weight: layer for layer in layers}


def tensors_in_scope(
    graph: Graph, scope: str, targets: Targets = ALL, without: Collection[str] = ()
) -> tuple[dict[str, Layer | None], tuple[str, ...]]:
    """Return the tensors a method adapts, and the nodes left out because the trained output does not depend on them.

    The output that is trained is the first. A tensor comes with the layer whose weight it is.

    Parameters
    ----------
    graph : Graph
    scope : str
        ``weight``: the weights of the target layers. ``head``: weight and bias of the last layer, the one that no other
        layer comes after; several that are added up are all last. ``bias``: every bias and every shift of a
        normalisation. ``norm``: every scale and shift of one. ``all``: all of these.
    targets : Targets
        Only ``weight`` reads them.
    without : collection of str
        Tensors of a new head, which are trained anyway.

    Raises
    ------
    DomainError
        If nothing is in scope.
    UnsupportedError
        If the scope is ``head`` and the last layer has a weight that cannot be adapted.
    """
    found = tuple(layer for layer in find_layers(graph) if scope == "head" or layer.weight not in without)
    if not found and without:
        raise DomainError(
            "attach: the features of the new head must depend on a layer that can be adapted; they depend on none (the "
            "method head trains the new head alone)"
        )
    if not found:
        raise DomainError("attach: the model must have a linear layer with a constant weight; it has none")
    reaching = graph.ancestors(graph.outputs[0])
    last = () if without or scope != "weight" else [layer.node for layer in _last(graph, found, reaching, False)]
    chosen = tuple(found[index] for index in (targets if scope == "weight" else ALL).select(found, last))
    layers = [layer for layer in chosen if layer.node in reaching]
    norms = [node for node in _norms(graph) if scope in ("bias", "norm", "all") and node.name in reaching]
    if scope == "head":
        layers = _last(graph, layers, reaching)
    elif scope not in ("weight", "bias", "norm", "all"):
        raise DomainError(f"attach: a method's scope must be weight, head, bias, norm or all; got {scope!r}")
    tensors: dict[str, Layer | None] = {}
    if scope not in ("bias", "norm"):
        tensors.update({layer.weight: layer for layer in layers})
    if scope != "weight":
        vectors = [] if scope == "norm" else _biases(graph, layers)
        vectors += [name for node in norms for name in node.inputs[2 if scope == "bias" else 1 : 3]]
        tensors.update({name: None for name in vectors if name in graph.initializers})
    unreached = [layer.node for layer in chosen if layer.node not in reaching and layer.weight not in tensors]
    if not tensors and unreached:
        raise DomainError(f"attach: a target must reach the output that is trained, {graph.outputs[0]}; "
                          f"none of these does: {listed(unreached)}")  # fmt: skip
    if not tensors:
        raise DomainError(f"attach: the model must have a tensor in the scope {scope!r}; it has none")
    return tensors, () if scope == "head" else tuple(unreached)


def _biases(graph: Graph, layers: Sequence[Layer]) -> list[str | None]:
    """Return the biases of layers; of a recurrent node, the one for both of its products."""
    nodes = {layer.node for layer in layers if layer.op in RECURRENT_OPERATORS}
    recurrent = [node.inputs[3] for node in graph.nodes if node.name in nodes and len(node.inputs) > 3]
    return [*(layer.bias for layer in layers), *recurrent]


def _norms(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op in NORMALISATIONS]


def _last(graph: Graph, layers: Sequence[Layer], reaching: set[str], all_or_none: bool = True) -> list[Layer]:
    """Return the layers that no other linear layer depends on; `reaching` are the nodes that count.

    Raises
    ------
    UnsupportedError
        If all of them are wanted and the weight of one cannot be adapted.
    """
    refused = {name: why for name, why in unadaptable(graph).items() if name in reaching}
    linear = {layer.node for layer in layers} | set(refused)
    last = {name for name in linear if not linear & graph.descendants(name)}
    for name in sorted(last & set(refused)) if all_or_none else ():
        raise UnsupportedError(f"attach: head must be a layer whose weight can be adapted; {name}: {refused[name]}")
    return [layer for layer in layers if layer.node in last]


def make_sites(
    graph: Graph,
    method: Method,
    methods_for: Callable[[Sequence[Layer]], list[Method]],
    targets: Targets,
    taken: Mapping[str, Site],
    seed: int,
    without: Collection[str] = (),
) -> dict[str, Site]:
    """Return the sites of a method on a network, by tensor.

    Parameters
    ----------
    graph : Graph
    method : Method
    methods_for : callable
        Gives each of the target layers its method, with its own rank and alpha; asked in the scope ``weight`` only.
    targets : Targets
        Layers to adapt. Without patterns those that the method has no meaning for are left out, with a warning.
    taken : mapping of str to Site
        Tensors that carry an adapter already.
    seed : int
    without : collection of str
        Tensors of a new head, which have sites of their own.

    Raises
    ------
    DomainError
        If a tensor is taken, or a pattern matches nothing.
    LierefError
        Of the method's own class if it cannot serve a target, or any layer.

    Warns
    -----
    LierefWarning
        Of each kind at most one, which names the layers.
    """
    sites: dict[str, Site] = {}
    refused: dict[str, LierefError] = {}
    owners = {name: site.method.name for site in taken.values() for name in site.tensors}
    tensors, unreached = tensors_in_scope(graph, method.scope, targets, without)
    layers = [layer for layer in tensors.values() if layer is not None]
    own = dict(zip(layers, methods_for(layers), strict=True)) if method.scope == "weight" else {}
    for tensor, layer in tensors.items():
        _check_free((tensor,), owners)
        try:
            site = make_site(graph, tensor, layer, own.get(layer, method) if layer is not None else method, seed)
        except (ShapeError, UnsupportedError) as error:
            if targets.modules is not None or layer is None:
                raise
            refused[layer.node] = error
            continue
        _check_free(site.tensors, owners)
        sites[tensor] = site
    if refused and not sites:
        raise next(iter(refused.values()))
    _say(graph, method, sites, refused, unreached)
    share_memory(sites)
    return sites


def make_head_sites(graph: Graph, tensors: Sequence[str], seed: int) -> dict[str, Site]:
    """Return the sites of a new head: the method ``head`` on its weight and its bias."""
    known, method = adaptable_tensors(graph), get_method("head")
    return {name: make_site(graph, name, known[name], method, seed) for name in tensors}


def _say(
    graph: Graph,
    method: Method,
    sites: Mapping[str, Site],
    refused: Mapping[str, LierefError],
    unreached: Sequence[str],
) -> None:
    """Say what of the method is not as its user may think: one warning a kind, with names, however many layers."""
    notes: list[tuple[type[LierefWarning], str]] = []
    if unreached:
        text = (
            f"leaves {listed(unreached)} alone: the output {graph.outputs[0]}, which is trained, does not depend on it"
        )
        notes.append((SkippedLayersWarning, text))
    for error in list(refused.values())[:1]:
        text = f"leaves {len(refused)} layers as they are, {listed(refused)}: {error}"
        notes.append((SkippedLayersWarning, text))
    elsewhere = [site.owner for site in sites.values() if not site.method.starts_at_base]
    if elsewhere:
        notes.append((LierefWarning, f"does not start at the base: {listed(elsewhere)} compute other numbers at once"))
    of = [(site, site.canonical(graph.initializers[site.tensor])) for site in sites.values()]
    adjusted = [(site.owner, site.method.adjusted(weight.shape, site.groups)) for site, weight in of]
    if any(what for _, what in adjusted):
        text = listed([f"{owner} {what}" for owner, what in adjusted if what])
        notes.append((RankLoweredWarning, f"asks for other ranks or blocks than some layers take: {text}"))
    sizes = [(site.owner, site.method.num_params(weight.shape, site.groups), weight.size) for site, weight in of]
    many = [(owner, trained, size) for owner, trained, size in sizes if trained > size]
    if many:
        text = f"{sum(m[1] for m in many):,} trainable numbers for the {sum(m[2] for m in many):,}"
        notes.append((ManyTrainablesWarning, f"has {text} of {listed([m[0] for m in many])}; {FEWER}"))
    biases = [None if site.bias is None else graph.initializers[site.bias] for site, _ in of]
    still = [s.owner for (s, w), bias in zip(of, biases, strict=True) if s.method.is_still(s.params, w, bias, s.groups)]
    if still:
        text = f"cannot move {listed(still)}: zeros that are multiplied stay zeros; `full` or `lora` moves them"
        notes.append((StillLayersWarning, text))
    silent = [s.owner for s, _ in of if s.layer is not None and method.scope == "weight" and _silenced(graph, s.layer)]
    if silent:
        text = f"cannot change what comes of {listed(silent)}: a BatchNormalization multiplies it by zeros; `full` may"
        notes.append((StillLayersWarning, text))
    fixed = [s.owner for s, _ in of if s.method.shifts_bias and s.layer is not None and s.layer.bias is None]
    if fixed:
        notes.append((StillLayersWarning, f"cannot shift the outputs of {listed(fixed)}, which has no bias"))
    alone = [s.owner for s, _ in of if s.layer is not None and s.method.moves_bias and _has_constant(graph, s.layer)]
    if alone:
        text = (
            f"leaves the constants that are added to {listed(alone)} as they are: they are no bias of the layer's form"
        )
        notes.append((SkippedLayersWarning, text))
    for kind, text in notes:
        warnings.warn(f"attach: {method.name} {text}", kind, stacklevel=4)


def say_left_out(graph: Graph, dropped: Sequence[str]) -> None:
    """Name the layers whose weights no method can adapt; `dropped` are those of the file that reach no output."""
    if dropped:
        text = f"attach: leaves {listed(dropped)} alone: no output depends on it"
        warnings.warn(text, SkippedLayersWarning, stacklevel=3)
    left_out = unadaptable(graph)
    if left_out:
        reasons = listed([f"{name}: {why}" for name, why in left_out.items()], separator="; ")
        warnings.warn(f"attach: {len(left_out)} layers stay as they are: {reasons}", LierefWarning, stacklevel=3)


def _has_constant(graph: Graph, layer: Layer) -> bool:
    """Return whether a constant with more than one number is added to what comes out of a layer, which is no bias."""
    output = next(node.outputs[0] for node in graph.nodes if node.name == layer.node)
    added = [graph.initializers.get(name) for node in graph.consumers(output) if node.op in ("Add", "Sub")
             for name in node.inputs if name != layer.bias]  # fmt: skip
    return any(value is not None and value.size > 1 for value in added)


def _silenced(graph: Graph, layer: Layer) -> bool:
    """Return whether all that comes out of a layer is multiplied by a BatchNormalization's scale of zeros."""
    output = next(node.outputs[0] for node in graph.nodes if node.name == layer.node)
    readers = graph.consumers(output)
    scale = graph.initializers.get(readers[0].inputs[1]) if len(readers) == 1 and len(readers[0].inputs) > 1 else None
    return scale is not None and readers[0].op == "BatchNormalization" and not scale.any()


def listed(names: Iterable[str], separator: str = ", ", most: int = 8) -> str:
    """Return names in one line, and how many more there are beyond the first `most`."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def _check_free(tensors: tuple[str, ...], owners: Mapping[str, str]) -> None:
    """Raise `DomainError` if a tensor carries an adapter already; `owners` names its method."""
    for tensor in tensors:
        if tensor in owners:
            raise DomainError(f"attach: tensor {tensor} must carry one adapter; it already carries {owners[tensor]}")


def share_memory(sites: dict[str, Site]) -> None:
    """Move what is trained into one memory, in the order of `Network.parameters`."""
    owners = {(t, name): site for t, site in sites.items() for name in site.method.trainable(site.params)}
    trained = {f"{t}:{name}": site.params[name] for (t, name), site in owners.items()}
    if len({array.dtype for array in trained.values()}) == 1:
        for ((_, name), site), array in zip(owners.items(), gather(trained).values(), strict=True):
            site.params[name] = array


def make_site(graph: Graph, tensor: str, layer: Layer | None, method: Method, seed: int) -> Site:
    """Return a site whose adapted tensor equals the base bit for bit.

    Raises
    ------
    LierefError
        Of the method's own class if it cannot serve the tensor; the message names the layer.
    """
    stored = graph.initializers[tensor]
    weight = stored if layer is None else layer.to_canonical(stored)
    groups = 1 if layer is None else layer.groups
    try:
        params = method.start(weight.shape, groups, stream(seed, "init", tensor), weight.dtype, weight)
    except LierefError as error:
        owner = tensor if layer is None else layer.node
        raise type(error)(f"attach: layer {owner}: {error}") from error
    site = Site(tensor, method, params, groups, layer)
    if site.bias is not None and len(graph.consumers(site.bias)) > 1:
        raise UnsupportedError(
            f"attach: layer {layer.node if layer else tensor}: {method.name} moves the bias {site.bias}, which must be "
            "read by this layer alone"
        )
    return site
