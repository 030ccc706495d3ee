"""One vocabulary for readers, shapes and executor: nothing is in one of them alone."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model.integer.shapes import _RULES
from lieref.model.integer.steps import STEPS
from lieref.model.integer.tflite_reader import read_tflite
from lieref.model.integer.vocabulary import OPERATIONS
from validation.integer.random_layer import KINDS


def test_every_operation_has_a_shape_and_a_step() -> None:
    assert set(_RULES) == set(OPERATIONS)
    assert set(STEPS) == set(OPERATIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_write_the_attributes_that_are_named(kind: str) -> None:
    graph = read_tflite(KINDS[kind](np.random.default_rng(3), "int8").content)
    for node in graph.nodes:
        assert set(node.attributes) <= set(OPERATIONS[node.op].attributes)
