"""Values of attributes that no operator takes: refused by name, for every operator that has the attribute."""

from __future__ import annotations

from typing import Any

import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.op.registry import OPERATORS, REQUIRED, check_attributes
from tests.op.examples import EXAMPLES

# A value outside ONNX's own list, or, for BatchNormalization and MaxPool, outside what inference needs.
OUTSIDE: dict[str, Any] = {
    "align_corners": 2, "allowzero": 2, "antialias": 2, "approximate": "erf", "auto_pad": "SAME",
    "coordinate_transformation_mode": "mid", "direction": "UP", "dtype": 14, "exclude_outside": 2, "fmod": 2,
    "input_forget": 1, "is_causal": 2, "keep_aspect_ratio_policy": "widen", "layout": 2, "linear_before_reset": 2,
    "mode": "mirror", "nearest_mode": "round", "output": 9, "p": 3, "padding_mode": "wrap", "qk_matmul_output_mode": 4,
    "reduction": "median", "round_mode": "even", "spatial": 0, "stash_type": 2, "storage_order": 1, "to": 14,
    "training_mode": 1, "transA": 2, "transB": 2,
}  # fmt: skip
CASES = [(op, name) for op, operator in OPERATORS.items() for name in operator.attributes]


def required(op: str) -> dict[str, Any]:
    """What a node of the operator has to say."""
    example = next(example for example in EXAMPLES.values() if example.op == op)
    return {name: example.attrs[name] for name, default in OPERATORS[op].attributes.items() if default is REQUIRED}


@pytest.mark.parametrize(("op", "name"), [case for case in CASES if case[1] in OUTSIDE])
def test_a_value_outside_the_list_is_refused(op: str, name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"`{name}` of operator {op}"):
        check_attributes(op, required(op) | {name: OUTSIDE[name]}, "n7")


def test_every_attribute_that_is_a_word_has_a_list() -> None:
    words = {name for op, name in CASES if isinstance(OPERATORS[op].attributes[name], str)}
    assert words <= set(OUTSIDE)
    assert {name for operator in OPERATORS.values() for name in operator.allowed} <= set(OUTSIDE)


@pytest.mark.parametrize(
    ("op", "name"), [case for case in CASES if case[1] in ("group", "strides", "dilations", "kernel_shape")]
)
def test_a_size_below_one_is_refused_wherever_it_stands(op: str, name: str) -> None:
    for value in (0,) if name == "group" else ((0, 2), (2, 0), (2, -1)):
        with pytest.raises(DomainError, match=f"`{name}` of operator {op}"):
            check_attributes(op, required(op) | {name: value}, "n7")
