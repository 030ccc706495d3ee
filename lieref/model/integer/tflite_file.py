"""The parts of a .tflite file that lieref needs, read and checked one by one, before any of them means anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.flatbuffer import Bytes, Table
from lieref.model.integer.graph import LEAST_SCALE, MOST_SCALE, ByteRange, IntegerTensor, Quantisation

_DTYPES = {
    "FLOAT32": "float32",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}

_MOST_AXES, _MOST_ELEMENTS = 8, 1 << 27


@dataclass(frozen=True)
class RawOperator:
    """One operator as the file has it: kind, indices of tensors (-1 for one left out), table of options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None

    def option(self, slot: int, code: str, default: Any) -> Any:
        """Return a number of the options, or its default."""
        return default if self.options is None else self.options.scalar(slot, code, default)


@dataclass(frozen=True)
class RawModel:
    """The network as the file has it."""

    tensors: tuple[IntegerTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite_file(content: bytes) -> RawModel:
    """Return the parts of a file.

    Parameters
    ----------
    content : bytes
        The whole file.

    Raises
    ------
    FormatError
        If it is no .tflite file, is truncated or damaged, or holds values out of their range.
    UnsupportedError
        If it holds what lieref does not run: several subgraphs, custom operators, sparse tensors, float16.
    MissingExtraError
        If the package tflite is not installed.
    """
    schema = need("tflite", "int8", "reading a .tflite file")
    if content[4:8] != b"TFL3":
        raise FormatError(
            f"tflite: the file must be a .tflite one, with TFL3 at byte 4; got {content[4:8]!r}"
            " (an ONNX file must not be called .tflite)"
        )
    model = Bytes(content).root()
    if model.scalar(0, "I", 0) != 3:
        raise FormatError(f"tflite: the schema version must be 3; got {model.scalar(0, 'I', 0)}")
    graphs = list(model.tables(2))
    if len(graphs) != 1:
        raise UnsupportedError(
            f"tflite: the file must hold one subgraph; got {len(graphs)}: convert the network without control flow and "
            "with one signature"
        )
    buffers = [_buffer(table) for table in model.tables(4)]
    kinds = _kinds(schema, model)
    graph = graphs[0]
    tensors = _tensors(schema, graph, buffers)
    inputs, outputs = (_indices(graph, slot, len(tensors), least=0) for slot in (1, 2))
    if not inputs or not outputs or len(set(inputs)) < len(inputs) or len(set(outputs)) < len(outputs):
        raise FormatError("tflite: the network must have inputs and outputs, each once")
    operators = tuple(_operator(table, kinds, len(tensors)) for table in graph.tables(3))
    return RawModel(tensors, operators, inputs, outputs)


def _buffer(table: Table) -> ByteRange | None:
    """Return where a buffer's bytes lie; None for an empty one."""
    if table.scalar(1, "Q", 0) > 1 or table.scalar(2, "Q", 0) > 1:
        raise UnsupportedError(
            "tflite: the file must hold its buffers inside the flatbuffer; got some that lie behind it"
        )
    return table.vector(0, "uint8")[1]


def _kinds(schema: Any, model: Table) -> list[str]:
    """Return the operators' names by their index in the file."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    kinds = []
    for table in model.tables(1):
        code = max(table.scalar(0, "b", 0), table.scalar(3, "i", 0))
        kinds.append(names.get(code, f"operator {code}"))
        if kinds[-1] == "CUSTOM":
            kinds[-1] = f"custom operator {table.text(1)[:64]!r}"
    return kinds


def _indices(table: Table, slot: int, count: int, least: int) -> tuple[int, ...]:
    values = tuple(int(i) for i in table.vector(slot, "int32")[0])
    bad = next((i for i in values if not least <= i < count), None)
    if bad is not None:
        raise FormatError(f"tflite: every tensor index must be below {count}; got {bad}")
    return values


def _operator(table: Table, kinds: list[str], tensors: int) -> RawOperator:
    index = table.scalar(0, "I", 0)
    if index >= len(kinds):
        raise FormatError(f"tflite: every operator index must be below {len(kinds)}; got {index}")
    if kinds[index].startswith("custom"):
        raise UnsupportedError(
            f"tflite: the network must have built-in operators only; got {kinds[index]}: convert it without custom ones"
        )
    inputs, outputs = _indices(table, 1, tensors, least=-1), _indices(table, 2, tensors, least=0)
    return RawOperator(kinds[index], inputs, outputs, table.table(4))


def _tensors(schema: Any, graph: Table, buffers: list[ByteRange | None]) -> tuple[IntegerTensor, ...]:
    """Return the tensors under names that are unique."""
    types = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
    made: list[IntegerTensor] = []
    seen: set[str] = set()
    for index, table in enumerate(graph.tables(0)):
        name = table.text(3)[:256] or f"tensor {index}"
        name = name if name not in seen else f"{name} #{index}"
        if name in seen:
            raise FormatError(f"tflite: tensor names must be unique; got {name!r} again")
        seen.add(name)
        made.append(_tensor(table, name, types.get(table.scalar(1, "b", 0), "unknown"), buffers))
    return tuple(made)


def _tensor(table: Table, name: str, kind: str, buffers: list[ByteRange | None]) -> IntegerTensor:
    if kind not in _DTYPES:
        hint = ": a float16 file; convert it to int8 with a representative data set" if kind == "FLOAT16" else ""
        raise UnsupportedError(f"tflite: tensor {name} must be {', '.join(_DTYPES)}; got {kind}{hint}")
    if table.table(6) is not None:
        raise UnsupportedError(f"tflite: tensor {name} must be dense; got a sparse one: convert without sparsity")
    dtype = _DTYPES[kind]
    shape = tuple(int(n) for n in table.vector(0, "int32")[0])
    if len(shape) > _MOST_AXES or min(shape, default=1) < 0 or math.prod(shape) > _MOST_ELEMENTS:
        raise FormatError(f"tflite: the shape of {name} must be up to {_MOST_AXES} sizes of 0 or more; got {shape[:9]}")
    index = table.scalar(2, "I", 0)
    if index >= len(buffers):
        raise FormatError(f"tflite: the buffer of {name} must be one of {len(buffers)}; got {index}")
    place = buffers[index]
    data: Array | None = None
    if place is not None and len(place):
        data = _data(table.file.content, name, dtype, shape, place)
    else:
        place = None
    quantisation, scale_at, zero_point_at = _quantisation(table.table(4), name, dtype, shape)
    return IntegerTensor(name, dtype, shape, quantisation, data, scale_at, zero_point_at, place)


def _data(content: bytes, name: str, dtype: str, shape: tuple[int, ...], place: ByteRange) -> Array:
    kind = np.dtype(dtype)
    if len(place) != math.prod(shape) * kind.itemsize:
        got = f"{len(place)} bytes for {dtype} of shape {shape}"
        raise FormatError(f"tflite: the buffer of {name} must hold its values; got {got}")
    stored = np.frombuffer(
        content, np.uint8 if dtype == "bool" else kind.newbyteorder("<"), math.prod(shape), place.start
    )
    values = (stored != 0) if dtype == "bool" else stored.astype(kind, copy=False)
    return values.reshape(shape)


def _quantisation(
    table: Table | None, name: str, dtype: str, shape: tuple[int, ...]
) -> tuple[Quantisation | None, ByteRange | None, ByteRange | None]:
    if table is None:
        return None, None, None
    scale, scale_at = table.vector(2, "float32")
    zero_point, zero_point_at = table.vector(3, "int64")
    if not scale.size:
        return None, None, None
    if table.scalar(4, "B", 0):
        raise UnsupportedError(f"tflite: tensor {name} must be quantised by scale and zero point; got another way")
    if dtype in ("float32", "bool"):
        return None, None, None
    sane = (scale >= LEAST_SCALE) & (scale <= MOST_SCALE)  # a NaN is neither
    if not sane.all():
        raise FormatError(
            f"tflite: every scale of {name} must be a number of 2^-126 to 2^30; got {scale[~sane][0]}: the file "
            "is damaged, or was written by a faulty tool"
        )
    if not zero_point.size:
        zero_point, zero_point_at = np.zeros(1, np.int64), None
    info = np.iinfo(dtype)
    inside = (zero_point >= info.min) & (zero_point <= info.max)
    if not inside.all():
        raise FormatError(f"tflite: every zero point of {name} must fit {dtype}; got {zero_point[~inside][0]}")
    if zero_point.size not in (1, scale.size):
        got = f"{zero_point.size} for {scale.size} scales"
        raise FormatError(f"tflite: {name} must have one zero point, or one a scale; got {got}")
    axis = table.scalar(6, "i", 0)
    if scale.size == 1:
        return Quantisation(scale, zero_point), scale_at, zero_point_at
    if not 0 <= axis < len(shape) or shape[axis] != scale.size:
        got = f"{scale.size} scales on axis {axis} of shape {shape}"
        raise FormatError(f"tflite: {name} must have one scale, or one a channel; got {got}")
    return Quantisation(scale, zero_point, axis), scale_at, zero_point_at
