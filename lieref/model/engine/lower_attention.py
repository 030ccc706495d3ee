"""From ONNX nodes to layers: Attention as the products, the softmax and the moves between them that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lieref._types import Array, AttrValue
from lieref.model.engine.lower_views import view_of
from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.graph import Node

Take = Callable[[LoweredGraph, Node], None]
"""What makes layers of a node."""


class _Parts:
    """Nodes that are taken one by one in the place of another."""

    def __init__(self, net: LoweredGraph, node: Node, take: Take) -> None:
        self.net, self.node, self.take, self.count = net, node, take, 0

    def add(self, op: str, *inputs: str, out: str = "", **attrs: AttrValue) -> str:
        """Take a node; return the name of its output."""
        self.count += 1
        name = out or f"{self.node.name}.part{self.count}"
        self.take(self.net, Node(f"{self.node.name}.{self.count}", op, inputs, (name,), dict(attrs)))
        return name

    def constant(self, value: Array) -> str:
        """Return the name of a new constant."""
        self.count += 1
        name = f"{self.node.name}.constant{self.count}"
        self.net.graph = replace(self.net.graph, initializers={**self.net.graph.initializers, name: value})
        return name

    def heads(self, name: str, count: int | None, shared: int) -> str:
        """Return an input as (N, heads, positions, size), each of its heads so many times."""
        shape = self.net.shapes[name]
        if len(shape) == 2:
            apart = self.add("Reshape", name, self.constant(np.array([0, 0, count, shape[1] // (count or 1)])))
            name = self.add("Transpose", apart, perm=(0, 2, 1, 3))
            shape = self.net.shapes[name]
        if shared == 1:
            return name
        one = self.add("Unsqueeze", name, self.constant(np.array([2])))
        many = self.add("Expand", one, self.constant(np.array([1, 1, shared, 1, 1])))
        return self.add("Reshape", many, self.constant(np.array([0, shape[0] * shared, *shape[1:]])))


def attention(net: LoweredGraph, node: Node, take: Take) -> None:
    """Attention without a cache, its mask a constant that hides no query from all keys."""
    seen = [view_of(net, node, position) for position in range(3)]
    shapes = [one.places.shape for one in seen]
    given, extra = node.inputs[3] if len(node.inputs) > 3 else "", [name for name in node.inputs[4:] if name]
    same = {len(shape) for shape in shapes}
    if extra or same not in ({2}, {3}) or any(one.full is not None for one in seen):
        raise unsupported(node, "it must have queries, keys and values of three or four axes, and no cache")
    attrs = node.attrs
    q_heads, kv_heads = attrs.get("q_num_heads"), attrs.get("kv_num_heads")
    joined = same == {2}
    heads, kept = (int(q_heads), int(kv_heads)) if joined else (shapes[0][0], shapes[1][0])  # type: ignore[arg-type]
    queries, keys = (shape[0 if joined else 1] for shape in shapes[:2])
    size = shapes[0][-1] // (heads if joined else 1)
    mask = _mask(net, node, given, queries, keys)
    parts = _Parts(net, node, take)
    q = parts.heads(node.inputs[0], heads, 1)
    k, v = (parts.heads(name, kept, heads // kept) for name in node.inputs[1:3])
    said, cap = attrs.get("scale"), float(attrs.get("softcap", 0.0))  # type: ignore[arg-type]
    scale = 1 / math.sqrt(size) if said is None else float(said)  # type: ignore[arg-type]
    scores = parts.add("MatMul", q, parts.add("Transpose", k, perm=(0, 1, 3, 2)))
    scores = parts.add("Mul", scores, parts.constant(np.array(scale / (cap or 1.0))))
    if cap:
        scores = parts.add("Mul", parts.add("Tanh", scores), parts.constant(np.array(cap)))
    if mask is not None:
        scores = parts.add("Add", scores, parts.constant(mask))
    mixed = parts.add("MatMul", parts.add("Softmax", scores, axis=-1), v, out="" if joined else node.outputs[0])
    if joined:
        together = parts.add("Transpose", mixed, perm=(0, 2, 1, 3))
        shape = np.array([0, 0, heads * net.shapes[mixed][-1]])
        parts.add("Reshape", together, parts.constant(shape), out=node.outputs[0])


def _mask(net: LoweredGraph, node: Node, name: str, queries: int, keys: int) -> Array | None:
    """Return what is added to the scores, None for nothing."""
    dtype = net.graph.dtype
    added = np.zeros((1, 1, 1, 1), dtype)
    if name:
        value = net.graph.initializers.get(name)
        if value is None:
            raise unsupported(node, "the mask must be a constant")
        net.folded.add(name)
        added = np.where(value, 0, -np.inf).astype(dtype) if value.dtype.kind == "b" else value
        added = added.reshape((1,) * (4 - added.ndim) + added.shape)
    if node.attrs.get("is_causal", 0):
        added = np.where(np.tri(queries, keys, dtype=bool), added, dtype.type(-np.inf))
    if np.isneginf(added).all(axis=-1).any() or len(added) != 1:
        raise unsupported(node, "the mask must be the same for all samples and leave each query a key")
    return added if added.any() else None
