"""What the integers of a quantised network say: its classes in the semantics of a runtime, and where two differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.op.integer.semantics import SEMANTICS

USUAL = {"tflite": "tflite-reference", "onnx-qdq": "onnxruntime", "onnx-qoperator": "onnxruntime"}
"""Semantics that a file is judged in where none are asked for."""


def classes(
    model: IntegerModel,
    graph: IntegerGraph,
    x: Array,
    semantics: str,
    *,
    told: Callable[[int], object] | None = None,
) -> Array:
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
    told : callable, optional
        Called with the number of samples that are done.

    Raises
    ------
    UnsupportedError
        If an operation has no integer reference.
    """
    samples = model.fed(x)
    outputs = run(graph, samples, semantics, told=told)
    return np.asarray(outputs.reshape(len(samples), -1).argmax(axis=1))


def unlike(graph: IntegerGraph, names: Sequence[str]) -> list[str]:
    """Return what some semantics make of a file that was not made for them, beyond rounding; a sentence each.

    Kernels of TFLite and CMSIS-NN average integers as they are: their converters give a pool one scale. Files of ONNX
    Runtime may have two.
    """
    foreign = [name for name in names if SEMANTICS[name].average_pool == "away"]
    if not foreign:
        return []
    found = []
    for node in graph.nodes:
        if node.op != "AveragePool":
            continue
        old, new = (graph.tensors[name].quantisation for name in (node.inputs[0], node.outputs[0]))
        if old is None or new is None:
            continue
        if float(old.scale[0]) != float(new.scale[0]) or int(old.zero_point[0]) != int(new.zero_point[0]):
            found.append(
                f"{', '.join(foreign)}: {node.name} has another scale behind it than before it, which these kernels do "
                "not bring over; what changes there is no rounding, and a converter would put a step between"
            )
    return found
