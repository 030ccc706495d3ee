"""One or more nodes for every operator of the registry: inputs away from kinks and ties, every attribute used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lieref._types import Array


@dataclass(frozen=True)
class Example:
    """A node with its inputs.

    `opset` is the one whose form (attribute or input) the node has. `multilinear` says that no error is larger than
    that of a sum of products of the inputs. `evaluator` names who gives the expected output, and `float32_constant`
    says that ONNX has a constant of the operator (1 / 6, a default of 0.01) in float32 only.
    """

    op: str
    inputs: tuple[Array | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    multilinear: bool = False
    evaluator: str = "onnx.reference"
    float32_constant: bool = False

    def __str__(self) -> str:
        shapes = "x".join("-" if a is None else str(a.shape).replace(" ", "") for a in self.inputs)
        return f"{self.op}-{self.opset}-{shapes}-{','.join(map(str, self.attrs))}"


def spread(*shape: int, seed: int = 0, low: float | None = None) -> Array:
    """Return a permutation of equally spaced numbers around zero: no two closer than 0.1, none nearer to 0 than 0.05.

    The spacing of 0.37 for short arrays keeps clear of the kinks at 2.5 and 3 too; with `low` the numbers start there.
    """
    count = int(np.prod(shape))
    numbers = np.arange(count) - (count - 1) // 2 - 0.5
    numbers *= 0.37 if count < 100 else 0.1
    if low is not None:
        numbers += low - numbers[0]
    return np.random.default_rng([seed, count]).permutation(numbers).reshape(shape)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


ORT = "onnxruntime"
"""Who evaluates where onnx.reference is wrong: unsorted axes, negative pads, ceil mode, opsets 11 and 12."""

IMAGE = spread(2, 3, 7, 6)
_LIST = (
    Example("Add", (spread(2, 3, 4), spread(3, 1, seed=1))),
    Example("Add", (spread(4), spread(2, 1, seed=1))),
    Example("Sub", (spread(2, 1, 4), spread(3, 1, seed=1))),
    Example("Mul", (spread(2, 3, 4), spread(3, 1, seed=1)), multilinear=True),
    Example("Mul", (spread(), spread(2, 3, seed=1)), multilinear=True),
    Example("Div", (spread(3, 1), spread(2, 1, 4, seed=1)), multilinear=True),
    Example("Neg", (spread(2, 3),)),
    Example("Exp", (spread(2, 3),)),
    Example("Sqrt", (spread(2, 3, low=0.2),)),
    Example("Pow", (spread(2, 3, low=0.2), spread(3, seed=1))),
    Example("Pow", (spread(2, 3), np.array(3))),
    Example("Relu", (spread(2, 3, 4),)),
    Example("LeakyRelu", (spread(2, 3, 4),), {"alpha": 0.25}),
    Example("LeakyRelu", (spread(2, 3, 4),), float32_constant=True),
    Example("Elu", (spread(2, 3, 4),), {"alpha": 0.25}),
    Example("Elu", (spread(2, 3, 4),)),
    Example("Clip", (spread(2, 9), np.array(-1.0), np.array(2.0)), opset=11),
    Example("Clip", (spread(2, 9), None, np.array(2.0))),
    Example("Clip", (spread(2, 9), np.array(-1.0))),
    Example("Clip", (spread(2, 9),)),
    Example("HardSwish", (spread(3, 8),), float32_constant=True),
    Example("HardSigmoid", (spread(3, 8),), float32_constant=True),
    Example("HardSigmoid", (spread(3, 8),), {"alpha": 0.25, "beta": 0.375}),
    Example("Sigmoid", (spread(3, 8),)),
    Example("Tanh", (spread(3, 8),)),
    Example("Softplus", (spread(3, 8),)),
    Example("Erf", (spread(3, 8),), float32_constant=True),
    Example("Gelu", (spread(3, 8),), float32_constant=True),
    Example("Gelu", (spread(3, 8),), {"approximate": "tanh"}, float32_constant=True),
    Example("Identity", (spread(2, 3),)),
    Example("Dropout", (spread(2, 3),), {"ratio": 0.3}, opset=11),
    Example("Dropout", (spread(2, 3), np.array(0.3), np.array(False)), {"seed": 3}),
    Example("Constant", (), {"value": spread(2, 3)}),
    Example("Constant", (), {"value_float": 1.5}),
    Example("Constant", (), {"value_floats": (1.5, -2.0)}),
    Example("Constant", (), {"value_int": 3}),
    Example("Constant", (), {"value_ints": (3, -4)}),
    Example("Flatten", (spread(2, 3, 4, 5),)),
    Example("Flatten", (spread(2, 3, 4, 5),), {"axis": -2}),
    Example("Flatten", (spread(2, 3),), {"axis": 0}),
    Example("Flatten", (spread(2, 3),), {"axis": 2}),
    Example("Reshape", (spread(2, 3, 4), ints(0, -1))),
    Example("Reshape", (spread(2, 3, 4), ints(4, 0, 2)), {"allowzero": 0}),
    Example("Reshape", (np.zeros((2, 0, 4)), ints(3, 0, 5)), {"allowzero": 1}),
    Example("Transpose", (spread(2, 3, 4),)),
    Example("Transpose", (spread(2, 3, 4, 5),), {"perm": (2, 0, 3, 1)}),
    Example("Squeeze", (spread(1, 3, 1, 4),), opset=11),
    Example("Squeeze", (spread(1, 3, 1, 4),), {"axes": (0, -2)}, opset=11),
    Example("Squeeze", (spread(1, 3, 1, 4), ints(2))),
    Example("Squeeze", (spread(1, 3, 1, 4),)),
    Example("Unsqueeze", (spread(3, 4),), {"axes": (3, 0)}, opset=11, evaluator=ORT),
    Example("Unsqueeze", (spread(3, 4), ints(-1, 1))),
    Example("Expand", (spread(3, 1), ints(2, 1, 4))),
    Example("Concat", (spread(2, 3, 4), spread(2, 5, 4, seed=1), spread(2, 1, 4, seed=2)), {"axis": 1}),
    Example("Concat", (spread(2, 3), spread(2, 4, seed=1)), {"axis": -1}),
    Example("Pad", (spread(2, 3, 4), ints(1, 0, 2, 0, 3, 1), np.array(1.5)), opset=11),
    Example("Pad", (spread(2, 3, 4), ints(0, 2, 1, 1, 1, 3)), {"mode": "reflect"}),
    Example("Pad", (spread(2, 3, 4), ints(0, 2, 1, 1, 5, 3)), {"mode": "edge"}),
    Example("Pad", (spread(2, 5, 4), ints(1, -2, 0, 0, -1, 2)), evaluator=ORT),
    Example("Pad", (spread(2, 3, 4), ints(2, 1, 0, 3), np.array(-1.0), ints(-1, 1)), {"mode": "constant"}),
    Example("Softmax", (spread(2, 3, 4),)),
    Example("Softmax", (spread(2, 3, 4),), {"axis": 1}),
    Example("Softmax", (spread(2, 3, 4),), {"axis": 1}, opset=11, evaluator=ORT),
    Example("Softmax", (spread(2, 3, 4),), opset=12, evaluator=ORT),
    Example("ReduceMean", (spread(2, 3, 4),), opset=11),
    Example("ReduceMean", (spread(2, 3, 4),), {"axes": (-1, 1), "keepdims": 0}, opset=13),
    Example("ReduceMean", (spread(2, 3, 4), ints(0, 2)), {"keepdims": 1}),
    Example("ReduceMean", (spread(2, 3, 4), ints()), {"noop_with_empty_axes": 1}),
    Example("ReduceSum", (spread(2, 3, 4),), {"axes": (1,)}, opset=11),
    Example("ReduceSum", (spread(2, 3, 4), ints(-1, 0)), {"keepdims": 0, "noop_with_empty_axes": 1}),
    Example("GlobalAveragePool", (spread(2, 3, 4, 5),)),
    Example("GlobalMaxPool", (spread(2, 3, 4, 5),)),
    Example("MaxPool", (IMAGE,), {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 0, 1)}),
    Example(
        "MaxPool",
        (IMAGE,),
        {"kernel_shape": (2, 3), "dilations": (2, 1), "ceil_mode": 1, "strides": (2, 2), "storage_order": 0},
        evaluator=ORT,
    ),
    Example("MaxPool", (IMAGE,), {"kernel_shape": (2, 3), "auto_pad": "SAME_LOWER", "strides": (2, 2)}, evaluator=ORT),
    Example("MaxPool", (spread(2, 3, 11),), {"kernel_shape": (3,), "strides": (2,)}, opset=11),
    Example("AveragePool", (IMAGE,), {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1)}),
    Example(
        "AveragePool",
        (IMAGE,),
        {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1), "count_include_pad": 1},
    ),
    Example("AveragePool", (IMAGE,), {"kernel_shape": (2, 4), "auto_pad": "SAME_UPPER", "strides": (2, 3)}, opset=11),
    Example("AveragePool", (IMAGE,), {"kernel_shape": (3, 3), "ceil_mode": 1, "strides": (3, 2)}, evaluator=ORT),
    Example("AveragePool", (IMAGE,), {"kernel_shape": (3, 2), "dilations": (2, 3)}),
    Example("AveragePool", (spread(2, 2, 4, 5, 3),), {"kernel_shape": (3, 2, 1)}, opset=12),
    Example(
        "BatchNormalization",
        (spread(2, 3, 4), spread(3, seed=1), spread(3, seed=2), spread(3, seed=3), spread(3, low=0.3)),
        {"epsilon": 0.03125, "momentum": 0.8, "training_mode": 0},
    ),
    Example(
        "BatchNormalization",
        (spread(5, 3), spread(3, seed=1), spread(3, seed=2), spread(3, seed=3), spread(3, low=0.3)),
        opset=11,
        evaluator=ORT,
        float32_constant=True,
    ),
    Example("Gemm", (spread(2, 3), spread(3, 4, seed=1), spread(4, seed=2)), multilinear=True),
    Example("Gemm", (spread(2, 3), spread(3, 4, seed=1)), multilinear=True),
    Example(
        "Gemm",
        (spread(3, 2), spread(4, 3, seed=1), spread(2, 1, seed=2)),
        {"alpha": 0.5, "beta": -1.5, "transA": 1, "transB": 1},
        opset=11,
        multilinear=True,
    ),
    Example("MatMul", (spread(2, 3), spread(3, 4, seed=1)), multilinear=True),
    Example("MatMul", (spread(5, 1, 2, 3), spread(6, 3, 4, seed=1)), multilinear=True),
    Example("MatMul", (spread(3), spread(2, 3, 4, seed=1)), multilinear=True),
    Example("MatMul", (spread(2, 4, 3), spread(3, seed=1)), multilinear=True),
    Example("MatMul", (spread(3), spread(3, seed=1)), multilinear=True),
    Example("Conv", (IMAGE, spread(4, 3, 2, 3, seed=1), spread(4, seed=2)), multilinear=True),
    Example(
        "Conv",
        (spread(2, 4, 7, 8), spread(6, 2, 3, 2, seed=1)),
        {"strides": (2, 1), "pads": (1, 0, 2, 3), "dilations": (1, 2), "group": 2, "kernel_shape": (3, 2)},
        opset=11,
        multilinear=True,
    ),
    Example(
        "Conv",
        (IMAGE, spread(3, 1, 3, 4, seed=1), spread(3, seed=2)),
        {"auto_pad": "SAME_UPPER", "group": 3, "strides": (2, 3)},
        multilinear=True,
    ),
    Example("Conv", (spread(2, 3, 9), spread(4, 3, 4, seed=1)), {"auto_pad": "VALID"}, multilinear=True),
    Example("Conv", (spread(1, 2, 4, 5, 3), spread(3, 2, 2, 3, 1, seed=1)), multilinear=True),
    Example("Gather", (spread(5, 3), np.array([[4, 0, -1], [4, 4, 2]]))),
    Example("Gather", (spread(2, 5, 3), np.array([1, -5])), {"axis": 1}),
    Example("Gather", (spread(2, 3), np.array(1)), {"axis": -1}),
    Example("Slice", (spread(5, 7), ints(1, 0), ints(4, 99))),
    Example("Slice", (spread(2, 5, 7), ints(-1, 6), ints(-99, 1), ints(1, -1), ints(-2, -3))),
    Example("Shape", (spread(2, 3, 4),)),
    Example("Shape", (spread(2, 3, 4),), {"start": -2, "end": 2}),
    Example("Cast", (spread(2, 3),), {"to": 11, "saturate": 1}),
    Example("Cast", (spread(2, 3),), {"to": 7}, opset=11),
    Example("CastLike", (spread(2, 3), ints(2)), {"saturate": 1}),
    Example("Equal", (ints(1, 2, 3), ints(2))),
    Example("Not", (np.array([True, False]),)),
    Example("Where", (np.array([[True], [False]]), spread(3), spread(2, 3, seed=1))),
    Example("Where", (np.array([True, False, True]), spread(2, 1), spread(seed=1))),
    Example("Tile", (spread(2, 3), ints(3, 2))),
)  # fmt: skip

EXAMPLES: dict[str, Example] = {f"{i:03}-{example}": example for i, example in enumerate(_LIST)}
