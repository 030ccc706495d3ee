"""lieref's integer reference as a backend of the runner: a case becomes a network of one operator, and is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation

Arrays: TypeAlias = dict[str, Array]
Attrs: TypeAlias = dict[str, Any]

_PLACES: Final = ("strides", "pads", "dilations")


def _tensor(name: str, value: Array, scale: Array | None, zero_point: int, axis: int | None = None) -> IntegerTensor:
    quantisation = None
    if scale is not None:
        quantisation = Quantisation(scale, np.array([zero_point]), axis if len(scale) > 1 else None)
    return IntegerTensor(name, value.dtype.name, value.shape, quantisation, np.ascontiguousarray(value))


def _run(op: str, tensors: list[IntegerTensor], y: IntegerTensor, attributes: Attrs, semantics: str) -> Array:
    """Return the output of a network of one node, whose first tensor is its input."""
    fed = tensors[0]
    given = IntegerTensor(fed.name, fed.dtype, fed.shape, fed.quantisation)
    node = IntegerNode("node", op, tuple(tensor.name for tensor in tensors), (y.name,), attributes)
    graph = IntegerGraph(
        {tensor.name: tensor for tensor in (given, *tensors[1:], y)}, (node,), (given.name,), (y.name,), "tflite", b""
    )
    assert fed.data is not None
    return run_all(graph, {given.name: fed.data}, semantics)[y.name]


def _output(x: Arrays, attrs: Attrs, shape: tuple[int | None, ...] = ()) -> IntegerTensor:
    quantisation = Quantisation(x["y_scale"], np.array([attrs["y_zero_point"]]))
    return IntegerTensor("y", attrs["y_type"], shape, quantisation)


def _layer(op: str, weight_axis: int) -> Callable[[Arrays, Attrs], Array]:
    def run(x: Arrays, attrs: Attrs) -> Array:
        tensors = [
            _tensor("x", x["x"], x["x_scale"], attrs["x_zero_point"]),
            _tensor("weight", x["weight"], x["weight_scale"], attrs.get("weight_zero_point", 0), weight_axis),
        ]
        if "bias" in x:
            tensors.append(_tensor("bias", x["bias"], None, 0))
        attributes: Attrs = {"activation": attrs["activation"]}
        if op != "FullyConnected":
            attributes |= {name: tuple(attrs[name]) for name in _PLACES}
        if op == "Conv":
            attributes["groups"] = attrs["groups"]
        return _run(op, tensors, _output(x, attrs), attributes, attrs["semantics"][0])

    return run


def _single(op: str, *names: str) -> Callable[[Arrays, Attrs], Array]:
    """Return an operator of one input; `names` are the attributes that go with it."""

    def run(x: Arrays, attrs: Attrs) -> Array:
        tensors = [_tensor("x", x["x"], x["x_scale"], attrs.get("x_zero_point", 0))]
        attributes: Attrs = {}
        for name in names:
            value = attrs[name]
            attributes[name] = tuple(value) if isinstance(value, list) else value
        shape: tuple[int | None, ...] = ()
        if op == "Resize":
            attributes["mode"] = "nearest" if attrs["resizing"] == "nearest" else "bilinear"
            shape = (len(x["x"]), *attrs["size"], x["x"].shape[3])
        return _run(op, tensors, _output(x, attrs, shape), attributes, attrs["semantics"][0])

    return run


def _pair(op: str) -> Callable[[Arrays, Attrs], Array]:
    def run(x: Arrays, attrs: Attrs) -> Array:
        tensors = [_tensor(name, x[name], x[f"{name}_scale"], attrs[f"{name}_zero_point"]) for name in ("a", "b")]
        return _run(op, tensors, _output(x, attrs), {"activation": attrs["activation"]}, attrs["semantics"][0])

    return run


def _concat(x: Arrays, attrs: Attrs) -> Array:
    """Return the parts, each brought to the output's scale by an operator of its own, joined."""
    parts = []
    for name in ("a", "b"):
        tensor = _tensor(name, x[name], x[f"{name}_scale"], attrs[f"{name}_zero_point"])
        part = _run("Requantize", [tensor], _output(x, attrs), {}, attrs["semantics"][0])
        parts.append(_tensor(name, part, x["y_scale"], attrs["y_zero_point"]))
    attributes = {"axis": attrs["axis"], "activation": "none"}
    return _run("Concat", parts, _output(x, attrs), attributes, attrs["semantics"][0])


_WINDOW: Final = ("kernel", "strides", "pads", "activation")

INTEGER_OPERATIONS: Final[dict[str, Callable[[Arrays, Attrs], Array]]] = {
    "integer_conv": _layer("Conv", 0),
    "integer_depthwise": _layer("DepthwiseConv", 3),
    "integer_dense": _layer("FullyConnected", 0),
    "integer_add": _pair("Add"),
    "integer_mul": _pair("Mul"),
    "integer_requantize": _single("Requantize"),
    "integer_hard_swish": _single("HardSwish"),
    "integer_average_pool": _single("AveragePool", *_WINDOW),
    "integer_max_pool": _single("MaxPool", *_WINDOW),
    "integer_mean": _single("Mean", "axes", "keepdims"),
    "integer_pad": _single("Pad", "before", "after"),
    "integer_concat": _concat,
    "integer_resize": _single("Resize", "align_corners", "half_pixel_centers"),
    "integer_softmax": _single("Softmax", "beta"),
}
"""Operation -> its only output y, in the first of the semantics that a case names."""


def run_integer(op: str, inputs: Arrays, attrs: Attrs) -> Arrays:
    """Compute one quantised operator with lieref's integer reference."""
    return {"y": INTEGER_OPERATIONS[op](inputs, attrs)}
