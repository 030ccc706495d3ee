"""Making the self-test of a bundle: a few inputs, some outputs of the merged network, and a bound for each.

The outputs are computed in float64. The bound is for evaluations in float32 that take their sums in any order, with or
without fused multiply-add, BatchNormalization folded or not: to first order the sum over all nodes of what rounding
adds there, `lieref.model.local_error`, times the derivative of the output by it, as in `lieref.model.error_bound`.

- Where the network is piecewise linear the first order is all, but for arguments of Relu and Clip that rounding moves
  to another branch: every one within `NEAR` times the error that lieref's own float32 evaluation makes in that tensor
  counts with that much. Those of MaxPool do not count.
- A Softmax at the end turns bounds B_i of its arguments into p_i (e^(B_i + max B) - 1), without a first order.
- Any other function is taken to first order, doubled.

Convolutions by a transform (Winograd, FFT), TensorFloat-32 and arithmetic in float16 or in whole numbers are others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.model import Model
from lieref.adapter.self_test_check import BOUND, INPUT, OUTPUT, PLACE
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model import executor
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.local_error import EXACT, LINEAR, UNIT, local_error
from lieref.model.samples import Samples, as_numbers
from lieref.model.simplify import in_dtype
from lieref.model.vocabulary import Vocabulary
from lieref.rng import stream

MOST_ENTRIES = 16
"""So many numbers of the output of one sample are compared, all where there are no more: 8 to 12 bytes each."""
FEW_BYTES = 2048
"""Where a sample of stored inputs takes no more there are two, else one."""
NEAR = 64.0
"""Arguments of Relu and Clip that may change their branch, see above."""
INFLATION = 1 + 2.0**-10
"""Operands are taken at their exact values instead of the rounded ones, which differ by 1e-6 of their size."""
SMALLEST = 2.0**-120
"""Added to every bound, for underflow."""
EXTENTS = (8, 16, 32, 64, 128, 224)
"""Of an axis that the network leaves free, the first that it takes."""
STYLES = {"bytes": (0, 256, np.uint8), "small": (-2, 3, np.int8), "ends": (0, 2, np.uint8)}
"""Inputs of floats: what images in 0 to 255 hold, numbers around 0, and the ends of 0 to 1. That one is taken at which
the outputs say most: where they are probabilities they are far from 0 and 1, else they differ most for their size."""


def make_self_test(model: Model, samples: Samples | None = None, *, seed: int = 0) -> dict[str, Array]:
    """Return the tensors of a self-test of a network as it is merged.

    Parameters
    ----------
    model : Model
        With its adapters, or merged; it stays as it is.
    samples : (N, ...) array, or dict of them, optional
        A few inputs, as `Model.predict` takes them; whole numbers take less room. By default drawn.
    seed : int

    Returns
    -------
    dict of str to array
        ``selftest.input.NAME`` for each input of the file, ``selftest.place.NAME`` (uint32), ``selftest.output.NAME``
        and ``selftest.bound.NAME`` (float32) for the first output: see `check_self_test`.

    Raises
    ------
    UnsupportedError
        If a node is of an operator without a bound, or the network computes in float16; the message names it.
    DomainError
        If no inputs can be drawn for the network: give `samples` then.
    """
    merged = copy.copy(model).merge_and_unload() if model.attached else model
    _check_float32(merged)
    given = _drawn(merged, seed) if samples is None else samples
    x = merged.arranged("make_self_test", given)
    graph = merged.current_graph()
    exact = in_dtype(graph, np.dtype(np.float64))
    numbers = as_numbers(x, merged.graph.inputs[0], merged.dtype)
    spread = merged.bias_spread()
    each = [numbers] if merged._fixed_batch else [numbers[n : n + 1] for n in range(len(numbers))]
    rng = stream(seed, "self-test", "places")
    places, outputs, bounds, start = [], [], [], 0
    inputs: dict[str, list[Array]] = {}
    for part in each:
        values = executor.run(exact, _as(part, np.float64), threads=merged.threads)
        rounded = executor.run(graph, _as(part, np.float32), threads=merged.threads)
        for name in (info.name for info in merged.inputs if not merged.graph.parts):
            inputs.setdefault(name, []).append(part)
        for name in merged.derived_inputs:
            inputs.setdefault(name, []).append(values[name])
        result = values[exact.outputs[0]]
        chosen = np.sort(rng.permutation(result.size)[:MOST_ENTRIES])
        places.append(start + chosen)
        outputs.append(result.reshape(-1)[chosen])
        bounds.append(_bounds(exact, values, rounded, spread, chosen, merged.threads))
        start += result.size
    name, value = merged.outputs[0], np.concatenate(outputs)
    bound = INFLATION * np.concatenate(bounds) + UNIT * np.abs(value) + SMALLEST
    if not np.isfinite(bound.astype(np.float32)).all():
        raise DomainError("make_self_test: the bound of every output must be finite; one is not")
    stored = dict(given) if isinstance(given, Mapping) else {next(iter(inputs)): x}
    stored |= {name: np.concatenate(parts) for name, parts in inputs.items() if name in merged.derived_inputs}
    return {
        **{INPUT + key: np.ascontiguousarray(array) for key, array in stored.items()},
        PLACE + name: np.concatenate(places).astype(np.uint32),
        OUTPUT + name: value.astype(np.float32),
        BOUND + name: np.nextafter(bound.astype(np.float32), np.float32(np.inf)),
    }


def _check_float32(model: Model) -> None:
    """Raise `UnsupportedError` where the file computes in float16."""
    proto = model._file_proto()
    half = () if proto is None else [v.name for v in proto.graph.input if v.type.tensor_type.elem_type == 10]
    if half:
        raise UnsupportedError(f"make_self_test: the network must compute in float32; its input {half[0]} is float16")


def _as(x: Array, dtype: Any) -> Array:
    return x.astype(dtype) if x.dtype.kind == "f" else x


def _bounds(
    graph: Graph,
    values: dict[str, Array],
    rounded: dict[str, Array],
    spread: dict[str, FloatArray],
    places: Array,
    threads: int,
) -> FloatArray:
    """Return the bound of the numbers of the first output at these places."""
    last = graph.producer(graph.outputs[0])
    ends = last is not None and last.op == "Softmax" and values[graph.outputs[0]].ndim == 2
    nodes = [node for node in graph.nodes if not (ends and node is last)]
    errors = {node.outputs[0]: error for node in nodes for error in local_error(node, values, spread)}
    for node in nodes:
        if node.op in ("Relu", "Clip"):
            near = _near(node, values, rounded)
            errors[node.outputs[0]] = errors.get(node.outputs[0], 0.0) + near
    factor = 2.0 if any(_is_curved(node, graph) for node in nodes) else 1.0
    if not ends or last is None:
        return factor * _to_first_order(graph, values, errors, graph.outputs[0], places, threads)
    scores, probabilities = values[last.inputs[0]], values[graph.outputs[0]]
    rows = np.unique(places // scores.shape[1])
    wanted = (rows[:, None] * scores.shape[1] + np.arange(scores.shape[1])).reshape(-1)
    of_scores = np.zeros(scores.size)
    of_scores[wanted] = factor * _to_first_order(graph, values, errors, last.inputs[0], wanted, threads)
    off = of_scores.reshape(scores.shape)
    moved = np.minimum(off + off.max(axis=1, keepdims=True), 700.0)
    (own,) = local_error(last, values, spread)
    found = np.minimum(probabilities * np.expm1(moved) + own * np.exp(moved), 1.0)
    return np.asarray(found.reshape(-1)[places])


def _to_first_order(
    graph: Graph, values: dict[str, Array], errors: dict[str, FloatArray], tensor: str, places: Array, threads: int
) -> FloatArray:
    """Return the sum over all nodes of |derivative| times error, for each of these numbers of a tensor."""
    found = np.zeros(len(places))
    for number, place in enumerate(places):
        seed = np.zeros(values[tensor].shape)
        seed.reshape(-1)[place] = 1.0
        bars = executor.pull_back(graph, values, {tensor: seed}, errors, threads=threads)
        found[number] = sum(float((np.abs(bars[name]) * error).sum()) for name, error in errors.items())
    return found


def _near(node: Node, values: dict[str, Array], rounded: dict[str, Array]) -> FloatArray:
    """Return what arguments near the ends of branches may add."""
    v = values[node.inputs[0]]
    reach = NEAR * float(np.abs(v - rounded[node.inputs[0]]).max(initial=0.0))
    limits = [0.0] if node.op == "Relu" else [
        float(np.ravel(values[name])[0]) for name in node.inputs[1:] if name and values[name].size
    ]  # fmt: skip
    near = np.zeros(v.shape, bool)
    for limit in limits:
        near |= np.abs(v - limit) <= reach
    return np.asarray(near * reach)


def _is_curved(node: Node, graph: Graph) -> bool:
    """Tell whether a node is neither linear nor made of linear pieces."""
    constants = sum(name in graph.initializers for name in node.inputs if name)
    if node.op in ("MatMul", "Mul"):
        return not constants
    if node.op == "Div":
        return len(node.inputs) < 2 or node.inputs[1] not in graph.initializers
    return node.op not in (*EXACT, *LINEAR, "Cast")


def _drawn(model: Model, seed: int) -> Samples:
    """Return inputs that the network takes, of the style that its output depends on more."""
    best: tuple[float, Samples] | None = None
    for style in STYLES:
        for extent in EXTENTS:
            given = {info.name: _of_input(model, info, style, extent, seed) for info in model.inputs}
            samples: Samples = given if len(given) > 1 else next(iter(given.values()))
            try:
                outputs = model.predict(samples)
            except LierefError:
                continue
            if np.isfinite(outputs).all() and (best is None or _says(model, outputs) > best[0]):
                best = _says(model, outputs), samples
            break
    if best is None:
        raise DomainError("make_self_test: `samples` must be given for this network; none that were drawn fit it")
    return best[1]


def _says(model: Model, outputs: FloatArray) -> float:
    """Return how much outputs say, see `STYLES`."""
    if model.logits_name != model.graph.outputs[0]:
        return float((outputs * (1.0 - outputs)).mean())
    return float(outputs.std() / (np.abs(outputs).max() + 1e-30))


def _of_input(model: Model, info: TensorInfo, style: str, extent: int, seed: int) -> Array:
    """Return drawn samples of one input."""
    one = tuple(extent if size is None else size for size in info.shape[1:])
    count = model._fixed_batch or (2 if np.prod(one) <= FEW_BYTES else 1)
    rng = stream(seed, "self-test", info.name)
    kind = np.dtype(info.dtype).kind
    if kind == "f":
        low, high, dtype = STYLES[style]
        return rng.integers(low, high, (count, *one)).astype(dtype)
    known = _looked_up(model.vocabulary, info.name, len(model.inputs) > 1)
    if kind == "b":
        return rng.integers(0, 2, (count, *one)).astype(bool)
    if known is None:
        return np.ones((count, *one), np.uint8)  # a mask that leaves out nothing
    ids = rng.integers(0, known.rows, (count, *one))
    ids[ids == known.padding] = (known.padding or 0) + 1 if (known.padding or 0) + 1 < known.rows else 0
    return ids.astype(np.uint16 if known.rows <= 2**16 else np.int32)


def _looked_up(known: Vocabulary | None, name: str, several: bool) -> Vocabulary | None:
    if known is None or not several:
        return known
    return next((each for each in (known, *known.others) if each.name == name), None)
