"""ONNX files in the QOperator form: QLinear operators, ONNX's own and those of ONNX Runtime (com.microsoft).

Each reads integers with their scale and zero point as inputs, and names those of its output; operators that only move
numbers (MaxPool, Reshape, Transpose ...) read and write integers as they are. What ONNX Runtime has no operator on
integers for stands between DequantizeLinear and QuantizeLinear, as in the QDQ form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lieref.errors import FormatError, UnsupportedError
from lieref.model.integer.graph import INTEGERS, IntegerGraph, IntegerNode, IntegerTensor, Quantisation
from lieref.model.integer.onnx_operations import operation
from lieref.model.integer.onnx_qdq_reader import RealParts, parts_of
from lieref.model.integer.onnx_source import OnnxNode, OnnxSource, same


class _Form(NamedTuple):
    """How a QLinear operator lists its inputs.

    Attributes
    ----------
    op : str
        The operator on real numbers.
    reads : tuple of int
        Where the tensors begin that have scale and zero point behind them.
    scale : int
        Where the output's scale stands, its zero point behind it.
    bias : int or None
        Where a bias stands, which has none.
    axis : int
        Of a vector of weight scales.
    """

    op: str
    reads: tuple[int, ...]
    scale: int
    bias: int | None = None
    axis: int = 0


_MICROSOFT = "com.microsoft."
_FORMS = {
    "QLinearConv": _Form("Conv", (0, 3), 6, 8),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, axis=1),
    f"{_MICROSOFT}QGemm": _Form("Gemm", (0, 3), 7, 6),
    f"{_MICROSOFT}QLinearAdd": _Form("Add", (0, 3), 6),
    f"{_MICROSOFT}QLinearMul": _Form("Mul", (0, 3), 6),
    f"{_MICROSOFT}QLinearAveragePool": _Form("AveragePool", (0,), 3),
    f"{_MICROSOFT}QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), 3),
    f"{_MICROSOFT}QLinearReduceMean": _Form("ReduceMean", (0,), 3),
    f"{_MICROSOFT}QLinearSoftmax": _Form("Softmax", (0,), 3),
    f"{_MICROSOFT}QLinearSigmoid": _Form("Sigmoid", (0,), 3),
    f"{_MICROSOFT}QLinearLeakyRelu": _Form("LeakyRelu", (0,), 3),
}
_MOVES = frozenset(
    {
        "MaxPool", "GlobalMaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Resize", "Slice",
        "Split",
    }
)  # fmt: skip
"""Operators that keep scale and zero point of what they read."""
_SAME = frozenset({"Identity", "Dropout"})


def read_nodes(source: OnnxSource) -> IntegerGraph:
    """Return the network of a file in the QDQ or the QOperator form: the latter if it has an operator of it.

    Raises
    ------
    UnsupportedError
        If something is computed in floats, or is no operation on integers.
    FormatError
        If scales or shapes contradict one another.
    """
    alias: dict[str, str] = {}
    parts = RealParts(source)
    for node in source.nodes:
        node = _renamed(node, {**parts.integers, **alias})
        if node.op in _SAME:
            alias[node.outputs[0]] = node.inputs[0]
        elif node.op == f"{_MICROSOFT}QLinearConcat":
            _concat(source, node)
        elif node.op in _FORMS:
            _qlinear(source, node, _FORMS[node.op])
        elif node.op in _MOVES and node.inputs[0] in source.tensors:
            for part in parts_of(node):
                _move(source, part)
        elif node.op == "Relu" and _is_centred(source, node.inputs[0]):
            _move(source, node)  # the runtime takes the larger of an integer and 0
        else:
            parts.take(node)
        for name in node.outputs:
            if name in source.tensors and name not in parts.real:
                parts.integers.setdefault(name, name)
    source.outputs = tuple(alias.get(name, name) for name in source.outputs)
    form = "onnx-qoperator" if any(node.op in _FORMS for node in source.nodes) else "onnx-qdq"
    return parts.finish(form)


def _is_centred(source: OnnxSource, name: str) -> bool:
    """Return whether 0 stands for 0 in an integer tensor."""
    said = source.tensors[name].quantisation if name in source.tensors else None
    return said is not None and not said.zero_point.any()


def _renamed(node: OnnxNode, alias: dict[str, str]) -> OnnxNode:
    return OnnxNode(node.name, node.op, tuple(alias.get(n, n) for n in node.inputs), node.outputs, node.attrs)


def _qlinear(source: OnnxSource, node: OnnxNode, form: _Form) -> None:
    axis = 1 if form.op == "Gemm" and not node.attrs.get("transB", 0) else form.axis
    inputs = [_read(source, node, place, axis) for place in form.reads]
    if form.bias is not None and len(node.inputs) > form.bias and node.inputs[form.bias]:
        name = node.inputs[form.bias]
        if source.constant(name, node.name).dtype.name != "int32":
            raise UnsupportedError(f"load: bias {name} of {source.path} must be int32")
        inputs.append(source.add_constant(name, None, "", ""))
    if len(node.inputs) <= form.scale:
        raise UnsupportedError(f"load: node {node.name} ({node.op}) of {source.path} must give integers; got floats")
    _write(source, node, form.op, inputs, form.scale)


def _concat(source: OnnxSource, node: OnnxNode) -> None:
    inputs = [_read(source, node, place) for place in range(2, len(node.inputs), 3)]
    _write(source, node, "Concat", inputs, 0)


def _write(source: OnnxSource, node: OnnxNode, op: str, inputs: Sequence[str], scale: int) -> None:
    """Add a node whose output's scale and zero point are inputs from `scale` on."""
    said, zero_point = source.quantisation(node, *_pair(node, scale)), _pair(node, scale)[1]
    done = operation(source, node, op, [source.tensors[name] for name in inputs])
    places = (source.places.get(node.inputs[scale]), source.places.get(zero_point) if zero_point else None)
    dtype = source.dtype_of(zero_point, node)
    source.add(IntegerTensor(node.outputs[0], dtype, done.shape, said, None, *places))
    made = IntegerNode(node.name, done.op, tuple(inputs), (node.outputs[0],), done.attributes, "NCHW")
    source.made.append(made)


def _move(source: OnnxSource, node: OnnxNode) -> None:
    x = source.tensors[node.inputs[0]]
    done = operation(source, node, node.op, [x])
    source.add(IntegerTensor(node.outputs[0], x.dtype, done.shape, x.quantisation, None, x.scale_at, x.zero_point_at))
    attributes = {**done.attributes, "cut": 1} if done.op == "Resize" else done.attributes
    source.made.append(IntegerNode(node.name, done.op, (x.name,), (node.outputs[0],), attributes, "NCHW"))


def _read(source: OnnxSource, node: OnnxNode, place: int, axis: int = 0) -> str:
    """Return the name of an integer tensor at a place of a node's inputs, behind which are scale and zero point."""
    name = node.inputs[place]
    scale, zero_point = _pair(node, place + 1)
    if name in source.constants:
        return source.add_constant(name, source.quantisation(node, scale, zero_point, axis), scale, zero_point)
    said = source.quantisation(node, scale, zero_point)
    if name in source.inputs and name not in source.tensors:
        dtype, shape = source.inputs[name]
        if dtype not in INTEGERS:
            raise UnsupportedError(f"load: input {name} of {source.path} must be of integers; got {dtype}")
        source.add(IntegerTensor(name, dtype, shape, said))
    if name not in source.tensors:
        raise UnsupportedError(f"load: node {node.name} of {source.path} must read integers; {name} is none")
    source.check_zero_point(name, source.tensors[name].dtype, zero_point)
    _check_same(source, name, said)
    return name


def _check_same(source: OnnxSource, name: str, said: Quantisation) -> None:
    held = source.tensors[name].quantisation
    if not same(held, said):
        raise FormatError(
            f"load: {name} of {source.path} must have one scale wherever it is read; got {held} and {said}"
        )


def _pair(node: OnnxNode, place: int) -> tuple[str, str]:
    """Return the names of scale and zero point, the latter "" where it is left out."""
    both = (*node.inputs, "", "")[place : place + 2]
    return both[0], both[1]
