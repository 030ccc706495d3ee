"""A node of a quantised network at work, and what its tensors stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation
from lieref.op.integer.output import finish, limits
from lieref.op.integer.semantics import Semantics


@dataclass(frozen=True)
class Step:
    """A node at work: its graph, its semantics, and the values of its inputs."""

    graph: IntegerGraph
    node: IntegerNode
    semantics: Semantics
    values: tuple[Array | None, ...]

    def tensor(self, place: int) -> IntegerTensor:
        """Return the description of an input."""
        return self.graph.tensors[self.node.inputs[place]]

    def value(self, place: int) -> Array:
        """Return the value of an input that is always there."""
        value = self.values[place]
        assert value is not None
        return value

    def optional(self, place: int) -> Array | None:
        """Return the value of an input, or None where it is left out."""
        return self.values[place] if place < len(self.values) else None

    @property
    def output(self) -> IntegerTensor:
        """The description of the output."""
        return self.graph.tensors[self.node.outputs[0]]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def images(self, place: int = 0) -> Array:
        """Return an input as (N, H, W, C)."""
        x = self.value(place)
        return x if self.node.layout == "NHWC" or x.ndim != 4 else x.transpose(0, 2, 3, 1)

    def back(self, y: Array) -> Array:
        """Return images (N, H, W, C) in the node's layout."""
        return y if self.node.layout == "NHWC" or y.ndim != 4 else y.transpose(0, 3, 1, 2)

    def flat(self, x: Array) -> Array:
        """Return an input of the output's shape (a constant, of one sample) as (samples, all that one has)."""
        rows = self.output.shape[0] if self.output.shape else None
        return x.reshape(len(x) // rows if rows and len(x) % rows == 0 else len(x), -1)

    @property
    def left_to_others(self) -> bool:
        """Whether XNNPACK leaves the node to the optimised kernels."""
        op, dtype = self.node.op, self.output.dtype
        if op == "MaxPool" and dtype != "int16":  # pixels between windows, and it is left
            strides = self.attribute("strides", (1, 1))
            return any(step > size for step, size in zip(strides, self.attribute("kernel"), strict=True))
        return dtype == "int16" or op == "AveragePool" or (op == "DepthwiseConv" and dtype == "uint8")

    def end(self, y: Array, *, with_zero_point: bool = True) -> Array:
        """Return y with zero point, clamp and type of the output."""
        scale, zero_point = one(self.output)
        clamp = "away" if self.left_to_others else self.semantics.clamp
        ends = limits(self.output.dtype, self.attribute("activation", "none"), scale, zero_point, clamp)
        return finish(y, zero_point if with_zero_point else 0, ends, self.output.dtype)


def of(tensor: IntegerTensor) -> Quantisation:
    """Return the quantisation of a tensor that must have one."""
    if tensor.quantisation is None:
        raise FormatError(f"run: tensor {tensor.name} must be quantised; got none for {tensor.dtype}")
    return tensor.quantisation


def one(tensor: IntegerTensor) -> tuple[float, int]:
    """Return scale and zero point of a tensor with one scale."""
    q = of(tensor)
    if q.channels != 1 or q.zero_point.size != 1:
        raise FormatError(f"run: tensor {tensor.name} must have one scale; got {q.channels}")
    return float(q.scale[0]), int(q.zero_point[0])


def ends(step: Step, *places: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the scales of inputs and output, and their zero points."""
    both = [one(step.tensor(place)) for place in places] + [one(step.output)]
    return tuple(scale for scale, _ in both), tuple(zero for _, zero in both)
