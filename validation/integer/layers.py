"""One random layer in lieref and in TFLite's runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref.model.integer.executor import run_all
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer import runtime
from validation.integer.random_layer import Layer


@dataclass(frozen=True)
class Difference:
    outputs: int
    different: int
    largest: float


def refused_types(kind: str) -> tuple[str, ...]:
    """Return the element types for which TFLite has no operator of a kind."""
    return ("int16",) if kind == "hard swish" else ()


def differing(layer: Layer, how: str) -> Difference:
    """Return how many outputs of all samples differ, and by how much at most; the runtime gets one sample at a time."""
    graph = read_tflite(layer.content)
    made = runtime.interpreter(layer.content, how)
    places, last = [each["index"] for each in made.get_input_details()], made.get_output_details()[0]["index"]
    outputs = different = 0
    largest = 0.0
    for sample in zip(*layer.inputs, strict=True):
        for place, x in zip(places, sample, strict=True):
            made.set_tensor(place, x[None])
        made.invoke()
        theirs = made.get_tensor(last)
        fed = {name: x[None] for name, x in zip(graph.inputs, sample, strict=True)}
        mine = run_all(graph, fed, how)[graph.outputs[0]]
        apart = np.abs(mine.astype(np.float64) - theirs)
        outputs, different = outputs + apart.size, different + int((apart > 0).sum())
        largest = max(largest, float(apart.max()))
    return Difference(outputs, different, largest)
