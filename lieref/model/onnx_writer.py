"""Writing a network back to ONNX: the file it came from, with some tensors changed and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.errors import FormatError


def replace_tensors(proto: Any, changed: dict[str, Array]) -> Any:
    """Return a copy of a ModelProto in which the named initializers or constants hold new values.

    Names, graph, opset and metadata stay as they are.

    Raises
    ------
    FormatError
        If a name is not a constant tensor of the model, or a shape differs.
    """
    onnx = need("onnx", "app", "writing ONNX models")
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    holders = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            holders.setdefault(node.output[0], node.attribute[0].t)
    for name, value in changed.items():
        if name not in holders:
            raise FormatError(f"save: {name} must be a constant tensor of the model")
        holder = holders[name]
        if tuple(holder.dims) != value.shape:
            raise FormatError(f"save: tensor {name} must have shape {tuple(holder.dims)}; got {value.shape}")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(holder.data_type)
        stored = np.ascontiguousarray(value, dtype=np.dtype(dtype).newbyteorder("<"))
        for field in ("float_data", "double_data", "int32_data", "int64_data", "uint64_data"):
            holder.ClearField(field)
        holder.raw_data = stored.tobytes()
    return result


def encode_onnx(proto: Any) -> bytes:
    """Return a ModelProto as the bytes of a file, checked first.

    Raises
    ------
    FormatError
        If the ONNX checker refuses the model.
    """
    onnx = need("onnx", "app", "writing ONNX models")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise FormatError(f"save: the model must pass the ONNX checker; it says: {error}") from error
    return bytes(proto.SerializeToString())
