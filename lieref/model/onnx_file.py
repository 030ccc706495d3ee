"""The file a network came from, kept for writing it back, without the tensors that the network holds anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lieref._types import Array


class OnnxFile:
    """A ModelProto in which tensors that are in memory as arrays are left out until it is wanted whole.

    Parameters
    ----------
    proto : onnx.ModelProto
        Copied, and not changed.
    tensors : mapping of str to array
        Initializers by name; nobody may write to them. One whose bytes are those of the file is shared.
    """

    def __init__(self, proto: Any, tensors: Mapping[str, Array]) -> None:
        copy = type(proto)()
        copy.CopyFrom(proto)
        self._shared: dict[str, Array] = {}
        for holder in copy.graph.initializer:
            array = tensors.get(holder.name)
            if array is not None and holder.HasField("raw_data") and _bytes_of(array) == holder.raw_data:
                self._shared[holder.name] = array
                holder.ClearField("raw_data")
        # A message keeps the memory of what has been cleared, a copy of it never had it.
        self._rest = type(proto)()
        self._rest.CopyFrom(copy)

    def proto(self) -> Any:
        """Return the ModelProto, a new copy."""
        whole = type(self._rest)()
        whole.CopyFrom(self._rest)
        for holder in whole.graph.initializer:
            if holder.name in self._shared:
                holder.raw_data = _bytes_of(self._shared[holder.name])
        return whole


def _bytes_of(array: Array) -> bytes:
    """Return the numbers as a file holds them: little-endian, row by row."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() if array.dtype.kind in "fiu" else b""
