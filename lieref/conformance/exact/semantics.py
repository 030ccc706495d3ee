"""How each runtime rounds each operator: the rows from which cases are made.

As measured on TFLite 2.x with its reference, optimised and XNNPACK kernels on x86-64, read in CMSIS-NN and in ONNX
Runtime; written down here once more, because `lieref.op.integer.semantics` is judged by it. A row without a semantics
is that of a runtime without the operator, or, of ONNX Runtime, with one that goes through real numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

NAMES: Final = ("tflite-reference", "tflite-optimised", "xnnpack", "cmsis-nn", "onnxruntime")
"""The named semantics."""

REFERENCE, OPTIMISED, XNNPACK, CMSIS_NN, ONNXRUNTIME = NAMES

Arithmetic: TypeAlias = dict[str, Any]
"""Attributes of a case that say how it is rounded."""


def _rule(scale: str, rounding: str, **more: Any) -> Arithmetic:
    return {"scale": scale, "rounding": rounding, **more}


def _same(names: tuple[str, ...], arithmetic: Arithmetic) -> dict[str, Arithmetic]:
    return {name: dict(arithmetic) for name in names}


def _sums(blocks: str) -> dict[str, Arithmetic]:
    """Return how tensors of 8 bits are added, by TFLite's optimised kernels in such blocks."""
    fixed = {"left_shift": 20, "rounding": "double"}
    return {
        **_same((REFERENCE, CMSIS_NN), {"addition": "fixed", **fixed}),
        OPTIMISED: {"addition": blocks, **fixed},
        XNNPACK: {"addition": "single"},
        ONNXRUNTIME: {"addition": "float32"},
    }


_DOUBLE: Final = _rule("float64", "double")
_HALF_UP: Final = _rule("float64", "half-up")
_FLOAT: Final = _rule("float32", "float32-even")
_AWAY: Final = _rule("float64", "float64-away")
_SIXTEEN: Final = _rule("float64", "sixteen", accumulator="64 bits")
_WIDE: Final = {"accumulator": "64 bits"}

ROWS: Final[dict[str, dict[str, Arithmetic]]] = {
    "conv 8": dict(zip(NAMES, (_DOUBLE, _HALF_UP, _FLOAT, _DOUBLE, _FLOAT), strict=True)),
    "grouped conv 8": dict(zip(NAMES, (_DOUBLE, _DOUBLE, _FLOAT, _DOUBLE, _FLOAT), strict=True)),
    "depthwise i8": dict(zip(NAMES, (_DOUBLE, _rule("float64", "half-up-8"), _FLOAT, _DOUBLE, _FLOAT), strict=True)),
    "depthwise u8": dict(zip(NAMES, (_DOUBLE, _DOUBLE, _DOUBLE, _DOUBLE, _FLOAT), strict=True)),
    "dense 8, one scale": dict(
        zip(
            NAMES,
            (_AWAY, _rule("float32-product", "half-up"), _FLOAT, _rule("float32-product", "double"), _FLOAT),
            strict=True,
        )
    ),
    "dense 8, a scale a row": dict(zip(NAMES, (_AWAY, _HALF_UP, _FLOAT, _DOUBLE, _FLOAT), strict=True)),
    "conv 16": dict(zip(NAMES, (_DOUBLE, _HALF_UP, _HALF_UP, _DOUBLE), strict=False)),
    "conv 16, wide bias": _same(NAMES[:4], _SIXTEEN),
    "depthwise 16": _same(NAMES[:4], _DOUBLE),
    "depthwise 16, wide bias": _same(NAMES[:4], _SIXTEEN),
    "dense 16": dict(
        zip(
            NAMES,
            (
                _AWAY,
                _rule("float32-product", "half-up"),
                _rule("float32-product", "half-up"),
                _rule("float32-product", "double"),
            ),
            strict=False,
        )
    ),
    "dense 16, a scale a row": {REFERENCE: _AWAY, **_same((OPTIMISED, XNNPACK), _HALF_UP)},
    "dense 16, wide bias": {
        **_same(NAMES[:3], _AWAY | _WIDE),
        CMSIS_NN: _rule("float32-product", "sixteen") | _WIDE,
    },
    "add i8": _sums("blocks of 16"),
    "add u8": _sums("blocks of 8"),
    "add 16": {
        **_same((REFERENCE, CMSIS_NN), {"addition": "fixed", "left_shift": 15, "rounding": "double"}),
        **_same((OPTIMISED, XNNPACK), {"addition": "blocks of 16", "left_shift": 15, "rounding": "double"}),
    },
    "mul 8": {
        **_same((REFERENCE, OPTIMISED, CMSIS_NN), _rule("float32", "double")),
        XNNPACK: _FLOAT,
    },
    "mul 16": _same(NAMES[:4], _rule("float32", "double")),
    "requantize 8": {
        **_same((REFERENCE, CMSIS_NN), {"rounding": "double"}),
        OPTIMISED: {"rounding": "blocks"},
        XNNPACK: {"rounding": "eight"},
    },
    "requantize from 8 to another type": {
        **_same((REFERENCE, CMSIS_NN), {"rounding": "double"}),
        **_same((OPTIMISED, XNNPACK), {"rounding": "blocks"}),
    },
    "requantize 16": _same(NAMES[:4], {"rounding": "double"}),
    "average pool 8": _same(NAMES[:4], {"pooling": "away"}),
    "average pool 16": _same(NAMES[:4], {"pooling": "away"}),
    "mean of images 8": {
        **_same((REFERENCE, CMSIS_NN), {"mean": "folded", "rounding": "double"}),
        OPTIMISED: {"mean": "image", "rounding": "double"},
        XNNPACK: {"mean": "float32-even", "rounding": "double"},
    },
    "mean 16": _same(NAMES[:4], {"mean": "folded", "rounding": "double"}),
    "softmax 8": {
        **_same((REFERENCE, CMSIS_NN), {"softmax": "fixed"}),
        **_same((OPTIMISED, XNNPACK), {"softmax": "table"}),
    },
    "softmax 8 to 16": _same(NAMES[:4], {"softmax": "fixed"}),
    "softmax 16": _same(NAMES[:4], {"softmax": "two tables"}),
    "bilinear 8": {
        **_same((REFERENCE, OPTIMISED, CMSIS_NN), {"resizing": "ten"}),
        XNNPACK: {"resizing": "eleven"},
    },
    "bilinear 16": _same(NAMES[:4], {"resizing": "ten"}),
    "nearest": _same(NAMES[:4], {"resizing": "nearest"}),
    "moved": _same(NAMES, {}),
    "moved 16": _same(NAMES[:4], {}),
    "hard swish": _same(NAMES[:4], {}),
}
"""What is computed -> semantics -> how."""


def groups(row: str | Mapping[str, Arithmetic]) -> list[tuple[list[str], Arithmetic]]:
    """Return the arithmetics of a row, each once, with the semantics that share it."""
    rows = ROWS[row] if isinstance(row, str) else row
    found: dict[str, tuple[list[str], Arithmetic]] = {}
    for name, arithmetic in rows.items():
        found.setdefault(json.dumps(arithmetic, sort_keys=True), ([], arithmetic))[0].append(name)
    return list(found.values())
