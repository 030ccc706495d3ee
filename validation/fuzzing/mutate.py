"""Damage to a file: of bytes, of numbers in headers, and of the structures that a reader believes."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto

INTEGERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
INTEGERS += (2**62, 2**63 - 1, -1, -2, -3, -128, -(2**31), -(2**63))
VALUES = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    10**30,
    0.5,
    -0.0,
    1e308,
    "",
    "x",
    "base",
    "lora",
    "\0",
    "9" * 50,
)
VALUES += ([], {}, [1], [None], {"a": 1}, [[[]]], ["conv", "conv"], "a" * 3000)


def damage(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes of a file after one to four changes; `other` is another file of the kind, for splices."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not result:
            break
        at, span = int(rng.integers(len(result))), int(rng.integers(1, 1 + min(64, len(result))))
        match int(rng.integers(9)):
            case 0:
                result[at] ^= 1 << int(rng.integers(8))
            case 1:
                result[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
            case 2:
                del result[at:]
            case 3:
                del result[at : at + span]
            case 4:
                result[at:at] = result[at : at + span] * int(rng.integers(1, 20))
            case 5 if other:
                start = int(rng.integers(len(other)))
                result[at : at + span] = other[start : start + span]
            case 6:
                result[at : at + span] = rng.bytes(span)
            case _:
                # A length or an offset of 1 to 8 bytes, either end first.
                size = int(rng.choice([1, 2, 4, 8]))
                number = int(rng.choice(np.array(INTEGERS, object))) % 2 ** (8 * size)
                result[at : at + size] = number.to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return bytes(result)


def alter(data: bytes, generator: random.Random) -> bytes:
    """Return the bytes after one to three small changes: `damage` for those who need a hundred thousand of them."""
    result = bytearray(data)
    for _ in range(generator.randrange(1, 4)):
        if not result:
            break
        at, span = generator.randrange(len(result)), generator.randrange(1, 17)
        match generator.randrange(5):
            case 0:
                result[at] ^= 1 << generator.randrange(8)
            case 1:
                result[at] = generator.randrange(256)
            case 2:
                del result[at : at + span]
            case 3:
                result[at:at] = result[at : at + span]
            case _:
                result[at : at + 4] = generator.choice((b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\0\0\0\0", b"9999"))
    return bytes(result)


# ONNX


def damage_model(data: bytes, rng: np.random.Generator) -> bytes:
    """Return an ONNX file after one or two changes of its fields."""
    model = ModelProto()
    model.ParseFromString(data)
    for _ in range(int(rng.integers(1, 3))):
        _damage_graph(model, rng)
    return bytes(model.SerializeToString())


def _damage_graph(model: ModelProto, rng: np.random.Generator) -> None:
    graph = model.graph
    nodes, tensors = list(graph.node), list(graph.initializer)
    node = nodes[int(rng.integers(len(nodes)))]
    tensor = tensors[int(rng.integers(len(tensors)))] if tensors else None
    names = [*(t.name for t in tensors), *(o for n in nodes for o in n.output), *(i.name for i in graph.input), ""]
    number = int(rng.choice(np.array(INTEGERS, object)))
    match int(rng.integers(14)):
        case 0 | 1 | 2 if node.attribute:
            _damage_attribute(node.attribute[int(rng.integers(len(node.attribute)))], number, rng)
        case 3 if node.input:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
        case 4 if node.input:
            del node.input[int(rng.integers(len(node.input)))]
        case 5:
            node.input.append(str(rng.choice(names)))
        case 6:
            node.op_type = nodes[int(rng.integers(len(nodes)))].op_type
        case 7 if tensor is not None and tensor.dims:
            tensor.dims[int(rng.integers(len(tensor.dims)))] = number
        case 8 if tensor is not None:
            # Another shape of as many bytes, which only the meaning of the tensor can refuse.
            dims = [int(d) for d in rng.permutation(list(tensor.dims))]
            del tensor.dims[:]
            tensor.dims.extend([*dims, 1] if rng.random() < 0.5 else dims)
        case 9 if tensor is not None and tensor.raw_data:
            values = np.frombuffer(tensor.raw_data, np.uint8).copy()
            wide = values[: len(values) // 8 * 8].view(np.int64)
            if tensor.data_type == TensorProto.INT64 and len(wide):
                wide[int(rng.integers(len(wide)))] = number
            else:
                values[int(rng.integers(len(values)))] = int(rng.integers(256))
            tensor.raw_data = values.tobytes()
        case 10:
            dims = graph.input[0].type.tensor_type.shape.dim
            if dims:
                dims[int(rng.integers(len(dims)))].dim_value = number
        case 11 if tensor is not None:
            # Stored elsewhere, inside the folder or not, or in another type.
            if rng.random() < 0.5:
                tensor.data_type = int(rng.integers(0, 25))
            else:
                tensor.data_location = TensorProto.EXTERNAL
                places = ["net.onnx", "../net.onnx", "/etc/passwd", "", "nowhere", "x\0y"]
                tensor.external_data.add(key="location", value=str(rng.choice(places)))
                tensor.external_data.add(key=str(rng.choice(["offset", "length"])), value=str(number))
        case 12:
            model.opset_import[0].version = int(rng.choice([0, 1, 7, 11, 12, 13, 15, 18, 21, 22, number % 2**31]))
        case _:
            graph.node.insert(int(rng.integers(len(nodes) + 1)), copy.deepcopy(node))


def _damage_attribute(attribute: AttributeProto, number: int, rng: np.random.Generator) -> None:
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = number
        case AttributeProto.INTS if attribute.ints:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = number
        case AttributeProto.INTS:
            attribute.ints.append(number)
        case AttributeProto.FLOAT:
            attribute.f = float(rng.choice([0.0, -1.0, np.nan, np.inf, 1e30, 1e-40]))
        case AttributeProto.STRING:
            attribute.s = bytes(rng.choice([b"", b"SAME_UPPER", b"VALID", b"\xff\xfe", b"x" * 1000]))
        case _:
            attribute.type = int(rng.integers(0, 15))
    if rng.random() < 0.1:
        attribute.name = str(rng.choice(["axis", "axes", "pads", "kernel_shape", "group", "perm", "to", "value"]))


# NumPy archives


def damage_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """Return an archive whose arrays have damaged headers; its own headers and checksums are right."""
    buffer = io.BytesIO()
    method = int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, _damage_npy(source.read(name), rng) if rng.random() < 0.7 else source.read(name))
    return buffer.getvalue()


def _damage_npy(data: bytes, rng: np.random.Generator) -> bytes:
    length = int.from_bytes(data[8:10], "little")
    header, values = data[10 : 10 + length].decode(), data[10 + length :]
    digits = "9" * int(rng.integers(1, 5000))
    descr = rng.choice(["|O", "<f8", ">i2", "|S9", "<U4", "f2", "?", "3i4", "i0", "V8"])
    edits = (
        (r"\d+", digits), (r"\d+", f"-{digits[:3]}"), (r"\d+", "0"), (r"\d+,", "1, " * int(rng.integers(1, 70))),
        (r"'descr': '[^']*'", f"'descr': '{descr}'"),
        (r"False", str(rng.choice(["True", "None", "0", "[]"]))), (r"\(", "[" * int(rng.integers(1, 900))),
        (r"\{.*\}", str(rng.choice(["{}", "[]", "1", "", "(" * 3000, "-" * 9000, "{'descr': 1}", "'\\d'"]))),
        (r"'shape'", "'descr'"), (r"\(.*\)", f"({digits}, {digits})"), (r"\(.*\)", f"(0, {2**62}, {2**62})"),
    )  # fmt: skip
    pattern, text = edits[int(rng.integers(len(edits)))]
    header = re.sub(pattern, lambda _: text, header, count=1)
    if rng.random() < 0.3:
        values = values[: int(rng.integers(len(values) + 1))] * int(rng.integers(1, 3))
    return data[:8] + (len(header) % 65536).to_bytes(2, "little") + header.encode() + values


# JSON


def damage_json(value: Any, rng: np.random.Generator) -> Any:
    """Return plain JSON values with one to three of them replaced, removed or renamed."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(value))
        if not places:
            return value
        parent, key = places[int(rng.integers(len(places)))]
        # A copy: a list that came in twice could be put into itself.
        new = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        match int(rng.integers(5)):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[str(rng.choice(["", "x", f"{key}x", "r", "dtype", "shape", "__metadata__"]))] = parent.pop(key)
            case 2 if isinstance(parent[key], int):
                parent[key] = int(rng.choice(np.array(INTEGERS, object)))
            case _:
                parent[key] = new
    return value


def _places(value: Any) -> Any:
    """Return every container with every key or index in it."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def damage_tensors(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a safetensors file whose header has damaged values; its length is right."""
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(damage_json(json.loads(data[8 : 8 + length]), rng)).encode()
    if rng.random() < 0.1:
        text = re.sub(rb"\d+", b"9" * int(rng.integers(1, 5000)), text, count=1)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


# Images and text


def damage_png(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a PNG with damaged chunks whose checksums are right."""
    position, chunks = 8, []
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    chosen = int(rng.integers(len(chunks)))
    kind, body = chunks[chosen]
    match int(rng.integers(4)):
        case 0:
            kind = bytes(rng.choice([b"IDAT", b"tRNS", b"PLTE", b"eXIf", b"acTL", b"zTXt", b"iCCP", b"gAMA"]))
        case 1:
            chunks.insert(chosen, (kind, body))
        case _:
            body = damage(body, data, rng)
    chunks[chosen] = kind, body
    parts = [len(b).to_bytes(4, "big") + k + b + zlib.crc32(k + b).to_bytes(4, "big") for k, b in chunks]
    return data[:8] + b"".join(parts)


def damage_tiff(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a little-endian TIFF with damaged entries of its first directory."""
    result = bytearray(data)
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    for _ in range(int(rng.integers(1, 4))):
        at = start + 2 + 12 * int(rng.integers(max(count, 1)))
        offset, form = [(0, "<H"), (2, "<H"), (4, "<I"), (8, "<I")][int(rng.integers(4))]
        number = int(rng.choice(np.array(INTEGERS, object))) % 2 ** (16 if form == "<H" else 32)
        if form == "<H" and rng.random() < 0.5:
            number = int(rng.choice([258, 259, 262, 273, 274, 277, 278, 279, 322, 339, 34665, 1, 3, 4, 5, 12]))
        if at + offset + 4 <= len(result):
            struct.pack_into(form, result, at + offset, number)
    return bytes(result)


def damage_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a table with damaged cells and lines."""
    lines = data.decode("utf-8-sig").split("\n")
    cells = (
        "",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "9" * 400,
        "9" * 6000,
        '"',
        '""',
        '"a\n',
        "\0",
        "1_0",
        "cat",
        "label",
        ",",
    )
    cells += ("\ufeff", "\u0661", "1e-400", "0x10", "1;2", "a" * 140000, "=1+1", "\r", "--", "1" + "0" * 25)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(lines)))
        match int(rng.integers(5)):
            case 0:
                lines.insert(at, lines[at])
            case 1:
                lines[at] = ""
            case 2:
                lines[at] = lines[at] + "," + lines[at]
            case _:
                row = lines[at].split(",")
                row[int(rng.integers(len(row)))] = str(cells[int(rng.integers(len(cells)))])
                lines[at] = ",".join(row)
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    return "\n".join(lines).encode(encoding, "replace")
