"""The constant tensors of a network's file, read with NumPy and the standard library alone: a device has no onnx.

Of an ONNX file these are the initializers and what Constant nodes hold, by the names that the nodes read them by; those
of a sub-graph come under ``NODE.ATTRIBUTE/NAME``, NODE being the place of the node. A ``.safetensors`` file is read by
`lieref.adapter.tensor_file`. Nothing else of the file is looked at, so that its weights have a digest of their own,
which stays the same when another program saves the file with other metadata or other names of nodes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array
from lieref._wire import BYTES, VARINT, fields, packed_varints
from lieref.adapter.fields import MOST_AXES, shown
from lieref.adapter.tensor_file import decode_tensors
from lieref.errors import FormatError, UnsupportedError

MAX_FILE_BYTES = 2**31
"""Cap on a file: protobuf holds no more."""
MAX_DEPTH = 16
"""Cap on sub-graphs in sub-graphs; exporters nest two or three."""

DTYPES = {
    number: np.dtype(code)
    for number, code in {
        1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4",
        13: "<u8",
    }.items()
}  # fmt: skip
"""NumPy's types by the numbers of ONNX's; NumPy has none for its others (bfloat16, eight and four bits, complex)."""
_STRING = 8

# Fields by number, from onnx.proto.
_GRAPH, _FUNCTIONS = 7, 25
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 2, 4, 5
_ATTRIBUTE = {"name": 1, "f": 2, "i": 3, "t": 5, "g": 6, "floats": 7, "ints": 8, "graphs": 11, "sparse_tensor": 22}
_TENSOR = {"dims": 1, "data_type": 2, "segment": 3, "float_data": 4, "int32_data": 5, "int64_data": 7, "name": 8,
           "raw_data": 9, "double_data": 10, "uint64_data": 11, "external_data": 13, "data_location": 14}  # fmt: skip

_TYPED = {
    "float_data": ({1}, "<f4"), "double_data": ({11}, "<f8"),
    "int32_data": ({2, 3, 4, 5, 6, 9, 10}, ""), "int64_data": ({7}, ""), "uint64_data": ({12, 13}, ""),
}  # fmt: skip
"""Fields of numbers, the types each holds, and NumPy's type of one where they are no varints."""


def read_weights(path: str | Path) -> dict[str, Array]:
    """Return the constant tensors of an ONNX or a safetensors file by name; arrays that cannot be written to.

    Parameters
    ----------
    path : str or Path
        A name that ends in ``.safetensors`` says the one format, any other the other.

    Returns
    -------
    dict of str to array
        Booleans, integers, float16, float32 or float64 in native byte order. Tensors of strings are left out: they are
        names of classes.

    Raises
    ------
    FormatError
        If the file is missing, over `MAX_FILE_BYTES`, damaged, keeps tensors in other files, or has two of one name.
    UnsupportedError
        If it holds sparse tensors, functions of its own, or a tensor of a type that NumPy lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"read_weights: `path` must be a file; there is none at {path}")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise FormatError(f"read_weights: `path` must have at most {MAX_FILE_BYTES} bytes; got {size}")
    return decode_weights(path.read_bytes(), str(path))


def decode_weights(data: bytes, what: str) -> dict[str, Array]:
    """Return what `read_weights` does, from the bytes of a file; `what` is its name. Raises as `read_weights` does."""
    if what.endswith(".safetensors"):
        return decode_tensors(data, what=what)[0]
    graphs = []
    for number, kind, value in fields(memoryview(data), what):
        if number == _GRAPH and kind == BYTES:
            graphs.append(value)
        if number == _FUNCTIONS:
            raise UnsupportedError(f"read_weights: {what} must hold no functions of its own; it does")
    if len(graphs) != 1:
        raise FormatError(f"read_weights: `{what}` must be an ONNX file with one graph; got {len(graphs)}")
    found: dict[str, Array] = {}
    for name, array in _tensors(_bytes(graphs[0], what), "", what, MAX_DEPTH):
        if name in found:
            raise FormatError(f"read_weights: `{what}` must have tensors of different names; got {shown(name)} twice")
        found[name] = array
    return found


def weights_digest(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256, in hexadecimal, of named tensors: names, types, shapes and numbers, in any order given.

    Each tensor, sorted by the UTF-8 of its name, gives four parts: the name; NumPy's name of its type, such as
    ``float32``; its extents in decimal, joined by commas; its bytes, little-endian, row-major. Each part comes after
    its length as eight bytes, little-endian, so that no two sets give the same bytes.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=_utf8):
        array = np.asarray(tensors[name])
        raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        extents = ",".join(map(str, array.shape))
        for part in (_utf8(name), array.dtype.name.encode(), extents.encode(), raw.data):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _tensors(graph: memoryview, place: str, what: str, depth: int) -> Iterator[tuple[str, Array]]:
    """Yield the named tensors of a GraphProto and of those that its nodes hold."""
    if not depth:
        raise FormatError(f"read_weights: `{what}` must nest at most {MAX_DEPTH} graphs; it nests more")
    index = 0
    for number, _, value in fields(graph, what):
        if number == _SPARSE:
            raise UnsupportedError(f"read_weights: {what} must hold no sparse tensors; it does")
        if number == _INITIALIZER:
            name, array = _tensor(_bytes(value, what), what)
            if array is not None:
                yield place + name, array
        elif number == _NODE:
            yield from _of_node(_bytes(value, what), f"{place}{index}", place, what, depth)
            index += 1


def _of_node(node: memoryview, own: str, place: str, what: str, depth: int) -> Iterator[tuple[str, Array]]:
    """Yield what a Constant holds, by the name of its output, and the tensors of a node's sub-graphs."""
    op, outputs, attributes = "", [], []
    for number, _, value in fields(node, what):
        if number == _NODE_OP:
            op = _text(value, what)
        elif number == _NODE_OUTPUT:
            outputs.append(_text(value, what))
        elif number == _NODE_ATTRIBUTE:
            attributes.append(_bytes(value, what))
    for attribute in attributes:
        content: dict[int, list[tuple[int, int | memoryview]]] = {}
        for number, kind, value in fields(attribute, what):
            content.setdefault(number, []).append((kind, value))
        label = _text(content[1][-1][1], what) if 1 in content else ""
        graphs = [value for key in ("g", "graphs") for _, value in content.get(_ATTRIBUTE[key], ())]
        for i, graph in enumerate(graphs):
            inner = f"{own}.{label}{i or ''}/"
            yield from _tensors(_bytes(graph, what), inner, what, depth - 1)
        if op == "Constant" and len(outputs) == 1:
            array = _constant(label, content, what)
            if array is not None:
                yield place + outputs[0], array


def _constant(label: str, content: dict[int, list[tuple[int, int | memoryview]]], what: str) -> Array | None:
    """Return the array of an attribute of a Constant, None where it holds no numbers."""
    if _ATTRIBUTE["sparse_tensor"] in content:
        raise UnsupportedError(f"read_weights: {what} must hold no sparse tensors; it does")
    if label == "value" and _ATTRIBUTE["t"] in content:
        if len(content[_ATTRIBUTE["t"]]) > 1:
            raise FormatError(f"read_weights: `{what}` must say the tensor of a constant once; got it twice")
        return _tensor(_bytes(content[_ATTRIBUTE["t"]][-1][1], what), what)[1]
    if label in ("value_float", "value_floats"):
        key = _ATTRIBUTE["f" if label == "value_float" else "floats"]
        data = b"".join(bytes(_bytes(value, what)) for _, value in content.get(key, ()))
        if len(data) % 4:
            raise FormatError(f"read_weights: `{what}` must hold floats of four bytes; got {len(data)} bytes")
        floats = np.frombuffer(data, "<f4")
        return floats.reshape(()) if label == "value_float" and floats.size == 1 else floats
    if label in ("value_int", "value_ints"):
        key = _ATTRIBUTE["i" if label == "value_int" else "ints"]
        integers = _varints(content.get(key, []), MAX_FILE_BYTES, what).view(np.int64)
        return integers.reshape(()) if label == "value_int" and integers.size == 1 else integers
    return None


def _tensor(message: memoryview, what: str) -> tuple[str, Array | None]:
    """Return name and array of a TensorProto, None for one of strings."""
    names = {number: name for name, number in _TENSOR.items()}
    content: dict[str, list[tuple[int, int | memoryview]]] = {}
    for number, kind, value in fields(message, what):
        if number in names:
            content.setdefault(names[number], []).append((kind, value))
    for single in ("data_type", "name", "raw_data", "data_location"):
        if len(content.get(single, ())) > 1:
            raise FormatError(f"read_weights: `{what}` must say {single} of a tensor once; got it twice")
    name = _text(content["name"][0][1], what) if "name" in content else ""
    where = f"{what}: {shown(name)}"
    kind_of = _integer(content["data_type"][0][1], where) if "data_type" in content else 0
    if "external_data" in content or ("data_location" in content and content["data_location"][0][1] != 0):
        raise FormatError(
            f"read_weights: `{where}` must be stored in the file itself; save the network as one file "
            "(torch.onnx.export does with external_data=False)"
        )
    if kind_of == _STRING:
        return name, None
    if kind_of not in DTYPES or "segment" in content:
        raise UnsupportedError(
            f"read_weights: `{where}` must be of booleans, integers, float16, float32 or float64, in one piece; got "
            f"ONNX's type {kind_of}"
        )
    shape = tuple(int(extent) for extent in _varints(content.get("dims", []), MOST_AXES, where).view(np.int64))
    size = math.prod(shape)
    if min(shape, default=0) < 0 or size > MAX_FILE_BYTES:
        raise FormatError(f"read_weights: `{where}` must have a shape of extents from 0; got {shown(shape)}")
    holders = [key for key in content if key in ("raw_data", *_TYPED)]
    if len(holders) > 1:
        raise FormatError(f"read_weights: `{where}` must hold its numbers once; got {' and '.join(holders)}")
    array = _numbers(holders[0] if holders else "raw_data", content, kind_of, size, where)
    try:
        return name, array.reshape(shape)
    except ValueError:  # only an empty tensor gets here, with an extent that NumPy cannot hold
        raise FormatError(
            f"read_weights: `{where}` must have a shape that NumPy can hold; got {shown(shape)}"
        ) from None


def _numbers(
    holder: str, content: dict[str, list[tuple[int, int | memoryview]]], kind_of: int, size: int, where: str
) -> Array:
    """Return the numbers of a tensor, flat, from the field that holds them."""
    dtype, values = DTYPES[kind_of], content.get(holder, [])
    if holder == "raw_data":
        found: Array = _from_bytes([_bytes(value, where) for _, value in values], dtype, where)
    elif kind_of not in _TYPED[holder][0]:
        raise FormatError(f"read_weights: `{where}` must not hold numbers of type {kind_of} in {holder}; it does")
    elif _TYPED[holder][1]:
        found = _from_bytes([_bytes(value, where) for _, value in values], dtype, where)
    else:
        found = _narrow(_varints(values, size, where), dtype, where)
    if found.size != size:
        raise FormatError(f"read_weights: `{where}` must hold {size} numbers; got {found.size}")
    if dtype.kind == "b" and found.size and found.view(np.uint8).max() > 1:
        raise FormatError(f"read_weights: `{where}` must hold booleans of 0 or 1; got another number")
    found = found.astype(dtype.newbyteorder("="), copy=False)
    found.flags.writeable = False
    return found


def _from_bytes(parts: list[memoryview], dtype: np.dtype[Any], where: str) -> Array:
    data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
    if len(data) % dtype.itemsize:
        raise FormatError(f"read_weights: `{where}` must hold numbers of {dtype.itemsize} bytes; got {len(data)} bytes")
    return np.frombuffer(data, dtype)


def _narrow(values: Array, dtype: np.dtype[Any], where: str) -> Array:
    """Return varints as numbers of a type: a half by its bits, a negative number as 64 bits of its complement."""
    kept: Array
    if dtype.kind == "f":
        kept = values.astype(np.uint16)
        fits = values == kept
    else:
        wide = values if dtype.kind == "u" else values.view(np.int64)
        kept = (wide.astype(np.uint8) if dtype.kind == "b" else wide.astype(dtype)).reshape(-1)
        fits = wide == kept
    if not fits.all():
        raise FormatError(f"read_weights: `{where}` must hold numbers of {dtype}; got {values[~fits][0]}")
    return kept.view(dtype)


def _varints(values: list[tuple[int, int | memoryview]], most: int, where: str) -> Array:
    """Return integers that come packed, one by one, or both."""
    parts, left = [], most
    for kind, value in values:
        if kind not in (VARINT, BYTES):
            raise FormatError(f"read_weights: `{where}` must hold integers as varints; got a field of kind {kind}")
        part = np.array([value], np.uint64) if isinstance(value, int) else packed_varints(value, left, where)
        left -= len(part)
        if left < 0:
            raise FormatError(f"read_weights: `{where}` must hold at most {most} integers; got more")
        parts.append(part)
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint64), *parts])


def _bytes(value: int | memoryview, what: str) -> memoryview:
    if isinstance(value, int):
        raise FormatError(f"read_weights: `{what}` must be an ONNX file; got a number in place of a message")
    return value


def _integer(value: int | memoryview, what: str) -> int:
    if not isinstance(value, int):
        raise FormatError(f"read_weights: `{what}` must be an ONNX file; got bytes in place of a number")
    return value


def _text(value: int | memoryview, what: str) -> str:
    try:
        return bytes(_bytes(value, what)).decode()
    except UnicodeDecodeError:
        raise FormatError(f"read_weights: `{what}` must be an ONNX file; a name in it is no UTF-8 text") from None
