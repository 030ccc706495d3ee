"""From ONNX nodes to layers: what depends on the number of samples alone, as shapes and what is made of them do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import TRIED, LoweredGraph, View, unsupported
from lieref.model.executor import run_node
from lieref.model.graph import Graph, Node
from lieref.model.shapes import infer_specs
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec


def specs_of(graph: Graph) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Return the specs of a graph's tensors for `TRIED` samples and for one more.

    So each operator has checked its inputs and attributes before its row of the table reads them.

    Raises
    ------
    UnsupportedError
        If an operator refuses what it is given, for one of these numbers or both.
    """
    try:
        return infer_specs(graph, TRIED), infer_specs(graph, TRIED + 1)
    except Exception as error:
        reason = str(error).removeprefix("load: ")
        raise UnsupportedError(f"compile_graph: `graph` must take any number of samples: {reason}") from error


def known(net: LoweredGraph, node: Node, specs: tuple[dict[str, TensorSpec], dict[str, TensorSpec]]) -> bool:
    """Take a node whose output depends on the number of samples alone; return whether it is one.

    What does not even depend on that is an initializer from then on.
    """
    if len([name for name in node.outputs if name]) != 1:
        return False
    found = [_value(net, node, specs[turn], turn) for turn in (0, 1)]
    one, more = found
    if one is None or more is None:
        return False
    out = node.outputs[0]
    if one.shape[:1] != more.shape[:1] and _repeats(net, node, one):
        return True
    if node.op != "Shape":
        net.folded.update(name for name in node.inputs if name in net.graph.initializers)
    if (
        one.shape == more.shape
        and one.dtype == more.dtype
        and np.array_equal(one, more, equal_nan=one.dtype.kind == "f")
    ):
        _add_initializer(net, out, one)
    else:
        net.known[out] = one, more
    return True


def _value(net: LoweredGraph, node: Node, specs: dict[str, TensorSpec], turn: int) -> Array | None:
    """Return what a node gives for `TRIED` samples, or one more, None where it reads the samples' numbers."""
    values: dict[str, Array] = {}
    for name in node.inputs:
        if name in net.known:
            values[name] = net.known[name][turn]
        elif name in net.graph.initializers:
            values[name] = net.graph.initializers[name]
        elif name and node.op == "Shape" and name in specs and None not in specs[name].shape:
            values[name] = np.broadcast_to(np.zeros((), specs[name].dtype), specs[name].shape)  # type: ignore[arg-type]
        elif name:
            return None
    try:
        run_node(node, values)
    except Exception:  # the operator refuses these: so does the engine
        return None
    return values[node.outputs[0]]


def _repeats(net: LoweredGraph, node: Node, result: Array) -> bool:
    """Take a node that gives every sample the numbers of one initializer, as a view; return whether it does."""
    source = net.graph.initializers.get(node.inputs[0]) if node.inputs else None
    others = [net.known[name][0] if name in net.known else net.graph.initializers[name] for name in node.inputs[1:]]
    if (
        node.op != "Expand"
        or net.flat
        or source is None
        or source.dtype.kind != "f"
        or result.ndim < 2
        or not source.size
    ):
        return False
    numbers = np.asarray(OPERATORS[node.op].forward(np.arange(source.size).reshape(source.shape), *others))
    if len(numbers) != TRIED or (numbers != numbers[:1]).any():
        return False
    base, places = _tensor(net, node.inputs[0])
    net.name(node.outputs[0], View(base, places.ravel()[numbers[0]], source.size))
    return True


def _tensor(net: LoweredGraph, name: str) -> tuple[str, Array]:
    """Return the tensor that holds an initializer, its last axis the channels, and where each of its numbers stands."""
    value, out = net.graph.initializers[name], f"{name}.constant"
    last = value.shape[-1] if value.ndim else 1
    rows = value.size // last
    if out not in net.sizes:
        places = np.arange(value.size).reshape(rows, last).T.reshape(last, 1, rows)
        net.layers.append(FusedLayer("constant", "", out, Window(), last, weight=name, places=places))
        net.sizes[out] = (last, 1, rows)
    return net.resolve(out), np.arange(value.size).reshape(last, rows).T.reshape(value.shape)


def _add_initializer(net: LoweredGraph, name: str, value: Array) -> None:
    net.graph = replace(net.graph, initializers={**net.graph.initializers, name: value})


def constant_view(net: LoweredGraph, node: Node, position: int, axes: int, beside: View | None = None) -> View:
    """Return a constant input as a view of a tensor that the engine holds, of a tensor with so many axes.

    Where it stands beside a tensor whose samples are not the first axis, it is one of that tensor's shape.

    Raises
    ------
    UnsupportedError
        If it is no constant, of no floats, or not the same for all samples.
    """
    name = node.inputs[position]
    if name in net.known:
        one, more = net.known[name]
        counts = one.ndim > 0 and more.ndim > 0 and len(one) == TRIED and len(more) == TRIED + 1
        if not (counts and (one == one[:1]).all() and (more == one[:1]).all()):
            raise unsupported(node, f"input {name!r} must be the same for all samples")
        name = f"{name}.one"
        if name not in net.graph.initializers:
            _add_initializer(net, name, one[:1])
    value = net.graph.initializers.get(name)
    if value is None or axes == 0 or value.ndim > axes:
        raise unsupported(node, f"input {position} must be a constant of at most {axes} axes")
    if net.flat:
        raise unsupported(node, "a constant beside vectors must be one number, or one for each of theirs")
    shape = (1,) * (axes - value.ndim) + value.shape
    if beside is not None and beside.full is not None and 0 not in shape:
        return _spread(net, node, name, shape, beside)
    if shape[0] != 1 or 0 in shape:
        raise unsupported(node, f"constant {name!r} must be the same for all samples; got shape {value.shape}")
    base, places = _tensor(net, name)
    return View(base, places.reshape(shape[1:]), value.size)


def _spread(net: LoweredGraph, node: Node, name: str, shape: tuple[int, ...], beside: View) -> View:
    """Return a constant of this shape as ONNX broadcasts it to a tensor whose samples are not the first axis."""
    base, places = _tensor(net, name)
    assert beside.full is not None  # its samples are elsewhere
    try:
        numbers = np.broadcast_to(places.reshape(shape), beside.shape)
    except ValueError as error:
        raise unsupported(node, f"shapes {shape} and {beside.shape} do not fit") from error
    found = View.of(base, numbers + beside.full // beside.step * places.size, places.size)
    if found is None:
        raise unsupported(node, f"constant {name!r} must be the same for all samples")
    return found
