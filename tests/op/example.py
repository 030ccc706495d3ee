"""A node with its inputs, for the laws that every operator obeys."""

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
    says that ONNX has a constant of the operator (1 / 6, a default of 0.01), or its statistics, in float32 only.
    `constants` are the places of inputs of floats that are constants of a network, and decide about shapes.
    """

    op: str
    inputs: tuple[Array | None, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    multilinear: bool = False
    evaluator: str = "onnx.reference"
    float32_constant: bool = False
    constants: tuple[int, ...] = ()

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
