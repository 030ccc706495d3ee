"""What the integers of a quantised network say: its classes in the semantics of a runtime, and where two differ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.model import IntegerModel
from lieref.errors import LierefWarning
from lieref.evaluate.class_counts import class_counts
from lieref.evaluate.integer_scores import IntegerScores
from lieref.evaluate.judge import Judgement, judge
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.op.integer.semantics import SEMANTICS
from lieref.train.task import Task

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


def judge_integers(model: IntegerModel, x: Array, y: Any, task: Task, semantics: str) -> Judgement:
    """Return how a quantised file does on samples, by its integers; of single classes the losses are simulated.

    Parameters
    ----------
    model : IntegerModel
        Of the file, with nothing attached.
    x, y, task
        As `lieref.evaluate.judge.judge` takes them.
    semantics : str
        A key of `lieref.op.integer.semantics.SEMANTICS`.

    Raises
    ------
    LierefError
        As `judge` and `classes` do.
    """
    if not task.has_labels or np.asarray(y).ndim != 1:
        return judge(IntegerScores(model.integer, model.source, semantics), x, y, task)
    found = judge(model, x, y, task)
    answers = classes(model, model.integer, x, semantics)
    right = answers == y
    outputs = model.logits(x[:1]).shape[1]
    accuracy = float(right.mean())
    score = replace(found.score, metrics={**found.score.metrics, "accuracy": accuracy}, merit=accuracy)
    return Judgement(score, right, found.losses, class_counts(answers, np.asarray(y), outputs))


def check_runs(function: str, model: IntegerModel, x: Array, names: Sequence[str]) -> None:
    """Warn of semantics that a file was not made for, and run one sample in each.

    Raises
    ------
    UnsupportedError
        If an operation has no integer reference.

    Warns
    -----
    LierefWarning
        See `unlike`.
    """
    for text in unlike(model.integer, names):
        warnings.warn(f"{function}: {text}", LierefWarning, stacklevel=2)
    for name in names:
        classes(model, model.integer, x[:1], name)


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
