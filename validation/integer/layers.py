"""One random layer in lieref and in TFLite's runtime."""

from __future__ import annotations

from collections.abc import Iterable
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


def differing(layer: Layer, modes: Iterable[str]) -> dict[str, Difference]:
    """Return for each mode how many outputs of all samples differ, and by how much at most.

    The runtime gets one sample at a time, lieref all at once.
    """
    graph = read_tflite(layer.content)
    found = {}
    for how in modes:
        made = runtime.interpreter(layer.content, how)
        places, last = [each["index"] for each in made.get_input_details()], made.get_output_details()[0]["index"]
        theirs = []
        for sample in zip(*layer.inputs, strict=True):
            for place, x in zip(places, sample, strict=True):
                made.set_tensor(place, x[None])
            made.invoke()
            theirs.append(made.get_tensor(last))
        mine = run_all(graph, dict(zip(graph.inputs, layer.inputs, strict=True)), how)[graph.outputs[0]]
        together = np.stack(theirs)
        apart = np.abs(mine.reshape(together.shape).astype(np.float64) - together)
        found[how] = Difference(apart.size, int((apart > 0).sum()), float(apart.max()))
    return found
