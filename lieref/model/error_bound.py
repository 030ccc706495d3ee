"""A certified bound on how far any float32 evaluation of a network can be from its exact value.

Every tensor of the folded graph carries its value x, computed in float64, and a bound E with |x_hat - x| <= E for
every float32 evaluation x_hat: any order of summation, with or without fused multiply-add, BatchNormalization folded or
not. Underflow is left out: it adds at most n times 2^-150 of the operands.
Two such evaluations, for instance the adapted network here and the merged file elsewhere, differ by at most 2 E.

For a linear layer with n products, S = |W| |x| + |b| and gamma_k = k u / (1 - k u) with u = 2^-24,

    E_y = |W| E_x + gamma_(n + 9) (S + |W| E_x).

Of the nine, one is the bias, four are the roundings of a weight (its adaptation is already rounded to float32; scale,
square root, division, product) and four those of the bias where BatchNormalization is folded or applied; with it |b|
stands for |a b0| + |a mean| + |shift|, because those are summed apart.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import UnsupportedError
from lieref.model.graph import Node
from lieref.model.network import Network
from lieref.op.registry import OPERATORS

UNIT = 2.0**-24
EXTRA_ROUNDINGS = 9  # see the module docstring
INFLATION = 1 + 2.0**-20  # covers the float64 rounding of values and bounds, at most 1e5 operations of 2^-53 each

MOVES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout")


def gamma(n: int) -> float:
    """Return n u / (1 - n u) for float32: the error bound of a sum of n products, relative to their absolute sum."""
    return n * UNIT / (1 - n * UNIT)


def logit_error_bound(network: Network, x: Array) -> tuple[FloatArray, FloatArray]:
    """Return the logits and their certified bound.

    Parameters
    ----------
    network : Network
        With or without adapters; its tensors must be float32 or exactly representable in it.
    x : (N, ...) array
        See `Network.as_input`.

    Returns
    -------
    logits : (N, ...) float64
        Computed in float64.
    bound : (N, ...) float64
        Every float32 evaluation lies within it of the exact logits.

    Raises
    ------
    UnsupportedError
        If the network holds an operator whose float32 error is not bounded here; the message names the node.
    """
    graph = network.current_graph()
    spread = network.bias_spread()
    values: dict[str, FloatArray] = {
        name: value.astype(np.float64) if value.dtype.kind == "f" else value
        for name, value in graph.initializers.items()
    }
    values[graph.inputs[0].name] = network.as_input(x).astype(np.float64)
    errors: dict[str, FloatArray] = {graph.inputs[0].name: np.zeros(1)}
    for node in graph.nodes:
        inputs = [values[name] if name else None for name in node.inputs]
        name = node.outputs[0]
        result = OPERATORS[node.op].forward(*inputs, **node.attrs)
        values[name] = result[0] if isinstance(result, tuple) else result
        errors[name] = _error(node, values, errors, spread) * INFLATION
        if network.logits_name in node.outputs:
            break
    logits = values[network.logits_name]
    return logits, np.broadcast_to(errors[network.logits_name], logits.shape)


def _error(
    node: Node, values: dict[str, FloatArray], errors: dict[str, FloatArray], spread: dict[str, FloatArray]
) -> FloatArray:
    """Return the bound E of a node's output from those of its inputs; constants have none."""
    forward = OPERATORS[node.op].forward
    before = [errors.get(name, np.zeros(1)) for name in node.inputs]
    y = values[node.outputs[0]]
    x = values[node.inputs[0]]
    first = np.broadcast_to(before[0], x.shape)
    if node.op in ("Conv", "Gemm", "MatMul"):
        weight = np.abs(values[node.inputs[1]])
        has_bias = len(node.inputs) > 2 and bool(node.inputs[2])
        products = math.prod(weight.shape[1:]) if node.op == "Conv" else x.shape[-1]
        moved = forward(first, weight, **node.attrs)
        total = forward(np.abs(x), weight, **node.attrs)
        if has_bias:
            bias = spread.get(node.inputs[2], np.abs(values[node.inputs[2]]))
            total = total + bias.reshape(-1, *[1] * (total.ndim - 2)) if node.op == "Conv" else total + bias
        bound: FloatArray = moved + gamma(products + EXTRA_ROUNDINGS) * (total + moved)
        return bound
    if node.op in ("Relu", "Clip", "MaxPool"):
        # Each is exact and 1-Lipschitz in the largest norm over what it reads; MaxPool takes the largest bound there.
        return forward(first, **node.attrs) if node.op == "MaxPool" else first
    if node.op in ("Add", "Sub"):
        return before[0] + before[1] + UNIT * (np.abs(y) + before[0] + before[1])
    if node.op in ("AveragePool", "GlobalAveragePool"):
        kernel = x.shape[2:] if node.op == "GlobalAveragePool" else node.attrs["kernel_shape"]
        window = math.prod(kernel)  # type: ignore[arg-type]
        mean, spread_mean = forward(first, **node.attrs), forward(np.abs(x), **node.attrs)
        pooled: FloatArray = mean + gamma(window + 2) * (spread_mean + mean)
        return pooled
    if node.op in MOVES:
        rest = [values[name] if name else None for name in node.inputs[1:]]
        carried: FloatArray = forward(first, *rest, **node.attrs)
        return carried
    raise UnsupportedError(f"logit_error_bound: operator {node.op} (node {node.name}) has no float32 error bound here")
