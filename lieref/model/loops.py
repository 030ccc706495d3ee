"""Loop as the turns that it takes, where their number is the same for all samples, whatever they are.

Keras' recurrent layers come as loops over the steps of a sequence. A turn is the nodes of the body on tensors of its
own; what does not change from turn to turn is computed once, so that a weight stays one. The file that is read becomes
one without loops: what is trained has its place in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError

MOST_TURNS = 1024
"""A loop of more turns would be a network of too many nodes."""

MOST_NUMBERS = 64
"""A condition is computed from constants of no more numbers."""

COUNTING = frozenset({
    "Add", "And", "Cast", "Constant", "Equal", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max",
    "Min", "Mul", "Not", "Or", "Reshape", "Squeeze", "Sub", "Unsqueeze",
})  # fmt: skip
"""Operators that conditions are made of; none makes many numbers of few."""


def unroll_loops(onnx: Any, proto: Any, opset: int) -> None:
    """Write each Loop of a ModelProto of this opset as its turns.

    Raises
    ------
    UnsupportedError
        If how many they are depends on the samples or on their number, or they are too many or hold loops themselves.
    """
    graph = proto.graph
    for loop in [node for node in graph.node if node.op_type == "Loop"]:
        place = list(graph.node).index(loop)
        known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        turns = _Turns(onnx, loop, known, list(graph.node)[:place], opset)
        nodes = [*graph.node[:place], *turns.nodes, *graph.node[place + 1 :]]
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(turns.constants)


class _Turns:
    """The nodes and constants that a Loop is.

    Attributes
    ----------
    nodes : list of NodeProto
    constants : list of TensorProto
    """

    def __init__(self, onnx: Any, loop: Any, known: dict[str, Array], before: Iterable[Any], opset: int) -> None:
        self._onnx, self._loop, self._known, self._opset = onnx, loop, known, opset
        self._base = next(filter(None, loop.output), loop.name)  # a name that no other loop has
        self._makers = {name: node for node in before for name in node.output}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        (self._body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
        if any(attribute.HasField("g") for node in self._body.node for attribute in node.attribute):
            raise UnsupportedError(f"load: node {loop.name} (Loop): its body must hold no sub-graphs")
        self._unroll()

    def _unroll(self) -> None:
        loop, body = self._loop, self._body
        state = list(loop.input[2:])
        names = {tensor.name: self._constant(tensor.name, tensor) for tensor in body.initializer}
        carried = [value.name for value in body.input[2:]]
        kept = {name for name, out in zip(carried, body.output[1:], strict=False) if self._source(out.name) == name}
        names.update((name, given) for name, given in zip(carried, state, strict=True) if name in kept)
        changing = {value.name for value in body.input} - kept
        once: list[Any] = []
        each: list[Any] = []
        for node in body.node:
            turned = not changing.isdisjoint(node.input)
            changing.update(node.output if turned else ())
            (each if turned else once).append(node)
        self._emit(once, names, "")
        joined = dict(enumerate(loop.output[len(carried) :]))
        rows: dict[int, list[str]] = {place: [] for place, out in joined.items() if out}
        goes_on = not loop.input[1] or self._truth(loop.input[1])
        for turn in range(self._trips()):
            if not goes_on:
                break
            if turn == MOST_TURNS:
                raise UnsupportedError(f"load: node {loop.name} (Loop): it must take at most {MOST_TURNS} turns")
            here = {**names, **dict(zip(carried, state, strict=True))}
            for value, number in zip(body.input, (np.array(turn, np.int64), np.array(True)), strict=False):
                here[value.name] = self._constant(f"{turn}.{value.name}", number)
            self._emit(each, here, f"{turn}.")
            goes_on = self._truth(here.get(body.output[0].name, body.output[0].name))
            found = [here.get(value.name, value.name) for value in body.output[1:]]
            state = found[: len(carried)]
            for place, row in rows.items():
                row.append(self._row(found[len(carried) + place], f"{turn}.row.{place}"))
        if not all(rows.values()):
            raise UnsupportedError(f"load: node {loop.name} (Loop): it must take a turn")
        for name, out in zip(state, loop.output, strict=False):
            self._add("Identity", [name], out)
        for place, row in rows.items():
            self._add("Concat", row, joined[place], axis=0)

    def _trips(self) -> int:
        """Return how many turns it takes at most."""
        name = self._loop.input[0]
        count = self._value(name) if name else None
        if name and count is None:
            raise UnsupportedError(f"load: node {self._loop.name} (Loop): how many turns it takes must be a constant")
        return MOST_TURNS + 1 if count is None else min(int(count.item()), MOST_TURNS + 1)

    def _truth(self, name: str) -> bool:
        """Return a condition: whether there is another turn."""
        value = self._value(name)
        if value is None:
            raise UnsupportedError(f"load: node {self._loop.name} (Loop): its condition must be a constant")
        return bool(value.item())

    def _emit(self, nodes: Iterable[Any], names: dict[str, str], prefix: str) -> None:
        """Add nodes of the body on tensors of these names, to which those of their outputs are added."""
        for number, node in enumerate(nodes):
            copy = self._onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{self._base}.{prefix}{node.name or f'{node.op_type}_{number}'}"
            names.update((name, f"{self._base}.{prefix}{name}") for name in node.output if name)
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names.get(name, name) for name in node.output]
            self._append(copy)

    def _append(self, node: Any) -> None:
        self.nodes.append(node)
        self._makers.update((name, node) for name in node.output)

    def _add(self, op: str, inputs: list[str], out: str, **attrs: Any) -> None:
        if out:
            self._append(self._onnx.helper.make_node(op, inputs, [out], f"{self._base}.{op}.{out}", **attrs))

    def _row(self, name: str, out: str) -> str:
        """Return a tensor with another axis before its first."""
        out = f"{self._base}.{out}"
        if self._opset < 13:
            self._add("Unsqueeze", [name], out, axes=[0])
        else:
            self._add("Unsqueeze", [name, self._constant("first axis", np.zeros(1, np.int64))], out)
        return out

    def _constant(self, name: str, value: Any) -> str:
        """Return the name of a constant of the loop, an array or a TensorProto."""
        name = f"{self._base}.{name}"
        if name not in self._known:
            tensor = self._onnx.TensorProto()
            tensor.CopyFrom(self._onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value)
            tensor.name = name
            self.constants.append(tensor)
            self._known[name] = self._onnx.numpy_helper.to_array(tensor)
        return name

    def _source(self, name: str) -> str:
        """Return what an output of the body is, through Identity."""
        makers = {out: node for node in self._body.node for out in node.output}
        while name in makers and makers[name].op_type == "Identity":
            name = makers[name].input[0]
        return name

    def _value(self, name: str) -> Array | None:
        """Return a tensor that is made of constants alone, by operators that count; None where it is not."""
        waiting = [name]
        while waiting and name not in self._known:
            node = self._makers.get(waiting[-1])
            if node is None or node.op_type not in COUNTING:
                return None
            missing = [each for each in node.input if each and each not in self._known]
            if missing:
                waiting.append(missing[0])
                continue
            feed = {each: self._known[each] for each in node.input if each}
            if any(value.size > MOST_NUMBERS for value in feed.values()):
                return None
            found = import_module("onnx.reference").ReferenceEvaluator(node).run(None, feed)
            self._known.update((out, np.asarray(each)) for out, each in zip(node.output, found, strict=True) if out)
            waiting.pop()
        return self._known.get(name)
