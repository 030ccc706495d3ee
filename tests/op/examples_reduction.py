"""Nodes of the operators that take the entries along axes together."""

from __future__ import annotations

import numpy as np

from tests.op.example import ORT, Example, ints, spread

REDUCE = (
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMin",
)
INSIDE = spread(3, 4) / 3
WHOLE = np.array([[3, -1, 2], [3, 5, 5]], np.int32)

REDUCTIONS = (
    *(
        example
        for op in REDUCE
        for x in (spread(2, 3, 4, low=0.2) / (4 if op == "ReduceProd" else 1),)
        for example in (
            Example(op, (x,), opset=11),
            Example(op, (x,), {"axes": (-1, 1), "keepdims": 0}, opset=13, evaluator=ORT),
            Example(op, (x, ints(0, 2)), {"keepdims": 1}),
            Example(op, (x, ints()), {"noop_with_empty_axes": 1}, evaluator=ORT),
        )
    ),
    Example("ReduceMax", (WHOLE, ints(1))),
    Example("ReduceMin", (np.array([[True, False], [True, True]]), ints(1))),
    Example("ReduceL1", (spread(2, 3, 4), ints(1))),
    Example("ReduceL2", (spread(2, 3, 4), ints(0, 1))),
    Example("ReduceLogSumExp", (spread(2, 3, 4), ints(-1))),
    Example("ReduceProd", (WHOLE,)),
    Example("ArgMax", (spread(2, 3, 4),)),
    Example("ArgMax", (WHOLE,), {"axis": 1, "keepdims": 0, "select_last_index": 1}),
    Example("ArgMin", (spread(2, 3, 4),), {"axis": -1, "keepdims": 1}),
    Example("ArgMin", (WHOLE,), {"axis": 0, "select_last_index": 1}),
    Example("CumSum", (spread(2, 3, 4), np.array(1))),
    Example("CumSum", (spread(2, 3), ints(-1)), {"exclusive": 1, "reverse": 1}, evaluator=ORT),
    Example("CumProd", (INSIDE, np.array(1)), opset=26),
    Example("CumProd", (INSIDE, np.array(-2)), {"exclusive": 1, "reverse": 1}, opset=26),
    Example("LpNormalization", (spread(2, 3, 4),)),
    Example("LpNormalization", (spread(2, 3, 4),), {"axis": 1, "p": 1}, evaluator=ORT),
    Example("TopK", (spread(2, 5, 3), ints(2)), {"axis": 1}),
    Example("TopK", (spread(2, 5), ints(5)), {"largest": 0, "sorted": 1}),
    Example("TopK", (WHOLE, ints(2)), {"output": 1}),
    Example("TopK", (spread(2, 5),), {"k": 2}, opset=9, evaluator=ORT),
)  # fmt: skip
