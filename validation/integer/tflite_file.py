"""Building small .tflite files, for layers that no public network has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64,
}


@dataclass
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    data: Any = None
    sparse: bool = False


@dataclass
class Operator:
    """`options` are fields by slot: a number with its flatbuffer type, one of "b", "B", "i", "f"."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_type: str = ""
    options: dict[int, tuple[str, Any]] = field(default_factory=dict)


def build(
    tensors: list[Tensor],
    operators: list[Operator],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    subgraphs: int = 1,
    custom: str = "",
) -> bytes:
    """Return the file's bytes."""
    b = flatbuffers.Builder(1024)
    buffers = [table(b, {})]
    graph_tensors = []
    for index, t in enumerate(tensors):
        place = 0
        if t.data is not None:
            raw = np.ascontiguousarray(t.data, np.dtype(t.dtype).newbyteorder("<")).tobytes()
            buffers.append(table(b, {0: ("o", raw_vector(b, raw))}))
            place = len(buffers) - 1
        fields = {1: ("b", TYPES[t.dtype]), 2: ("I", place)}
        fields[0] = ("o", vector(b, np.array(t.shape, np.int32)))
        fields[3] = ("o", b.CreateString(f"t{index}"))
        if t.scale is not None:
            scale = np.atleast_1d(np.asarray(t.scale, np.float32))
            zero_point = np.atleast_1d(np.asarray(t.zero_point, np.int64))
            scale_at, zero_at = vector(b, scale), vector(b, zero_point)
            fields[4] = ("o", table(b, {2: ("o", scale_at), 3: ("o", zero_at), 6: ("i", t.axis)}))
        if t.sparse:
            fields[6] = ("o", table(b, {}))
        graph_tensors.append(table(b, fields))
    kinds = list(dict.fromkeys(o.kind for o in operators))
    codes = []
    for kind in kinds:
        code = getattr(tflite.BuiltinOperator, kind)
        fields = {0: ("b", min(code, 127)), 2: ("i", 1), 3: ("i", code)}
        if custom:
            fields[1] = ("o", b.CreateString(custom))
        codes.append(table(b, fields))
    made = []
    for o in operators:
        fields = {0: ("I", kinds.index(o.kind))}
        fields[1] = ("o", vector(b, np.array(o.inputs, np.int32)))
        fields[2] = ("o", vector(b, np.array(o.outputs, np.int32)))
        if o.options_type:
            fields[3] = ("B", getattr(tflite.BuiltinOptions, o.options_type))
            fields[4] = ("o", table(b, o.options))
        made.append(table(b, fields))
    graph = {
        0: ("o", offsets(b, graph_tensors)),
        1: ("o", vector(b, np.array(inputs, np.int32))),
        2: ("o", vector(b, np.array(outputs, np.int32))),
        3: ("o", offsets(b, made)),
    }
    graphs = [table(b, graph) for _ in range(subgraphs)]
    model = {
        0: ("I", 3),
        1: ("o", offsets(b, codes)),
        2: ("o", offsets(b, graphs)),
        4: ("o", offsets(b, buffers)),
    }
    b.Finish(table(b, model), b"TFL3")
    return bytes(b.Output())


def table(b: Any, fields: dict[int, tuple[str, Any]]) -> Any:
    b.StartObject(max(fields, default=0) + 1)
    add = {
        "b": b.PrependInt8Slot, "B": b.PrependUint8Slot, "i": b.PrependInt32Slot, "I": b.PrependUint32Slot,
        "f": b.PrependFloat32Slot, "o": b.PrependUOffsetTRelativeSlot,
    }  # fmt: skip
    b.ForceDefaults(True)
    for slot, (kind, value) in fields.items():
        add[kind](slot, value, 0)
    b.ForceDefaults(False)
    return b.EndObject()


def vector(b: Any, values: Any) -> Any:
    return b.CreateNumpyVector(values)


def raw_vector(b: Any, raw: bytes) -> Any:
    b.StartVector(1, len(raw), 16)
    b.head = b.head - len(raw)
    b.Bytes[b.head : b.head + len(raw)] = raw
    return b.EndVector()


def offsets(b: Any, values: list[Any]) -> Any:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUOffsetTRelative(value)
    return b.EndVector()
