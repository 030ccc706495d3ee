"""Reading ONNX files into a `Graph`; every refusal happens here, before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lieref._check import need
from lieref._text import near_path
from lieref._types import Array, AttrValue
from lieref.errors import FormatError, UnsupportedError
from lieref.model.checked import checked_nodes
from lieref.model.graph import Branch, Graph, Made, Node, TensorInfo
from lieref.model.loops import unroll_loops
from lieref.model.mask_inputs import ids_among, mask_nodes
from lieref.model.ml_operators import DOMAIN, labels_of, standard_nodes
from lieref.model.packing import bound, packed

MASKED = frozenset({
    "Add", "Attention", "Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that add a mask to scores, or bring it into its shape."""

OPSETS = range(7, 29)
"""Below 7 operators broadcast by attributes; above 28 none is known yet."""
BOUNDED = frozenset({"Clip", "Expand", "Max", "Min", "Pad", "ScatterElements", "ScatterND", "Trilu", "Where"})
"""Operators that read numbers that may be infinite by intent: bounds, padding values, masks."""

KNOWN = "of booleans, integers, float16, float32 or float64"

MAX_FILE_BYTES = 2**31  # protobuf cannot hold more; also stops a mistaken path to a huge file from filling memory


def read_onnx(
    path: str | Path,
    padding: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    derive: bool = True,
) -> tuple[Graph, Any, str]:
    """Read an ONNX file.

    Parameters
    ----------
    path : str or Path
        A ``.onnx`` file, opsets 7 to 28. Tensors stored outside the file must lie in the file's own folder.
    padding : int, optional
        Id that an input attention_mask leaves out; see `mask_inputs`.
    shapes : mapping of str to sequence of int, optional
        Shapes of one sample by input, where the file leaves them free.
    derive : bool
        Whether inputs that follow from the ids are computed.

    Returns
    -------
    graph : Graph
        Constants are initializers, Identity and Dropout remain nodes. It has one input: see `mask_inputs` and
        `packing` for files that have several.
    proto : onnx.ModelProto
        The model as read, external tensors included and its loops unrolled; the writer starts from it.
    digest : str
        SHA-256 of the file, in hexadecimal; of the file followed by its external tensors where it has any.

    Raises
    ------
    FormatError
        If the file is missing, truncated, not ONNX or not valid, or names data outside its folder.
    UnsupportedError
        If it uses an operator, an attribute, an opset or a data type lieref does not have; the message names the node.
    DomainError, ShapeError
        If `shapes` do not fit the inputs.
    MissingExtraError
        If onnx is not installed.
    """
    path = Path(path)
    proto, digest = load_proto(path)
    unroll_loops(need("onnx", "app", "reading ONNX models"), proto, _opset(proto, str(path)))
    return graph_from_proto(proto, str(path), padding, shapes, derive=derive), proto, digest


def declared_inputs(path: str | Path) -> tuple[TensorInfo, ...]:
    """Return the inputs of a file that a caller feeds; raises as `read_onnx` does where it is no ONNX file."""
    onnx = need("onnx", "app", "reading ONNX models")
    graph = load_proto(Path(path))[0].graph
    constants = {tensor.name for tensor in graph.initializer}
    return tuple(_tensor_info(onnx, value) for value in graph.input if value.name not in constants)


def graph_from_proto(
    proto: Any,
    source: str,
    padding: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    derive: bool = True,
) -> Graph:
    """Return the graph of a ModelProto whose tensors are all inside it; `source` is named in errors."""
    onnx = need("onnx", "app", "reading ONNX models")
    opset = _opset(proto, source)
    if proto.functions:
        raise UnsupportedError(f"load: {source} must hold no local functions; got {proto.functions[0].name}")
    labels = labels_of(proto.graph)
    outputs = tuple(value.name for value in proto.graph.output if value.name not in labels)
    if not outputs:
        name = proto.graph.output[0].name
        raise UnsupportedError(f"load: {source} must have an output of scores; {name} is a label ({labels[name]})")
    nodes, initializers, made = _contents(onnx, proto.graph, node_names(proto), source, labels)
    inputs = tuple(_tensor_info(onnx, value) for value in proto.graph.input if value.name not in initializers)
    inputs = bound(inputs, shapes or {}, source)
    ids = ids_among(inputs) if derive else None
    if ids is not None:
        derived, held = mask_nodes(onnx, inputs, ids, padding)
        nodes, inputs = [*derived, *nodes], (ids,)
        initializers.update(held)
    nodes = checked_nodes(nodes, opset, outputs, source)
    if not inputs:
        raise UnsupportedError(f"load: {source} must have an input; all that it names are constants")
    if not inputs[0].shape:
        raise UnsupportedError(
            f"load: the input {inputs[0].name} of {source} must have an axis of samples; got shape ()"
        )
    graph = Graph(
        nodes=tuple(_sorted(nodes, {i.name for i in inputs} | set(initializers), source)),
        inputs=inputs,
        outputs=outputs,
        initializers=initializers,
        opset=opset,
        made=made,
    )
    for name, value in initializers.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all() and not _may_be_infinite(graph, name, value):
            raise FormatError(f"load: tensor {name} of {source} must be finite; it holds a NaN or an infinity")
    return packed(graph, source) if len(inputs) > 1 else graph


def _contents(
    onnx: Any, graph: Any, names: list[str], source: str, labels: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Node], dict[str, Array], dict[str, Made]]:
    """Return the nodes of a GraphProto, its constants, and which of them are no initializers of the file.

    Without what computes labels.
    """
    initializers: dict[str, Array] = {}
    left = [item for item in graph.node if any(name in labels for name in item.output)]
    unread = {name for item in left for name in item.input}.difference(
        *(item.input for item in graph.node if item not in left)
    )
    for tensor in graph.initializer:
        if tensor.name in unread and tensor.data_type == onnx.TensorProto.STRING:
            continue  # names of classes
        initializers[tensor.name] = to_array(onnx, tensor, source)
    if graph.sparse_initializer:
        raise UnsupportedError(f"load: {source} must hold no sparse initializers")
    nodes: list[Node] = []
    made: dict[str, Made] = {}
    for name, item in zip(names, graph.node, strict=True):
        if any(output in labels for output in item.output):
            continue
        attrs = {} if item.op_type == "If" else {a.name: attribute_value(onnx, a, name, source) for a in item.attribute}
        if item.domain == DOMAIN:
            standard, held = standard_nodes(item, name, attrs, source)
            nodes += standard
            initializers |= held
            made |= {constant: Made("float32") for constant in held}
            if standard:
                continue
        if item.domain not in ("", "ai.onnx"):
            raise UnsupportedError(
                f"load: node {name} of {source} must be a standard ONNX operator; got {item.domain}.{item.op_type}"
            )
        if item.op_type == "If":
            nodes.append(_if(onnx, item, name, source))
            continue
        if item.op_type == "Constant":
            initializers[item.output[0]] = _constant(attrs, name, source)
            made[item.output[0]] = Made(initializers[item.output[0]].dtype.name)
            continue
        nodes.append(Node(name, item.op_type, tuple(item.input), tuple(item.output), attrs))
    return nodes, initializers, made


def _if(onnx: Any, item: Any, name: str, source: str) -> Node:
    """Return an If whose inputs are the condition and all that its branches read from outside."""
    branches = {}
    for attribute in item.attribute:
        graph = attribute.g
        names = [f"{name}.{each.name or f'{each.op_type}_{index}'}" for index, each in enumerate(graph.node)]
        nodes, constants, _ = _contents(onnx, graph, names, source)
        branches[attribute.name] = Branch(tuple(nodes), constants, tuple(value.name for value in graph.output))
    outside = dict.fromkeys(each for branch in branches.values() for each in branch.reads)
    return Node(name, "If", (*item.input, *outside), tuple(item.output), branches)  # type: ignore[arg-type]


def node_names(proto: Any) -> list[str]:
    """Return a name for each node of a ModelProto, its own where it has one, all different."""
    names: dict[str, None] = {}
    for index, item in enumerate(proto.graph.node):
        name = item.name or f"{item.op_type}_{index}"
        while name in names:
            name += "_"
        names[name] = None
    return list(names)


def load_proto(path: Path) -> tuple[Any, str]:
    """Return the ModelProto of a file, tensors beside it included, and its digest; raises as `read_onnx`."""
    onnx = need("onnx", "app", "reading ONNX models")
    if not path.is_file():
        raise FormatError(f"load: {path} must be an ONNX file; there is no such file{near_path(path)}")
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
    except (onnx.checker.ValidationError, ValueError) as error:  # the latter where its own parser takes less
        first = str(error).strip().splitlines()[0]
        raise FormatError(f"load: {path} must be a valid ONNX model; the checker says: {first}") from error
    return proto, digest.hexdigest()


def _check_names(proto: Any, path: Path) -> None:
    """Raise `FormatError` if a name is no text: protobuf decodes one only when it is read."""
    try:
        # protobuf hands out bytes, or raises, where a name is none
        text = all(isinstance(name, str) for name in _names(proto.graph))
    except UnicodeDecodeError:
        text = False
    if not text:
        raise FormatError(f"load: {path} must be a valid ONNX model; a name in it is no UTF-8 text")


def _names(graph: Any) -> Iterator[Any]:
    """Yield every name in a GraphProto and in those that its nodes hold."""
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        yield item.name
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output, *(each.name for each in node.attribute))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names(attribute.g)


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
        # Words that are no UTF-8 come as bytes, and no file system has a NUL in a name.
        unnamed = not isinstance(location, str) or "\0" in location
        target = folder if unnamed else (folder / location).resolve()
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


def to_array(onnx: Any, tensor: Any, source: str) -> Array:
    """Return a TensorProto as an array of this machine's byte order."""
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as error:  # a wrong byte count, an unknown type: onnx raises several classes
        raise FormatError(f"load: tensor {tensor.name} of {source} must be readable; {error}") from error
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise UnsupportedError(f"load: tensor {tensor.name} of {source} must be {KNOWN}; got {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="))


def attribute_value(onnx: Any, attribute: Any, node: str, source: str) -> AttrValue:
    """Return the value of an attribute of a node as plain numbers, text or an array."""
    kind = onnx.AttributeProto
    if attribute.type in (kind.GRAPH, kind.GRAPHS):
        raise UnsupportedError(f"load: node {node} of {source} must hold no sub-graph; got attribute {attribute.name}")
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == kind.TENSOR:
        return to_array(onnx, value, source)
    if attribute.type == kind.STRING:
        return _text(value, attribute.name, node, source)
    if attribute.type == kind.STRINGS:
        return tuple(_text(item, attribute.name, node, source) for item in value)
    if attribute.type in (kind.INTS, kind.FLOATS):
        return tuple(value)
    if attribute.type in (kind.INT, kind.FLOAT):
        result: int | float = value
        return result
    raise UnsupportedError(
        f"load: attribute {attribute.name} of node {node} of {source} must be a number, text or tensor"
    )


def _text(value: bytes, attribute: str, node: str, source: str) -> str:
    try:
        return str(value.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"load: attribute {attribute} of node {node} of {source} must be text") from error


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


def _tensor_info(onnx: Any, value: Any) -> TensorInfo:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError as error:
        raise FormatError(f"load: input {value.name} must be of an ONNX data type; got number {error}") from error
    if dtype.kind not in "fiub":
        raise UnsupportedError(f"load: input {value.name} must be {KNOWN}; got {dtype}")
    return TensorInfo(value.name, shape, dtype.name)


def _may_be_infinite(graph: Graph, name: str, value: Array) -> bool:
    """Tell whether a tensor's infinities are meant: limits and padding, or the minus infinities of a mask."""
    ops = {node.op for node in graph.consumers(name)}
    limit = not ops.isdisjoint(BOUNDED)
    mask = bool(ops) and ops <= MASKED and not np.isposinf(value).any()
    return (limit or mask) and not np.isnan(value).any()


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
