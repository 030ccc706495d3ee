"""ONNX files in the QDQ form: real operators between DequantizeLinear and QuantizeLinear.

A tensor of real numbers in such a file is an integer tensor that was dequantised, or the result of one operator that a
QuantizeLinear takes up at once, a Relu or Clip between them at most. Anything else would be computed in floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.integer.graph import INTEGERS, Attribute, IntegerGraph, IntegerNode, IntegerTensor
from lieref.model.integer.onnx_operations import KEEPS_NUMBERS, clip_bounds, operation
from lieref.model.integer.onnx_sizes import folded, sizes_of
from lieref.model.integer.onnx_source import STATICALLY, OnnxNode, OnnxSource, same

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_PARAMETERS = {
    "Reshape": 1, "Squeeze": 1, "Unsqueeze": 1, "ReduceMean": 1, "Pad": 1, "Resize": 1, "Clip": 1, "Slice": 1,
    "Split": 1,
}  # fmt: skip
"""Operators of which only so many inputs, the first, are tensors of the network; the others are shapes and bounds."""


@dataclass(frozen=True)
class _Waiting:
    """An operator whose output no QuantizeLinear has taken up yet."""

    node: OnnxNode
    inputs: tuple[str, ...]
    activation: str = "none"


class RealParts:
    """What the names of the file stand for while its nodes are read in order, those of real numbers among them."""

    def __init__(self, source: OnnxSource) -> None:
        self.source = source
        self.real: dict[str, str] = {}  # a tensor of real numbers: the integers that it is
        self.integers: dict[str, str] = {}  # an output of QuantizeLinear: the tensor that holds it
        self.waiting: dict[str, _Waiting] = {}

    def take(self, node: OnnxNode) -> None:
        """Take in the next node."""
        if node.op.endswith(_DEQUANTIZE) and not node.op.endswith("Dynamic" + _DEQUANTIZE):
            self._dequantize(node)
        elif node.op.endswith(_QUANTIZE):
            self._quantize(node)
        elif node.op in ("Identity", "Dropout") and node.inputs[0] in self.real:
            self.real[node.outputs[0]] = self.real[node.inputs[0]]
        elif not self.fold(node):
            for part in parts_of(node):
                self._operator(part)

    def fold(self, node: OnnxNode) -> bool:
        """Take a node on sizes for the constant that it makes; tell whether it is one."""
        made: Array | None
        if node.op == "Shape":
            shape = self._shape(node.inputs[0])
            made = None if shape is None else sizes_of(shape, node)
        else:
            made = folded(node, [self.source.constants.get(name) for name in node.inputs if name])
        if made is None:
            return False
        self.source.constants[node.outputs[0]] = made
        return True

    def _shape(self, name: str) -> tuple[int | None, ...] | None:
        """Return the shape of a tensor as far as it is known."""
        held = self.real.get(name, self.integers.get(name, name))
        if held in self.source.tensors:
            return self.source.tensors[held].shape
        if name in self.waiting:
            waiting = self.waiting[name]
            inputs = [self.source.tensors[each] for each in waiting.inputs if each]
            return operation(self.source, waiting.node, waiting.node.op, inputs).shape
        return self.source.inputs[name][1] if name in self.source.inputs else None

    def _dequantize(self, node: OnnxNode) -> None:
        name, scale, zero_point = (*node.inputs, "")[:3]
        axis = int(node.attrs.get("axis", 1))  # type: ignore[arg-type]
        if name in self.source.constants:
            rank = self.source.constants[name].ndim
            said = self.source.quantisation(node, scale, zero_point, axis % max(rank, 1))
            self.real[node.outputs[0]] = self.source.add_constant(name, said, scale, zero_point)
            return
        said = self.source.quantisation(node, scale, zero_point, axis)
        if name in self.source.inputs:
            dtype, shape = self.source.inputs[name]
            if dtype not in INTEGERS:
                raise UnsupportedError(f"load: input {name} of {self.source.path} must be of integers; got {dtype}")
            self.integers[name] = self.source.add(IntegerTensor(name, dtype, shape, said))
        if name not in self.integers:
            raise UnsupportedError(f"load: node {node.name} of {self.source.path} must read integers; {name} is none")
        held = self.integers[name]
        self.source.check_zero_point(name, self.source.tensors[held].dtype, zero_point)
        if not same(self.source.tensors[held].quantisation, said):
            raise UnsupportedError(
                f"load: {name} of {self.source.path} must have one scale; it is quantised with "
                f"{self.source.tensors[held].quantisation} and read with {said}"
            )
        self.real[node.outputs[0]] = held

    def _quantize(self, node: OnnxNode) -> None:
        name, scale, zero_point = (*node.inputs, "")[:3]
        out = node.outputs[0]
        if name in self.source.constants:
            raise UnsupportedError(
                f"load: constant {name} of {self.source.path} must be stored as integers; node {node.name} makes them "
                "when the network runs: fold it first (onnxruntime.quantization.shape_inference."
                "quant_pre_process, or onnxsim)"
            )
        said = self.source.quantisation(node, scale, zero_point, int(node.attrs.get("axis", 1)))  # type: ignore[arg-type]
        dtype = self.source.dtype_of(zero_point, node)
        places = (self.source.places.get(scale), self.source.places.get(zero_point) if zero_point else None)
        if name in self.waiting:
            self._complete(self.waiting.pop(name), IntegerTensor(out, dtype, (), said, None, *places))
            self.real[name] = self.integers[out] = out
            return
        if name in self.real:
            held = self.source.tensors[self.real[name]]
            if same(held.quantisation, said) and held.dtype == dtype:
                self.integers[out] = held.name
                return
            op, read = "Requantize", held.name
            shape = held.shape
        elif name in self.source.inputs:
            kind, shape = self.source.inputs[name]
            if kind != "float32":
                raise UnsupportedError(f"load: input {name} of {self.source.path} must be float32; got {kind}")
            op, read = "Quantize", self.source.add(IntegerTensor(name, kind, shape))
        else:
            raise self._floats(node, name)
        self.source.add(IntegerTensor(out, dtype, shape, said, None, *places))
        self.source.made.append(IntegerNode(node.name, op, (read,), (out,), {}, "NCHW"))
        self.integers[out] = out

    def _operator(self, node: OnnxNode) -> None:
        read = node.inputs[: _PARAMETERS.get(node.op, len(node.inputs))]
        if len(read) == 1 and read[0] in self.waiting and node.op in ("Relu", "Clip"):
            before, only = self.waiting[read[0]], self._readers(read[0]) == 1
            activation = _activation(self.source, node)
            if activation is not None and before.activation == "none" and only:
                del self.waiting[read[0]]
                self.waiting[node.outputs[0]] = replace(before, activation=activation)
                return
        for name in read:
            if name and name not in self.real:
                raise self._floats(node, name)
        held = tuple(self.real[name] if name else "" for name in read)
        self.waiting[node.outputs[0]] = _Waiting(node, held)

    def _complete(self, waiting: _Waiting, out: IntegerTensor) -> None:
        """Add an operator whose output is quantised."""
        node = waiting.node
        inputs = [self.source.tensors[name] for name in waiting.inputs if name]
        done = operation(self.source, node, node.op, inputs)
        self.source.add(replace(out, shape=done.shape))
        attributes: dict[str, Attribute] = {**done.attributes}
        if waiting.activation != "none":
            attributes["activation"] = waiting.activation
        name, said = out.name, inputs[0].quantisation
        other = not same(said, out.quantisation) or inputs[0].dtype != out.dtype
        if done.op in KEEPS_NUMBERS and other:  # moved in the scale it has, and then brought to another
            name = self.source.add(IntegerTensor(f"{out.name}/moved", inputs[0].dtype, done.shape, said))
        self.source.made.append(IntegerNode(node.name, done.op, waiting.inputs, (name,), attributes, "NCHW"))
        if name != out.name:
            made = IntegerNode(f"{node.name}/requantize", "Requantize", (name,), (out.name,), {}, "NCHW")
            self.source.made.append(made)

    def finish(self, form: str) -> IntegerGraph:
        """Return the network."""
        if self.waiting:
            name, last = next(iter(self.waiting.items()))
            raise self._floats(last.node, name)
        outputs = []
        for name in self.source.outputs:
            if name in self.real:
                held = self.source.tensors[self.real[name]]
                self.source.add(IntegerTensor(name, "float32", held.shape))
                self.source.made.append(
                    IntegerNode(f"{name}/dequantize", "Dequantize", (held.name,), (name,), {}, "NCHW")
                )
                outputs.append(name)
            elif name in self.integers:
                outputs.append(self.integers[name])
            elif name in self.source.tensors:
                outputs.append(name)
            else:
                raise UnsupportedError(
                    f"load: output {name} of {self.source.path} must be quantised by a node before it; it is not"
                )
        return self.source.graph(form, tuple(outputs))

    def _readers(self, name: str) -> int:
        return sum(node.inputs.count(name) for node in self.source.nodes) + self.source.outputs.count(name)

    def _floats(self, node: OnnxNode, name: str) -> UnsupportedError:
        return UnsupportedError(
            f"load: node {node.name} ({node.op}) of {self.source.path} must stand between DequantizeLinear and "
            f"QuantizeLinear; {name} is computed in floats: {STATICALLY}, with every operator in op_types_to_quantize"
        )


def parts_of(node: OnnxNode) -> list[OnnxNode]:
    """Return a node, or where it is a Split a node for each output."""
    if node.op != "Split":
        return [node]
    count = len(node.outputs)
    return [OnnxNode(f"{node.name}/{i}", node.op, node.inputs, (name,), {**node.attrs, "part": i, "parts": count})
            for i, name in enumerate(node.outputs)]  # fmt: skip


def _activation(source: OnnxSource, node: OnnxNode) -> str | None:
    """Return the activation that a Relu or Clip behind an operator is, None where TFLite has no such one."""
    if node.op == "Relu":
        return "relu"
    return {(0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1", (0.0, float("inf")): "relu"}.get(
        clip_bounds(source, node)
    )
