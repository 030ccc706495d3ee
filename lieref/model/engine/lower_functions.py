"""From ONNX nodes to layers: functions of one number, and what combines tensors of one size entry by entry."""

from __future__ import annotations

import math

from lieref.model.engine import lower_pointwise
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lowered import LoweredGraph, unsupported
from lieref.model.graph import Node

FUNCTIONS: dict[str, str] = {
    "Abs": "absolute",
    "Ceil": "ceil",
    "Cos": "cos",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "log",
    "Neg": "negative",
    "Reciprocal": "reciprocal",
    "Round": "nearest",
    "Sign": "sign",
    "Sin": "sin",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
}
"""Kernel of a function without numbers of its own."""

EXPONENTS: dict[float, tuple[str, float]] = {
    2.0: ("square", 0.0),
    3.0: ("cube", 0.0),
    0.5: ("sqrt", 0.5),
    -0.5: ("inverse_sqrt", 0.0),
    -1.0: ("reciprocal", 0.0),
}
"""Kernel of a power, and its alpha: the derivative of the root at zero is that of the operator Pow."""


def append(
    net: LoweredGraph, node: Node, kernel: str, inputs: tuple[str, ...], numbers: tuple[float, float] = (0.0, 0.0),
    out: str = "",
) -> None:  # fmt: skip
    """Append the layer of a kernel on tensors of one size and shape, by their names in the graph.

    Raises
    ------
    UnsupportedError
        If the engine does not hold one of them, or they are not of one shape.
    """
    names = [net.resolve(name) for name in inputs]
    for name, held in zip(inputs, names, strict=True):
        if held not in net.sizes:
            raise unsupported(node, f"input {name!r} must be a tensor that the engine holds")
    if len({(net.sizes[held], net.shapes[name]) for name, held in zip(inputs, names, strict=True)}) > 1:
        shapes = ", ".join(str(net.shapes[name]) for name in inputs)
        raise unsupported(node, f"the tensors must have one shape; got {shapes}")
    channels = net.sizes[names[0]][0]
    layer = FusedLayer(
        "function", names[0], out or node.outputs[0], Window(), channels, others=tuple(names[1:]), function=kernel,
        numbers=numbers,
    )  # fmt: skip
    net.append(layer, net.shapes[inputs[0]])


def number(net: LoweredGraph, node: Node, position: int) -> float | None:
    """Return a constant input that is one number and gives nothing a shape, None where it is no constant.

    Raises
    ------
    UnsupportedError
        If it is a constant of several numbers, or of more axes than the tensors.
    """
    value = net.graph.initializers.get(node.inputs[position])
    if value is None:
        return None
    ranks = [len(net.shapes[name]) + 1 for name in node.inputs if name in net.shapes]
    if value.size != 1 or value.ndim > max(ranks, default=0):
        raise unsupported(node, f"the constant must be one number; got shape {value.shape}")
    return float(value.reshape(()))


def function(net: LoweredGraph, node: Node) -> None:
    """Abs, Exp and other functions of one number."""
    append(net, node, FUNCTIONS[node.op], node.inputs[:1])


def gelu(net: LoweredGraph, node: Node) -> None:
    """Gelu, exact or approximate."""
    append(net, node, "tanh_gelu" if node.attrs.get("approximate", "none") == "tanh" else "gelu", node.inputs)


def thresholded_relu(net: LoweredGraph, node: Node) -> None:
    """ThresholdedRelu."""
    append(net, node, "thresholded_relu", node.inputs, (float(node.attrs.get("alpha", 1.0)), 0.0))  # type: ignore[arg-type]


def power(net: LoweredGraph, node: Node) -> None:
    """Pow with a constant exponent other than zero."""
    exponent = number(net, node, 1)
    if exponent is None or exponent == 0 or not math.isfinite(exponent):
        raise unsupported(node, "the exponent must be a constant other than zero")
    if exponent == 1:
        lower_pointwise.same(net, node)
        return
    if exponent in EXPONENTS:
        kernel, alpha = EXPONENTS[exponent]
        append(net, node, kernel, node.inputs[:1], (alpha, 0.0))
        return
    of_negative = math.nan if exponent % 1 else -1.0 if exponent % 2 else 1.0
    append(net, node, "power", node.inputs[:1], (exponent, of_negative))


def extreme(net: LoweredGraph, node: Node) -> None:
    """Max and Min of tensors and numbers: of those that are equal, the derivative goes to the first."""
    kernel = "larger" if node.op == "Max" else "smaller"
    values = [number(net, node, i) for i in range(len(node.inputs))]
    if all(value is not None for value in values[:2]):
        raise unsupported(node, "one of the first two inputs must be a tensor")
    if len(values) == 1:
        lower_pointwise.same(net, node)
        return
    known = node.inputs[0]
    for position in range(1, len(values)):
        out = node.outputs[0] if position == len(values) - 1 else f"{node.outputs[0]}.{position}"
        first, second = values[0] if position == 1 else None, values[position]
        if second is not None:
            append(net, node, f"{kernel}_number", (known,), (second, 1.0), out)
        elif first is not None:
            append(net, node, f"{kernel}_number", (node.inputs[1],), (first, 0.0), out)
        else:
            append(net, node, kernel, (known, node.inputs[position]), out=out)
        known = out


def subtract(net: LoweredGraph, node: Node) -> None:
    """Sub of a constant, from one, or of two tensors."""
    if any(name in net.graph.initializers for name in node.inputs):
        lower_pointwise.subtract(net, node)
    else:
        append(net, node, "difference", node.inputs)


def divide(net: LoweredGraph, node: Node) -> None:
    """Div by a constant, of the number one, or of two tensors."""
    if node.inputs[1] in net.graph.initializers:
        lower_pointwise.divide(net, node)
    elif node.inputs[0] not in net.graph.initializers:
        append(net, node, "quotient", node.inputs)
    elif number(net, node, 0) == 1:
        append(net, node, "reciprocal", node.inputs[1:])
    else:
        raise unsupported(node, "a constant that is divided must be one")
