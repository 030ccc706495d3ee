"""Nodes of the operators that work element by element, and of Softmax's kin."""

from __future__ import annotations

import numpy as np

from tests.op.example import ORT, Example, ints, spread

INSIDE = spread(3, 4) / 3
"""Numbers between -0.8 and 0.8."""

BITS = np.array([[3, 5, 200], [0, 255, 17]], np.uint8)
TRUTH = np.array([[True], [False]])

ELEMENT_WISE = (
    Example("Abs", (spread(2, 3),)),
    Example("Abs", (ints(-3, 0, 4),)),
    Example("Sign", (spread(2, 3),)),
    Example("Floor", (spread(2, 9),)),
    Example("Ceil", (spread(2, 9),)),
    Example("Round", (spread(2, 9) + 0.03,)),
    Example("Mod", (spread(2, 3) + 0.03, spread(3, seed=1)), {"fmod": 1}, evaluator=ORT),
    Example("Mod", (ints(-7, 7, -7, 7), ints(3, 3, -3, -3))),
    Example("Mod", (ints(-7, 7, -7, 7), ints(3, 3, -3, -3)), {"fmod": 1}),
    Example("Max", (spread(2, 3), spread(3, seed=1) + 0.11, spread(2, 1, seed=2) + 0.04)),
    Example("Max", (spread(2, 3),)),
    Example("Min", (spread(2, 3), spread(3, seed=1) + 0.11, spread(2, 1, seed=2) + 0.04)),
    Example("Min", (ints(3, -4), ints(2))),
    Example("Sum", (spread(2, 3), spread(3, seed=1), spread(2, 1, seed=2))),
    Example("Mean", (spread(2, 3), spread(3, seed=1), spread(2, 1, seed=2))),
    Example("Log", (spread(2, 3, low=0.2),)),
    Example("Reciprocal", (spread(2, 3, low=0.9) * [1, -1, 1],)),
    Example("Sin", (spread(3, 4),)),
    Example("Cos", (spread(3, 4),)),
    Example("Tan", (INSIDE,)),
    Example("Asin", (INSIDE,)),
    Example("Acos", (INSIDE,)),
    Example("Atan", (spread(3, 4),)),
    Example("Sinh", (spread(3, 4),)),
    Example("Cosh", (spread(3, 4),)),
    Example("Asinh", (spread(3, 4),)),
    Example("Acosh", (spread(3, 4, low=1.2),)),
    Example("Atanh", (INSIDE,)),
    Example("Greater", (spread(2, 3), spread(3, seed=1))),
    Example("GreaterOrEqual", (ints(1, 2, 3), ints(2))),
    Example("Less", (spread(2, 3), spread(3, seed=1))),
    Example("LessOrEqual", (ints(1, 2, 3), ints(2))),
    Example("And", (TRUTH, np.array([True, False]))),
    Example("Or", (TRUTH, np.array([True, False]))),
    Example("Xor", (TRUTH, np.array([True, False]))),
    Example("IsNaN", (spread(2, 3),)),
    Example("IsInf", (spread(2, 3),), {"detect_negative": 0, "detect_positive": 1}),
    Example("BitShift", (BITS, np.array([1, 0, 9], np.uint8)), {"direction": "LEFT"}),
    Example("BitShift", (BITS, np.array([[2], [1]], np.uint8)), {"direction": "RIGHT"}),
    Example("BitwiseAnd", (BITS, np.array([6], np.uint8))),
    Example("BitwiseOr", (BITS, np.array([6], np.uint8))),
    Example("BitwiseXor", (BITS, np.array([6], np.uint8))),
    Example("BitwiseNot", (BITS,)),
    Example("PRelu", (spread(2, 3, 4), spread(3, 1, seed=1))),
    Example("PRelu", (spread(2, 3), spread(seed=1))),
    Example("Celu", (spread(3, 8),), float32_constant=True),
    Example("Celu", (spread(3, 8),), {"alpha": 0.5}, float32_constant=True),
    Example("Selu", (spread(3, 8),), float32_constant=True),
    Example("Selu", (spread(3, 8),), {"alpha": 0.5, "gamma": 1.5}),
    Example("ThresholdedRelu", (spread(3, 8) + 0.01,)),
    Example("ThresholdedRelu", (spread(3, 8),), {"alpha": 0.5}),
    Example("Shrink", (spread(3, 8),), {"lambd": 1.5, "bias": 0.25}),
    Example("Shrink", (spread(3, 8),)),
    Example("Softsign", (spread(3, 8),)),
    Example("Mish", (spread(3, 8),)),
    Example("Swish", (spread(3, 8),), opset=24),
    Example("Swish", (spread(3, 8),), {"alpha": 1.75}, opset=24),
    Example("LogSoftmax", (spread(2, 3, 4),)),
    Example("LogSoftmax", (spread(2, 3, 4),), {"axis": 1}),
    Example("LogSoftmax", (spread(2, 3, 4),), {"axis": 1}, opset=11, evaluator=ORT),
    Example("Hardmax", (spread(2, 3, 4),)),
    Example("Hardmax", (spread(2, 3, 4),), {"axis": -2}),
    Example("Hardmax", (spread(2, 3, 4),), {"axis": 1}, opset=11, evaluator=ORT),
)  # fmt: skip
