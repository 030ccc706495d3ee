"""Making the self-test of an update: inputs at which it shows, and what the integer reference makes of them.

An input shows an update where its outputs are others than the base's. Kernels that round otherwise change outputs too,
on inputs between two classes by more than many an update; a test that shall tell which of the two it is needs inputs at
which the update moves the outputs further.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lieref._check import check_choice, check_int
from lieref._types import Array
from lieref.adapter.integer.self_test import DTYPES, MOST_INPUT, MOST_SAMPLES, drawn, places
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph, IntegerTensor
from lieref.model.integer.samples import integer_samples, to_integers
from lieref.op.integer.semantics import SEMANTICS

SEEDS = 16
"""So many inputs there are to choose from, drawn or given."""
LIKELY = 8
"""Of these so many, at which the update moves the outputs furthest, are looked at in other semantics."""
SAMPLES = 2
"""So many are kept unless told otherwise."""


def default_semantics(graph: IntegerGraph) -> str:
    """Return the semantics of the runtime that files of this format are most often judged by."""
    return "tflite-reference" if graph.format == "tflite" else "onnxruntime"


def given_input(function: str, graph: IntegerGraph, samples: Mapping[str, Array]) -> Array:
    """Return the array that is meant for the only input: of its name, or ``x``.

    Raises
    ------
    DomainError
        If there is none.
    """
    name = graph.inputs[0]
    for key in ("x", name, f"x_{name}"):
        if key in samples:
            return samples[key]
    raise DomainError(f"{function}: `samples` must hold the input {name}, or x; got {', '.join(samples)}")


def make_self_test(
    base: IntegerGraph, changed: IntegerGraph, how: str | None = None, samples: Array | None = None,
    count: int = SAMPLES, others: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the self-test of a file with an update in it, see `lieref.adapter.integer.self_test`.

    Drawn inputs are those of the first `SEEDS` seeds at which most outputs are others than the base's, so that a device
    that runs the base fails. Where `others` are named, inputs, drawn or given, are those at which the update moves an
    output more than twice as far as these semantics do, and of them those at which most of them are noticed.

    Parameters
    ----------
    base, changed : IntegerGraph
        The file without and with the update.
    how : str, optional
        A key of `lieref.op.integer.semantics.SEMANTICS`; `default_semantics` by default.
    samples : (N, ...) array, optional
        Inputs as `integer_samples` takes them; the first `count` are taken, or are chosen from the first `SEEDS`. By
        default drawn.
    count : int
        Inputs, 1 to `MOST_SAMPLES`.
    others : sequence of str
        Semantics that are to be told from the base.

    Raises
    ------
    UnsupportedError
        If the network has several inputs or outputs, or does not say in what integers its input and output are.
    DomainError
        If there are no such semantics, an input is too large, or `count` is out of range.
    """
    check_int("make_self_test", "count", count, low=1, high=MOST_SAMPLES)
    name = check_choice("make_self_test", "semantics", how or default_semantics(base), tuple(SEMANTICS))
    if len(base.inputs) != 1 or len(base.outputs) != 1:
        raise UnsupportedError("make_self_test: the network must have one input and one output")
    first, last = _ends(base)
    shape = [1, *(n or 1 for n in base.tensors[base.inputs[0]].shape[1:])]
    if int(np.prod(shape)) * 2 > MOST_INPUT:
        raise DomainError(f"make_self_test: an input must have at most {MOST_INPUT // 2} integers; got shape {shape}")
    said = {"shape": shape, "dtype": first.dtype, "real": _real(base, base.inputs[0], first)}
    if samples is None:
        x = np.concatenate([drawn(seed, shape, first.dtype) for seed in range(SEEDS)])
        chosen = _showing(base, changed, x, name, others, count)
        new = integer_outputs(changed, x[chosen], name)
        return _test(name, {**said, "seeds": chosen}, base, last, new)
    given = np.asarray(samples)[: SEEDS if others else count]
    x = to_integers(integer_samples(base, given).x, first).x
    if x.dtype != np.dtype(first.dtype) or not len(x):
        raise DomainError("make_self_test: `samples` must hold a sample; got none")
    if others:
        x = x[_showing(base, changed, x, name, others, count)]
    little = x.astype(x.dtype.newbyteorder("<"))
    texts = [b64encode(sample.tobytes()).decode() for sample in little]
    return _test(name, {**said, "samples": texts}, base, last, integer_outputs(changed, x, name))


def _test(name: str, given: dict[str, Any], base: IntegerGraph, last: IntegerTensor, outputs: Array) -> dict[str, Any]:
    rows = outputs[:, places(outputs.shape[1])]
    said = {"size": outputs.shape[1], "values": rows.tolist(), "real": _real(base, base.outputs[0], last)}
    return {"semantics": name, "input": given, "output": said}


def _ends(graph: IntegerGraph) -> tuple[IntegerTensor, IntegerTensor]:
    """Return the tensors that hold the integers of input and output: behind Quantize, before Dequantize."""
    first, last = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    if first.dtype == "float32":
        nodes = graph.consumers(first.name)
        if len(nodes) != 1 or nodes[0].op != "Quantize":
            raise UnsupportedError("make_self_test: the input must be quantised first of all")
        first = graph.tensors[nodes[0].outputs[0]]
    if last.dtype == "float32":
        node = graph.producer(last.name)
        if node is None or node.op != "Dequantize":
            raise UnsupportedError("make_self_test: the output must be dequantised last of all")
        last = graph.tensors[node.inputs[0]]
    if first.dtype not in DTYPES or first.quantisation is None or last.quantisation is None:
        raise UnsupportedError("make_self_test: input and output must be integers with a scale")
    return first, last


def _real(graph: IntegerGraph, name: str, integers: IntegerTensor) -> list[Any] | None:
    q = integers.quantisation
    if graph.tensors[name].dtype != "float32" or q is None:
        return None
    return [float(q.scale[0]), int(q.zero_point[0])]


def distances(graph: IntegerGraph, x: Array, how: str, others: Sequence[str]) -> Array:
    """Return how far each of other semantics moves an integer of the output at most, (others, N) int64.

    `x` are integers of the input. Semantics without an operation of the network move nothing.
    """
    rows = integer_outputs(graph, x, how)
    at = places(rows.shape[1])
    found = np.zeros((len(others), len(x)), np.int64)
    for name, moved in zip(others, found, strict=True):
        try:
            moved[:] = np.abs(integer_outputs(graph, x, name) - rows)[:, at].max(1)
        except LierefError:
            continue
    return found


def _showing(
    base: IntegerGraph, changed: IntegerGraph, x: Array, how: str, others: Sequence[str], count: int
) -> list[int]:
    """Return the places of the inputs at which an update shows most, in order; see `make_self_test`."""
    new, old = (integer_outputs(graph, x, how) for graph in (changed, base))
    if not others:
        return sorted(np.argsort(-(new != old).sum(1), kind="stable")[:count].tolist())
    far = np.abs(new - old)[:, places(new.shape[1])].max(1)
    likely = np.argsort(-far, kind="stable")[: max(LIKELY, count)]
    of_new, of_old = (distances(graph, x[likely], how, others) for graph in (changed, base))
    rounding = np.maximum(of_new.max(0), of_old.max(0))
    # By the triangle inequality what is rounded otherwise is then nearer to its own than to the other.
    apart = far[likely] > 2 * rounding
    order = np.lexsort((-far[likely] / np.maximum(rounding, 1), -(of_new > 0).sum(0), ~apart))
    return sorted(likely[order[:count]].tolist())


def integer_outputs(graph: IntegerGraph, x: Array, how: str) -> Array:
    """Return what a network makes of integers of its input, (N, ...), as integers of its output, (N, size) int64.

    Raises
    ------
    UnsupportedError
        If it does not say in what integers its input and output are, or an operation has no integer reference.
    """
    first, last = _ends(graph)
    told = _real(graph, graph.inputs[0], first)
    fed = x if told is None else np.float32(told[0]) * (x.astype(np.int64) - told[1]).astype(np.float32)
    found = np.concatenate([run(graph, fed[n : n + 1], how).reshape(1, -1) for n in range(len(fed))])
    back = _real(graph, graph.outputs[0], last)
    if back is None:
        return found.astype(np.int64)
    whole: Array = np.rint(found.astype(np.float64) / back[0]).astype(np.int64)
    return whole + int(back[1])
