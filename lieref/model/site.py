"""One adapted tensor of a network: its method, its factors and where its layer keeps it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lieref._flat import gather
from lieref._types import Array, FloatArray, Params
from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from lieref.model.graph import Graph
from lieref.model.layer import Layer, find_layers, select_layers
from lieref.param._base import LierefWarning
from lieref.param.method import Method
from lieref.rng import stream


class SkippedLayersWarning(LierefWarning):
    """A method has no meaning for some layers of a network, which stay as they are."""


@dataclass(frozen=True)
class Site:
    """A tensor of the file and what is trained in its place.

    Attributes
    ----------
    tensor : str
        Initializer name.
    method : Method
    params : dict of str to array
        Live factors; optimisers update the trainable ones in place.
    groups : int
        Convolution groups.
    layer : Layer or None
        The layer whose weight it is; None for biases and the vectors of a BatchNormalization, stored as they are.
    """

    tensor: str
    method: Method
    params: Params
    groups: int
    layer: Layer | None

    @property
    def bias(self) -> str | None:
        """Name of the bias the method moves along with the weight, or None."""
        return self.layer.bias if self.layer is not None and self.method.moves_bias else None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the initializers the site replaces."""
        return (self.tensor,) if self.bias is None else (self.tensor, self.bias)

    def adapted(self, base: dict[str, Array]) -> dict[str, FloatArray]:
        """Return the adapted tensors in the layout of the file, from the base tensors as stored."""
        stored = self._canonical(base[self.tensor])
        weight = self.method.adapted_weight(self.params, stored, self.groups)
        result = {self.tensor: weight if self.layer is None else self.layer.from_canonical(weight)}
        if self.bias is not None:
            result[self.bias] = self.method.adapted_bias(self.params, base[self.bias], stored.shape, self.groups)
        return result

    def pull_back(self, base: dict[str, Array], bars: dict[str, FloatArray]) -> Params:
        """Return the cotangents of the trainable factors from those of the adapted tensors."""
        stored = self._canonical(base[self.tensor])
        weight_bar = self._canonical(bars[self.tensor])
        factor_bars = self.method.adapted_weight_vjp(self.params, stored, weight_bar, self.groups)
        if self.bias is not None:
            through_bias = self.method.adapted_bias_vjp(
                self.params, base[self.bias], bars[self.bias], stored.shape, self.groups
            )
            factor_bars = {name: bar + through_bias[name] for name, bar in factor_bars.items()}
        return factor_bars

    def _canonical(self, stored: Array) -> Array:
        return stored if self.layer is None else self.layer.to_canonical(stored)


def tensors_in_scope(
    graph: Graph, scope: str, patterns: list[str] | tuple[str, ...] | None
) -> tuple[tuple[str, Layer | None], ...]:
    """Return the tensors a method adapts, each with the layer whose weight it is.

    Parameters
    ----------
    graph : Graph
    scope : str
        ``weight``: the weights of the target layers. ``head``: weight and bias of the last layer. ``bias``: every
        bias and every shift of a BatchNormalization. ``all``: all of these and every scale.
    patterns : list of str or None
        Shell patterns for layers; only ``weight`` reads them.

    Raises
    ------
    DomainError
        If nothing is in scope.
    """
    layers = find_layers(graph)
    if not layers:
        raise DomainError("attach: the model must have a Conv, Gemm or MatMul with a constant weight; it has none")
    biases = [(layer.bias, None) for layer in layers if layer.bias is not None]
    norms = [node for node in graph.nodes if node.op == "BatchNormalization"]
    shifts = [(node.inputs[2], None) for node in norms if node.inputs[2] in graph.initializers]
    scales = [(node.inputs[1], None) for node in norms if node.inputs[1] in graph.initializers]
    weights = [(layer.weight, layer) for layer in select_layers(layers, patterns if scope == "weight" else None)]
    chosen: list[tuple[str, Layer | None]]
    if scope == "weight":
        chosen = [*weights]
    elif scope == "head":
        head = layers[-1]
        chosen = [(head.weight, head), *([(head.bias, None)] if head.bias is not None else [])]
    elif scope == "bias":
        chosen = [*biases, *shifts]
    elif scope == "all":
        chosen = [*weights, *biases, *scales, *shifts]
    else:
        raise DomainError(f"attach: a method's scope must be weight, head, bias or all; got {scope!r}")
    if not chosen:
        raise DomainError(f"attach: the model must have a tensor in the scope {scope!r}; it has none")
    unique = dict(chosen)  # a weight shared by two layers is adapted once
    return tuple(unique.items())


def make_sites(
    graph: Graph,
    method: Method,
    method_of: Callable[[Method, Layer | None], Method],
    patterns: list[str] | None,
    taken: Mapping[str, Site],
    seed: int,
) -> dict[str, Site]:
    """Return the sites of a method on a network, by tensor.

    Parameters
    ----------
    graph : Graph
    method : Method
    method_of : callable
        Gives the method of one layer: its own rank and alpha.
    patterns : list of str or None
        Target layers. Without patterns the layers that the method has no meaning for are left out, with a warning.
    taken : mapping of str to Site
        Tensors that carry an adapter already.
    seed : int

    Raises
    ------
    DomainError
        If a tensor is taken, or a pattern matches nothing.
    LierefError
        Of the method's own class if it cannot serve a target, or any layer.
    """
    sites: dict[str, Site] = {}
    refused: dict[str, LierefError] = {}
    owners = {name: site.method.name for site in taken.values() for name in site.tensors}
    for tensor, layer in tensors_in_scope(graph, method.scope, patterns):
        _check_free((tensor,), owners)
        try:
            site = make_site(graph, tensor, layer, method_of(method, layer), seed)
        except (ShapeError, UnsupportedError) as error:
            if patterns is not None or layer is None:
                raise
            refused[layer.node] = error
            continue
        _check_free(site.tensors, owners)
        sites[tensor] = site
    reason = next(iter(refused.values()), None)
    if reason is not None:
        if not sites:
            raise reason
        text = f"{method.name} leaves {len(refused)} layers as they are, {', '.join(refused)}: {reason}"
        warnings.warn(text, SkippedLayersWarning, stacklevel=3)
    share_memory(sites)
    return sites


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
        params = method.init(weight.shape, groups, stream(seed, "init", tensor), dtype=weight.dtype, base_weight=weight)
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
