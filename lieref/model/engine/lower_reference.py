"""From ONNX nodes to layers: operators without a compiled form, called back in Python with those before them.

The engine holds tensors of one sample at a time, the samples being the first axis. What a node gives beside that (a
tensor of all samples together, or with the samples on another axis) is held by nobody: it is computed again, from
tensors that are held, by every reference layer behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_views import settle
from lieref.model.engine.lowered import TRIED, LoweredGraph, as_size
from lieref.model.executor import run_node
from lieref.model.graph import Node
from lieref.op.registry import OPERATORS

SAMPLES = TRIED + 1
"""Samples of a trial: what only fits `TRIED` of them has been no view, and is not called back either."""


@dataclass
class Trial:
    """What nodes give for samples of random numbers, sent through together and one by one.

    Attributes
    ----------
    low, high : float
        Of the numbers.
    together : dict of str to array
    apart : list of dict of str to array
        One for each sample.
    """

    low: float
    high: float
    together: dict[str, Array] = field(default_factory=dict)
    apart: list[dict[str, Array]] = field(default_factory=lambda: [{} for _ in range(SAMPLES)])


def make_trials() -> tuple[Trial, Trial]:
    """Return the trials of a network: of positive numbers, which all operators take, and of wide ones of either sign.

    A limit may hide of the first that samples meet; what refuses the second is not asked.
    """
    return Trial(0.5, 1.5), Trial(-6.0, 6.0)


def call_back(net: LoweredGraph, node: Node, error: UnsupportedError, trials: Sequence[Trial]) -> None:
    """Append a layer that calls the reference functions of a node, or keep its output among the tensors not held."""
    out = node.outputs[0]
    nodes = _with_unheld(net, node)
    net.views.pop(out, None)
    outer = _outer(net, nodes)
    shape = _shape(net, nodes, outer, trials)
    reason = next((net.unheld[each.outputs[0]] for each in nodes if each.outputs[0] in net.unheld), error)
    held = shape is not None and len(shape) > 0 and 0 not in shape
    if shape is None or not held or not outer or (net.flat and len(shape) != 1):
        net.unheld[out] = reason
        net.shapes.pop(out, None)
        return
    text = str(reason).removeprefix("compile_graph: ")
    for layer in _only_for(net, outer, nodes):
        net.layers.remove(layer)
        nodes, text = layer.nodes + nodes, layer.reason
    names = {each.name for each in nodes}
    nodes = tuple(each for each in net.graph.nodes if each.name in names)
    reads = {name: (net.resolve(name), net.shapes[name]) for name in _outer(net, nodes)}
    first = next(iter(reads.values()))[0]
    channels, height, width = as_size(shape)
    net.layers.append(
        FusedLayer("reference", first, out, Window(), channels, nodes=nodes, reads=reads, shape=shape, reason=text)
    )
    net.sizes[out] = (channels, height, width)
    net.shapes[out] = shape


def _alternating(shape: tuple[int, ...]) -> Array:
    """Return zeros and ones in turn: a mask that hides all scores of a row leaves nothing to compare."""
    return np.arange(math.prod(shape)).reshape(shape) % 2


def _outer(net: LoweredGraph, nodes: tuple[Node, ...]) -> list[str]:
    """Return the tensors that nodes read and do not make."""
    made = {name for node in nodes for name in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs)
    return [name for name in read if name in net.shapes and name not in made]


def _only_for(net: LoweredGraph, outer: list[str], nodes: tuple[Node, ...]) -> list[FusedLayer]:
    """Return the reference layers whose outputs, and views of them, nothing but these nodes reads."""
    found = []
    for layer in net.layers:
        if layer.kind == "reference" and layer.out in outer:
            names = {layer.out, *(name for name, seen in net.views.items() if seen.base == layer.out)}
            if _stays_inside(net, names, nodes):
                found.append(layer)
    return found


def _stays_inside(net: LoweredGraph, names: set[str], nodes: tuple[Node, ...]) -> bool:
    """Tell whether nothing outside these nodes reads tensors, or what they give but for the last.

    That is held by nobody: whoever else reads it computes it again, from these tensors.
    """
    names, size = set(names), 0
    while len(names) > size:
        size = len(names)
        read = [n for n in net.graph.nodes if any(net.resolve(name) in names for name in n.inputs if name)]
        if not names.isdisjoint(net.graph.outputs) or not all(reader in nodes for reader in read):
            return False
        names.update(reader.outputs[0] for reader in read if reader != nodes[-1])
    return True


def _with_unheld(net: LoweredGraph, node: Node) -> tuple[Node, ...]:
    """Return a node behind those that compute what it reads from tensors that the engine holds, in graph order."""
    wanted, found = set(node.inputs), [node]
    for before in reversed(net.graph.nodes[: net.graph.nodes.index(node)]):
        out = before.outputs[0]
        if out in wanted:
            with suppress(UnsupportedError):
                settle(net, out)
        unheld = out in net.unheld or out in net.known or (out in net.views and out not in net.sizes)
        if out in wanted and unheld:
            found.append(before)
            wanted.update(before.inputs)
    return tuple(found[::-1])


def _shape(
    net: LoweredGraph, nodes: tuple[Node, ...], outer: list[str], trials: Sequence[Trial]
) -> tuple[int, ...] | None:
    """Return the shape of one sample of the last node's output, None where samples do not go through one by one."""
    found = [_try(net, nodes, outer, trial) for trial in trials]
    if found[0] is None or found[0][0].ndim == 0:  # refused, or one number for all samples
        return None
    ways = [way for way in found if way is not None]
    fits = all(both.shape == apart.shape and len(both) == SAMPLES for both, apart in ways)
    same = fits and all(np.allclose(both, apart, rtol=1e-4, atol=1e-5, equal_nan=True) for both, apart in ways)
    return tuple(found[0][0].shape[1:]) if same and not np.isnan(found[0][0]).any() else None


def _try(net: LoweredGraph, nodes: tuple[Node, ...], outer: list[str], trial: Trial) -> tuple[Array, Array] | None:
    """Return what the last node gives for samples together, and one by one; None where an operator refuses them."""
    rng = np.random.default_rng(0)
    for name in outer:
        if name not in trial.together:
            shape, dtype = (SAMPLES, *net.shapes[name]), net.types.get(name, net.graph.dtype)
            drawn = _alternating(shape) if dtype.kind == "b" else rng.uniform(trial.low, trial.high, shape)
            trial.together[name] = drawn.astype(dtype)
            for i, values in enumerate(trial.apart):
                values[name] = trial.together[name][i : i + 1]
    for node in nodes:
        out = node.outputs[0]
        if out in trial.together:
            continue
        if node.op not in OPERATORS or len([name for name in node.outputs if name]) != 1:
            return None
        for values in (trial.together, *trial.apart):
            known = {**net.graph.initializers, **values}
            try:
                with np.errstate(all="ignore"):
                    run_node(node, known)
            except Exception:  # the operator refuses these, or reads what another refused: so does the engine
                return None
            values[out] = known[out]
    each = [values[out] for values in trial.apart]
    return trial.together[out], np.concatenate(each) if each[0].ndim else np.stack(each)
