"""Reading ONNX files into a `Graph`; every refusal happens here, before anything runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array, AttrValue
from lieref.errors import FormatError, UnsupportedError
from lieref.model.graph import Graph, Made, Node, TensorInfo

OPSETS = range(7, 29)
"""Below 7 operators broadcast by attributes; above 28 none is known yet."""
BOUNDED = frozenset({"Clip", "Expand", "Max", "Min", "Pad", "ScatterElements", "ScatterND", "Trilu", "Where"})
"""Operators that read numbers that may be infinite by intent: bounds, padding values, masks."""

MAX_FILE_BYTES = 2**31  # protobuf cannot hold more; also stops a mistaken path to a huge file from filling memory


def read_onnx(path: str | Path) -> tuple[Graph, Any, str]:
    """Read an ONNX file.

    Parameters
    ----------
    path : str or Path
        A ``.onnx`` file, opsets 7 to 28. Tensors stored outside the file must lie in the file's own folder.

    Returns
    -------
    graph : Graph
        Constants are initializers, Identity and Dropout remain nodes.
    proto : onnx.ModelProto
        The model as read, external tensors included; the writer starts from it.
    digest : str
        SHA-256 of the file, in hexadecimal; of the file followed by its external tensors where it has any.

    Raises
    ------
    FormatError
        If the file is missing, truncated, not ONNX or not valid, or names data outside its folder.
    UnsupportedError
        If it uses an operator, an attribute, an opset or a data type lieref does not have; the message names the node.
    MissingExtraError
        If onnx is not installed.
    """
    path = Path(path)
    proto, digest = _load_proto(path)
    return graph_from_proto(proto, str(path)), proto, digest


def graph_from_proto(proto: Any, source: str) -> Graph:
    """Return the graph of a ModelProto whose tensors are all inside it; `source` is named in errors."""
    onnx = need("onnx", "app", "reading ONNX models")
    opset = _opset(proto, source)
    if proto.functions:
        raise UnsupportedError(f"load: {source} must hold no local functions; got {proto.functions[0].name}")
    initializers: dict[str, Array] = {}
    for tensor in proto.graph.initializer:
        initializers[tensor.name] = _to_array(onnx, tensor, source)
    if proto.graph.sparse_initializer:
        raise UnsupportedError(f"load: {source} must hold no sparse initializers")
    nodes: list[Node] = []
    made: dict[str, Made] = {}
    for name, item in zip(node_names(proto), proto.graph.node, strict=True):
        if item.domain not in ("", "ai.onnx"):
            raise UnsupportedError(
                f"load: node {name} of {source} must be a standard ONNX operator; got {item.domain}.{item.op_type}"
            )
        attrs = {a.name: _attribute(onnx, a, name, source) for a in item.attribute}
        if item.op_type == "Constant":
            initializers[item.output[0]] = _constant(attrs, name, source)
            made[item.output[0]] = Made(initializers[item.output[0]].dtype.name)
            continue
        nodes.append(Node(name, item.op_type, tuple(item.input), tuple(item.output), attrs))
    nodes = _checked(nodes, opset, {value.name for value in proto.graph.output}, source)
    inputs = tuple(_tensor_info(onnx, value) for value in proto.graph.input if value.name not in initializers)
    if len(inputs) != 1:
        raise UnsupportedError(f"load: {source} must have one input; got {len(inputs)}: {[i.name for i in inputs]}")
    if not inputs[0].shape:
        raise UnsupportedError(
            f"load: the input {inputs[0].name} of {source} must have an axis of samples; got shape ()"
        )
    graph = Graph(
        nodes=tuple(_sorted(nodes, {i.name for i in inputs} | set(initializers), source)),
        inputs=inputs,
        outputs=tuple(value.name for value in proto.graph.output),
        initializers=initializers,
        opset=opset,
        made=made,
    )
    for name, value in initializers.items():
        if (
            value.dtype.kind == "f"
            and not np.isfinite(value).all()
            and (_is_parameter(graph, name) or np.isnan(value).any())
        ):
            raise FormatError(f"load: tensor {name} of {source} must be finite; it holds a NaN or an infinity")
    return graph


def node_names(proto: Any) -> list[str]:
    """Return a name for each node of a ModelProto, its own where it has one, all different."""
    names: dict[str, None] = {}
    for index, item in enumerate(proto.graph.node):
        name = item.name or f"{item.op_type}_{index}"
        while name in names:
            name += "_"
        names[name] = None
    return list(names)


def _load_proto(path: Path) -> tuple[Any, str]:
    onnx = need("onnx", "app", "reading ONNX models")
    if not path.is_file():
        raise FormatError(f"load: {path} must be an ONNX file; there is no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise FormatError(f"load: {path} must be under 2 GiB; got {path.stat().st_size} bytes")
    data = path.read_bytes()
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # protobuf raises classes of its own that differ between its implementations
        raise FormatError(
            f"load: {path} must be an ONNX file; it cannot be parsed (truncated or of another kind)"
        ) from error
    _check_names(proto, path)
    if not proto.graph.node or not proto.graph.input or not proto.graph.output:
        raise FormatError(f"load: {path} must be an ONNX file; it holds no graph from an input to an output")
    digest = hashlib.sha256(data)
    for raw in _load_external(onnx, proto, path):
        digest.update(raw)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines()[0]
        raise FormatError(f"load: {path} must be a valid ONNX model; the checker says: {first}") from error
    return proto, digest.hexdigest()


def _check_names(proto: Any, path: Path) -> None:
    """Raise `FormatError` if a name is no text: protobuf decodes one only when it is read."""
    graph = proto.graph
    try:
        names = [
            item.name for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
        ]
        for node in graph.node:
            names += [node.op_type, node.domain, *node.input, *node.output, *(each.name for each in node.attribute)]
        text = all(isinstance(name, str) for name in names)  # protobuf hands out bytes, or raises, where it is none
    except UnicodeDecodeError:
        text = False
    if not text:
        raise FormatError(f"load: {path} must be a valid ONNX model; a name in it is no UTF-8 text")


def _load_external(onnx: Any, proto: Any, path: Path) -> list[bytes]:
    """Bring tensors stored beside the file into the proto and return their bytes; refuse any other folder."""
    loaded: list[bytes] = []
    sizes: dict[Path, int] = {}
    total = 0
    folder = path.parent.resolve()
    tensors = list(proto.graph.initializer) + [a.t for n in proto.graph.node for a in n.attribute if a.HasField("t")]
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        fields = {entry.key: entry.value for entry in tensor.external_data}
        location = fields.get("location", "")
        # No file system has a NUL in a name.
        target = folder if "\0" in location else (folder / location).resolve()
        if not location or target == folder or not target.is_relative_to(folder):
            raise FormatError(
                f"load: tensor {tensor.name} of {path} must be stored in the model's own folder; got {location!r}"
            )
        if not target.is_file():
            raise FormatError(f"load: tensor {tensor.name} of {path} must be in {location}; there is no such file")
        try:
            offset = int(fields.get("offset", "0"))
            length = int(fields.get("length", str(max(target.stat().st_size - offset, 0))))
        except ValueError as error:
            raise FormatError(f"load: tensor {tensor.name} of {path} must have an integer offset and length") from error
        if offset < 0 or length < 0 or offset + length > target.stat().st_size:
            raise FormatError(f"load: tensor {tensor.name} of {path} must lie inside {location}; the file is too short")
        sizes[target] = target.stat().st_size
        total += length
        if total > 2 * sum(sizes.values()):
            raise FormatError(f"load: the tensors of {path} must not take the same bytes of {location} again and again")
        with target.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        loaded.append(tensor.raw_data)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return loaded


def _opset(proto: Any, source: str) -> int:
    versions = [int(o.version) for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or versions[0] not in OPSETS:
        got = versions[0] if versions else "none"
        raise UnsupportedError(f"load: {source} must use opset {OPSETS[0]} to {OPSETS[-1]}; got {got}")
    return versions[0]


def _to_array(onnx: Any, tensor: Any, source: str) -> Array:
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # a wrong byte count, an unknown type: onnx raises several classes
        raise FormatError(f"load: tensor {tensor.name} of {source} must be readable; {error}") from error
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise UnsupportedError(f"load: tensor {tensor.name} of {source} must be numeric; got {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="))


def _attribute(onnx: Any, attribute: Any, node: str, source: str) -> AttrValue:
    kind = onnx.AttributeProto
    if attribute.type in (kind.GRAPH, kind.GRAPHS):
        raise UnsupportedError(f"load: node {node} of {source} must hold no sub-graph; got attribute {attribute.name}")
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == kind.TENSOR:
        return _to_array(onnx, value, source)
    if attribute.type == kind.STRING:
        try:
            return str(value.decode())
        except UnicodeDecodeError as error:
            raise FormatError(f"load: attribute {attribute.name} of node {node} of {source} must be text") from error
    if attribute.type in (kind.INTS, kind.FLOATS):
        return tuple(value)
    if attribute.type in (kind.INT, kind.FLOAT):
        result: int | float = value
        return result
    raise UnsupportedError(
        f"load: attribute {attribute.name} of node {node} of {source} must be a number, text or tensor"
    )


def _constant(attrs: dict[str, AttrValue], node: str, source: str) -> Array:
    if "value" in attrs:
        return np.asarray(attrs["value"])
    for key, dtype in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if key in attrs:
            return np.asarray(attrs[key], dtype)
    raise UnsupportedError(f"load: node {node} of {source} must hold a numeric constant; got {sorted(attrs)}")


def _checked(nodes: list[Node], opset: int, outputs: set[str], source: str) -> list[Node]:
    """Return the nodes with attributes in their meaning at this opset; refuse what lieref cannot run."""
    from lieref.op.registry import OPERATORS, check_attributes, check_inputs, resolve_attributes, supported

    read = outputs.union(*(node.inputs for node in nodes))
    checked = []
    for node in nodes:
        if node.op == "Split":  # `simplify` makes it slices; onnx.checker has seen its attributes
            checked.append(node)
            continue
        if not supported(node.op):
            raise UnsupportedError(f"load: operator {node.op} (node {node.name} of {source}) is not one lieref has")
        check_inputs(node.op, node.inputs, node.name)
        check_attributes(node.op, node.attrs, node.name)
        extra = [name for name in node.outputs[OPERATORS[node.op].outputs :] if name in read and name]
        if extra:
            raise UnsupportedError(
                f"load: output {extra[0]} of {node.op} (node {node.name} of {source}) is not computed"
            )
        attrs = resolve_attributes(node.op, node.attrs, opset)
        checked += _one_output_each(replace(node, attrs=attrs), OPERATORS[node.op].outputs, read)
    return checked


def _one_output_each(node: Node, count: int, read: set[str]) -> list[Node]:
    """Return a node for each output that is read, at least one; each computes its own."""
    if count == 1:
        return [replace(node, outputs=node.outputs[:1])]
    places = [place for place, name in enumerate(node.outputs) if name and name in read] or [0]
    return [
        replace(
            node,
            name=node.name if place == places[0] else f"{node.name}.{place}",
            outputs=node.outputs[place : place + 1],
            attrs={**node.attrs, "output": place},
        )
        for place in places
    ]


def _tensor_info(onnx: Any, value: Any) -> TensorInfo:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError as error:
        raise FormatError(f"load: input {value.name} must be of an ONNX data type; got number {error}") from error
    return TensorInfo(value.name, shape, dtype.name)


def _is_parameter(graph: Graph, name: str) -> bool:
    """Tell whether a tensor is a weight (bounds, padding values and masks may be infinite by intent).

    What is added to scores, minus infinity for those that do not count, is a mask.
    """
    mask = graph.initializers[name].max() < np.inf
    return all(node.op not in BOUNDED and not (mask and node.op == "Add") for node in graph.consumers(name))


def _sorted(nodes: list[Node], known: set[str], source: str) -> list[Node]:
    """Return the nodes in an order in which each comes after what it reads, as near to the file's order as can be."""
    waiting, ordered, ready = list(nodes), [], set(known) | {""}
    while waiting:
        rest = []
        for node in waiting:
            if ready.issuperset(node.inputs):
                ordered.append(node)
                ready.update(node.outputs)
            else:
                rest.append(node)
        if len(rest) == len(waiting):
            missing = sorted(set(rest[0].inputs) - ready)
            raise FormatError(f"load: node {rest[0].name} of {source} must read tensors that exist; got {missing}")
        waiting = rest
    return ordered
