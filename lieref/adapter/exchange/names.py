"""Which layer of an ONNX file a module of a PyTorch network became.

Both exporters leave the path of the module somewhere. The TorchScript one names nodes by it,
``/layer1/layer1.0/conv1/Conv``, and keeps the names of parameters that it does not change; a weight that it transposed
or multiplied is called ``onnx::MatMul_207``. The dynamo one writes the path into the node's metadata and keeps the
names even of weights that it multiplied. Where no name is left, the numbers of the base tell, if they are given, or a
shape that is there once. What stays ambiguous is listed and refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._text import close_names
from lieref._types import Array, FloatArray
from lieref.adapter.exchange.given import Given
from lieref.errors import DomainError
from lieref.model.layer import Layer
from lieref.model.onnx_reader import node_names

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the dynamo exporter writes the modules around an operator, from the outermost, and the operator's own name."""

BATCH_NORM = re.compile(r"^(_native_batch_norm|_batch_norm|batch_norm|cudnn_batch_norm|native_batch_norm)")
"""Name of the operator whose place a fused node took."""

MOST_SHOWN = 6


@dataclass(frozen=True)
class Match:
    """A module found.

    Attributes
    ----------
    layer : Layer
        Of several nodes that read one weight, the first.
    how : str
        By what: "names", "values", "shape" or "map".
    """

    layer: Layer
    how: str


@dataclass(frozen=True)
class Traces:
    """What an exporter left of PyTorch in a file.

    Attributes
    ----------
    scopes : dict of str to tuple of str
        By node: the modules around it and its operator, of the dynamo exporter.
    producer : str
        Name of the program that wrote the file.
    """

    scopes: dict[str, tuple[str, ...]]
    producer: str

    def module(self, node: str) -> str | None:
        """Return the path of the module a node comes from, None where the file does not tell or the node was fused."""
        if node in self.scopes:
            return None if self.fused(node) or len(self.scopes[node]) < 2 else self.scopes[node][-2]
        return scope_of(node)

    def fused(self, node: str) -> bool:
        """Tell whether a node took the place of a BatchNormalization, which is in its weight now."""
        scopes = self.scopes.get(node, ())
        return bool(scopes) and bool(BATCH_NORM.match(scopes[-1]))


def traces(proto: Any) -> Traces:
    """Return what an exporter left in a ModelProto."""
    scopes = {}
    for name, node in zip(node_names(proto), proto.graph.node, strict=True):
        said = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), None)
        parts = None if said is None else _texts(said)
        if parts is not None:
            scopes[name] = parts
    return Traces(scopes, str(proto.producer_name))


def scope_of(node: str) -> str | None:
    """Return the module path in a node name of the TorchScript exporter, None where it is no such name.

    >>> scope_of("/layer1/layer1.0/conv1/Conv")
    'layer1.0.conv1'
    """
    parts = node.split("/")
    if len(parts) < 3 or parts[0] or not all(parts[1:]):
        return None
    path: list[str] = []
    for part in parts[1:-1]:
        # The children of a container are named with it: ``layer1`` is followed by ``layer1.0``.
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)


def paths_of(layer: Layer, found: Traces) -> tuple[str, ...]:
    """Return the module paths a layer may have by its names, the surest first."""
    by_weight = layer.weight.removesuffix(".weight") if layer.weight.endswith(".weight") else None
    return tuple(dict.fromkeys(path for path in (by_weight, found.module(layer.node)) if path))


def match(
    wanted: Mapping[str, Callable[[Layer], bool]],
    layers: Sequence[Layer],
    found: Traces,
    given: Given | None = None,
    *,
    weight_of: Callable[[Layer], FloatArray] | None = None,
    separator: str = ".",
) -> tuple[dict[str, Match], list[str]]:
    """Return the layer of every module, and what is to be said about how it was found.

    Parameters
    ----------
    wanted : mapping of str to callable
        By module path: whether the module's adapter fits a layer.
    layers : sequence of Layer
        Of the network.
    found : Traces
    given : Given, optional
        What the user says of names: a map, or the tensors of the base.
    weight_of : callable, optional
        The weight of a layer in canonical layout; needed to compare it with a given base.
    separator : str
        Between the parts of the paths in `wanted`.

    Raises
    ------
    DomainError
        If a module is found nowhere or in several places; the message lists all such.
    """
    by_weight = {layer.weight: layer for layer in reversed(layers)}  # the first node that reads a weight stays
    known: dict[str, dict[str, Layer]] = {}
    for layer in by_weight.values():
        for path in paths_of(layer, found):
            known.setdefault(path.replace(".", separator), {})[layer.weight] = layer
    result: dict[str, Match] = {}
    notes: list[str] = []
    problems: dict[str, str] = {}
    if given is not None and given.nodes:
        result.update(_mapped(wanted, layers, given))
    open_ = [path for path in wanted if path not in result]
    before, said = _prefix(open_, known, separator)
    notes += [said] if said else []
    left = []
    for path in open_:
        layers_here = known.get(before(path), {})
        if len(layers_here) > 1:
            problems[path] = f"may be any of {_listed(one.node for one in layers_here.values())}"
        elif layers_here:
            result[path] = Match(next(iter(layers_here.values())), "names")
        else:
            left.append(path)
    taken = {one.layer.weight for one in result.values()}
    free = [layer for layer in by_weight.values() if layer.weight not in taken]
    nameless = [layer for layer in free if not paths_of(layer, found)]
    for path in left:
        candidates, how = _unnamed(path, wanted[path], (free, nameless), given, weight_of, separator)
        if len(candidates) == 1:
            result[path] = Match(candidates[0], how)
        elif candidates:
            problems[path] = f"may be any of {_listed(one.node for one in candidates)}, of one shape"
        else:
            close = close_names(path, known)
            problems[path] = f"is nowhere{f', close is {_listed(close)}' if close else ''}"
    _check_twice(result, problems)
    if problems:
        what = "; ".join(f"{path} {why}" for path, why in [*problems.items()][:MOST_SHOWN])
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise DomainError(
            f"import: every module of the adapter must be one layer of the network; {what}{more} (--model-names takes "
            "a JSON object of module paths and node names, or the base's tensors as .safetensors)"
        )
    by_shape = [path for path, one in result.items() if one.how == "shape"]
    if by_shape:
        notes.append(f"{_listed(by_shape)} was found by its shape, which one layer has; the file has no names for it")
    return {path: result[path] for path in wanted}, notes


def paths_for(
    layers: Sequence[Layer],
    found: Traces,
    given: Given | None,
    weight_of: Callable[[Layer], FloatArray] | None,
) -> dict[str, str]:
    """Return the module path of every layer, by the name of its weight: the way back of `match`.

    Raises
    ------
    DomainError
        If a layer has none, or two have one; the message lists them.
    """
    said = {} if given is None else {target: path for path, target in given.nodes.items()}
    result: dict[str, str] = {}
    missing = []
    for layer in layers:
        mapped = said.get(layer.node, said.get(layer.weight))
        paths = (mapped,) if mapped else _paths_by_value(layer, given, weight_of) or paths_of(layer, found)
        if len(paths) != 1 and not _agree(paths, found, layer):
            missing.append(f"{layer.node} ({' or '.join(paths) or 'no name of a module'})")
        else:
            result[layer.weight] = paths[0]
    twice = [path for path in result.values() if [*result.values()].count(path) > 1]
    if missing or twice:
        what = f"no one module path: {_listed(missing)}" if missing else f"one path for several: {twice[0]}"
        raise DomainError(
            f"export: every layer must come from one module of the PyTorch network; {what} (--model-names takes a JSON "
            "object of module paths and node names, or the base's tensors as .safetensors)"
        )
    return result


def _agree(paths: tuple[str, ...], found: Traces, layer: Layer) -> bool:
    """Tell whether the node's own module settles which of several paths is meant."""
    return len(paths) > 1 and found.module(layer.node) == paths[0]


def _paths_by_value(
    layer: Layer, given: Given | None, weight_of: Callable[[Layer], FloatArray] | None
) -> tuple[str, ...]:
    """Return the modules of a given base whose weight a layer has, as it is or scaled by out channels."""
    if given is None or not given.tensors or weight_of is None:
        return ()
    stored = weight_of(layer)
    return tuple(name.removesuffix(".weight") for name, own in given.tensors.items()
                 if name.endswith(".weight") and channel_scales(stored, own) is not None)  # fmt: skip


def _mapped(wanted: Iterable[str], layers: Sequence[Layer], given: Given) -> dict[str, Match]:
    """Return what the user's map says, each target the name of a node or of a weight."""
    names = {layer.weight: layer for layer in reversed(layers)} | {layer.node: layer for layer in reversed(layers)}
    result = {}
    for path in wanted:
        target = given.nodes.get(path)
        if target is None:
            continue
        if target not in names:
            close = close_names(target, names)
            raise DomainError(
                f"import: `--model-names` must name nodes or weights of the network; got {target!r} for {path}"
                f"{f' (close: {_listed(close)})' if close else ''}"
            )
        result[path] = Match(names[target], "map")
    return result


def _prefix(paths: Sequence[str], known: Mapping[str, object], separator: str) -> tuple[Callable[[str], str], str]:
    """Return how a path of the adapter is called in the file: as it is, or with one prefix more or less for all."""

    def same(path: str) -> str:
        return path

    if not paths or any(path in known for path in paths):
        return same, ""
    first = paths[0]
    more = {name.removesuffix(first) for name in known if name.endswith(f"{separator}{first}")}
    less = {first.removesuffix(name) for name in known if first.endswith(f"{separator}{name}")}
    added = [p for p in more if all(f"{p}{path}" in known for path in paths)]
    dropped = [p for p in less if all(path.startswith(p) and path.removeprefix(p) in known for path in paths)]
    if len(added) + len(dropped) != 1:
        return same, ""
    if added:
        prefix = added[0]
        return (lambda path: f"{prefix}{path}"), f"the file calls every module {prefix}NAME"
    prefix = dropped[0]
    return (lambda path: path.removeprefix(prefix)), f"the file calls every module without {prefix}"


def _unnamed(
    path: str,
    fits: Callable[[Layer], bool],
    layers: tuple[Sequence[Layer], Sequence[Layer]],
    given: Given | None,
    weight_of: Callable[[Layer], FloatArray] | None,
    separator: str,
) -> tuple[list[Layer], str]:
    """Return the layers a module may be that no name leads to, and by what they were chosen.

    By their numbers, of all `layers`; by their shape, only of those that the file has no name of a module for.
    """
    free, nameless = layers
    own = None if given is None else given.weight(path, separator)
    if own is not None and weight_of is not None:
        alike = [layer for layer in free if channel_scales(weight_of(layer), own) is not None]
        return alike, "values"
    return [layer for layer in nameless if fits(layer)], "shape"


def channel_scales(stored: FloatArray, own: Array) -> FloatArray | None:
    """Return a (out,) with stored = a * own for each out channel, None where there is no such a.

    Both are in canonical layout. Each factor is the least-squares one in float64; a filter of zeros has 1. `stored` is
    a product rounded at most twice, so that it must agree within 4 u of itself, entry by entry, with u of the coarser
    type.
    """
    if stored.shape != own.shape:
        return None
    kinds = [np.finfo(one.dtype) for one in (stored, own) if one.dtype.kind == "f"]
    if len(kinds) != 2:
        return None
    u = float(max(one.eps for one in kinds)) / 2
    f = stored.astype(np.float64).reshape(len(stored), -1)
    w = own.astype(np.float64).reshape(len(own), -1)
    if np.array_equal(f, w):
        return np.ones(len(f))
    square = np.sum(w * w, axis=1)
    a = np.where(square > 0, np.sum(f * w, axis=1) / np.where(square > 0, square, 1.0), 1.0)
    tiny = float(max(one.smallest_subnormal for one in kinds))
    fits = np.abs(f - a[:, None] * w) <= 4 * u * np.abs(f) + 2 * tiny
    return a if fits.all() else None


def _check_twice(result: Mapping[str, Match], problems: dict[str, str]) -> None:
    """Add to the problems modules that were found in one and the same layer."""
    owners: dict[str, str] = {}
    for path, one in result.items():
        other = owners.setdefault(one.layer.weight, path)
        if other != path:
            problems[path] = f"is {one.layer.node}, which {other} is already"


def _texts(said: str) -> tuple[str, ...] | None:
    """Return a list of texts as the exporter writes it, None where it is none."""
    try:
        parts = ast.literal_eval(said) if len(said) < 10_000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(parts) if isinstance(parts, list) and all(isinstance(part, str) for part in parts) else None


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
