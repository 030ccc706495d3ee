"""A certified bound on the rounding error of a float32 evaluation of a network, logit by logit.

Any float32 evaluation computes, for each node l, v_hat = f_l(inputs_hat) + e_l with |e_l| <= lambda_l, whatever its
order of summation, with or without fused multiply-add, BatchNormalization folded or not. For a linear layer with n
products, S = |W| |x| + |b|, u = 2^-24 and gamma_k = k u / (1 - k u),

    lambda = gamma_(n + 9) S.

Of the nine, one is the bias, four are the roundings of a weight (scale, square root, division, product; its adaptation
is already rounded to float32) and four those of the bias where BatchNormalization is folded or applied; with it |b|
stands for |a b0| + |a mean| + |shift|, because those are summed apart. Underflow is left out: at most n 2^-150 of the
operands.

The networks here are piecewise linear, so with J_l the derivative of a logit by node l at the exact values,

    logit_hat - logit = sum over l of J_l . (e_l + r_l)

holds exactly, not to first order: r_l is what a ReLU, Clip or MaxPool adds where rounding moves its argument to another
branch, and zero elsewhere. The bound is the sum of |J_l| lambda_l; `branch_residual` gives r_l for a given evaluation.
Multiplying absolute weight matrices instead would be a bound too, but on a ResNet-8 one of 2e5 instead of 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import UnsupportedError
from lieref.model import executor
from lieref.model.graph import Graph, Node
from lieref.model.local_error import EXACT, LINEAR, local_error
from lieref.model.network import Network
from lieref.model.samples import Samples
from lieref.model.simplify import in_dtype

# S is taken at the exact inputs instead of the rounded ones. Each |x_hat| is within about 1e-6 of the largest |x| it is
# summed with, and the float64 arithmetic within 1e-12; 2^-10 covers both a hundredfold.
INFLATION = 1 + 2.0**-10


def exact_values(network: Network, x: Samples) -> tuple[Graph, dict[str, Array]]:
    """Return the folded graph in float64 and all its tensors for a batch: exact next to float32."""
    graph = in_dtype(network.current_graph(), np.dtype(np.float64))  # what nodes make of their own too
    x = network.as_input(x)
    x = x.astype(np.float64) if x.dtype.kind == "f" else x
    return graph, executor.run(graph, x, until=network.logits_name, threads=network.threads)


def logit_error_bound(
    network: Network,
    x: Samples,
    *,
    directions: FloatArray | None = None,
    residuals: dict[str, FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the exact logits and a bound on the rounding error of any float32 evaluation.

    Parameters
    ----------
    network : Network
        With or without adapters. Cost: one backward pass in float64 for each direction.
    x : (N, ...) array
        See `Network.as_input`.
    directions : (K, N, classes) array, optional
        The linear forms of the logits to bound, for instance the difference of two; by default each logit.
    residuals : dict of str to array, optional
        |r| by tensor name, from `branch_residual`; none by default, which assumes that no argument changes its branch.

    Returns
    -------
    values : (K, N) float64
        The forms at the exact logits.
    bound : (K, N) float64

    Raises
    ------
    UnsupportedError
        If the network holds an operator whose float32 error is not bounded here; the message names the node.
    """
    graph, values = exact_values(network, x)
    spread = network.bias_spread()
    errors: dict[str, FloatArray] = {
        node.outputs[0]: error for node in graph.nodes for error in _piecewise_linear(node, values, spread)
    }
    for name, residual in (residuals or {}).items():
        errors[name] = errors.get(name, 0.0) + np.abs(residual)
    logits = values[network.logits_name]
    if directions is None:
        classes = logits.shape[1]
        directions = np.broadcast_to(np.eye(classes)[:, None, :], (classes, *logits.shape))
    bounds = []
    for direction in directions:
        seeds: dict[str, FloatArray] = {network.logits_name: np.ascontiguousarray(direction, np.float64)}
        bars = executor.pull_back(graph, values, seeds, errors, threads=network.threads)
        terms = [(np.abs(bars[name]) * error).reshape(len(logits), -1).sum(axis=1) for name, error in errors.items()]
        bounds.append(INFLATION * np.sum(terms, axis=0))
    return np.einsum("knc,nc->kn", directions, logits), np.array(bounds)


def branch_residual(node: Node, exact: Array, rounded: Array) -> FloatArray:
    """Return |r| of a ReLU: zero where both arguments have one sign, else the size of the rounded one or less.

    With D = [v > 0] at the exact argument, r = relu(v_hat) - relu(v) - D (v_hat - v).

    Raises
    ------
    UnsupportedError
        For any other operator.
    """
    if node.op != "Relu":
        raise UnsupportedError(f"branch_residual: node {node.name} must be a Relu; got {node.op}")
    v, v_hat = exact.astype(np.float64), rounded.astype(np.float64)
    residual: FloatArray = np.abs(np.maximum(v_hat, 0) - np.maximum(v, 0) - (v > 0) * (v_hat - v))
    return residual


def _piecewise_linear(node: Node, values: dict[str, Array], spread: dict[str, FloatArray]) -> Iterator[FloatArray]:
    """Yield lambda of a node, or nothing where it is computed exactly or not at all."""
    if node.outputs[0] not in values or node.op in EXACT:
        return
    if node.op not in LINEAR:
        raise UnsupportedError(f"logit_error_bound: node {node.name} must be piecewise linear; got {node.op}")
    yield from local_error(node, values, spread)
