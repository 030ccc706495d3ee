"""Constant: a tensor written into the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError


def constant(
    *,
    value: Any = None,
    value_float: Any = None,
    value_floats: Any = None,
    value_int: Any = None,
    value_ints: Any = None,
) -> Array:
    """Return the one value given; floats are float32 and integers int64, as ONNX says."""
    typed = (
        (value, None),
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
    )
    given = [(item, dtype) for item, dtype in typed if item is not None]
    if len(given) != 1:
        raise DomainError(f"Constant: exactly one value must be given; got {len(given)}")
    return np.asarray(given[0][0], given[0][1])


def constant_vjp(
    *,
    y: Array,
    y_bar: Array,
    value: Any = None,
    value_float: Any = None,
    value_floats: Any = None,
    value_int: Any = None,
    value_ints: Any = None,
) -> tuple[()]:
    """Return (): there is nothing to differentiate."""
    return ()
