"""Networks in half precision: computed in float32, written back in the types of their file.

A float16 has eleven bits of fraction, and every one is a float32: loading rounds nothing. A merged file rounds what the
adapters changed, and nothing else. Let w be a weight, d the change and r = fl16(w + d) - (w + d): |r| is half a unit in
the last place at most, 2^-12 to 2^-11 of |w + d|, so that a change below that of a weight disappears, and what is left
of the change of a tensor is off by |r| / |d| in the Euclidean norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.errors import DomainError
from lieref.model.graph import Graph
from lieref.op.cast import DTYPES

LOST_SHARE = 0.5
"""From this share of lost changes on a merge is warned of."""


@dataclass(frozen=True)
class Rounding:
    """What writing adapted tensors as float16 does to their changes.

    Attributes
    ----------
    tensors : int
        How many there are.
    error : float
        |r| / |d| of the tensor where it is largest, in the Euclidean norm.
    worst : str
        That tensor.
    changed, lost : int
        Numbers of all of them that the adapters change, and those of which rounding makes what they were.
    """

    tensors: int
    error: float
    worst: str
    changed: int
    lost: int

    @property
    def share(self) -> float:
        """Lost changes among all."""
        return self.lost / self.changed if self.changed else 0.0

    def describe(self) -> str:
        """Return it in one line."""
        return (
            f"{self.tensors} tensors rounded to float16: an error of up to {self.error:.2g} of the change "
            f"({self.worst}); {self.share:.1%} of the changed numbers are what they were"
        )


def rounding(base: Mapping[str, Array], changed: Mapping[str, Array], halves: Mapping[str, Array]) -> Rounding | None:
    """Return what was lost in writing tensors as float16, None where there are none.

    Parameters
    ----------
    base, changed : mapping of str to array
        Before and after adaptation, in the type of the network.
    halves : mapping of str to float16 array
        As the file holds them.
    """
    worst, error, numbers, lost = "", 0.0, 0, 0
    for name in halves:
        before, after, stored = (each[name].astype(np.float64) for each in (base, changed, halves))
        size = float(np.linalg.norm(after - before))
        off = float(np.linalg.norm(stored - after)) / size if size else 0.0
        if not worst or off > error:
            worst, error = name, off
        moved = after != before
        numbers += int(moved.sum())
        lost += int((moved & (stored == before)).sum())
    return Rounding(len(halves), error, worst, numbers, lost) if halves else None


def written_halves(proto: Any, names: Iterable[str]) -> dict[str, Array]:
    """Return the initializers of a ModelProto by these names that are float16."""
    onnx = need("onnx", "app", "writing ONNX models")
    wanted, half = set(names), onnx.TensorProto.FLOAT16
    tensors = [each for each in proto.graph.initializer if each.data_type == half and each.name in wanted]
    return {each.name: onnx.numpy_helper.to_array(each) for each in tensors}


def narrowed(function: str, name: str, value: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers in the type of the file.

    Raises
    ------
    DomainError
        If one is too large for it.
    """
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(value, dtype)
    if found.dtype.itemsize < value.dtype.itemsize and np.isinf(found).any() and not np.isinf(value).any():
        raise DomainError(f"{function}: tensor {name} must hold numbers of {dtype}; one is {np.abs(value).max():.4g}")
    return found


def without_widening(graph: Graph) -> Graph:
    """Return the graph in which float16 constants that it reads as wider floats alone are such, their Casts left out.

    Files that store halves and compute in float32 have one Cast a weight: the weight is the constant then, by its own
    name, and is written as the half it was.
    """
    halves = {name for name, value in graph.initializers.items() if value.dtype == np.float16}
    wide: dict[str, np.dtype[Any]] = {}
    for name in halves - set(graph.outputs):
        readers = graph.consumers(name)
        to = {DTYPES.get(int(node.attrs["to"])) if node.op == "Cast" else None for node in readers}  # type: ignore[arg-type]
        if len(to) == 1 and to <= {np.float32, np.float64} and not {n.outputs[0] for n in readers} & {*graph.outputs}:
            wide[name] = np.dtype(to.pop())
    renamed = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "Cast" and node.inputs[0] in wide}
    nodes = tuple(
        replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        for node in graph.nodes
        if node.outputs[0] not in renamed
    )
    widened = {name: graph.initializers[name].astype(dtype) for name, dtype in wide.items()}
    return replace(graph, nodes=nodes).with_initializers(widened)
