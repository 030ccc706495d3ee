"""Nodes of the operators that pick entries, place them, or make them from a few numbers."""

from __future__ import annotations

import numpy as np

from tests.op.example import ORT, Example, ints, spread

TABLE = spread(2, 3, 4)
CELLS = np.array([[[0, 1], [-1, 0], [1, 1]], [[1, 0], [0, 0], [0, -2]]])
ROWS = np.array([[[1, 0], [0, 2]], [[-1, -2], [1, 1]], [[0, -1], [0, 1]]])
TWICE = np.array([[0, 2, 0], [1, 1, -1]])

INDEXED = (
    Example("ConstantOfShape", (ints(2, 3),)),
    Example("ConstantOfShape", (ints(0, 3),), {"value": np.array([2], np.int64)}),
    Example("Range", (np.array(1), np.array(9), np.array(3))),
    Example("Range", (np.array(9), np.array(1), np.array(-3)), {"stash_type": 1}, opset=27),
    Example("Range", (np.array(0.25), np.array(2.375), np.array(0.5)), constants=(0, 1, 2)),
    Example("Size", (spread(2, 3),)),
    Example("EyeLike", (ints(1, 2, 3, 4, 5, 6).reshape(2, 3),), {"k": -1}),
    Example("EyeLike", (spread(3, 4),), {"dtype": 6, "k": 1}),
    Example("OneHot", (ints(0, 2, -1, 5), np.array(3), spread(2))),
    Example("OneHot", (np.array([[1, -3], [2, 0]]), ints(3), spread(2)), {"axis": 1}, evaluator=ORT),
    Example("GatherElements", (TABLE, CELLS), {"axis": 1}, evaluator=ORT),
    Example("GatherElements", (spread(5, 3), np.array([[4, 0, -1]]))),
    Example("GatherND", (TABLE, ROWS), evaluator=ORT),
    Example("GatherND", (TABLE, np.array([[[1], [0]], [[2], [-3]]])), {"batch_dims": 1}, evaluator=ORT),
    Example("ScatterElements", (TABLE, CELLS[:, :, :1], spread(2, 3, 1, seed=1)), {"axis": -1}),
    Example("ScatterElements", (spread(3, 4), TWICE, spread(2, 3, seed=1)), {"reduction": "add"}, evaluator=ORT),
    Example("ScatterElements", (spread(3, 4), TWICE, spread(2, 3, seed=1)), {"reduction": "mul"}, evaluator=ORT),
    Example("ScatterElements", (spread(3, 4), TWICE, spread(2, 3, seed=1) + 0.11), {"reduction": "max"}, evaluator=ORT),
    Example("ScatterElements", (spread(3, 4), TWICE, spread(2, 3, seed=1) + 0.11), {"reduction": "min"}, evaluator=ORT),
    Example("Scatter", (spread(3, 4), ints(0, 2)[None], spread(1, 2, seed=1)), {"axis": 0}, opset=9, evaluator=ORT),
    Example("ScatterND", (TABLE, ROWS[:, 0], spread(3, 4, seed=1))),
    Example("ScatterND", (TABLE, ROWS, spread(3, 2, 4, seed=1)), {"reduction": "add"}, evaluator=ORT),
    Example("NonZero", (ints(0, 3, 0, -1),)),
    Example("NonZero", (np.array([[True, False, True], [False, False, True]]),)),
    Example("Compress", (spread(3, 4), np.array([False, True, True])), {"axis": 0}),
    Example("Compress", (spread(3, 4), np.array([True, False, True, True, False]))),
    Example("Unique", (ints(3, 1, 1, 4, 3),)),
    Example("Unique", (ints(3, 1, 1, 4, 3),), {"sorted": 0, "output": 0}, evaluator=ORT),
    Example("Unique", (ints(3, 1, 1, 4, 3),), {"sorted": 0, "output": 1}),
    Example("Unique", (ints(3, 1, 1, 4, 3),), {"sorted": 0, "output": 2}),
    Example("Unique", (ints(3, 1, 1, 4, 3),), {"output": 3}),
    Example("Unique", (ints(1, 0, 1, 0, 2, 0).reshape(3, 2),), {"axis": 0}),
    Example("Trilu", (spread(2, 3, 4),)),
    Example("Trilu", (spread(3, 4), np.array(-1)), {"upper": 0}),
    Example("ReverseSequence", (spread(4, 3, 2), ints(1, 4, 0)), evaluator=ORT),
    Example("ReverseSequence", (spread(2, 5), ints(3, 5)), {"batch_axis": 0, "time_axis": 1}),
    Example("Pad", (spread(2, 3, 4), ints(0, 2, 1, 1, 5, 3)), {"mode": "wrap"}),
    Example("CenterCropPad", (spread(3, 6, 4), ints(6, 3, 4)), opset=18),
    Example("CenterCropPad", (spread(3, 6, 4), ints(7, 1)), {"axes": (-1, 0)}, opset=18),
)  # fmt: skip
