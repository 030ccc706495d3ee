"""What rounding to float32 adds in one node, entry by entry, in whatever order its sums are taken: lambda.

With u = 2^-24 and gamma_n = n u / (1 - n u): a sum of n products is off by gamma_n of the sum of absolute products; a
function of one number by a few u of its value, and where libraries take a quotient of polynomials for it, by a few
u of its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import UnsupportedError
from lieref.model.graph import Node
from lieref.op.registry import OPERATORS

UNIT = 2.0**-24
EXTRA_ROUNDINGS = 9
"""Of a linear layer: see `lieref.model.error_bound`."""
FUNCTION = 16.0
"""Units of the range of a function of one number: what libraries approximate by polynomials is within 8."""

EXACT = (
    "Relu", "Clip", "MaxPool", "GlobalMaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity",
    "Dropout", "Concat", "Pad", "Slice", "Tile", "Expand", "Gather", "Split", "Where", "Equal", "Not", "Greater",
    "Less", "And", "Or", "Max", "Min", "Neg", "Abs", "Shape", "Constant", "DepthToSpace", "SpaceToDepth", "Trilu",
)  # fmt: skip
"""Operators that move numbers, choose among them or compare them."""
LINEAR = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "BatchNormalization", "LeakyRelu", "AveragePool",
    "GlobalAveragePool", "ReduceSum", "ReduceMean",
)  # fmt: skip
"""Operators that are linear, or in pieces, where they are not exact; a product of two computed tensors is not."""

Values = Mapping[str, Array]
Rule = Callable[[Node, Values, Mapping[str, FloatArray]], FloatArray]


def gamma(n: int) -> float:
    """Return n u / (1 - n u) for float32: the error bound of a sum of n products, relative to their absolute sum."""
    return n * UNIT / (1 - n * UNIT)


def local_error(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> Iterator[FloatArray]:
    """Yield lambda of a node, or nothing where it is computed exactly or not at all.

    Parameters
    ----------
    node : Node
    values : mapping of str to array
        Of the graph, in float64.
    spread : mapping of str to array
        See `Network.bias_spread`.

    Raises
    ------
    UnsupportedError
        If there is no rule for its operator; the message names the node.
    """
    if node.outputs[0] not in values or node.op in EXACT or values[node.outputs[0]].dtype.kind != "f":
        return
    if node.op not in RULES:
        raise UnsupportedError(
            f"local_error: node {node.name} must be of an operator whose rounding error has a bound; got {node.op}"
        )
    yield RULES[node.op](node, values, spread)


def _linear(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    weight, x = np.abs(values[node.inputs[1]]), np.abs(values[node.inputs[0]])
    total = OPERATORS[node.op].forward(x, weight, **node.attrs)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = spread.get(node.inputs[2], np.abs(values[node.inputs[2]]))
        total = total + (bias.reshape(-1, *[1] * (total.ndim - 2)) if node.op == "Conv" else bias)
    products = math.prod(weight.shape[1:]) if node.op == "Conv" else x.shape[-1]
    return np.asarray(gamma(products + EXTRA_ROUNDINGS) * total)


def _transposed(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    weight, x = np.abs(values[node.inputs[1]]), np.abs(values[node.inputs[0]])
    total = OPERATORS[node.op].forward(x, weight, None, **node.attrs)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = spread.get(node.inputs[2], np.abs(values[node.inputs[2]]))
        total = total + bias.reshape(-1, *[1] * (total.ndim - 2))
    products = math.prod(weight.shape) // weight.shape[1] // int(node.attrs.get("group", 1))  # type: ignore[arg-type]
    return np.asarray(gamma(products + EXTRA_ROUNDINGS) * total)


def _batch_norm(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    # (x - mean) a + shift with a = scale / sqrt(var + epsilon), or x a + (shift - mean a)
    x = values[node.inputs[0]]
    rest = [values[name].reshape(-1, *[1] * (x.ndim - 2)) for name in node.inputs[1:]]
    scale, shift, mean, var = (np.abs(each) for each in rest)
    a = scale / np.sqrt(var + float(node.attrs.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    return np.asarray(gamma(EXTRA_ROUNDINGS) * ((np.abs(x) + mean) * a + shift))


def _sum(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    return UNIT * np.abs(values[node.outputs[0]])


def _leaky(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    # what is not negative is passed on
    return UNIT * np.abs(values[node.outputs[0]]) * (values[node.inputs[0]] < 0)


def _average(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    x = values[node.inputs[0]]
    kernel: tuple[int, ...] = x.shape[2:] if node.op == "GlobalAveragePool" else node.attrs["kernel_shape"]  # type: ignore[assignment]
    return np.asarray(gamma(math.prod(kernel) + 2) * OPERATORS[node.op].forward(np.abs(x), **node.attrs))


def _reduced(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    x = values[node.inputs[0]]
    rest = [values[name] if name else None for name in node.inputs[1:]]
    total = OPERATORS[node.op].forward(np.abs(x), *rest, **node.attrs)
    return np.asarray(gamma(x.size // max(total.size, 1) + 2) * total)


def _quotient(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    return 2 * UNIT * np.abs(values[node.outputs[0]])


def _softmax(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    # e^(z - max): z - max is off by u of itself, its exponential by as much relatively; a sum, a division
    z, y = values[node.inputs[0]], values[node.outputs[0]]
    axis = int(node.attrs.get("axis", -1))  # type: ignore[arg-type]
    below = z.max(axis=axis, keepdims=True) - z
    return np.asarray(UNIT * (z.shape[axis] + FUNCTION + np.minimum(below, 200.0)) * y)


def _function(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    return np.full(values[node.outputs[0]].shape, FUNCTION * UNIT)


def _relative(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    x = np.abs(values[node.inputs[0]]) if node.op == "Exp" else 0.0
    return np.asarray(UNIT * (FUNCTION + x) * np.abs(values[node.outputs[0]]))


def _gated(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    return np.asarray(UNIT * (FUNCTION * np.abs(values[node.inputs[0]]) + 2 * np.abs(values[node.outputs[0]])))


def _root_mean_square(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    y = values[node.outputs[0]]
    axis = int(node.attrs.get("axis", -1)) % y.ndim  # type: ignore[arg-type]
    return gamma(math.prod(y.shape[axis:]) + EXTRA_ROUNDINGS) * np.abs(y)


def _layer_norm(node: Node, values: Values, spread: Mapping[str, FloatArray]) -> FloatArray:
    # The mean is off by gamma of the mean of |x|, and so is x - mean; the variance by gamma of the mean square, for
    # it may be E[x^2] - E[x]^2, which is half as much of its root relatively.
    x, y = values[node.inputs[0]], values[node.outputs[0]]
    axis = int(node.attrs.get("axis", -1)) % x.ndim  # type: ignore[arg-type]
    axes = tuple(range(axis, x.ndim))
    g = gamma(math.prod(x.shape[axis:]) + EXTRA_ROUNDINGS)
    square, variance = np.mean(x**2, axis=axes, keepdims=True), np.var(x, axis=axes, keepdims=True)
    variance = variance + float(node.attrs.get("epsilon", 1e-5))  # type: ignore[arg-type]
    scale = np.abs(values[node.inputs[1]])
    moved = g * np.mean(np.abs(x), axis=axes, keepdims=True) / np.sqrt(variance) * scale
    plain = (np.abs(x) + np.abs(np.mean(x, axis=axes, keepdims=True))) / np.sqrt(variance) * scale
    return np.asarray(moved + plain * (8 * UNIT + g * square / variance) + UNIT * np.abs(y))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), _linear),
    **dict.fromkeys(("Add", "Sub", "Mul"), _sum),
    **dict.fromkeys(("Div", "Reciprocal", "Sqrt", "Cast"), _quotient),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), _average),
    **dict.fromkeys(("ReduceSum", "ReduceMean"), _reduced),
    **dict.fromkeys(("Sigmoid", "Tanh", "Erf", "Softsign", "HardSigmoid", "Sin", "Cos"), _function),
    **dict.fromkeys(("Exp", "Softplus", "Elu", "Selu"), _relative),
    **dict.fromkeys(("Gelu", "HardSwish", "Swish", "Mish"), _gated),
    "ConvTranspose": _transposed,
    "BatchNormalization": _batch_norm,
    "LeakyRelu": _leaky,
    "Softmax": _softmax,
    "RMSNormalization": _root_mean_square,
    "LayerNormalization": _layer_norm,
}
"""Operators whose rounding error has a bound."""
