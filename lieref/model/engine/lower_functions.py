"""From ONNX nodes to layers: functions of one number, and what combines tensors entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.engine.lower_known import constant_view
from lieref.model.engine.lower_pointwise import affine, is_constant, same, together
from lieref.model.engine.lower_products import joins_as_scale
from lieref.model.engine.lower_views import view_of
from lieref.model.engine.lowered import LoweredGraph, View, unsupported
from lieref.model.engine.reference import EXACT
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


def combine(
    net: LoweredGraph, node: Node, kernel: str, *positions: int, numbers: tuple[float, float] = (0.0, 0.0)
) -> None:
    """Append the layer of a kernel that combines some inputs of a node, and gives its output."""
    names, lead = together(net, node, *(operand(net, node, position) for position in positions))
    net.give(_layer(net, kernel, names, numbers), node, lead)


def operand(net: LoweredGraph, node: Node, position: int) -> View:
    """Return an input as a view; a constant has as many axes as the others."""
    if not is_constant(net, node, position):
        return view_of(net, node, position)
    seen = [net.view(name) for i, name in enumerate(node.inputs) if not is_constant(net, node, i)]
    beside = next((one for one in seen if one is not None), None)
    return constant_view(net, node, position, _axes(net, node), beside)


def number(net: LoweredGraph, node: Node, position: int) -> float | None:
    """Return a constant input that is one number, beside which another input keeps its shape, else None.

    Raises
    ------
    UnsupportedError
        If it is an integer that a float does not hold.
    """
    value = net.graph.initializers.get(node.inputs[position])
    if value is None or value.size != 1 or value.ndim > _axes(net, node) or (value != value).any():  # NaN, no number
        return None
    found = float(value.reshape(()))
    if value.dtype.kind in "iu" and abs(found) > EXACT:
        raise unsupported(node, f"integers must be at most {EXACT}; got {value}")
    net.folded.add(node.inputs[position])
    return found


def _axes(net: LoweredGraph, node: Node) -> int:
    """Return the most axes of an input that the engine holds."""
    seen = (net.view(name) for name in node.inputs if name)
    return max((len(one.shape) for one in seen if one is not None), default=0)


def _layer(net: LoweredGraph, kernel: str, names: list[str], numbers: tuple[float, float]) -> FusedLayer:
    channels = net.sizes[names[0]][0]
    return FusedLayer(
        "function", names[0], "", Window(), channels, others=tuple(names[1:]), function=kernel, numbers=numbers
    )


def function(net: LoweredGraph, node: Node) -> None:
    """Abs, Exp and other functions of one number."""
    combine(net, node, FUNCTIONS[node.op], 0)


def gelu(net: LoweredGraph, node: Node) -> None:
    """Gelu, exact or approximate."""
    combine(net, node, "tanh_gelu" if node.attrs.get("approximate", "none") == "tanh" else "gelu", 0)


def thresholded_relu(net: LoweredGraph, node: Node) -> None:
    """ThresholdedRelu."""
    combine(net, node, "thresholded_relu", 0, numbers=(float(node.attrs.get("alpha", 1.0)), 0.0))  # type: ignore[arg-type]


def power(net: LoweredGraph, node: Node) -> None:
    """Pow with a constant exponent other than zero, of integers a square or cube."""
    exponent = number(net, node, 1)
    whole = net.is_float(node.inputs[0]) or exponent in (1, 2, 3)
    if exponent is None or exponent == 0 or not math.isfinite(exponent) or not whole:
        raise unsupported(node, "the exponent must be one constant number other than zero, of floats")
    if exponent == 1:
        same(net, node)
    elif exponent in EXPONENTS:
        kernel, alpha = EXPONENTS[exponent]
        combine(net, node, kernel, 0, numbers=(alpha, 0.0))
    else:
        of_negative = math.nan if exponent % 1 else -1.0 if exponent % 2 else 1.0
        combine(net, node, "power", 0, numbers=(exponent, of_negative))


def extreme(net: LoweredGraph, node: Node) -> None:
    """Max and Min of tensors and numbers: of those that are equal, the derivative goes to the first."""
    kernel = "larger" if node.op == "Max" else "smaller"
    values = [number(net, node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        same(net, node)
        return
    if values[0] is not None and values[1] is not None:
        raise unsupported(node, "one of the first two inputs must be a tensor")
    so_far = None if values[0] is not None else operand(net, node, 0)
    for position in range(1, len(values)):
        value = values[0] if so_far is None else values[position]
        tie = 0.0 if so_far is None else 1.0
        seen = [operand(net, node, position)] if so_far is None else [so_far]
        if value is None:
            seen.append(operand(net, node, position))
        names, lead = together(net, node, *seen)
        numbers = (0.0, 0.0) if value is None else (value, tie)
        layer = _layer(net, kernel if value is None else f"{kernel}_number", names, numbers)
        if position == len(values) - 1:
            net.give(layer, node, lead)
            return
        layer.out = net.free(f"{node.outputs[0]}.{position}")
        net.append(layer, ())
        del net.shapes[layer.out]
        so_far = replace(lead, base=layer.out)


def subtract(net: LoweredGraph, node: Node) -> None:
    """Sub of a constant, from one, or of two tensors."""
    for constant, kind in ((0, "subtract_from"), (1, "subtract")):
        if is_constant(net, node, constant) and affine(net, node, constant, kind):
            return
    combine(net, node, "difference", 0, 1)


def divide(net: LoweredGraph, node: Node) -> None:
    """Div of floats, by a constant other than zero or a tensor."""
    if not net.is_float(node.inputs[0]):
        raise unsupported(node, "the tensors must be of floats")
    if is_constant(net, node, 1):
        if not np.all(net.graph.initializers.get(node.inputs[1], 1)):
            raise unsupported(node, "the divisor must not be zero")
        if joins_as_scale(net, node, 1, -1) or affine(net, node, 1, "divide"):
            return
    dividend = net.graph.initializers.get(node.inputs[0])
    if dividend is not None and dividend.size == 1 and dividend.ravel()[0] == 1 and number(net, node, 0) == 1:
        combine(net, node, "reciprocal", 1)
    else:
        combine(net, node, "quotient", 0, 1)


ROWS: dict[str, Callable[[LoweredGraph, Node], None]] = {
    **dict.fromkeys(FUNCTIONS, function),
    "Div": divide,
    "Gelu": gelu,
    "Max": extreme,
    "Min": extreme,
    "Pow": power,
    "Sub": subtract,
    "ThresholdedRelu": thresholded_relu,
}
"""Rows of the table of operators."""
