"""Writing a network back to ONNX: the file it came from, with some tensors changed and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array
from lieref.errors import FormatError
from lieref.model.graph import Made
from lieref.model.half import narrowed
from lieref.model.head import Head
from lieref.model.ml_operators import labels_of
from lieref.model.onnx_reader import node_names


def replace_tensors(proto: Any, changed: dict[str, Array], made: Mapping[str, Made] | None = None) -> Any:
    """Return a copy of a ModelProto in which the named tensors hold new values.

    Names, opset and metadata stay as they are, and so does the graph where the tensors are initializers. A tensor that
    the file computes from constants becomes an initializer in place of its node; one in another form than the file's
    (`Made.node`) becomes an initializer that the node reads instead. What nothing reads any longer is left out.

    Parameters
    ----------
    proto : onnx.ModelProto
    changed : dict of str to array
    made : mapping of str to Made, optional
        The tensors that are no initializers of the file.

    Raises
    ------
    FormatError
        If a name is not a constant tensor of the model, or a shape differs.
    DomainError
        If a number is too large for the type that the file has the tensor in.
    """
    onnx = need("onnx", "app", "writing ONNX models")
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    made = made or {}
    before = _read(result)
    if any(name in made for name in changed):
        # a node without a name is known by its place, which moves when another one is taken out
        for node, name in zip(result.graph.node, node_names(result), strict=True):
            node.name = name
    for name, value in changed.items():
        holder = next((tensor for tensor in result.graph.initializer if tensor.name == name), None)
        if holder is not None:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(holder.data_type)
            if tuple(holder.dims) != value.shape:
                raise FormatError(f"save: tensor {name} must have shape {tuple(holder.dims)}; got {value.shape}")
        elif name in made:
            dtype = np.dtype(made[name].dtype)
            value = value if made[name].shape is None else value.reshape(made[name].shape)
            _make_room(onnx, result, name, made[name])
            holder = result.graph.initializer.add()
        else:
            raise FormatError(f"save: {name} must be a constant tensor of the model")
        holder.CopyFrom(onnx.numpy_helper.from_array(narrowed("save", name, value, np.dtype(dtype)), name))
    _drop_unread(result, before)
    return result


def replace_end(proto: Any, head: Head) -> Any:
    """Return a copy of a ModelProto that ends in a new head; its weight and bias are zeros.

    The first output keeps its name, and its type with K scores; what nothing reads any longer is left out.

    Parameters
    ----------
    proto : onnx.ModelProto
    head : Head
        Made for the graph of this file.
    """
    onnx = need("onnx", "app", "writing ONNX models")
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph = result.graph
    for node, name in zip(graph.node, node_names(proto), strict=True):
        node.name = name  # one without is known by its place, which moves when others go
    labels = labels_of(graph)  # of classes that the network has no longer
    for value in [each for each in graph.output if each.name in labels]:
        graph.output.remove(value)
    (named,) = head.nodes[-1].outputs
    output = next(value for value in graph.output if value.name == named)
    if not output.type.HasField("tensor_type"):
        output.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [None]))
    if head.renamed:
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [head.renamed if name == output.name else name for name in names]
    _keep_reached(graph, {head.nodes[0].inputs[0], *(value.name for value in graph.output if value.name != named)})
    shape = output.type.tensor_type.shape
    batch = onnx.TensorShapeProto.Dimension()
    if shape.dim:
        batch.CopyFrom(shape.dim[0])
    del shape.dim[:]
    shape.dim.append(batch)
    shape.dim.add().dim_value = head.classes
    for node in head.nodes:
        said = {name: value for name, value in node.attrs.items() if name != "coerce_2d"}  # what the opset means
        graph.node.append(onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, **said))
    for name, value in head.initializers().items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return result


def _keep_reached(graph: Any, wanted: set[str]) -> None:
    """Leave out of a file's graph what these tensors do not depend on."""
    made = {value.name for value in graph.input}
    for node in reversed([*graph.node]):  # a valid file has each node behind what it reads
        if wanted.isdisjoint(filter(None, node.output)):
            graph.node.remove(node)
        else:
            wanted.update(node.input)
            made.update(node.output)
    constants = {tensor.name for tensor in graph.initializer}
    for tensor in [each for each in graph.initializer if each.name not in wanted]:
        graph.initializer.remove(tensor)
    for value in [each for each in graph.input if each.name in constants - wanted]:
        graph.input.remove(value)
    for value in [each for each in graph.value_info if each.name not in made | wanted]:
        graph.value_info.remove(value)


def _make_room(onnx: Any, proto: Any, name: str, how: Made) -> None:
    """Take out the node that computes a tensor, or let the node that reads it read a tensor of that name."""
    if not how.node:
        producer = next(node for node in proto.graph.node if name in node.output)
        proto.graph.node.remove(producer)
        return
    node = next(node for node in proto.graph.node if node.name == how.node)
    node.input[how.position] = name
    for key, value in how.attrs.items():
        for attribute in [each for each in node.attribute if each.name == key]:
            node.attribute.remove(attribute)
        node.attribute.append(onnx.helper.make_attribute(key, value))


def _read(proto: Any) -> set[str]:
    """Return the names that a node reads or that are an output."""
    return _read_in(proto.graph) | {value.name for value in proto.graph.output}


def _read_in(graph: Any) -> set[str]:
    """Return the names that nodes read, those in the branches of an If included."""
    names = {name for node in graph.node for name in node.input}
    inner = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return names.union(*(_read_in(each) | {value.name for value in each.output} for each in inner))


def _drop_unread(proto: Any, before: set[str]) -> None:
    """Leave out the nodes and initializers that were read before and are read no longer."""
    while True:
        gone = before - _read(proto)
        nodes = [node for node in proto.graph.node if any(node.output) and gone.issuperset(filter(None, node.output))]
        tensors = [tensor for tensor in proto.graph.initializer if tensor.name in gone]
        inputs = [value for value in proto.graph.input if value.name in {tensor.name for tensor in tensors}]
        for holders, items in (
            (proto.graph.node, nodes), (proto.graph.initializer, tensors), (proto.graph.input, inputs),
        ):  # fmt: skip
            for item in items:
                holders.remove(item)
        if not nodes:
            return


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
