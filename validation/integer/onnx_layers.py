"""One random layer of ONNX in lieref and in ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.reader import read_integer
from validation.integer.layers import Difference
from validation.integer.onnx_runtime import session, values
from validation.integer.random_layer import Layer
from validation.integer.random_onnx_layer import exact_only


def read(content: bytes) -> IntegerGraph:
    """Return the network of a file in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        path.write_bytes(content)
        return read_integer(path)


def modes_of(layer: Layer) -> tuple[str, ...]:
    """Return the levels of optimisation at which this layer is to be equal on every processor."""
    return ("all",) if exact_only(layer) else ("all", "none")


def differing(layer: Layer, levels: Iterable[str]) -> dict[str, Difference]:
    """Return for each level how many outputs of all samples differ, and by how much at most."""
    graph = read(layer.content)
    fed = dict(zip(graph.inputs, layer.inputs, strict=True))
    mine = run_all(graph, fed, "onnxruntime")[graph.outputs[0]]
    found = {}
    for level in levels:
        theirs = values(session(layer.content, level, exact=exact_only(layer)), fed)[graph.outputs[0]]
        apart = np.abs(mine.reshape(theirs.shape).astype(np.float64) - theirs)
        found[level] = Difference(apart.size, int((apart > 0).sum()), float(apart.max()))
    return found
