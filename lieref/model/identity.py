"""What makes two files the same network: the numbers in it and how they are connected, not how they are stored.

A network is hashed from its outputs back: a tensor by its type, shape and bytes, a node by its operator, its attributes
with their defaults filled in, and the digests of its inputs. The order in the file, names of nodes and of values
between them, the producer, descriptions, the batch that was exported for, and what no output needs do not enter;
Identity and Dropout are what they pass on. The names of float arrays enter, because adapters call them by these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.model.graph import Graph
from lieref.model.packing import own_names

_COPIES = ("Identity", "Dropout")


def network_digest(graph: Graph) -> str:
    """Return the SHA-256, in hexadecimal, of a network as it was read from its file.

    Parameters
    ----------
    graph : Graph
        With its nodes in order and their attributes resolved, the floats in the types of the file.
    """
    digests = {"": b"", **{info.name: _joined(b"input", info.dtype.encode()) for info in graph.inputs}}
    for number, info in enumerate(graph.parts):  # the nodes that take them out of the one input are no part of the file
        digests[info.name] = _joined(b"input", info.dtype.encode(), b"%d" % number)

    def of(name: str) -> bytes:
        if name not in digests:
            digests[name] = _tensor_digest(name, graph.initializers[name])
        return digests[name]

    packing = own_names(graph) | {info.name for info in graph.parts}
    for node in graph.nodes:
        if packing.intersection(node.outputs):
            continue
        if node.op in _COPIES:
            digests[node.outputs[0]] = of(node.inputs[0])
            continue
        default = _defaults(node.op, graph.opset)
        said = {name: _plain(value) for name, value in node.attrs.items()}
        attributes = [_joined(name.encode(), said[name]) for name in sorted(said) if said[name] != default.get(name)]
        inputs = [of(name) for name in node.inputs]
        while inputs and not inputs[-1]:
            inputs.pop()  # an optional input left out at the end may be named or not
        for number, output in enumerate(node.outputs):
            kind = (node.op.encode(), b"%d" % number)
            digests[output] = _joined(*kind, _joined(*attributes), _joined(*inputs))
    return _joined(*(of(name) for name in graph.outputs)).hex()


def tensors_digest(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256, in hexadecimal, of arrays with their names, types and shapes."""
    return _joined(*(_joined(name.encode(), _array_digest(tensors[name])) for name in sorted(tensors))).hex()


@lru_cache(maxsize=256)
def _defaults(op: str, opset: int) -> dict[str, bytes]:
    """Return what the attributes of an operator are where a file does not say."""
    onnx = need("onnx", "app", "reading ONNX models")
    defaults = {}
    for name, attribute in onnx.defs.get_schema(op, opset).attributes.items():
        if attribute.default_value.name:
            value = onnx.helper.get_attribute_value(attribute.default_value)
            defaults[name] = _plain(value.decode() if isinstance(value, bytes) else value)
    return defaults


def _tensor_digest(name: str, array: Array) -> bytes:
    """Return the digest of a constant, with its name where an adapter may call it."""
    called = name if array.dtype.kind == "f" and array.ndim else ""
    return _joined(b"tensor", called.encode("utf-8", "surrogatepass"), _array_digest(array))


def _array_digest(array: Array) -> bytes:
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    kind = (array.dtype.newbyteorder("<").str, *map(str, array.shape))
    return _joined(*(word.encode() for word in kind), stored.reshape(-1).view(np.uint8).data)


def _plain(value: Any) -> bytes:
    """Return the value of an attribute as bytes that no other value has."""
    if isinstance(value, np.ndarray):
        return _array_digest(value)
    if isinstance(value, (tuple, list)):
        return _joined(*(_plain(item) for item in value))
    return f"{type(value).__name__} {value}".encode()


def _joined(*parts: bytes | memoryview) -> bytes:
    """Return the digest of several byte strings, which no other division of the same bytes has."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
