"""From an adapter of another library and a network to an adapter of lieref's, exact or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.adapter.exchange.factors import DENSE, Factors, Foreign, Place, Read, dense
from lieref.adapter.exchange.fold import OWN, Folding, bias_change, folding_of, through
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.lycoris_norms import matched_norms
from lieref.adapter.exchange.names import Traces, match, paths_of, traces
from lieref.adapter.model import Model
from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from lieref.model.adapters import Attached
from lieref.model.attaching import adaptable_tensors, listed, share_memory
from lieref.model.graph import Graph, Node
from lieref.model.head import NewHead
from lieref.model.layer import Layer, find_layers
from lieref.model.site import Site
from lieref.param.registry import get_method


@dataclass(frozen=True)
class Imported:
    """What was made of a foreign adapter.

    Attributes
    ----------
    nodes : dict of str to str
        Node by module path.
    methods : dict of str to str
        Name of the method by module path.
    notes : tuple of str
        What is to be said, a line each.
    """

    nodes: dict[str, str]
    methods: dict[str, str]
    notes: tuple[str, ...]


def attach_foreign(model: Model, foreign: Foreign, given: Given | None = None) -> Imported:
    """Attach a foreign adapter to a network; what was attached before is removed.

    Parameters
    ----------
    model : Model
        The base, from the file that the PyTorch network was exported to.
    foreign : Foreign
    given : Given, optional
        Names or tensors of the base.

    Raises
    ------
    DomainError
        If a module is no layer, or may be several; or a given base is another.
    UnsupportedError
        If a change has no exact form here.
    ShapeError
        If factors do not fit their layer.
    """
    work = _Work(model, foreign, given)
    work.head()
    for path in foreign.modules:
        work.module(path)
    for path in foreign.saved:
        work.saved(path)
    for path in foreign.biases:
        work.bias(path)
    for path in foreign.added:
        work.added(path)
    return work.finish()


class _Work:
    """One import: what has been found and made so far. The model is changed by `head` and `finish` alone."""

    def __init__(self, model: Model, foreign: Foreign, given: Given | None) -> None:
        self.model, self.foreign, self.given = model, foreign, given
        self.graph = model._base.graph  # whatever is attached now is removed in the end
        self.found: Traces = traces(model._file_proto())
        self.places: dict[str, Place] = {}
        layers = find_layers(self.graph)
        named = {path.replace(".", foreign.separator) for one in layers for path in paths_of(one, self.found)}
        self.vectors = {path for path in (*foreign.saved, *foreign.biases)
                        if path not in named and f"{path}.bias" in adaptable_tensors(self.graph)}  # fmt: skip
        wanted = {path: self._fits(read) for path, read in foreign.modules.items()}
        wanted |= {path: _same_shape(tensors) for path, tensors in foreign.saved.items()}
        wanted |= {path: (lambda _: False) for path in foreign.biases if path not in wanted}
        wanted = {path: fits for path, fits in wanted.items() if path not in self.vectors}
        self.matches, said = match(
            wanted, layers, self.found, given, weight_of=self._weight, separator=foreign.separator
        )
        self.notes: list[str] = [*foreign.notes, *said]
        self.sites: dict[str, Site] = {}
        self.methods: dict[str, str] = {}
        self.new_head: str | None = None
        self.foldings: dict[str, Folding] = {}

    def head(self) -> None:
        """Find the module that is a new last layer: it has other classes than the file's."""
        for path, tensors in self.foreign.saved.items():
            if path in self.vectors:
                continue
            weight = tensors.get("weight")
            layer = self.matches[path].layer
            if weight is None or weight.shape == layer.shape:
                continue
            if weight.ndim != 2 or weight.shape[1:] != layer.shape[1:] or self.new_head is not None:
                raise UnsupportedError(
                    f"import: {path} must have the shape {layer.shape} of {layer.node}, or be the one last layer for "
                    f"other classes; got {weight.shape}"
                )
            self.new_head = path

    def module(self, path: str) -> None:
        """Make the site of a module with factors."""
        layer = self.matches[path].layer
        try:
            read = self.foreign.modules[path](self._place(layer))
            folding = self._folding(path)
            if read.adds and not read.rows and folding.state != OWN:
                read = self._whole(path, read, layer, folding)
            factors = self._with_bias(path, layer, through(read, folding, path), folding)
        except LierefError as error:
            raise type(error)(f"{error} (module {path}, node {layer.node})") from error
        self._add(path, layer, factors)

    def saved(self, path: str) -> None:
        """Make the sites of a module whose own tensors are replaced."""
        if path == self.new_head:
            return
        if path in self.vectors:
            self._new_vectors(path, self.foreign.saved[path])
            return
        layer, tensors = self.matches[path].layer, self.foreign.saved[path]
        if "weight" in tensors:
            folding = self._folding(path)
            if folding.state != OWN and folding.scales is None:
                through(dense(tensors["weight"]), folding, path)  # refuses, and says why
            scales = np.ones(layer.shape[0]) if folding.scales is None else folding.scales
            wide = tensors["weight"].astype(np.float64) * scales.reshape(-1, *(1,) * (len(layer.shape) - 1))
            self._add(path, layer, dense(wide - self._weight(layer).astype(np.float64)))
        if "bias" in tensors:
            self._new_bias(path, layer, tensors["bias"])

    def bias(self, path: str) -> None:
        """Make the site of a bias that is replaced."""
        if path in self.vectors:
            self._new_vectors(path, {"bias": self.foreign.biases[path]})
            return
        self._new_bias(path, self.matches[path].layer, self.foreign.biases[path])

    def added(self, path: str) -> None:
        """Make the sites of what is added to the bias of a layer, or to the vectors of a normalisation."""
        tensors = self.foreign.added[path]
        if path not in self.matches:
            for name, change in matched_norms({path: tensors}, self.graph, self.found, self.foreign.separator).items():
                self._add_vector(name, change)
            self.methods[path] = DENSE
            return
        layer, change, folding = self.matches[path].layer, tensors["bias"], self._folding(path)
        if layer.bias is None or change.shape != (layer.shape[0],):
            raise ShapeError(
                f"import: what is added to the bias of {path} must have the shape of that of {layer.node}; got "
                f"{change.shape}{'' if layer.bias else ', and the layer has none'}"
            )
        self._add_vector(layer.bias, through(dense(change), folding, path).params["xi"])

    def finish(self) -> Imported:
        """Attach everything and return what was made."""
        model = self.model
        if self.new_head is not None:
            self._attach_head(copy.copy(model), self.new_head)  # whatever fails does so here, and changes nothing
        model.unload()
        if self.new_head is not None:
            self._attach_head(model, self.new_head)
        by_method: dict[str, list[str]] = {}
        first: dict[str, Any] = {}
        for site in self.sites.values():
            by_method.setdefault(site.method.name, []).append(site.owner)
            first.setdefault(site.method.name, site.method)
        with model._alone.take("attach_foreign"), model._lock:
            model.sites = {**model.sites, **self.sites}
            share_memory(model.sites)
            model.attached += [Attached(first[name], tuple(dict.fromkeys(all_)), 0) for name, all_ in by_method.items()]
        nodes = {path: one.layer.node for path, one in self.matches.items()}
        return Imported(nodes, self.methods, tuple(dict.fromkeys(self.notes)))

    def _attach_head(self, model: Model, path: str) -> None:
        tensors, layer = self.foreign.saved[path], self.matches[path].layer
        weight = tensors["weight"]
        bias = tensors.get("bias", np.zeros(len(weight)))
        model.unload().attach(NewHead(len(weight)))
        made = model.head
        if made is None or layer.node not in made.replaces:
            raise UnsupportedError(f"import: {path} has other classes and must be the last layer; got {layer.node}")
        for name, value in ((made.weight, weight), (made.bias, bias)):
            xi = model.sites[name].params["xi"]
            if xi.shape != value.shape:
                raise ShapeError(f"import: {path} must have the shape {xi.shape} for its classes; got {value.shape}")
            xi[...] = value.astype(model.dtype)
        self.methods[path] = "new-head"

    def _new_bias(self, path: str, layer: Layer, value: Array) -> None:
        folding = self._folding(path)
        if layer.bias is None or folding.state != OWN or value.shape != (layer.shape[0],):
            raise UnsupportedError(
                f"import: the new bias of {path} must replace one of the layer {layer.node}, not folded with a "
                f"BatchNormalization; {folding.why if layer.bias else 'the layer has none'}"
            )
        stored = self.graph.initializers[layer.bias].astype(np.float64)
        self._add_vector(layer.bias, value.astype(np.float64) - stored)

    def _new_vectors(self, path: str, tensors: Mapping[str, Array]) -> None:
        """Replace the scale and the shift of a normalisation."""
        known = adaptable_tensors(self.graph)
        for key, value in tensors.items():
            name = f"{path}.{key}"
            if name not in known or self.graph.initializers[name].shape != value.shape:
                raise UnsupportedError(f"import: {name} must be a scale or a shift of the network, of its shape")
            self._add_vector(name, value.astype(np.float64) - self.graph.initializers[name].astype(np.float64))
        self.methods[path] = DENSE

    def _check_alone(self, path: str, layer: Layer) -> None:
        """Raise unless all nodes that read a weight are of one module: an adapter changes it for all of them."""
        readers = self.graph.consumers(layer.weight)
        modules = {self.found.module(node.name) for node in readers}
        if len(readers) > 1 and (len(modules) > 1 or None in modules):
            raise UnsupportedError(
                f"import: the weight of {path} must be read by that module alone; {layer.weight} is that of several, "
                f"{listed([node.name for node in readers])}: tied, or equal and so written once"
            )

    def _add(self, path: str, layer: Layer, factors: Factors) -> None:
        method = get_method(**factors.method)
        params = {name: np.array(value, self.model.dtype, order="C") for name, value in factors.params.items()}
        site = Site(layer.weight, method, params, layer.groups, layer)
        self._check_alone(path, layer)
        if site.bias is not None and len(self.graph.consumers(site.bias)) > 1:
            raise UnsupportedError(f"import: the bias {site.bias} of {path} must be read by that module alone")
        if layer.weight in self.sites:
            raise DomainError(f"import: the weight {layer.weight} must have one adapter; {path} is the second")
        site.adapted(dict(self.graph.initializers))
        self.sites[layer.weight] = site
        self.methods[path] = method.name
        self.notes += [f"{path}: {note}" for note in factors.notes]

    def _add_vector(self, tensor: str, change: FloatArray) -> None:
        if len(self.graph.consumers(tensor)) > 1 or tensor in self.sites:
            raise UnsupportedError(f"import: the bias {tensor} must be read by one layer and be changed once")
        xi = np.array(change, self.model.dtype)
        self.sites[tensor] = Site(tensor, get_method(DENSE), {"xi": xi}, 1, None)

    def _with_bias(self, path: str, layer: Layer, factors: Factors, folding: Folding) -> Factors:
        """Return factors of the outputs as factors of the weight, and see to the bias."""
        if factors.bias_factor is None:
            return factors
        method = dict(factors.method)
        if folding.state == OWN and layer.bias is not None:
            return replace(factors, method={**method, "action": "scaling+bias"})
        if folding.state == OWN and folding.has_bias is None and _constant_behind(self.graph, layer):
            raise UnsupportedError(
                f"import: the outputs of {path}, bias included, are multiplied; what is added to them in the file is "
                "no bias of its own, which would be multiplied too"
            )
        if folding.state == OWN:
            return factors
        change = bias_change(factors.bias_factor, folding, path)
        if change is not None:
            if layer.bias is None:
                raise UnsupportedError(f"import: the bias of {path} must be one of the layer {layer.node}; it is not")
            self._add_vector(layer.bias, change)
        return factors

    def _whole(self, path: str, factors: Factors, layer: Layer, folding: Folding) -> Factors:
        """Return what is added to the module's own weight as a whole tensor: no factor has an axis of out channels."""
        place = self._place(layer)
        if folding.scales is not None:
            column = folding.scales.reshape(-1, *(1,) * (place.weight.ndim - 1))
            own = np.divide(place.weight, column, out=np.zeros_like(place.weight), where=column != 0)
            place = replace(place, weight=own)
            factors = self.foreign.modules[path](place)
        change = _changed(factors, place)
        return dense(change, f"the factors of {factors.method['name']} cannot be scaled by out channels")

    def _folding(self, path: str) -> Folding:
        if path not in self.foldings:
            layer = self.matches[path].layer
            self.foldings[path] = folding_of(
                path, layer, self._weight(layer), self.graph, self.found, self.given, self.foreign.separator
            )
        return self.foldings[path]

    def _weight(self, layer: Layer) -> FloatArray:
        return layer.to_canonical(self.graph.initializers[layer.weight])

    def _place(self, layer: Layer) -> Place:
        if layer.node not in self.places:
            self.places[layer.node] = place_of(self.graph, layer, self.found)
        return self.places[layer.node]

    def _fits(self, read: Read) -> Callable[[Layer], bool]:
        def fits(layer: Layer) -> bool:
            try:
                place = self._place(layer)
                _changed(read(place), place)
            except (LierefError, ValueError):
                return False
            return True

        return fits


def _changed(factors: Factors, place: Place) -> FloatArray:
    """Return what factors change of a weight, float64."""
    params: Params = {name: np.asarray(value, np.float64) for name, value in factors.params.items()}
    return get_method(**factors.method).weight_delta(params, place.weight, place.layer.groups)


def place_of(graph: Graph, layer: Layer, found: Traces) -> Place:
    """Return where a layer is: what its convolution does with its input."""
    wide = layer.to_canonical(graph.initializers[layer.weight]).astype(np.float64)
    node = next(node for node in graph.nodes if node.name == layer.node)
    axes = len(layer.shape) - 2
    if node.op != "Conv":
        return Place(layer, wide)
    before = graph.producer(node.inputs[0])
    padded = before is not None and _pads(before, paths_of(layer, found), found)
    ones, none = (1,) * axes, (0,) * 2 * axes
    return Place(
        layer, wide, _integers(node, "strides", ones), _integers(node, "dilations", ones),
        _integers(node, "pads", none), padded,
    )  # fmt: skip


def _pads(node: Node, paths: tuple[str, ...], found: Traces) -> bool:
    """Tell whether a node before a convolution is the padding of its module, with anything but zeros."""
    module = found.module(node.name)
    if node.op == "Pad" and node.attrs.get("mode", "constant") != "constant":
        return module is None or not paths or module in paths
    return node.op == "Concat" and module in paths


def _integers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = node.attrs.get(name)
    return tuple(int(item) for item in value) if isinstance(value, (tuple, list)) and len(value) else default


def _constant_behind(graph: Graph, layer: Layer) -> bool:
    """Tell whether a constant of more than one number is added to what a layer gives."""
    node = next(node for node in graph.nodes if node.name == layer.node)
    added = [graph.initializers.get(name) for reader in graph.consumers(node.outputs[0])
             if reader.op in ("Add", "Sub") for name in reader.inputs]  # fmt: skip
    own = len(node.inputs) > 2 and bool(node.inputs[2])
    return own or any(value is not None and value.size > 1 for value in added)


def _same_shape(tensors: Mapping[str, Array]) -> Callable[[Layer], bool]:
    return lambda layer: "weight" in tensors and tensors["weight"].shape == layer.shape
