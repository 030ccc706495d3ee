"""A quantised network as data: integer tensors with their scales, the nodes between them, and the bytes they lie in.

One form for TFLite and for ONNX in both its ways (QuantizeLinear and DequantizeLinear, or QLinear operators). A tensor
keeps the file's layout and integers, so that its data are the bytes at `data_at`; a node says which layout it reads.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from lieref._types import Array, AttrValue
from lieref.errors import DomainError, FormatError
from lieref.model.integer.vocabulary import ACTIVATIONS, OPERATIONS

FORMATS = ("tflite", "onnx-qdq", "onnx-qoperator")
"""Kinds of file."""

LAYOUTS = ("NHWC", "NCHW")
"""Order of the axes of images. Weights go with it: see `lieref.model.integer.vocabulary`."""

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "int64")
"""Element types of quantised tensors. Besides them a graph may hold float32: what is read by Quantize or written by
Dequantize."""

LEAST_SCALE, MOST_SCALE = 2.0**-126, 2.0**30
"""Scales that files may have: smaller ones lose bits in float32, and are flushed to zero by some kernels."""

Attribute: TypeAlias = AttrValue | None
"""Value of an attribute; a bool is an int, and None stands for one that is not given."""


@dataclass(frozen=True, order=True)
class ByteRange:
    """Bytes `start` to `stop` (not included) of the file."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise DomainError(f"ByteRange: `stop` must be at least `start`, and that 0 or more; got {self}")

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


@dataclass(frozen=True, eq=False)
class Quantisation:
    """What an integer q stands for: the real number scale * (q - zero_point).

    Attributes
    ----------
    scale : (1,) or (C,) float32
        Positive and finite.
    zero_point : (1,) or (C,) int64
        As many as there are scales, or one for all.
    axis : int or None
        Axis that the C scales go along; None where one scale is for the whole tensor.

    Raises
    ------
    DomainError
        If a scale is zero, negative, NaN or infinite, the numbers of values disagree, or `axis` does.
    """

    scale: Array
    zero_point: Array
    axis: int | None = None

    def __post_init__(self) -> None:
        scale = _frozen(np.asarray(self.scale, np.float32))
        zero_point = _frozen(np.asarray(self.zero_point, np.int64))
        if scale.ndim != 1 or zero_point.ndim != 1 or not scale.size or zero_point.size not in (1, scale.size):
            got = f"shapes {scale.shape} and {zero_point.shape}"
            raise DomainError(f"Quantisation: `zero_point` must be one value, or one a scale, in a vector; got {got}")
        if not (np.isfinite(scale) & (scale > 0)).all():
            bad = float(scale[~(np.isfinite(scale) & (scale > 0))][0])
            raise DomainError(f"Quantisation: `scale` must be positive and finite; got {bad}")
        if self.axis is None and scale.size > 1:
            raise DomainError(f"Quantisation: `axis` must be given for more than one scale; got {scale.size} scales")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    @property
    def channels(self) -> int:
        """Number of scales; 1 for a tensor with one scale."""
        return int(self.scale.size)

    def real(self, integers: Array) -> Array:
        """Return the float64 numbers that these integers stand for; `integers` has the tensor's number of axes."""
        shape = [1] * integers.ndim
        if self.axis is not None and self.channels > 1:
            shape[self.axis] = self.channels
        zero_point = self.zero_point.reshape(shape if self.zero_point.size > 1 else [1] * integers.ndim)
        return self.scale.astype(np.float64).reshape(shape) * (integers.astype(np.int64) - zero_point)

    def __str__(self) -> str:
        low, high = float(self.scale.min()), float(self.scale.max())
        zero_points = sorted({int(z) for z in self.zero_point})
        scales = f"scale {low:.6g}" if self.channels == 1 else f"{self.channels} scales {low:.6g} to {high:.6g}"
        points = f"{zero_points[0]}" if len(zero_points) == 1 else f"{zero_points[0]} to {zero_points[-1]}"
        return f"{scales}, zero point {points}" + (f", axis {self.axis}" if self.axis is not None else "")


@dataclass(frozen=True, eq=False)
class IntegerTensor:
    """One tensor of the network.

    Attributes
    ----------
    name : str
        Unique in the graph, not empty.
    dtype : str
        NumPy's name of the element type: one of `INTEGERS`, "float32" or "bool".
    shape : tuple of int or None
        In the file's layout; None where the axis is free.
    quantisation : Quantisation or None
        None for a tensor of float32, and where the file gives none: a bias of QLinearConv, a shape.
    data : array or None
        The integers of a constant, in the file's layout; None for what is computed.
    scale_at, zero_point_at, data_at : ByteRange or None
        Where they lie in the file, little-endian and in one piece; None where they do not. Two tensors may share one
        range: who changes it changes both.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    quantisation: Quantisation | None = None
    data: Array | None = field(default=None, repr=False)
    scale_at: ByteRange | None = None
    zero_point_at: ByteRange | None = None
    data_at: ByteRange | None = None

    def __post_init__(self) -> None:
        if not self.name or self.dtype not in (*INTEGERS, "float32", "bool"):
            got = f"{self.dtype!r} for tensor {self.name!r}"
            raise DomainError(f"IntegerTensor: `dtype` must be one of {', '.join(INTEGERS)}, float32, bool; got {got}")
        if self.data is not None:
            if self.data.shape != self.shape or self.data.dtype != np.dtype(self.dtype):
                got = f"{self.data.dtype} of shape {self.data.shape} for {self.dtype} of shape {self.shape}"
                raise DomainError(f"IntegerTensor: `data` of {self.name} must have its type and shape; got {got}")
            object.__setattr__(self, "data", _frozen(self.data))
        q = self.quantisation
        if q is not None and q.axis is not None:
            size = self.shape[q.axis] if 0 <= q.axis < len(self.shape) else 0
            if q.channels not in (1, size):
                got = f"{q.channels} scales on axis {q.axis} of shape {self.shape}"
                raise DomainError(f"IntegerTensor: {self.name} must have one scale, or one a channel; got {got}")

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.data is not None

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of the element type."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def __str__(self) -> str:
        shape = "x".join("?" if n is None else str(n) for n in self.shape) or "scalar"
        constant = "" if self.data is None else f", constant{f' at {self.data_at}' if self.data_at else ''}"
        return f"{self.name}: {self.dtype} {shape}{constant}" + (f", {self.quantisation}" if self.quantisation else "")


@dataclass(frozen=True)
class IntegerNode:
    """One operator.

    Attributes
    ----------
    name : str
        Unique in the graph.
    op : str
        One of `lieref.model.integer.vocabulary.OPERATIONS`, which says its inputs and attributes.
    inputs, outputs : tuple of str
        Tensor names; an empty string is an optional input left out.
    attributes : dict
        Plain values, the same for every format.
    layout : str
        "NHWC" or "NCHW": the layout of its images and its weights.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    layout: str = "NHWC"

    def __str__(self) -> str:
        attributes = ", ".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{', '.join(self.outputs)} = {self.op}({', '.join(self.inputs)})" + (
            f" [{attributes}]" if attributes else ""
        )


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """A quantised network, and the file it came from.

    Attributes
    ----------
    tensors : dict of str to IntegerTensor
        All tensors, constants included, by name.
    nodes : tuple of IntegerNode
        Sorted so that each comes after what it reads.
    inputs, outputs : tuple of str
        Tensor names. The inputs' first axis counts the samples.
    format : str
        One of `FORMATS`.
    content : bytes
        The whole file. `ByteRange` counts in it.

    Raises
    ------
    FormatError
        If a node reads what is not made before it, or writes what is there already; if a name, layout, operation or
        activation is unknown; if a byte range ends outside the file or holds another number of bytes than its values.
    """

    tensors: dict[str, IntegerTensor]
    nodes: tuple[IntegerNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    format: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise DomainError(f"IntegerGraph: `format` must be one of {', '.join(FORMATS)}; got {self.format!r}")
        for name, tensor in self.tensors.items():
            if name != tensor.name:
                raise FormatError(f"IntegerGraph: `tensors` must be keyed by their names; got {name} for {tensor.name}")
            self._check_places(tensor)
        made = {*self.inputs, *(name for name, tensor in self.tensors.items() if tensor.is_constant)}
        for node in self.nodes:
            self._check_node(node, made)
            made.update(node.outputs)
        written = {name for node in self.nodes for name in node.outputs}
        missing = [name for name in self.outputs if name not in written]
        missing += [name for name in self.inputs if name not in self.tensors or self.tensors[name].is_constant]
        if missing or not self.inputs or not self.outputs:
            got = f"{missing[0]}, which no node writes" if missing else "none"
            raise FormatError(
                f"IntegerGraph: `outputs` must be computed by nodes, from `inputs` that the caller feeds; got {got}"
            )

    def _check_places(self, tensor: IntegerTensor) -> None:
        q, data = tensor.quantisation, tensor.data
        places = (
            ("scale_at", tensor.scale_at, None if q is None else q.scale.nbytes),
            ("zero_point_at", tensor.zero_point_at, None),  # stored in several types
            ("data_at", tensor.data_at, None if data is None else data.nbytes),
        )
        for word, place, size in places:
            if place is not None and (place.stop > len(self.content) or (size is not None and len(place) != size)):
                got = f"{place} for {size} bytes in a file of {len(self.content)}"
                raise FormatError(f"IntegerGraph: `{word}` of {tensor.name} must hold its values; got {got}")

    def _check_node(self, node: IntegerNode, made: set[str]) -> None:
        if node.op not in OPERATIONS or node.layout not in LAYOUTS:
            raise FormatError(f"IntegerGraph: node {node.name} must be a known operation; got {node.op} {node.layout}")
        activation = node.attributes.get("activation", "none")
        if activation not in ACTIVATIONS:
            raise FormatError(f"IntegerGraph: activation of {node.name} must be a known one; got {activation!r}")
        for name in node.inputs:
            if name and name not in made:
                raise FormatError(f"IntegerGraph: node {node.name} must read what was made before it; got {name}")
        for name in node.outputs:
            if name not in self.tensors or name in made:
                raise FormatError(f"IntegerGraph: node {node.name} must write a tensor of its own; got {name}")

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def producer(self, tensor: str) -> IntegerNode | None:
        """Return the node that writes `tensor`, or None for an input or a constant."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def consumers(self, tensor: str) -> list[IntegerNode]:
        """Return the nodes that read `tensor`, in graph order."""
        return [node for node in self.nodes if tensor in node.inputs]

    def __str__(self) -> str:
        integers = sum(math.prod(t.data.shape) for t in self.tensors.values() if t.data is not None)
        head = f"{self.format}, {len(self.content)} bytes, {len(self.nodes)} nodes, {integers} constants"
        ends = [f"input  {self.tensors[name]}" for name in self.inputs]
        ends += [f"output {self.tensors[name]}" for name in self.outputs]
        return "\n".join([head, *ends, *(f"  {node}" for node in self.nodes)])


def _frozen(array: Array) -> Array:
    """Return the array, or where it can be written to a copy, so that nobody can change it."""
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array
