"""What the integers of a quantised network say: its classes in the semantics of a runtime, and where two differ."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.samples import own_layout, to_integers

USUAL = {"tflite": "tflite-reference", "onnx-qdq": "onnxruntime", "onnx-qoperator": "onnxruntime"}
"""Semantics that a file is judged in where none are asked for."""


def fed(model: IntegerModel, x: Array) -> Array:
    """Return samples as the file's own input takes them: its integers, or float32; in its layout."""
    graph = model.integer
    tensor, arranged = graph.tensors[graph.inputs[0]], model.arranged("predict", x)
    found = to_integers(_real(arranged), tensor).x
    last = len(tensor.shape) == 4 and own_layout(graph) == "NHWC"
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1) if last else found)


def classes(model: IntegerModel, graph: IntegerGraph, x: Array, semantics: str) -> Array:
    """Return the class of each sample: the place of the largest output, the first of several.

    Parameters
    ----------
    model : IntegerModel
        Arranges the samples.
    graph : IntegerGraph
        Its file, or one with an update.
    x : (N, ...) array
    semantics : str
        A key of `lieref.op.integer.semantics.SEMANTICS`.

    Raises
    ------
    UnsupportedError
        If an operation has no integer reference.
    """
    samples = fed(model, x)
    outputs = run(graph, samples, semantics)
    return np.asarray(outputs.reshape(len(samples), -1).argmax(axis=1))


def _real(arranged: Array) -> Array:
    """Return arranged samples as floats: those that stand for themselves may still be integers."""
    return arranged if arranged.dtype.kind == "f" else arranged.astype(np.float32)
