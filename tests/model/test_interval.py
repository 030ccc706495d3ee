"""Intervals hold what operators give, for every operator of the registry."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.interval import intervals
from lieref.op.registry import OPERATORS, resolve_attributes
from tests.op.examples import EXAMPLES, Example


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_interval_of_an_output_holds_its_entries(example: Example) -> None:
    attrs = resolve_attributes(example.op, example.attrs, example.opset)
    y = OPERATORS[example.op].forward(*example.inputs, **attrs)
    names = tuple("" if a is None else f"i{i}" for i, a in enumerate(example.inputs))
    graph = Graph(
        nodes=(Node("node", example.op, names, ("y",), attrs),),
        inputs=(TensorInfo("x", (None, 3), "float32"),),
        outputs=("y",),
        initializers={name: a for name, a in zip(names, example.inputs, strict=True) if a is not None},
        opset=example.opset,
    )
    low, high = intervals(graph)["y"]
    assert low <= high
    # the interval is that of real numbers: an entry may be some roundings off
    slack = 16 * np.finfo(float).eps * np.abs(y).max(initial=1)
    assert (y >= low - slack).all()
    assert (y <= high + slack).all()
