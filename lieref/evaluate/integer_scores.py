"""A quantised network judged as one of real numbers is: by the scores that its integers stand for in one runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lieref._check import check_choice
from lieref._types import FloatArray
from lieref.adapter.integer.model import IntegerModel
from lieref.model.backend import as_rows
from lieref.model.integer.as_float import is_images
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.real_range import stays
from lieref.op.integer.semantics import SEMANTICS

_PASSING = ("Reshape", "Dequantize", "Requantize")
"""Operations behind a final one that hand its numbers on, unless they cut them."""


def scored(graph: IntegerGraph, final: str) -> tuple[str, float]:
    """Return the tensor whose numbers are the scores, and what they are multiplied with.

    It is the input of a final operation of this kind, as `lieref.model.scores.logits_name` has it, else the output.
    """
    made = {name: node for node in graph.nodes for name in node.outputs}
    node = made[graph.outputs[0]]
    while node.op in _PASSING and node.inputs[0] in made and (node.op != "Requantize" or stays(graph, node)):
        node = made[node.inputs[0]]
    if node.op != final or node.inputs[0] not in made:
        return graph.outputs[0], 1.0
    return node.inputs[0], float(node.attributes.get("beta", 1.0) or 1.0)  # type: ignore[arg-type]


class IntegerScores(IntegerModel):
    """A quantised network whose `logits` are what its integers say in one runtime, exact to the bit.

    What it predicts without semantics, and its gradients, stay those of the simulation.

    Parameters
    ----------
    integer : IntegerGraph
    source : str
        Path or name, for messages.
    semantics : str
        A key of `lieref.op.integer.semantics.SEMANTICS`.

    Raises
    ------
    DomainError
        If there are no such semantics.
    UnsupportedError
        As `IntegerModel` does.
    """

    def __init__(self, integer: IntegerGraph, source: str, semantics: str) -> None:
        super().__init__(integer, source)
        self.semantics = check_choice("IntegerScores", "semantics", semantics, tuple(SEMANTICS))

    def logits(self, x: Any, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return the scores, (N, ...) float32, images channels first: of the tensor before a final `reading`.

        Raises
        ------
        LierefError
            If the samples do not fit, or an operation of the file has no integer reference.
        """
        name, factor = scored(self.integer, self.reading)
        tensor = self.integer.tensors[name]
        found = run(replace(self.integer, outputs=(name,)), self.fed(x, layout), self.semantics)
        real = found if tensor.quantisation is None else tensor.quantisation.real(found) * factor
        if is_images(self.integer, tensor):
            real = real.transpose(0, 3, 1, 2)
        return as_rows(np.ascontiguousarray(real, np.float32))
