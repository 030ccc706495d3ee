"""A quantised ONNX file while it is being read: its constants, and the tensors and nodes found so far."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array, AttrValue
from lieref.errors import DomainError, FormatError, ShapeError, UnsupportedError
from lieref.model.integer.graph import (
    INTEGERS,
    LEAST_SCALE,
    MOST_SCALE,
    ByteRange,
    IntegerGraph,
    IntegerNode,
    IntegerTensor,
    Quantisation,
)
from lieref.model.integer.onnx_places import initializer_places
from lieref.model.integer.shapes import check_shapes
from lieref.model.integer.types import check_types
from lieref.model.onnx_reader import attribute_value, load_proto, node_names, to_array

STATICALLY = "quantise it with onnxruntime.quantization.quantize_static"
"""What to do with a network that is quantised only in part."""

_ELEMENTS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"}
"""ONNX's numbers of the types."""

_FLOATS_AT_RUN_TIME = ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul")


@dataclass(frozen=True)
class OnnxNode:
    """A node of the file: operator with its domain but for ONNX's own, and attributes as plain values."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, AttrValue]


@dataclass
class OnnxSource:
    """A file and what has been made of it.

    Attributes
    ----------
    path : str
        For messages.
    content : bytes
    nodes : tuple of OnnxNode
        Of the file, in its order.
    constants : dict of str to array
        By the names that nodes read.
    places : dict of str to ByteRange
        Where they lie in the file, as far as they have bytes of their own.
    inputs : dict of str to (dtype, shape)
        What a caller feeds.
    outputs : tuple of str
    tensors, made : dict of str to IntegerTensor, list of IntegerNode
        The result so far.
    reads : Counter of str
        How often the file reads each name.
    """

    path: str
    content: bytes
    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Array]
    places: dict[str, ByteRange]
    inputs: dict[str, tuple[str, tuple[int | None, ...]]]
    outputs: tuple[str, ...]
    tensors: dict[str, IntegerTensor] = field(default_factory=dict)
    made: list[IntegerNode] = field(default_factory=list)
    reads: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.reads = Counter([*(name for node in self.nodes for name in node.inputs), *self.outputs])

    def constant(self, name: str, node: str) -> Array:
        """Return a constant that a node reads."""
        if name not in self.constants:
            raise UnsupportedError(
                f"load: {name or 'an input'} of node {node} of {self.path} must be a constant; it is computed"
            )
        return self.constants[name]

    def quantisation(self, node: OnnxNode, scale: str, zero_point: str, axis: int = 0) -> Quantisation:
        """Return what two constants of a node say; `axis` is that of a vector of scales."""
        s = self.constant(scale, node.name)
        z = self.constant(zero_point, node.name) if zero_point else np.zeros(s.size, np.int64)
        if s.ndim > 1 or node.attrs.get("block_size", 0):
            raise UnsupportedError(
                f"load: scale {scale} of {self.path} must be one number, or one a channel; got shape {s.shape} "
                "(quantisation in blocks)"
            )
        if s.dtype != np.float32 or z.dtype.kind not in "iu":
            raise UnsupportedError(
                f"load: scale {scale} of {self.path} must be float32 and its zero point an integer; got {s.dtype} and "
                f"{z.dtype}"
            )
        sane = (s >= LEAST_SCALE) & (s <= MOST_SCALE)  # a NaN is neither
        if not sane.all():
            raise FormatError(
                f"load: every scale in {scale} of {self.path} must be a number of 2^-126 to 2^30; got "
                f"{s[~sane].ravel()[0]}: the file is damaged, or was written by a faulty tool"
            )
        try:
            return Quantisation(s.ravel(), z.ravel(), axis if s.size > 1 else None)
        except DomainError as error:
            raise FormatError(f"load: scale {scale} of {self.path} must be usable; {error}") from error

    def check_zero_point(self, name: str, dtype: str, zero_point: str) -> None:
        """Raise `FormatError` unless a zero point, where there is one, has the type of the integers that it is for."""
        held = self.constants[zero_point].dtype.name if zero_point in self.constants else dtype
        if held != dtype:
            raise FormatError(
                f"load: {name} of {self.path} must be {held}, as its zero point {zero_point}; got {dtype}"
            )

    def add(self, tensor: IntegerTensor) -> str:
        """Add a tensor, or check that one of that name says the same; return its name."""
        old = self.tensors.setdefault(tensor.name, tensor)
        if old is not tensor and (old.dtype != tensor.dtype or not same(old.quantisation, tensor.quantisation)):
            raise FormatError(
                f"load: {tensor.name} of {self.path} must have one scale and zero point wherever it is read; "
                f"got {old.quantisation} and {tensor.quantisation}"
            )
        return tensor.name

    def add_constant(self, name: str, quantisation: Quantisation | None, scale: str, zero_point: str) -> str:
        """Add a constant of integers with the names of what holds its scale and zero point."""
        data = self.constants[name]
        if data.dtype.name not in INTEGERS:
            raise UnsupportedError(f"load: {name} of {self.path} must hold integers; got {data.dtype}")
        if quantisation is not None and quantisation.axis is not None and data.ndim <= quantisation.axis:
            raise FormatError(f"load: {name} of {self.path} must have the axis of its scales; got shape {data.shape}")
        self.check_zero_point(name, data.dtype.name, zero_point)
        # What the file reads twice cannot change for one reader.
        alone = [None if self.reads[each] > 1 else self.places.get(each) for each in (scale, name)]
        places = [alone[0], self.places.get(zero_point) if zero_point else None, alone[1]]
        try:
            tensor = IntegerTensor(name, data.dtype.name, data.shape, quantisation, data, *places)
        except DomainError as error:
            raise FormatError(f"load: {name} of {self.path} must be well-formed; {error}") from error
        return self.add(tensor)

    def dtype_of(self, zero_point: str, node: OnnxNode) -> str:
        """Return the integers that a zero point stands for; where there is none `output_dtype`, or else uint8."""
        number = int(node.attrs.get("output_dtype", 0))  # type: ignore[arg-type]
        said = _ELEMENTS.get(number, f"type {number}") if number else ""
        dtype = self.constants[zero_point].dtype.name if zero_point in self.constants else said or "uint8"
        if said not in ("", dtype):
            raise FormatError(
                f"load: node {node.name} of {self.path} must have one output type; got {said} and {dtype}"
            )
        if dtype not in INTEGERS:
            raise UnsupportedError(f"load: node {node.name} of {self.path} must quantise to integers; got {dtype}")
        return dtype

    def graph(self, kind: str, outputs: tuple[str, ...]) -> IntegerGraph:
        """Return the result."""
        inputs = tuple(name for name in self.inputs if name in self.tensors)
        if len(inputs) != 1:
            raise UnsupportedError(
                f"load: {self.path} must have one input that is quantised; got {', '.join(self.inputs) or 'none'}"
            )
        graph = IntegerGraph(dict(self.tensors), tuple(self.made), inputs, outputs, kind, self.content)
        check_types(graph)
        check_shapes(graph)
        return graph


def open_onnx(path: str | Path) -> OnnxSource:
    """Return an ONNX file with its nodes and constants.

    Raises
    ------
    FormatError
        If it is broken.
    UnsupportedError
        If its weights are quantised, but not what it computes between them; or tensors lie beside it.
    MissingExtraError
        If onnx is not installed.
    """
    onnx = need("onnx", "app", "reading ONNX models")
    path = Path(path)
    proto, digest = load_proto(path)
    source, content = str(path), path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:  # which has the bytes beside the file in it
        raise UnsupportedError(
            f"load: {source} must hold its tensors itself; some lie in files beside it: save it in one with "
            "onnx.save(onnx.load(PATH), NEW_PATH)"
        )
    names = node_names(proto)
    constants = {tensor.name: to_array(onnx, tensor, source) for tensor in proto.graph.initializer}
    nodes = []
    for name, item in zip(names, proto.graph.node, strict=True):
        attrs = {each.name: attribute_value(onnx, each, name, source) for each in item.attribute}
        if item.op_type in _FLOATS_AT_RUN_TIME:
            raise UnsupportedError(
                f"load: {source} must fix the ranges of what it computes; {name} is a {item.op_type}, which finds them "
                f"while it runs: {STATICALLY}"
            )
        if item.op_type == "Constant" and "value" in attrs:
            constants[item.output[0]] = np.asarray(attrs["value"])
            continue
        domain = "" if item.domain in ("", "ai.onnx") else f"{item.domain}."
        nodes.append(OnnxNode(name, f"{domain}{item.op_type}", tuple(item.input), tuple(item.output), attrs))
    inputs = {}
    for value in proto.graph.input:
        if value.name not in constants:
            kind = value.type.tensor_type
            if not value.type.HasField("tensor_type") or not kind.elem_type:
                raise UnsupportedError(f"load: input {value.name} of {source} must be a tensor of a known type")
            shape = tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)
            inputs[value.name] = (np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name, shape)
    places = initializer_places(content, source)
    return OnnxSource(
        source, content, tuple(nodes), constants, places, inputs, tuple(v.name for v in proto.graph.output)
    )


def same(one: Quantisation | None, other: Quantisation | None) -> bool:
    """Tell whether two quantisations give every integer the same number."""
    if one is None or other is None:
        return one is other
    alike = one.channels == other.channels and np.array_equal(one.scale, other.scale)
    return alike and bool((one.zero_point == other.zero_point).all()) and one.axis == other.axis


def renamed(tensor: IntegerTensor, name: str, shape: tuple[int | None, ...]) -> IntegerTensor:
    """Return a computed tensor like another, of another name and shape."""
    return replace(tensor, name=name, shape=shape)


def samples_of(shape: tuple[int | None, ...]) -> int:
    """Return how many numbers a sample has; every axis but the first must be known."""
    return math.prod(int(n) for n in shape[1:] if n is not None)


def counted(axis: int, rank: int) -> int:
    """Return an axis counted from the front; raises `ShapeError` where a tensor of that many axes has none such."""
    if not -rank <= axis < rank:
        raise ShapeError(f"there is no axis {axis} of {rank}")
    return axis % rank


def whole(values: Any) -> tuple[int, ...]:
    """Return an attribute or a constant of integers as a tuple."""
    return tuple(int(v) for v in np.asarray(values).ravel())
