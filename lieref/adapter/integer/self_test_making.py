"""Making the self-test of an update: inputs at which it shows, and what the integer reference makes of them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np

from lieref._check import check_choice
from lieref._types import Array
from lieref.adapter.integer.self_test import DTYPES, MOST_INPUT, drawn, places
from lieref.errors import DomainError, UnsupportedError
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph, IntegerTensor
from lieref.model.integer.samples import integer_samples, to_integers
from lieref.op.integer.semantics import SEMANTICS

SEEDS = 16
"""So many inputs are drawn to choose from."""
SAMPLES = 2
"""So many are kept."""


def default_semantics(graph: IntegerGraph) -> str:
    """Return the semantics of the runtime that files of this format are most often judged by."""
    return "tflite-reference" if graph.format == "tflite" else "onnxruntime"


def make_self_test(
    base: IntegerGraph, changed: IntegerGraph, how: str | None = None, samples: Array | None = None
) -> dict[str, Any]:
    """Return the self-test of a file with an update in it, see `lieref.adapter.integer.self_test`.

    Drawn inputs are those of the first `SEEDS` seeds at which most outputs are others than the base's, so that a device
    that runs the base fails.

    Parameters
    ----------
    base, changed : IntegerGraph
        The file without and with the update.
    how : str, optional
        A key of `lieref.op.integer.semantics.SEMANTICS`; `default_semantics` by default.
    samples : (N, ...) array, optional
        Inputs as `integer_samples` takes them; the first `SAMPLES` are taken. By default drawn.

    Raises
    ------
    UnsupportedError
        If the network has several inputs or outputs, or does not say in what integers its input and output are.
    DomainError
        If there are no such semantics, or an input is too large.
    """
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
        new, old = (_outputs(graph, x, first, last, name) for graph in (changed, base))
        shows = (new != old).sum(1)
        chosen = sorted(np.argsort(-shows, kind="stable")[:SAMPLES].tolist())
        return _test(name, {**said, "seeds": chosen}, base, last, new[chosen])
    given = np.asarray(samples)[:SAMPLES]
    x = to_integers(integer_samples(base, given).x, first).x
    if x.dtype != np.dtype(first.dtype) or not len(x):
        raise DomainError("make_self_test: `samples` must hold a sample; got none")
    little = x.astype(x.dtype.newbyteorder("<"))
    texts = [b64encode(sample.tobytes()).decode() for sample in little]
    return _test(name, {**said, "samples": texts}, base, last, _outputs(changed, x, first, last, name))


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


def _outputs(graph: IntegerGraph, x: Array, first: IntegerTensor, last: IntegerTensor, how: str) -> Array:
    """Return the integers of the output for integers of the input, (N, size) int64."""
    told = _real(graph, graph.inputs[0], first)
    fed = x if told is None else np.float32(told[0]) * (x.astype(np.int64) - told[1]).astype(np.float32)
    found = np.concatenate([run(graph, fed[n : n + 1], how).reshape(1, -1) for n in range(len(fed))])
    back = _real(graph, graph.outputs[0], last)
    if back is None:
        return found.astype(np.int64)
    whole: Array = np.rint(found.astype(np.float64) / back[0]).astype(np.int64)
    return whole + int(back[1])
